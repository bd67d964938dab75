//! What an agent asks, as the requests that the real one makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::PoisonError;
use std::time::Instant;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteMessage;
use rtnetlink::packet_route::rule::RuleMessage;

use super::FakeKernel;
use crate::config::{Cidr, PublicKey};
use crate::desired::{
    Address, Backstop, Offload, OffloadKey, Peer, Route, Rule, SysctlKey, WireguardDevice,
};
use crate::kernel::address::ObservedAddress;
use crate::kernel::hardware::Hardware;
use crate::kernel::link::{ALIAS, ObservedLink};
use crate::kernel::qdisc::missing_modules::{MissingModules, Module};
use crate::kernel::qdisc::{BackstopResult, RootQdisc};
use crate::kernel::route::{self, Routes, others_in};
use crate::kernel::rule::{self, Rules};
use crate::kernel::wireguard::ObservedDevice;
use crate::kernel::{KernelError, KernelOperations, MAIN_TABLE, is_absent};

impl FakeKernel {
    fn list_links(&self) -> Result<Vec<ObservedLink>, KernelError> {
        self.request("listing the interfaces".to_owned(), |state| {
            let links = state.devices.values().map(|device| device.link.clone());
            Ok(links.collect())
        })
    }

    fn find_index(&self, name: &str) -> Result<u32, KernelError> {
        let links = self.list_links()?;
        let found = links.iter().find(|link| link.name == name);
        found.map(|link| link.index).ok_or_else(|| {
            let why = io::Error::new(io::ErrorKind::NotFound, "there is none of that name");
            KernelError::new(format!("looking for interface {name}"), why)
        })
    }

    fn give_alias(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.request(format!("giving {name} its alias"), |state| {
            state.device(index)?.link.alias = Some(ALIAS.to_owned());
            Ok(())
        })
    }

    fn change_state(&self, index: u32, name: &str, up: bool) -> Result<(), KernelError> {
        let before = self.read_sysctl("all", SysctlKey::SendRedirects)?;
        let word = if up { "up" } else { "down" };
        self.request(format!("setting {name} {word}"), |state| {
            state.set_up(index, up)
        })?;
        match before {
            Some(before)
                if self.read_sysctl("all", SysctlKey::SendRedirects)?.as_ref() != Some(&before) =>
            {
                self.write_sysctl("all", SysctlKey::SendRedirects, &before)
            }
            _ => Ok(()),
        }
    }

    /// Of both families, one after the other.
    fn list_routes(&self, table: Option<u32>) -> Result<Vec<RouteMessage>, KernelError> {
        let mut found = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let of_it = self.request("listing the routes".to_owned(), |state| {
                let routes = state.routes.iter().filter(|route| {
                    route.header.address_family == family
                        && table.is_none_or(|table| route::table(route) == table)
                });
                Ok(routes.cloned().collect::<Vec<_>>())
            });
            match of_it {
                Err(error) if is_absent(&error) => {}
                of_it => found.extend(of_it?),
            }
        }
        Ok(found)
    }
}

/// The library gives no error number.
fn without_number(error: KernelError) -> KernelError {
    match error.errno() {
        Some(_) => KernelError::new(error.context, io::Error::other(error.source.to_string())),
        None => error,
    }
}

impl KernelOperations for FakeKernel {
    async fn links(&self) -> Result<Vec<ObservedLink>, KernelError> {
        self.list_links()
    }

    async fn index(&self, name: &str) -> Result<u32, KernelError> {
        self.find_index(name)
    }

    async fn create_wireguard(&self, name: &str, mtu: u32) -> Result<(), KernelError> {
        let context = format!("creating WireGuard interface {name}");
        self.request(context, |state| state.create_wireguard(name, mtu))?;
        let index = self.find_index(name)?;
        self.give_alias(index, name)
    }

    async fn set_mtu(&self, index: u32, name: &str, mtu: u32) -> Result<(), KernelError> {
        self.request(format!("setting {name}'s MTU to {mtu}"), |state| {
            state.set_mtu(index, mtu)
        })
    }

    async fn set_alias(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.give_alias(index, name)
    }

    async fn set_up(&self, index: u32, name: &str, up: bool) -> Result<(), KernelError> {
        self.change_state(index, name, up)
    }

    async fn set_master(
        &self,
        index: u32,
        name: &str,
        master: Option<u32>,
    ) -> Result<(), KernelError> {
        let change = |context: &str| {
            self.request(context.to_owned(), |state| state.set_master(index, master))
        };
        if master.is_none() {
            return change(&format!("taking {name} off its master"));
        }
        let context = format!("giving {name} its master again");
        if change(&context).is_ok() {
            return Ok(());
        }
        self.change_state(index, name, false)?;
        change(&context)
    }

    async fn delete_link(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.request(format!("deleting interface {name}"), |state| {
            state.delete_link(index)
        })
    }

    async fn addresses(&self) -> Result<Vec<ObservedAddress>, KernelError> {
        self.request("listing the addresses".to_owned(), |state| {
            let addresses = state.addresses.iter().map(|address| ObservedAddress {
                index: address.index,
                cidr: address.cidr,
            });
            Ok(addresses.collect())
        })
    }

    async fn add_address(&self, index: u32, address: &Address) -> Result<(), KernelError> {
        self.request(format!("adding {address}"), |state| {
            state.add_address(index, address)
        })
    }

    async fn remove_address(&self, index: u32, cidr: Cidr) -> Result<(), KernelError> {
        self.request(format!("removing address {cidr}"), |state| {
            state.remove_address(index, cidr)
        })
    }

    async fn routes(&self, names: &BTreeMap<u32, String>) -> Result<Routes, KernelError> {
        Ok(Routes::ours_among(self.list_routes(None)?, names))
    }

    async fn routes_of_others(&self, routes: &mut Routes) -> Result<(), KernelError> {
        routes.add_others(self.list_routes(None)?);
        Ok(())
    }

    async fn routes_of_others_in(&self, table: u32) -> Result<Vec<RouteMessage>, KernelError> {
        Ok(others_in(self.list_routes(Some(table))?, table))
    }

    async fn add_route(&self, index: u32, route: &Route) -> Result<(), KernelError> {
        self.request(format!("adding {route}"), |state| {
            let message = route::message(route, index);
            state.add_route(message, route.table != MAIN_TABLE)
        })
    }

    async fn remove_route(&self, found: &RouteMessage, text: &str) -> Result<(), KernelError> {
        self.request(format!("removing {text}"), |state| {
            state.remove_route(&route::removal(found))
        })
    }

    async fn rules(&self) -> Result<Rules, KernelError> {
        let mut found = Rules::default();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let listing = self.request("listing the rules".to_owned(), |state| {
                Ok(state.list_rules(family))
            });
            match listing {
                Err(error) if is_absent(&error) => {}
                listing => found.add(listing?),
            }
        }
        Ok(found)
    }

    async fn add_rule(&self, rule: &Rule) -> Result<(), KernelError> {
        self.request(format!("adding {rule}"), |state| {
            state.add_rule(rule::message(rule))
        })
    }

    async fn remove_rule(&self, found: &RuleMessage, text: &str) -> Result<(), KernelError> {
        self.request(format!("removing {text}"), |state| state.remove_rule(found))
    }

    async fn root_qdiscs(&self) -> Result<BTreeMap<u32, RootQdisc>, KernelError> {
        self.list_roots()
    }

    async fn add_backstop(
        &self,
        index: u32,
        want: &Backstop,
    ) -> Result<BackstopResult, KernelError> {
        self.put_backstop(index, want)
    }

    async fn remove_backstop(&self, index: u32, name: &str) -> Result<(), KernelError> {
        self.delete_backstop(index, name)
    }

    fn missing_modules(&self) -> BTreeSet<Module> {
        let missing = self.missing_modules.lock();
        missing
            .unwrap_or_else(PoisonError::into_inner)
            .at(Instant::now())
    }

    fn retry_modules(&self) {
        self.update_missing(MissingModules::forget);
    }

    async fn offloads(&self, index: u32) -> Result<BTreeMap<OffloadKey, u32>, KernelError> {
        let context = format!("asking for the offloads of interface {index}");
        self.request(context, |state| Ok(state.features(index)))
    }

    async fn set_offload(&self, index: u32, want: &Offload) -> Result<(), KernelError> {
        self.request(format!("setting {want}"), |state| {
            state.set_offload(index, want.key, want.value)
        })
    }

    async fn wireguard(&self, interface: &str) -> Result<ObservedDevice, KernelError> {
        let context = format!("reading WireGuard interface {interface}");
        self.request(context, |state| state.wireguard(interface).cloned())
    }

    async fn set_device(&self, want: &WireguardDevice) -> Result<(), KernelError> {
        let context = format!(
            "setting key and port {} of {}",
            want.listen_port, want.interface
        );
        self.request(context, |state| state.set_device(want))
    }

    async fn set_peer(&self, want: &Peer) -> Result<(), KernelError> {
        self.request(format!("setting {want}"), |state| state.set_peer(want))
            .map_err(without_number)
    }

    async fn remove_peer(&self, interface: &str, key: PublicKey) -> Result<(), KernelError> {
        let context = format!("removing peer {key} of {interface}");
        self.request(context, |state| state.remove_peer(interface, key))
            .map_err(without_number)
    }

    fn read_sysctl(&self, interface: &str, key: SysctlKey) -> Result<Option<String>, KernelError> {
        let (family, name) = key.path();
        let context = format!("reading net.{family}.conf.{interface}.{name}");
        self.request(context, |state| Ok(state.sysctl(interface, key)))
    }

    fn write_sysctl(
        &self,
        interface: &str,
        key: SysctlKey,
        value: &str,
    ) -> Result<(), KernelError> {
        let (family, name) = key.path();
        let context = format!("writing {value} to net.{family}.conf.{interface}.{name}");
        self.request(context, |state| state.set_sysctl(interface, key, value))
    }

    fn reverse_path_filter(&self, interface: &str) -> Result<Option<u8>, KernelError> {
        let own = self.read_sysctl(interface, SysctlKey::RpFilter)?;
        let all = self.read_sysctl("all", SysctlKey::RpFilter)?;
        let values = own.into_iter().chain(all);
        Ok(values.filter_map(|value| value.parse().ok()).max())
    }

    fn arp_ignore_of_all(&self) -> Result<Option<u8>, KernelError> {
        let value = self.read_sysctl("all", SysctlKey::ArpIgnore)?;
        Ok(value.and_then(|value| value.parse().ok()))
    }

    fn hardware(&self, link: &ObservedLink) -> Hardware {
        let state = self.lock();
        let device = state.devices.get(&link.index);
        let device = device.filter(|device| device.link.name == link.name);
        device
            .map(|device| device.hardware.clone())
            .unwrap_or_default()
    }
}
