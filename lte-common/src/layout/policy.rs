//! The policy: the programs' settings, as read-only data.

use super::Addr;
use crate::headers::Family;

/// Admin ports that fit.
pub const ADMIN_PORTS: usize = 8;

/// The programs' settings, set when they are loaded: read-only data, whose values the verifier knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which build of the programs this is for: by it an adopter knows whether what runs is what it
    /// would load.
    pub build: u64,
    /// How long after the last packet to a remote its replies are let in, ticks.
    pub flow_timeout: u64,
    /// The modem's IPv4 address, mapped; [`Addr::NONE`]: nothing of IPv4 passes.
    pub modem_v4: Addr,
    /// Where its page and its echo are, mapped; [`Addr::NONE`]: nowhere.
    pub admin_v4: Addr,
    /// The mask of that, on the mapped address: all ones are one address.
    pub admin_mask_v4: Addr,
    /// Its gateway; [`Addr::NONE`]: point-to-point.
    pub gateway_v4: Addr,
    /// The modem's IPv6 address; [`Addr::NONE`]: nothing of IPv6 passes.
    pub modem_v6: Addr,
    /// Where its page and its echo are; [`Addr::NONE`]: nowhere.
    pub admin_v6: Addr,
    /// The mask of that.
    pub admin_mask_v6: Addr,
    /// Its gateway; [`Addr::NONE`]: point-to-point.
    pub gateway_v6: Addr,
    /// Interface index of the modem; 0: it is gone.
    pub modem_index: u32,
    /// The mark, host byte order.
    pub mark: u32,
    /// The bits of a packet's mark that are ours.
    pub mask: u32,
    /// The tunnel's UDP port, host byte order.
    pub listen_port: u16,
    /// Bytes of the link header of the device the program is on: 14 or 0.
    pub link_len: u16,
    /// Bytes of the modem's link header: 14 or 0.
    pub modem_link_len: u16,
    /// TCP ports of the modem's admin page, 0 where there are fewer.
    pub admin_ports: [u16; ADMIN_PORTS],
    /// Zero.
    pub pad: u16,
    /// Ticks in a second (`CONFIG_HZ`).
    pub hz: u32,
}

const _: () = {
    assert!(size_of::<Policy>() == 8 + 8 + 8 * 16 + 3 * 4 + 3 * 2 + 2 * ADMIN_PORTS + 2 + 4);
    assert!(core::mem::offset_of!(Policy, hz) + 4 == size_of::<Policy>());
    assert!(align_of::<Policy>() == 8);
};

impl Policy {
    /// Seconds in ticks.
    #[inline(always)]
    pub const fn ticks(&self, seconds: u64) -> u64 {
        seconds * self.hz as u64
    }

    /// The modem's address of a family, [`Addr::NONE`] where the family is off.
    #[inline(always)]
    pub const fn modem(&self, family: Family) -> &Addr {
        match family {
            Family::V4 => &self.modem_v4,
            Family::V6 => &self.modem_v6,
        }
    }

    /// Whether the modem's own page and echo may be at an address.
    #[inline(always)]
    pub const fn is_admin(&self, family: Family, address: &Addr) -> bool {
        let (admin, mask) = match family {
            Family::V4 => (&self.admin_v4, &self.admin_mask_v4),
            Family::V6 => (&self.admin_v6, &self.admin_mask_v6),
        };
        !admin.is_none() && admin.same_subnet(address, mask)
    }

    /// Whether a port is one of the admin page's.
    #[inline(always)]
    pub fn is_admin_port(&self, port: u16) -> bool {
        let p = &self.admin_ports;
        port != 0
            && (p[0] == port
                || p[1] == port
                || p[2] == port
                || p[3] == port
                || p[4] == port
                || p[5] == port
                || p[6] == port
                || p[7] == port)
    }

    /// Whether a packet's mark is ours.
    #[inline(always)]
    pub const fn is_marked(&self, mark: u32) -> bool {
        mark & self.mask == self.mark
    }

    /// A packet's mark with ours put in; the other bits stay.
    #[inline(always)]
    pub const fn marked(&self, mark: u32) -> u32 {
        mark & !self.mask | self.mark
    }
}
