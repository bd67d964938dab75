//! Interfaces, and what goes and comes with them.

use std::collections::BTreeMap;

use super::addresses::InterfaceAddress;
use super::qdiscs::Root;
use super::{Answer, State};
use crate::backend::LinkHeader;
use crate::config::Cidr;
use crate::desired::{IpFamily, OffloadKey, SysctlKey};
use crate::kernel::hardware::Hardware;
use crate::kernel::link::ObservedLink;
use crate::kernel::wireguard::ObservedDevice;

/// The smallest MTU with which an interface has IPv6.
const IPV6_MIN_MTU: u32 = 1280;

/// An interface.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) link: ObservedLink,
    /// `None`: it has never been up, or its root was taken while it was down.
    pub(super) root: Option<Root>,
    /// The features that can be switched.
    pub(super) features: BTreeMap<OffloadKey, u32>,
    pub(super) hardware: Hardware,
    pub(super) sysctls: BTreeMap<SysctlKey, String>,
    /// Of a WireGuard interface.
    pub(super) wireguard: Option<ObservedDevice>,
}

impl State {
    pub(super) fn index_of(&self, name: &str) -> Option<u32> {
        self.device_by_name(name).map(|(index, _)| index)
    }

    pub(super) fn device_by_name(&self, name: &str) -> Option<(u32, &Device)> {
        let mut devices = self.devices.iter();
        let (index, device) = devices.find(|(_, device)| device.link.name == name)?;
        Some((*index, device))
    }

    pub(super) fn device(&mut self, index: u32) -> Answer<&mut Device> {
        self.devices.get_mut(&index).ok_or(libc::ENODEV)
    }

    pub(super) fn is_up(&self, index: u32) -> bool {
        let device = self.devices.get(&index);
        device.is_some_and(|device| device.link.up)
    }

    /// Whether an interface has IPv6 at all.
    pub(super) fn has_ipv6(&self, index: u32) -> bool {
        let device = self.devices.get(&index);
        self.ipv6 && device.is_some_and(|device| device.link.mtu >= IPV6_MIN_MTU)
    }

    pub(super) fn add_loopback(&mut self) {
        let link = ObservedLink {
            mtu: 65536,
            loopback: true,
            can_send_ip: false,
            header: None,
            ..ObservedLink::ethernet(0, "lo")
        };
        if let Ok(index) = self.add_link(link)
            && let Some(device) = self.devices.get_mut(&index)
        {
            device.link.up = true;
            device.root = Some(Root::Default);
            for text in ["127.0.0.1/8", "::1/128"] {
                let cidr = text.parse::<Cidr>().map(|cidr| InterfaceAddress {
                    index,
                    cidr,
                    prefix_route: false,
                    secondary: false,
                });
                self.addresses.extend(cidr.ok());
            }
        }
    }

    /// Adds an interface, down, under the next index.
    pub(super) fn add_link(&mut self, link: ObservedLink) -> Answer<u32> {
        if self.index_of(&link.name).is_some() {
            return Err(libc::EEXIST);
        }
        let index = self.next_index;
        self.next_index += 1;
        let wireguard = link.wireguard.then(ObservedDevice::default);
        let features = [(OffloadKey::Gro, 1)];
        self.devices.insert(
            index,
            Device {
                link: ObservedLink {
                    index,
                    up: false,
                    ..link
                },
                root: None,
                features: features.into(),
                hardware: Hardware::default(),
                sysctls: self.default_sysctls.clone(),
                wireguard,
            },
        );
        Ok(index)
    }

    pub(super) fn create_wireguard(&mut self, name: &str, mtu: u32) -> Answer<()> {
        self.add_link(ObservedLink {
            kind: Some("wireguard".to_owned()),
            wireguard: true,
            header: Some(LinkHeader::None),
            mtu,
            ..ObservedLink::ethernet(0, name)
        })
        .map(drop)
    }

    pub(super) fn rename(&mut self, index: u32, name: &str) -> Answer<()> {
        self.device(index)?;
        if self.index_of(name).is_some_and(|other| other != index) {
            return Err(libc::EEXIST);
        }
        name.clone_into(&mut self.device(index)?.link.name);
        Ok(())
    }

    pub(super) fn set_mtu(&mut self, index: u32, mtu: u32) -> Answer<()> {
        let had_ipv6 = self.has_ipv6(index);
        self.device(index)?.link.mtu = mtu;
        match (had_ipv6, self.has_ipv6(index)) {
            (true, false) => self.stop_ipv6(index),
            (false, true) => {
                self.reset_ipv6_sysctls(index);
                self.start_family(index, IpFamily::V6);
            }
            _ => {}
        }
        Ok(())
    }

    /// Sets an interface up or down.
    pub(super) fn set_up(&mut self, index: u32, up: bool) -> Answer<()> {
        if self.device(index)?.link.up == up {
            return Ok(());
        }
        if !up {
            self.device(index)?.link.up = false;
            self.drop_routes_by(index, Some(IpFamily::V4));
            self.stop_ipv6(index);
            return Ok(());
        }
        // WireGuard turns the redirects off before it takes its port.
        if self.device(index)?.wireguard.is_some() {
            let off = || (SysctlKey::SendRedirects, "0".to_owned());
            self.device(index)?.sysctls.extend([off()]);
            self.sysctls_of_all.extend([off()]);
            self.bind_port(index)?;
        }
        let device = self.device(index)?;
        device.link.up = true;
        device.root.get_or_insert(Root::Default);
        self.start_family(index, IpFamily::V4);
        self.start_family(index, IpFamily::V6);
        Ok(())
    }

    /// Gives an interface that is up the routes of the addresses that it has, and IPv6's own address.
    pub(super) fn start_family(&mut self, index: u32, family: IpFamily) {
        if !self.is_up(index) {
            return;
        }
        if family == IpFamily::V6 {
            self.add_link_local(index);
        }
        let on_it = |address: &&InterfaceAddress| {
            address.index == index && IpFamily::of(address.cidr.address) == family
        };
        let addresses: Vec<_> = self.addresses.iter().filter(on_it).copied().collect();
        for address in addresses {
            self.add_prefix_route(&address);
        }
    }

    /// Takes IPv6's addresses and routes off an interface.
    pub(super) fn stop_ipv6(&mut self, index: u32) {
        let (gone, kept): (Vec<InterfaceAddress>, Vec<_>) = self
            .addresses
            .iter()
            .copied()
            .partition(|address| address.index == index && address.cidr.address.is_ipv6());
        self.addresses = kept;
        for address in gone {
            self.forget_source(address.cidr.address);
        }
        self.drop_routes_by(index, Some(IpFamily::V6));
    }

    /// Deletes an interface as `ip link del` does: a device's own cannot be.
    pub(super) fn delete_link(&mut self, index: u32) -> Answer<()> {
        if self.device(index)?.link.kind.is_none() {
            return Err(libc::EOPNOTSUPP);
        }
        self.remove_link(index)
    }

    /// Removes an interface, with all that is on it and what is stacked on it.
    pub(super) fn remove_link(&mut self, index: u32) -> Answer<()> {
        self.device(index)?;
        let uppers: Vec<u32> = self
            .devices
            .values()
            .filter(|device| device.link.lower == Some(index))
            .map(|device| device.link.index)
            .collect();
        for upper in uppers {
            self.remove_link(upper)?;
        }
        self.set_up(index, false)?;
        let on_it = |address: &&InterfaceAddress| address.index == index;
        while let Some(address) = self.addresses.iter().find(on_it).copied() {
            self.remove_address(index, address.cidr)?;
        }
        self.drop_routes_by(index, None);
        for device in self.devices.values_mut() {
            device.link.master = device.link.master.filter(|master| *master != index);
        }
        self.devices.remove(&index);
        Ok(())
    }

    pub(super) fn set_master(&mut self, index: u32, master: Option<u32>) -> Answer<()> {
        let (before, up) = {
            let link = &self.device(index)?.link;
            (link.master, link.up)
        };
        if before == master {
            return Ok(());
        }
        let Some(master) = master else {
            let kind = before.and_then(|before| self.kind(before));
            self.device(index)?.link.master = None;
            if kind.as_deref() == Some("vrf") {
                self.cycle(index)?;
            }
            return Ok(());
        };
        if !self.devices.contains_key(&master) {
            return Err(libc::EINVAL);
        }
        match self.kind(master).as_deref() {
            // It takes none that is up, and sets it up itself.
            Some("bond") if up => return Err(libc::EPERM),
            Some("bridge" | "bond" | "team" | "vrf") => {}
            _ => return Err(libc::EOPNOTSUPP),
        }
        self.device(index)?.link.master = Some(master);
        match self.kind(master).as_deref() {
            Some("bond") => self.set_up(index, true),
            Some("vrf") => self.cycle(index),
            _ => Ok(()),
        }
    }

    fn kind(&self, index: u32) -> Option<String> {
        self.devices.get(&index)?.link.kind.clone()
    }

    /// A VRF sets what it is given down and up again.
    fn cycle(&mut self, index: u32) -> Answer<()> {
        if self.is_up(index) {
            self.set_up(index, false)?;
            self.set_up(index, true)?;
        }
        Ok(())
    }

    /// The features that are listed; none where the interface has gone.
    pub(super) fn features(&self, index: u32) -> BTreeMap<OffloadKey, u32> {
        let device = self.devices.get(&index);
        device
            .map(|device| device.features.clone())
            .unwrap_or_default()
    }

    pub(super) fn set_offload(&mut self, index: u32, key: OffloadKey, value: u32) -> Answer<()> {
        let device = self.device(index)?;
        if key == OffloadKey::GsoMaxSegs {
            device.link.gso_max_segs = Some(value);
        } else if let Some(feature) = device.features.get_mut(&key) {
            // The kernel passes over what cannot be switched.
            *feature = value;
        }
        Ok(())
    }
}
