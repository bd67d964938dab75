//! Kernel WireGuard: reading the device, and its peers one by one.
//!
//! The kernel gives the private key to any process that may read the device, and this is done twice a second: the
//! key is left in the answer, which is wiped, and the device is known by its public key.
//!
//! The kernel is asked by sockets that block, apart from the agent's own thread.
//!
//! Peers are set through defguard_wireguard_rs, by the calls that touch one peer: `configure_interface` drops
//! addresses and sessions, `configure_peer_routing` and `remove_interface` change rules and sysctls that are
//! not ours, and `read_interface_data` leaves the private key in memory.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use defguard_wireguard_rs::error::WireguardInterfaceError;
use defguard_wireguard_rs::key::Key;
use defguard_wireguard_rs::net::IpAddrMask;
use defguard_wireguard_rs::{Kernel as KernelWireGuard, WGApi, WireguardInterfaceApi as _};
use netlink_packet_core::{DecodeError, NlasIterator, Parseable as _};
use netlink_packet_wireguard::{
    WireguardAllowedIp, WireguardAllowedIpAttr, WireguardAttribute, WireguardCmd, WireguardMessage,
    WireguardPeer, WireguardPeerAttribute,
};
use zeroize::Zeroize as _;

use super::{DUMP_ATTEMPTS, Kernel, KernelError, generic_netlink};
use crate::config::{Cidr, PublicKey};
use crate::desired::{Peer, WireguardDevice};

/// `WGDEVICE_A_PRIVATE_KEY` of linux/wireguard.h.
const PRIVATE_KEY: u16 = 3;

/// The device as observed.
#[derive(Debug, Clone, Default)]
pub struct ObservedDevice {
    /// Its public key; `None`: it has no key.
    pub public_key: Option<PublicKey>,
    /// Its UDP port, host byte order; 0: none yet.
    pub listen_port: u16,
    /// Its FwMark; 0: none.
    pub fwmark: u32,
    /// Its peers.
    pub peers: BTreeMap<PublicKey, ObservedPeer>,
}

/// A peer as observed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedPeer {
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

impl ObservedDevice {
    /// Whether the device itself is as desired.
    pub fn matches(&self, want: &WireguardDevice) -> bool {
        self.listen_port == want.listen_port
            && self.fwmark == 0
            && self.public_key == Some(want.private_key.public())
    }

    /// Whether a peer is as desired. An endpoint that is not known is not compared.
    pub fn peer_matches(&self, want: &Peer) -> bool {
        self.peers.get(&want.public_key).is_some_and(|peer| {
            peer.allowed_ips == want.allowed_ips
                && peer.keepalive == want.keepalive
                && (want.endpoint.is_none() || peer.endpoint == want.endpoint)
        })
    }
}

impl Kernel {
    /// Reads a WireGuard interface, which must exist.
    pub async fn wireguard(&self, interface: &str) -> Result<ObservedDevice, KernelError> {
        let context = format!("reading WireGuard interface {interface}");
        let interface = interface.to_owned();
        self.call(context, move || read(&interface)).await
    }

    /// Sets key and port, and no FwMark. Peers stay, and so do their sessions where the key does.
    pub async fn set_device(&self, want: &WireguardDevice) -> Result<(), KernelError> {
        let context = format!(
            "setting key and port {} of {}",
            want.listen_port, want.interface
        );
        let want = want.clone();
        self.call(context, move || generic_netlink::set_device(&want))
            .await
    }

    /// Adds a peer or changes it; its session goes on.
    pub async fn set_peer(&self, want: &Peer) -> Result<(), KernelError> {
        let context = format!("setting {want}");
        let want = want.clone();
        self.call(context, move || set_peer(&want)).await
    }

    /// Removes a peer.
    pub async fn remove_peer(&self, interface: &str, key: PublicKey) -> Result<(), KernelError> {
        let context = format!("removing peer {key} of {interface}");
        let interface = interface.to_owned();
        let remove = move || call_library(&interface, move |api| api.remove_peer(&Key::new(key.0)));
        self.call(context, remove).await
    }

    async fn call<T: Send + 'static>(
        &self,
        context: String,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, KernelError> {
        let answer = self
            .wireguard
            .call(generic_netlink::DEADLINE, |()| work())
            .await;
        answer
            .unwrap_or_else(|late| Err(io::Error::new(io::ErrorKind::TimedOut, late)))
            .map_err(|source| KernelError::new(context, source))
    }
}

/// Reads a WireGuard interface, which must exist. Blocks, for 10 s at most; the agent asks by
/// [`Kernel::wireguard`].
pub fn read(interface: &str) -> io::Result<ObservedDevice> {
    let mut attempts = 1..=DUMP_ATTEMPTS;
    loop {
        let mut found = ObservedDevice::default();
        let request = message(WireguardCmd::GetDevice, interface, Vec::new());
        match generic_netlink::list(request, |attributes| found.merge(attributes)) {
            Err(error)
                if error.kind() == io::ErrorKind::Interrupted && attempts.next().is_some() => {}
            Err(error) => return Err(error),
            Ok(()) => {
                for peer in found.peers.values_mut() {
                    peer.allowed_ips.sort_unstable();
                }
                return Ok(found);
            }
        }
    }
}

fn set_peer(want: &Peer) -> io::Result<()> {
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
    call_library(&want.interface, move |api| api.configure_peer(&peer))
}

/// Has the library do something. It waits for the kernel's answer without an end, so a thread of its own
/// does; one whose answer never comes stays.
fn call_library(
    interface: &str,
    work: impl FnOnce(&mut WGApi<KernelWireGuard>) -> Result<(), WireguardInterfaceError>
    + Send
    + 'static,
) -> io::Result<()> {
    let interface = interface.to_owned();
    with_deadline(generic_netlink::DEADLINE, move || {
        WGApi::new(interface)
            .and_then(|mut api| work(&mut api))
            .map_err(|error| io::Error::other(error.to_string()))
    })
}

fn with_deadline(
    within: Duration,
    work: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("wireguard".to_owned())
        .spawn(move || drop(sender.send(work())))?;
    match receiver.recv_timeout(within) {
        Ok(answer) => answer,
        Err(mpsc::RecvTimeoutError::Timeout) => Err(generic_netlink::timed_out(within)),
        Err(mpsc::RecvTimeoutError::Disconnected) => Err(io::Error::other("the library panicked")),
    }
}

/// A request that is about an interface.
pub(super) fn message(
    cmd: WireguardCmd,
    interface: &str,
    more: Vec<WireguardAttribute>,
) -> WireguardMessage {
    let mut attributes = vec![WireguardAttribute::IfName(interface.to_owned())];
    attributes.extend(more);
    WireguardMessage { cmd, attributes }
}

impl ObservedDevice {
    /// Takes the attributes of one message over; a device with many peers comes in several.
    fn merge(&mut self, attributes: &[u8]) -> io::Result<()> {
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute.map_err(|error| invalid_data(&error))?;
            if attribute.kind() == PRIVATE_KEY {
                continue;
            }
            match WireguardAttribute::parse(&attribute).map_err(|error| invalid_data(&error))? {
                WireguardAttribute::PublicKey(key) => self.public_key = Some(PublicKey(key)),
                WireguardAttribute::ListenPort(port) => self.listen_port = port,
                WireguardAttribute::Fwmark(mark) => self.fwmark = mark,
                WireguardAttribute::Peers(peers) => {
                    for peer in peers {
                        self.merge_peer(peer);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A peer with many networks comes in several pieces, the first of which has all else.
    fn merge_peer(&mut self, piece: WireguardPeer) {
        let mut key = None;
        let mut found = ObservedPeer::default();
        for attribute in piece.0 {
            match attribute {
                WireguardPeerAttribute::PublicKey(bytes) => key = Some(PublicKey(bytes)),
                // Not ours, and no less a secret.
                WireguardPeerAttribute::PresharedKey(mut bytes) => bytes.zeroize(),
                WireguardPeerAttribute::Endpoint(endpoint) => found.endpoint = Some(endpoint),
                WireguardPeerAttribute::PersistentKeepalive(seconds) => {
                    found.keepalive = Duration::from_secs(seconds.into());
                }
                WireguardPeerAttribute::LastHandshake(time) => {
                    found.handshake = handshake_time(time.seconds, time.nano_seconds);
                }
                WireguardPeerAttribute::RxBytes(bytes) => found.received = bytes,
                WireguardPeerAttribute::TxBytes(bytes) => found.sent = bytes,
                WireguardPeerAttribute::AllowedIps(networks) => {
                    found.allowed_ips = networks.iter().filter_map(cidr).collect();
                }
                _ => {}
            }
        }
        let Some(key) = key else {
            return;
        };
        match self.peers.get_mut(&key) {
            Some(known) => known.allowed_ips.extend(found.allowed_ips),
            None => {
                self.peers.insert(key, found);
            }
        }
    }
}

fn cidr(network: &WireguardAllowedIp) -> Option<Cidr> {
    let mut address = None;
    let mut prefix_len = None;
    for attribute in &network.0 {
        match attribute {
            WireguardAllowedIpAttr::IpAddr(ip) => address = Some(*ip),
            WireguardAllowedIpAttr::Cidr(length) => prefix_len = Some(*length),
            _ => {}
        }
    }
    Some(Cidr::new(address?, prefix_len?))
}

/// `None`: never.
fn handshake_time(seconds: i64, nanoseconds: i64) -> Option<SystemTime> {
    let seconds = Duration::from_secs(u64::try_from(seconds).ok()?);
    let nanoseconds = Duration::from_nanos(u64::try_from(nanoseconds).ok()?);
    Some(SystemTime::UNIX_EPOCH + seconds + nanoseconds).filter(|t| *t != SystemTime::UNIX_EPOCH)
}

fn invalid_data(error: &DecodeError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::net::IpAddr;

    use netlink_packet_core::Emitable as _;
    use netlink_packet_wireguard::WireguardAddressFamily;

    use super::*;
    use crate::config::{KEY_LEN, PrivateKey};

    const PORT: u16 = 51820;

    fn bytes(attributes: &[WireguardAttribute]) -> Vec<u8> {
        let mut bytes = vec![0; attributes.buffer_len()];
        attributes.emit(&mut bytes);
        bytes
    }

    fn network(net: &Cidr) -> WireguardAllowedIp {
        let family = match net.address {
            IpAddr::V4(_) => WireguardAddressFamily::Ipv4,
            IpAddr::V6(_) => WireguardAddressFamily::Ipv6,
        };
        WireguardAllowedIp(vec![
            WireguardAllowedIpAttr::Family(family),
            WireguardAllowedIpAttr::IpAddr(net.address),
            WireguardAllowedIpAttr::Cidr(net.prefix_len),
        ])
    }

    fn peer(networks: &[&str]) -> WireguardAttribute {
        let networks = networks.iter().map(|net| network(&net.parse().unwrap()));
        WireguardAttribute::Peers(vec![WireguardPeer(vec![
            WireguardPeerAttribute::PublicKey([2; KEY_LEN]),
            WireguardPeerAttribute::PersistentKeepalive(25),
            WireguardPeerAttribute::AllowedIps(networks.collect()),
        ])])
    }

    #[test]
    fn a_device_is_known_by_its_public_key() {
        let private_key = PrivateKey::new(&[0xff; KEY_LEN]);
        let public = private_key.public();
        let want = WireguardDevice {
            interface: "wg-lte".to_owned(),
            private_key,
            listen_port: PORT,
        };
        let mut found = ObservedDevice::default();
        let said = [
            WireguardAttribute::PrivateKey([0x5a; KEY_LEN]),
            WireguardAttribute::PublicKey(public.0),
            WireguardAttribute::ListenPort(PORT),
        ];
        found.merge(&bytes(&said)).unwrap();
        assert!(
            found.matches(&want),
            "whatever the private key's field says"
        );
        found.fwmark = 0x7b;
        assert!(!found.matches(&want));
        let another = WireguardAttribute::PublicKey([1; KEY_LEN]);
        let mut found = ObservedDevice::default();
        found.merge(&bytes(&[another, said[2].clone()])).unwrap();
        assert!(!found.matches(&want));
        assert!(!ObservedDevice::default().matches(&want), "it has no key");
    }

    #[test]
    fn a_peer_that_comes_in_pieces_is_one() {
        let mut found = ObservedDevice::default();
        found
            .merge(&bytes(&[peer(&["10.0.0.0/8", "fd00::/8"])]))
            .unwrap();
        found.merge(&bytes(&[peer(&["192.168.0.0/16"])])).unwrap();
        let peer = &found.peers[&PublicKey([2; KEY_LEN])];
        assert_eq!(peer.keepalive, Duration::from_secs(25));
        assert_eq!(peer.allowed_ips.len(), 3);
        assert_eq!(peer.handshake, None);
    }

    #[test]
    fn an_answer_that_never_comes_is_not_waited_for() {
        let (kernel, waiting) = mpsc::channel::<()>();
        let work = move || {
            waiting.recv().ok();
            Ok(())
        };
        let error = with_deadline(Duration::from_millis(50), work).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        drop(kernel);
        let refused = with_deadline(generic_netlink::DEADLINE, || {
            Err(io::Error::other("refused"))
        })
        .unwrap_err();
        assert_eq!(refused.to_string(), "refused");
        assert!(with_deadline(generic_netlink::DEADLINE, || Ok(())).is_ok());
    }
}
