//! The corpus: packets, and what becomes of each, as data.
//!
//! A [`Case`] says what a packet is, where it is seen, what is remembered before it, and then
//! its fate: passed, dropped or steered; its mark; the one counter that moves; its bytes; and
//! what is remembered afterwards. [`cases::all`] has cases of each rule of `docs/spec.md`, section 3.
//!
//! Cases are written with a packet builder of their own ([`packet`]) and judged by a [`Subject`]:
//! [`model::Model`] is the pure policy, [`program::Programs`] are the programs in the kernel.

pub mod bpffs;
pub mod case;
pub mod cases;
pub mod check;
pub mod checksum;
mod held;
pub mod installed;
pub mod instructions;
// A table: a case is to be read as a line.
#[rustfmt::skip]
pub mod joined;
pub mod guard_state;
pub mod model;
pub mod packet;
pub mod payload;
pub mod program;
pub mod sender;
pub mod site;
pub mod tap;

pub use case::{Case, Fate, Want};
pub use guard_state::{Clocks, Flow, GuardState, Known, When};
pub use packet::{Device, Endpoint};
pub use sender::Sender;
pub use site::Site;

use lte_common::headers::Joined;
use lte_common::policy::{Class, Hook};

/// A packet as a hook sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen<'a> {
    /// Where.
    pub hook: Hook,
    /// Between which devices.
    pub site: Site,
    /// It came in by another interface; else it was made on this machine.
    pub forwarded: bool,
    /// Who has sent it.
    pub sender: Sender,
    /// Its mark, host byte order.
    pub mark: u32,
    /// Its bytes, from the link header on.
    pub frame: &'a [u8],
    /// Whether the kernel takes it for several.
    pub joined: Joined,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Passed, dropped or steered.
    pub fate: Fate,
    /// Its mark afterwards; 0 where it was dropped.
    pub mark: u32,
    /// The counters that moved: hook, class, packets, bytes.
    pub counters: Vec<(Hook, Class, u64, u64)>,
    /// Its bytes afterwards: from the link header on where it passed, from the IP header on
    /// where it was steered (its new link header is the neighbour table's matter), none where it
    /// was dropped.
    pub bytes: Vec<u8>,
}

/// What judges packets.
pub trait Subject {
    /// Now, by the clocks that its memory is dated by.
    fn now(&self) -> anyhow::Result<Clocks>;
    /// Replaces what is remembered.
    fn set_state(&mut self, state: &GuardState) -> anyhow::Result<()>;
    /// What is remembered.
    fn state(&self) -> anyhow::Result<GuardState>;
    /// Judges a packet. `None` where this subject cannot be shown such a packet.
    fn judge(&mut self, seen: &Seen<'_>) -> anyhow::Result<Option<Outcome>>;
}
