//! What is done with a packet, and what is written of it.

use super::Class;
use crate::headers::PacketInfo;
use crate::layout::{Addr, Policy};

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

    pub(super) const fn new(action: Action, class: Class) -> Self {
        Self {
            action,
            class,
            update: StateUpdate::None,
            fragments_follow: false,
            rewrite: Rewrite::None,
            address: Addr::NONE,
        }
    }

    pub(super) const fn drop(class: Class) -> Self {
        Self::new(Action::Drop, class)
    }

    pub(super) const fn pass(class: Class) -> Self {
        Self::new(Action::Pass, class)
    }

    /// Gives the packet the modem's source address where it has another: WireGuard keeps to the one it last
    /// used, and on the modem only the modem's is right.
    #[inline(always)]
    pub(super) fn replace_source(&mut self, info: &PacketInfo, policy: &Policy) {
        let modem = policy.modem(info.family);
        if !info.source.eq_words(modem) {
            self.rewrite = Rewrite::Source;
            self.address = *modem;
        }
    }
}
