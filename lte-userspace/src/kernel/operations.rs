//! What the reconciler asks of a kernel: of the running one ([`Kernel`]), and in tests of one that is a model
//! in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::address::ObservedAddress;
use super::hardware::Hardware;
use super::link::ObservedLink;
use super::qdisc::missing_modules::Module;
use super::qdisc::{BackstopResult, RootQdisc};
use super::route::Routes;
use super::rule::Rules;
use super::wireguard::ObservedDevice;
use super::{Kernel, KernelError, sysctl};
use crate::config::{Cidr, PublicKey};
use crate::desired::{
    Address, Backstop, Offload, OffloadKey, Peer, Route, Rule, SysctlKey, WireguardDevice,
};

/// A kernel: what is there, and each change of it. The methods are those of [`Kernel`], whose documentation says
/// what each does.
pub trait KernelOperations: Clone + Debug + Send + Sync + 'static {
    /// All interfaces.
    fn links(&self) -> impl Future<Output = Result<Vec<ObservedLink>, KernelError>> + Send;

    /// The index of an interface.
    fn index(&self, name: &str) -> impl Future<Output = Result<u32, KernelError>> + Send;

    /// Makes a WireGuard interface, down, with our alias.
    fn create_wireguard(
        &self,
        name: &str,
        mtu: u32,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Sets an interface's MTU in bytes.
    fn set_mtu(
        &self,
        index: u32,
        name: &str,
        mtu: u32,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Marks an interface as ours.
    fn set_alias(
        &self,
        index: u32,
        name: &str,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Sets an interface up or down.
    fn set_up(
        &self,
        index: u32,
        name: &str,
        up: bool,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Takes an interface off what it is a part of, or makes it a part of another one.
    fn set_master(
        &self,
        index: u32,
        name: &str,
        master: Option<u32>,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Deletes an interface.
    fn delete_link(
        &self,
        index: u32,
        name: &str,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// All addresses of all interfaces.
    fn addresses(&self) -> impl Future<Output = Result<Vec<ObservedAddress>, KernelError>> + Send;

    /// Adds an address to the interface of an index.
    fn add_address(
        &self,
        index: u32,
        address: &Address,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Removes an address.
    fn remove_address(
        &self,
        index: u32,
        cidr: Cidr,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Reads our routes of both families; names of interfaces by index are given.
    fn routes(
        &self,
        names: &BTreeMap<u32, String>,
    ) -> impl Future<Output = Result<Routes, KernelError>> + Send;

    /// Reads everybody else's as well.
    fn routes_of_others(
        &self,
        routes: &mut Routes,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Reads everybody else's in a table.
    fn routes_of_others_in(
        &self,
        table: u32,
    ) -> impl Future<Output = Result<Vec<RouteMessage>, KernelError>> + Send;

    /// Adds a route by the interface of an index.
    fn add_route(
        &self,
        index: u32,
        route: &Route,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Removes a route that was found.
    fn remove_route(
        &self,
        found: &RouteMessage,
        text: &str,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// All rules.
    fn rules(&self) -> impl Future<Output = Result<Rules, KernelError>> + Send;

    /// Adds a rule.
    fn add_rule(&self, rule: &Rule) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Removes a rule that was found.
    fn remove_rule(
        &self,
        found: &RuleMessage,
        text: &str,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// The root qdiscs of all interfaces, by index.
    fn root_qdiscs(
        &self,
    ) -> impl Future<Output = Result<BTreeMap<u32, RootQdisc>, KernelError>> + Send;

    /// Makes the backstop the root of the interface of an index.
    fn add_backstop(
        &self,
        index: u32,
        want: &Backstop,
    ) -> impl Future<Output = Result<BackstopResult, KernelError>> + Send;

    /// Takes the backstop away.
    fn remove_backstop(
        &self,
        index: u32,
        name: &str,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// What this kernel has been found to lack, and is not to be asked for yet.
    fn missing_modules(&self) -> BTreeSet<Module>;

    /// Has what was missing asked for at once.
    fn retry_modules(&self);

    /// The features of an interface that can be switched, and whether they are on.
    fn offloads(
        &self,
        index: u32,
    ) -> impl Future<Output = Result<BTreeMap<OffloadKey, u32>, KernelError>> + Send;

    /// Sets what is joined.
    fn set_offload(
        &self,
        index: u32,
        want: &Offload,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Reads a WireGuard interface, which must exist.
    fn wireguard(
        &self,
        interface: &str,
    ) -> impl Future<Output = Result<ObservedDevice, KernelError>> + Send;

    /// Sets key and port, and no FwMark.
    fn set_device(
        &self,
        want: &WireguardDevice,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Adds a peer or changes it.
    fn set_peer(&self, want: &Peer) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// Removes a peer.
    fn remove_peer(
        &self,
        interface: &str,
        key: PublicKey,
    ) -> impl Future<Output = Result<(), KernelError>> + Send;

    /// A sysctl's value ([`sysctl::read`]).
    fn read_sysctl(&self, interface: &str, key: SysctlKey) -> Result<Option<String>, KernelError>;

    /// Sets a sysctl ([`sysctl::write`]).
    fn write_sysctl(&self, interface: &str, key: SysctlKey, value: &str)
    -> Result<(), KernelError>;

    /// How strictly the reverse path is checked ([`sysctl::reverse_path_filter`]).
    fn reverse_path_filter(&self, interface: &str) -> Result<Option<u8>, KernelError>;

    /// To whom ARP is answered on all interfaces ([`sysctl::arp_ignore_of_all`]).
    fn arp_ignore_of_all(&self) -> Result<Option<u8>, KernelError>;

    /// What an interface is in hardware ([`Hardware::of`]).
    fn hardware(&self, link: &ObservedLink) -> Hardware;
}

impl KernelOperations for Kernel {
    async fn links(&self) -> Result<Vec<ObservedLink>, KernelError> {
        Self::links(self).await
    }

    async fn index(&self, name: &str) -> Result<u32, KernelError> {
        Self::index(self, name).await
    }

    async fn create_wireguard(&self, name: &str, mtu: u32) -> Result<(), KernelError> {
        Self::create_wireguard(self, name, mtu).await
    }

    async fn set_mtu(&self, index: u32, name: &str, mtu: u32) -> Result<(), KernelError> {
        Self::set_mtu(self, index, name, mtu).await
    }

    async fn set_alias(&self, index: u32, name: &str) -> Result<(), KernelError> {
        Self::set_alias(self, index, name).await
    }

    async fn set_up(&self, index: u32, name: &str, up: bool) -> Result<(), KernelError> {
        Self::set_up(self, index, name, up).await
    }

    async fn set_master(
        &self,
        index: u32,
        name: &str,
        master: Option<u32>,
    ) -> Result<(), KernelError> {
        Self::set_master(self, index, name, master).await
    }

    async fn delete_link(&self, index: u32, name: &str) -> Result<(), KernelError> {
        Self::delete_link(self, index, name).await
    }

    async fn addresses(&self) -> Result<Vec<ObservedAddress>, KernelError> {
        Self::addresses(self).await
    }

    async fn add_address(&self, index: u32, address: &Address) -> Result<(), KernelError> {
        Self::add_address(self, index, address).await
    }

    async fn remove_address(&self, index: u32, cidr: Cidr) -> Result<(), KernelError> {
        Self::remove_address(self, index, cidr).await
    }

    async fn routes(&self, names: &BTreeMap<u32, String>) -> Result<Routes, KernelError> {
        Self::routes(self, names).await
    }

    async fn routes_of_others(&self, routes: &mut Routes) -> Result<(), KernelError> {
        Self::routes_of_others(self, routes).await
    }

    async fn routes_of_others_in(&self, table: u32) -> Result<Vec<RouteMessage>, KernelError> {
        Self::routes_of_others_in(self, table).await
    }

    async fn add_route(&self, index: u32, route: &Route) -> Result<(), KernelError> {
        Self::add_route(self, index, route).await
    }

    async fn remove_route(&self, found: &RouteMessage, text: &str) -> Result<(), KernelError> {
        Self::remove_route(self, found, text).await
    }

    async fn rules(&self) -> Result<Rules, KernelError> {
        Self::rules(self).await
    }

    async fn add_rule(&self, rule: &Rule) -> Result<(), KernelError> {
        Self::add_rule(self, rule).await
    }

    async fn remove_rule(&self, found: &RuleMessage, text: &str) -> Result<(), KernelError> {
        Self::remove_rule(self, found, text).await
    }

    async fn root_qdiscs(&self) -> Result<BTreeMap<u32, RootQdisc>, KernelError> {
        Self::root_qdiscs(self).await
    }

    async fn add_backstop(
        &self,
        index: u32,
        want: &Backstop,
    ) -> Result<BackstopResult, KernelError> {
        Self::add_backstop(self, index, want).await
    }

    async fn remove_backstop(&self, index: u32, name: &str) -> Result<(), KernelError> {
        Self::remove_backstop(self, index, name).await
    }

    fn missing_modules(&self) -> BTreeSet<Module> {
        Self::missing_modules(self)
    }

    fn retry_modules(&self) {
        Self::retry_modules(self);
    }

    async fn offloads(&self, index: u32) -> Result<BTreeMap<OffloadKey, u32>, KernelError> {
        Self::offloads(self, index).await
    }

    async fn set_offload(&self, index: u32, want: &Offload) -> Result<(), KernelError> {
        Self::set_offload(self, index, want).await
    }

    async fn wireguard(&self, interface: &str) -> Result<ObservedDevice, KernelError> {
        Self::wireguard(self, interface).await
    }

    async fn set_device(&self, want: &WireguardDevice) -> Result<(), KernelError> {
        Self::set_device(self, want).await
    }

    async fn set_peer(&self, want: &Peer) -> Result<(), KernelError> {
        Self::set_peer(self, want).await
    }

    async fn remove_peer(&self, interface: &str, key: PublicKey) -> Result<(), KernelError> {
        Self::remove_peer(self, interface, key).await
    }

    fn read_sysctl(&self, interface: &str, key: SysctlKey) -> Result<Option<String>, KernelError> {
        sysctl::read(interface, key)
    }

    fn write_sysctl(
        &self,
        interface: &str,
        key: SysctlKey,
        value: &str,
    ) -> Result<(), KernelError> {
        sysctl::write(interface, key, value)
    }

    fn reverse_path_filter(&self, interface: &str) -> Result<Option<u8>, KernelError> {
        sysctl::reverse_path_filter(interface)
    }

    fn arp_ignore_of_all(&self) -> Result<Option<u8>, KernelError> {
        sysctl::arp_ignore_of_all()
    }

    fn hardware(&self, link: &ObservedLink) -> Hardware {
        Hardware::of(link)
    }
}
