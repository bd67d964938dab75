//! From the desired guard to the programs' policy.

use std::net::IpAddr;

use lte_common::layout::{ADMIN_PORTS, Addr, Policy, RemoteKey};

use super::object::{self, LoadOptions};
use crate::backend::{Guard, LinkHeader, Remote};

/// Length of a link header, bytes.
pub(super) const fn link_len(header: LinkHeader) -> u16 {
    match header {
        LinkHeader::Ethernet => lte_common::headers::ETHERNET_LEN,
        LinkHeader::None => 0,
    }
}

/// An address as the maps have it.
pub(super) fn addr(address: IpAddr) -> Addr {
    match address {
        IpAddr::V4(v4) => Addr::from_v4(v4.octets()),
        IpAddr::V6(v6) => Addr::from_v6(v6.octets()),
    }
}

/// A remote as the maps have it.
pub(super) fn remote_key(remote: &Remote) -> RemoteKey {
    RemoteKey {
        address: addr(remote.address),
        port: remote.port,
        pad: 0,
    }
}

/// A prefix length, in bits of the sixteen bytes, as a mask.
fn mask(bits: u32) -> Addr {
    let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
    Addr::from_v6(mask.to_be_bytes())
}

/// `CONFIG_HZ`: the resolution of the coarse clock is one tick (`KTIME_LOW_RES`, kernel/time).
pub fn ticks_per_second() -> u32 {
    let tick = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    // A tick lasts from 1 to 10 ms.
    u32::try_from(tick.tv_nsec)
        .ok()
        .and_then(|ns| 1_000_000_000_u32.checked_div(ns))
        .unwrap_or(100)
}

/// The policy of programs on a device with the given link header.
///
/// Admin ports beyond [`ADMIN_PORTS`] are refused by the config.
pub fn policy_for(guard: &Guard, header: LinkHeader, options: LoadOptions) -> Policy {
    let hz = ticks_per_second();
    let mut policy = Policy {
        build: object::build_id(options),
        flow_timeout: guard.flow_timeout.as_secs().saturating_mul(u64::from(hz)),
        hz,
        mark: guard.mark,
        mask: guard.mask,
        listen_port: guard.listen_port,
        link_len: link_len(header),
        ..Policy::default()
    };
    for (slot, port) in policy
        .admin_ports
        .iter_mut()
        .zip(guard.admin_ports.iter().take(ADMIN_PORTS))
    {
        *slot = *port;
    }
    let Some(modem) = &guard.modem else {
        return policy;
    };
    policy.modem_index = modem.index;
    policy.modem_link_len = link_len(modem.header);
    if let Some(v4) = modem.v4 {
        policy.modem_v4 = Addr::from_v4(v4.address.octets());
        policy.gateway_v4 = v4.gateway.map_or(Addr::NONE, |g| Addr::from_v4(g.octets()));
        if let Some(admin) = v4.admin {
            policy.admin_v4 = Addr::from_v4(admin.address.octets());
            policy.admin_mask_v4 = mask(96 + u32::from(admin.prefix_len));
        }
    }
    if let Some(v6) = modem.v6 {
        policy.modem_v6 = Addr::from_v6(v6.address.octets());
        policy.gateway_v6 = v6.gateway.map_or(Addr::NONE, |g| Addr::from_v6(g.octets()));
        if let Some(admin) = v6.admin {
            policy.admin_v6 = Addr::from_v6(admin.address.octets());
            policy.admin_mask_v6 = mask(u32::from(admin.prefix_len));
        }
    }
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_covers_its_bits() {
        let a = Addr::from_v4([192, 168, 0, 2]);
        assert!(a.same_subnet(&Addr::from_v4([192, 168, 0, 255]), &mask(96 + 24)));
        assert!(!a.same_subnet(&Addr::from_v4([192, 168, 1, 2]), &mask(96 + 24)));
        assert!(a.same_subnet(&Addr::from_v6([0xfe; 16]), &mask(0)));
        assert!(!a.same_subnet(&Addr::from_v4([192, 168, 0, 3]), &mask(128)));
    }
}
