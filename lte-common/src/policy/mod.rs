//! The policy: which verdict a packet gets on which hook.
//!
//! [`decide`] reads, [`update_state`] writes; both go through [`State`], which is BPF maps in the
//! kernel and a few tables on the host. Who has sent a packet is asked of [`Sockets`] and [`Session`].

mod class;
mod modem_in;
mod modem_out;
mod sockets;
mod state;
mod update;
mod uplink_out;

pub use class::Class;
#[cfg(any(test, feature = "std"))]
pub use sockets::HostSockets;
pub use sockets::{Session, Sockets};
#[cfg(any(test, feature = "std"))]
pub use state::HostState;
pub use state::State;
pub use update::update_state;

use crate::headers::{Family, PacketInfo, ParseError};
use crate::layout::Addr;

/// How long later fragments are let through behind their first, seconds: as long as the kernel
/// keeps pieces together (`net.ipv4.ipfrag_time`).
pub const FRAGMENT_TIMEOUT: u64 = 30;

/// How long an answer of the modem's own page is awaited, seconds.
pub const ADMIN_TIMEOUT: u64 = 120;

/// A remembered time is written anew only when it is older than this, seconds: it spares every
/// packet a write to memory that other CPUs read.
pub const REFRESH: u64 = 1;

/// Admin ports that fit.
pub const ADMIN_PORTS: usize = 8;

/// Where a packet is seen.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hook {
    /// Leaving by the modem.
    ModemOut = 0,
    /// Entering by the modem, before routing.
    ModemIn = 1,
    /// Leaving by an uplink.
    UplinkOut = 2,
}

impl Hook {
    /// All of them, in the order of the counters.
    pub const ALL: [Self; 3] = [Self::ModemOut, Self::ModemIn, Self::UplinkOut];

    /// Its name in counters and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModemOut => "modem-out",
            Self::ModemIn => "modem-in",
            Self::UplinkOut => "uplink-out",
        }
    }
}

/// What the programs are told when they are loaded: read-only data, which the verifier knows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Which build of the programs this is for; tells an adopter whether what runs is what it
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

/// What the kernel tells of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkbMeta {
    /// It was made on this machine (`ingress_ifindex` is 0), not forwarded.
    pub local: bool,
    /// Its mark, host byte order.
    pub mark: u32,
}

/// What is done with a packet.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It is none of ours: no counter, no mark.
    Untouched = 0,
    /// It passes.
    Pass = 1,
    /// It gets the mark and passes.
    Mark = 2,
    /// It gets the modem's source address and the mark, and leaves by the modem.
    Steer = 3,
    /// It is dropped.
    Drop = 4,
}

/// What is written to the state when a packet passes.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateUpdate {
    /// Nothing is written.
    None = 0,
    /// The remote that it goes to.
    Remote = 1,
    /// A request to the admin page, whose answer is let in.
    AdminFlow = 2,
}

/// Which address is replaced.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// None.
    None = 0,
    /// The source, by the modem's address.
    Source = 1,
    /// The destination, by what the source was before steering.
    Destination = 2,
}

/// The answer of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What is done.
    pub action: Action,
    /// The one counter it is in; without meaning where it is [`Action::Untouched`].
    pub class: Class,
    /// What is written to the state.
    pub update: StateUpdate,
    /// Later fragments of its datagram are to be treated alike.
    pub fragments_follow: bool,
    /// Which address is replaced.
    pub rewrite: Rewrite,
    /// By what.
    pub address: Addr,
}

impl Verdict {
    /// Not ours.
    pub const UNTOUCHED: Self = Self::new(Action::Untouched, Class::Tunnel);

    const fn new(action: Action, class: Class) -> Self {
        Self {
            action,
            class,
            update: StateUpdate::None,
            fragments_follow: false,
            rewrite: Rewrite::None,
            address: Addr::NONE,
        }
    }

    const fn drop(class: Class) -> Self {
        Self::new(Action::Drop, class)
    }

    const fn pass(class: Class) -> Self {
        Self::new(Action::Pass, class)
    }
}

/// The verdict on one packet.
#[inline(always)]
pub fn decide<T: State, S: Sockets + Session>(
    hook: Hook,
    parsed: Result<&PacketInfo, ParseError>,
    meta: SkbMeta,
    policy: &Policy,
    state: &T,
    sockets: &S,
) -> Verdict {
    match (hook, parsed) {
        (Hook::UplinkOut, Ok(info)) => uplink_out::decide(info, meta, policy, state, sockets),
        // What cannot be read was not made by WireGuard.
        (Hook::UplinkOut, Err(_)) => Verdict::UNTOUCHED,
        (_, Err(error)) => unparsed(error),
        (_, Ok(info)) if policy.modem(info.family).is_none() => Verdict::drop(Class::DropFamily),
        (Hook::ModemOut, Ok(info)) => modem_out::decide(info, meta, policy, state, sockets),
        (Hook::ModemIn, Ok(info)) => modem_in::decide(info, policy, state),
    }
}

#[inline(always)]
const fn unparsed(error: ParseError) -> Verdict {
    match error {
        ParseError::Arp => Verdict::pass(Class::Neighbour),
        ParseError::NotIp => Verdict::drop(Class::DropNotIp),
        ParseError::Malformed => Verdict::drop(Class::DropMalformed),
        ParseError::TooManyHeaders => Verdict::drop(Class::DropHeaders),
    }
}
