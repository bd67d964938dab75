//! The state that the policy keeps between packets.

use crate::layout::{FlowKey, FragmentKey, FragmentValue, Remote, RemoteKey};

/// State and clock of the policy. Writing takes `&self`: several CPUs share it in the kernel.
pub trait State {
    /// Now, in ticks of the kernel (jiffies): coarse, and free where the clock is not.
    fn jiffies(&self) -> u64;
    /// Now, ns of `CLOCK_MONOTONIC`: a time that the agent can compute too.
    fn monotonic_ns(&self) -> u64;
    /// A remote of the tunnel.
    fn remote(&self, key: &RemoteKey) -> Option<Remote>;
    /// Keeps a remote; may push out the one least used.
    fn put_remote(&self, key: &RemoteKey, value: &Remote);
    /// A datagram whose first piece passed.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentValue>;
    /// Keeps such a datagram; may push out the one least used.
    fn put_fragment(&self, key: &FragmentKey, value: &FragmentValue);
    /// When a request of this flow went to the admin page, ticks.
    fn admin_flow(&self, key: &FlowKey) -> Option<u64>;
    /// Keeps when it went; may push out the one least used.
    fn put_admin_flow(&self, key: &FlowKey, now: u64);
    /// Until when the agent permits this, ns of `CLOCK_MONOTONIC`.
    fn permit(&self, key: &FlowKey) -> Option<u64>;
}

#[cfg(any(test, feature = "std"))]
pub use tables::HostState;

#[cfg(any(test, feature = "std"))]
mod tables {
    use super::{FlowKey, FragmentKey, FragmentValue, Remote, RemoteKey, State};
    use std::cell::{Cell, RefCell};
    use std::collections::BTreeMap;

    /// The state on the host: tables without bounds and a clock that a test sets.
    #[derive(Clone, Debug, Default)]
    pub struct HostState {
        /// The coarse clock, ticks.
        pub jiffies: Cell<u64>,
        /// The clock, ns.
        pub monotonic_ns: Cell<u64>,
        /// Remotes of the tunnel.
        pub remotes: RefCell<BTreeMap<RemoteKey, Remote>>,
        /// Datagrams in pieces.
        pub fragments: RefCell<BTreeMap<FragmentKey, FragmentValue>>,
        /// Requests to the admin page.
        pub admin_flows: RefCell<BTreeMap<FlowKey, u64>>,
        /// What is permitted.
        pub permits: RefCell<BTreeMap<FlowKey, u64>>,
    }

    impl State for HostState {
        fn jiffies(&self) -> u64 {
            self.jiffies.get()
        }
        fn monotonic_ns(&self) -> u64 {
            self.monotonic_ns.get()
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
        fn admin_flow(&self, key: &FlowKey) -> Option<u64> {
            self.admin_flows.borrow().get(key).copied()
        }
        fn put_admin_flow(&self, key: &FlowKey, now: u64) {
            self.admin_flows.borrow_mut().insert(*key, now);
        }
        fn permit(&self, key: &FlowKey) -> Option<u64> {
            self.permits.borrow().get(key).copied()
        }
    }
}
