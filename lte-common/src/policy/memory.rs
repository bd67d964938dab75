//! What the policy remembers between packets.

use crate::layout::{FragmentKey, FragmentValue, Remote, RemoteKey, TalkKey};

/// Memory and clock of the policy. Writing takes `&self`: several CPUs share it in the kernel.
pub trait Memory {
    /// Now, in ticks of the kernel (jiffies): coarse, and free where the clock is not.
    fn now(&self) -> u64;
    /// Now, ns of `CLOCK_MONOTONIC`: a time that the agent can compute too.
    fn clock(&self) -> u64;
    /// A far end of the tunnel.
    fn remote(&self, key: &RemoteKey) -> Option<Remote>;
    /// Keeps a far end; may push out the one least used.
    fn put_remote(&self, key: &RemoteKey, value: &Remote);
    /// A datagram whose first piece passed.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue>;
    /// Keeps such a datagram; may push out the one least used.
    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue);
    /// When the modem itself was asked this, ticks.
    fn asked(&self, key: &TalkKey) -> Option<u64>;
    /// Keeps when it was asked; may push out the one least used.
    fn put_asked(&self, key: &TalkKey, now: u64);
    /// Until when the agent permits this, ns of `CLOCK_MONOTONIC`.
    fn permit(&self, key: &TalkKey) -> Option<u64>;
}

#[cfg(any(test, feature = "std"))]
pub use tables::Tables;

#[cfg(any(test, feature = "std"))]
mod tables {
    use super::{FragmentKey, FragmentValue, Memory, Remote, RemoteKey, TalkKey};
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// The memory on the host: tables without bounds and a clock that a test sets.
    #[derive(Clone, Debug, Default)]
    pub struct Tables {
        /// The coarse clock, ticks.
        pub now: Cell<u64>,
        /// The clock, ns.
        pub clock: Cell<u64>,
        /// Far ends of the tunnel.
        pub remotes: RefCell<BTreeMap<RemoteKey, Remote>>,
        /// Datagrams in pieces.
        pub fragments: RefCell<BTreeMap<FragmentKey, FragmentValue>>,
        /// What the modem was asked.
        pub asked: RefCell<BTreeMap<TalkKey, u64>>,
        /// What is permitted.
        pub permits: RefCell<BTreeMap<TalkKey, u64>>,
    }

    impl Memory for Tables {
        fn now(&self) -> u64 {
            self.now.get()
        }
        fn clock(&self) -> u64 {
            self.clock.get()
        }
        fn remote(&self, key: &RemoteKey) -> Option<Remote> {
            self.remotes.borrow().get(key).copied()
        }
        fn put_remote(&self, key: &RemoteKey, value: &Remote) {
            self.remotes.borrow_mut().insert(*key, *value);
        }
        fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue> {
            self.fragments.borrow().get(key).copied()
        }
        fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue) {
            self.fragments.borrow_mut().insert(*key, *value);
        }
        fn asked(&self, key: &TalkKey) -> Option<u64> {
            self.asked.borrow().get(key).copied()
        }
        fn put_asked(&self, key: &TalkKey, now: u64) {
            self.asked.borrow_mut().insert(*key, now);
        }
        fn permit(&self, key: &TalkKey) -> Option<u64> {
            self.permits.borrow().get(key).copied()
        }
    }
}
