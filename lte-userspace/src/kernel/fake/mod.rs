//! A kernel made of memory, for tests of the reconciler on the host.
//!
//! It holds links, addresses, routes, rules, root qdiscs, sysctls, offloads and WireGuard devices, with the side
//! effects that one has on another, and it refuses what the running kernel refuses, with the same error number.
//! Each method of [`KernelOperations`](super::KernelOperations) makes the same requests as the real one, in the same
//! order: a request can be refused, its answer can be lost, and the agent can be killed before it.
//!
//! What is not modelled: events, the local table, routes over several next hops, carrier, IPv6's duplicate address
//! detection, the tables of a VRF, and packets.

mod addresses;
mod backstop;
mod links;
mod operations;
mod qdiscs;
pub(crate) mod requests;
mod routes;
mod rules;
mod sysctls;
mod third_party;
mod wireguard;

pub(crate) mod dump;
pub(crate) mod sequence;
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::qdisc::missing_modules::{MissingModules, Module};
use crate::desired::SysctlKey;

pub(crate) use third_party::STATIC;

/// What the kernel answers: an error is its error number.
pub(crate) type Answer<T> = Result<T, i32>;

/// The kernel, and an agent's connection to it. A clone is the same connection.
#[derive(Debug, Clone)]
pub(crate) struct FakeKernel {
    state: Arc<Mutex<State>>,
    requests: Arc<Mutex<requests::Requests>>,
    /// What the agent remembers of the kernel's modules.
    missing_modules: Arc<Mutex<MissingModules>>,
}

/// All that the kernel holds.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// By interface index.
    devices: BTreeMap<u32, links::Device>,
    next_index: u32,
    /// In the order in which they were added.
    addresses: Vec<addresses::InterfaceAddress>,
    /// Of all tables but the local one.
    routes: Vec<RouteMessage>,
    /// In the order in which they are asked, of both families.
    rules: Vec<RuleMessage>,
    /// The sysctls of `all`.
    sysctls_of_all: BTreeMap<SysctlKey, String>,
    /// The sysctls that a new interface is given.
    default_sysctls: BTreeMap<SysctlKey, String>,
    /// Whether the kernel has IPv6.
    ipv6: bool,
    /// Modules that the kernel lacks.
    lacks: BTreeSet<Module>,
    /// UDP ports of other programs.
    taken_ports: BTreeSet<u16>,
}

impl FakeKernel {
    /// A kernel that has just started: the loopback is up, and there is nothing else.
    pub(crate) fn new() -> Self {
        let mut state = State {
            devices: BTreeMap::new(),
            next_index: 1,
            addresses: Vec::new(),
            routes: Vec::new(),
            rules: rules::of_the_kernel(),
            sysctls_of_all: sysctls::initial(),
            default_sysctls: sysctls::initial(),
            ipv6: true,
            lacks: BTreeSet::new(),
            taken_ports: BTreeSet::new(),
        };
        state.add_loopback();
        Self {
            state: Arc::new(Mutex::new(state)),
            requests: Arc::default(),
            missing_modules: Arc::default(),
        }
    }

    /// A kernel without IPv6.
    pub(crate) fn without_ipv6() -> Self {
        let kernel = Self::new();
        kernel.lock().remove_ipv6();
        kernel
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove_ipv6(&mut self) {
        self.ipv6 = false;
        self.addresses
            .retain(|address| address.cidr.address.is_ipv4());
        self.routes.retain(routes::is_ipv4);
        self.rules.retain(rules::is_ipv4);
    }
}
