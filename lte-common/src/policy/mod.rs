//! The policy: which verdict a packet gets on which hook.
//!
//! [`decide`] reads, [`update_state`] writes; both go through [`State`], which is BPF maps in the
//! kernel and a few tables on the host. Who has sent a packet is asked of [`Sockets`] and [`Session`].

mod admin;
mod class;
mod flow;
mod fragment;
mod modem_in;
mod modem_out;
mod neighbour;
mod permit;
mod remote;
mod sockets;
mod state;
mod update;
mod uplink_out;
mod verdict;

pub use class::Class;
#[cfg(any(test, feature = "std"))]
pub use sockets::HostSockets;
pub use sockets::{Session, Sockets};
#[cfg(any(test, feature = "std"))]
pub use state::HostState;
pub use state::State;
pub use update::update_state;
pub use verdict::{Action, Rewrite, StateUpdate, Verdict};

use crate::headers::{PacketInfo, ParseError};
use crate::layout::Policy;

/// A remembered time is written anew only when it is older than this, seconds: it spares every
/// packet a write to memory that other CPUs read.
pub const REFRESH: u64 = 1;

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

/// What the kernel knows of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkbMeta {
    /// It was made on this machine (`ingress_ifindex` is 0), not forwarded.
    pub local: bool,
    /// Its mark, host byte order.
    pub mark: u32,
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
