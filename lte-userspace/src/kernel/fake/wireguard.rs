//! WireGuard devices and their peers.

use super::links::Device;
use super::{Answer, State};
use crate::config::{Cidr, PublicKey};
use crate::desired::{Peer, WireguardDevice};
use crate::kernel::wireguard::{ObservedDevice, ObservedPeer};

/// From where the kernel chooses a port for a device that has none.
const FIRST_CHOSEN_PORT: u16 = 40_000;

impl State {
    fn wireguard_index(&self, interface: &str) -> Answer<u32> {
        let (index, device) = self.device_by_name(interface).ok_or(libc::ENODEV)?;
        if device.wireguard.is_none() {
            return Err(libc::EOPNOTSUPP);
        }
        Ok(index)
    }

    pub(super) fn wireguard_at(&mut self, index: u32) -> Answer<&mut ObservedDevice> {
        let device = self.device(index)?;
        device.wireguard.as_mut().ok_or(libc::EOPNOTSUPP)
    }

    pub(super) fn wireguard(&mut self, interface: &str) -> Answer<&mut ObservedDevice> {
        let index = self.wireguard_index(interface)?;
        self.wireguard_at(index)
    }

    /// Takes a device's port when it goes up.
    pub(super) fn bind_port(&mut self, index: u32) -> Answer<()> {
        let port = self.wireguard_at(index)?.listen_port;
        if port != 0 {
            return self.check_port(index, port);
        }
        let free = |port: &u16| self.check_port(index, *port).is_ok();
        let chosen = (FIRST_CHOSEN_PORT..=u16::MAX)
            .find(free)
            .ok_or(libc::EADDRINUSE)?;
        self.wireguard_at(index)?.listen_port = chosen;
        Ok(())
    }

    /// Whether a device can have a port.
    fn check_port(&self, index: u32, port: u16) -> Answer<()> {
        let has_it = |device: &Device| {
            let wireguard = device.wireguard.as_ref();
            device.link.up
                && device.link.index != index
                && wireguard.is_some_and(|device| device.listen_port == port)
        };
        if self.taken_ports.contains(&port) || self.devices.values().any(has_it) {
            return Err(libc::EADDRINUSE);
        }
        Ok(())
    }

    /// Mark and port first, then the key (`wg_set_device`).
    pub(super) fn set_device(&mut self, want: &WireguardDevice) -> Answer<()> {
        let index = self.wireguard_index(&want.interface)?;
        self.wireguard_at(index)?.fwmark = 0;
        self.set_port(index, want.listen_port)?;
        let key = want.private_key.public();
        let device = self.wireguard_at(index)?;
        device.public_key = Some(key);
        // A device is no peer of itself.
        device.peers.remove(&key);
        Ok(())
    }

    pub(super) fn set_port(&mut self, index: u32, port: u16) -> Answer<()> {
        let before = self.wireguard_at(index)?.listen_port;
        if before == port {
            return Ok(());
        }
        if self.is_up(index) && port != 0 {
            self.check_port(index, port)?;
        }
        self.wireguard_at(index)?.listen_port = port;
        if self.is_up(index) && port == 0 {
            self.bind_port(index)?;
        }
        Ok(())
    }

    pub(super) fn set_peer(&mut self, want: &Peer) -> Answer<()> {
        let device = self.wireguard(&want.interface)?;
        if device.public_key == Some(want.public_key) {
            return Ok(());
        }
        let mut networks: Vec<_> = want.allowed_ips.iter().map(Cidr::network).collect();
        networks.sort_unstable();
        networks.dedup();
        // A network is one peer's alone.
        for other in device.peers.values_mut() {
            other.allowed_ips.retain(|net| !networks.contains(net));
        }
        let peer = device
            .peers
            .entry(want.public_key)
            .or_insert_with(ObservedPeer::default);
        peer.allowed_ips = networks;
        peer.keepalive = want.keepalive;
        peer.endpoint = want.endpoint.or(peer.endpoint);
        Ok(())
    }

    /// WireGuard passes over a peer that it does not have.
    pub(super) fn remove_peer(&mut self, interface: &str, key: PublicKey) -> Answer<()> {
        self.wireguard(interface)?.peers.remove(&key);
        Ok(())
    }
}
