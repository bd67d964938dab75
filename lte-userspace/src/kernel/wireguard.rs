//! Kernel WireGuard: reading the device, and its peers one by one.
//!
//! A thin wrapper around defguard_wireguard_rs. Of its calls only those are used that touch one
//! peer or nothing: `configure_interface` drops addresses and sessions, `configure_peer_routing`
//! and `remove_interface` change rules and sysctls that are not ours.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use defguard_wireguard_rs::key::Key;
use defguard_wireguard_rs::net::IpAddrMask;
use defguard_wireguard_rs::{Kernel as KernelWireGuard, WGApi, WireguardInterfaceApi as _};

use super::KernelError;
use crate::config::{Cidr, KEY_LEN, PrivateKey, PublicKey};
use crate::desired::{Device, Peer};

/// The device as observed.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Its private key.
    pub private_key: Option<PrivateKey>,
    /// Its UDP port, host byte order; 0: none yet.
    pub listen_port: u16,
    /// Its FwMark; 0: none.
    pub fwmark: u32,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, FoundPeer>,
}

/// A peer as observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundPeer {
    /// Where it was last heard of.
    pub endpoint: Option<SocketAddr>,
    /// Networks behind it, sorted.
    pub allowed_ips: Vec<Cidr>,
    /// After how much silence a keepalive is sent; zero: never.
    pub keepalive: Duration,
    /// When the last handshake was made, by the wall clock of that time.
    pub handshake: Option<SystemTime>,
    /// Bytes received, of WireGuard's own packets without their IP and UDP headers.
    pub received: u64,
    /// Bytes sent, alike.
    pub sent: u64,
}

impl Found {
    /// Whether the device itself is as desired.
    pub fn is(&self, want: &Device) -> bool {
        self.listen_port == want.listen_port
            && self.fwmark == 0
            && self
                .private_key
                .as_ref()
                .is_some_and(|key| clamped(key) == clamped(&want.private_key))
    }

    /// Whether a peer is as desired. An endpoint that is not known is not compared.
    pub fn has(&self, want: &Peer) -> bool {
        self.peers.get(&want.public_key).is_some_and(|peer| {
            peer.allowed_ips == want.allowed_ips
                && peer.keepalive == want.keepalive
                && (want.endpoint.is_none() || peer.endpoint == want.endpoint)
        })
    }
}

/// The key as the kernel keeps it: with the bits set that Curve25519 ignores.
fn clamped(key: &PrivateKey) -> PrivateKey {
    let mut bytes = zeroize::Zeroizing::new(*key.expose());
    bytes[0] &= 0xf8;
    bytes[KEY_LEN - 1] = (bytes[KEY_LEN - 1] & 0x7f) | 0x40;
    PrivateKey::from_bytes(*bytes)
}

/// Reads a WireGuard interface, which must exist.
pub fn read(interface: &str) -> Result<Found, KernelError> {
    let host = api(interface)?
        .read_interface_data()
        .map_err(failed(format!("reading WireGuard interface {interface}")))?;
    Ok(Found {
        private_key: host
            .private_key
            .map(|key| PrivateKey::from_bytes(key.as_array())),
        listen_port: host.listen_port,
        fwmark: host.fwmark.unwrap_or(0),
        peers: host
            .peers
            .into_values()
            .map(|peer| {
                let mut allowed_ips: Vec<Cidr> = peer
                    .allowed_ips
                    .iter()
                    .map(|net| Cidr::new(net.address, net.cidr))
                    .collect();
                allowed_ips.sort_unstable();
                let found = FoundPeer {
                    endpoint: peer.endpoint,
                    allowed_ips,
                    keepalive: Duration::from_secs(
                        peer.persistent_keepalive_interval.unwrap_or(0).into(),
                    ),
                    handshake: peer
                        .last_handshake
                        .filter(|time| *time != SystemTime::UNIX_EPOCH),
                    received: peer.rx_bytes,
                    sent: peer.tx_bytes,
                };
                (PublicKey(peer.public_key.as_array()), found)
            })
            .collect(),
    })
}

/// Adds a peer or changes it; its session goes on.
pub fn set_peer(want: &Peer) -> Result<(), KernelError> {
    let mut peer = defguard_wireguard_rs::peer::Peer::new(Key::new(want.public_key.0));
    peer.endpoint = want.endpoint;
    // Zero turns it off; leaving it out would leave it as it is.
    peer.persistent_keepalive_interval =
        Some(u16::try_from(want.keepalive.as_secs()).unwrap_or(u16::MAX));
    peer.allowed_ips = want
        .allowed_ips
        .iter()
        .map(|net| IpAddrMask::new(net.address, net.prefix_len))
        .collect();
    api(&want.interface)?
        .configure_peer(&peer)
        .map_err(failed(format!("setting {want}")))
}

/// Removes a peer.
pub fn remove_peer(interface: &str, key: PublicKey) -> Result<(), KernelError> {
    api(interface)?
        .remove_peer(&Key::new(key.0))
        .map_err(failed(format!("removing peer {key} of {interface}")))
}

fn api(interface: &str) -> Result<WGApi<KernelWireGuard>, KernelError> {
    WGApi::new(interface.to_owned()).map_err(failed(format!("opening {interface}")))
}

fn failed(
    doing: String,
) -> impl FnOnce(defguard_wireguard_rs::error::WireguardInterfaceError) -> KernelError {
    move |error| KernelError::new(doing, io::Error::other(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(key: [u8; KEY_LEN]) -> Device {
        Device {
            interface: "wg-lte".to_owned(),
            private_key: PrivateKey::from_bytes(key),
            listen_port: 51820,
        }
    }

    #[test]
    fn a_key_is_compared_as_the_kernel_keeps_it() {
        let mut kept = [0xff; KEY_LEN];
        kept[0] = 0xf8;
        kept[31] = 0x7f;
        let mut found = Found {
            private_key: Some(PrivateKey::from_bytes(kept)),
            listen_port: 51820,
            ..Found::default()
        };
        assert!(found.is(&device([0xff; KEY_LEN])));
        assert!(
            !found.is(&device(
                [0xfe; KEY_LEN - 1]
                    .into_iter()
                    .chain([0])
                    .collect::<Vec<_>>()
                    .try_into()
                    .unwrap_or([0; KEY_LEN])
            ))
        );
        found.fwmark = 0x7b;
        assert!(!found.is(&device([0xff; KEY_LEN])));
    }
}
