//! The lab with the backend and a played tunnel in the router.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use lte_tests::addresses::{LISTEN_PORT, MODEM, MODEM_GATEWAY, PEER, PEER_PORT, TUNNEL, UPLINK};
use lte_tests::capture::{Capture, Direction, Seen};
use lte_tests::corpus::packet::udp as datagram;
use lte_tests::frame_socket::FrameSocket;
use lte_tests::netns::Netns;
use lte_tests::sysctl;
use lte_tests::topology::{Lab, Options};
use lte_tests::tunnel_device::{TABLE, TunnelDevice};
use lte_tests::wait::{self, TIMEOUT};
use lte_userspace::backend::nft::Nft;
use lte_userspace::backend::{Backend, FamilyAddr, Guard, LinkHeader, Modem};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, sendto,
    setsockopt, socket, sockopt,
};

/// The peer, as the tunnel sends to it.
pub(crate) const FAR: (Ipv4Addr, u16) = (PEER, PEER_PORT);

/// The lab, the guard, and in place of WireGuard a device that sends as it does and a socket that holds
/// its port.
pub(crate) struct Rig {
    pub(crate) lab: Lab,
    pub(crate) at_isp: Capture,
    pub(crate) at_carrier: Capture,
    pub(crate) guard: Guard,
    /// Gets what comes to the tunnel's port.
    pub(crate) tunnel: UdpSocket,
    tunnel_device: TunnelDevice,
    /// The address that WireGuard would have of the route.
    source: Cell<Ipv4Addr>,
    nft: RefCell<Nft>,
    pub(crate) far: Echo,
}

impl Rig {
    /// Everything up: guard first, then the modem, then routes and rules; the filter is strict.
    pub(crate) fn open() -> Self {
        Self::with(&Options::default(), |_| {})
    }

    /// The same with something otherwise.
    pub(crate) fn with(options: &Options, change: impl FnOnce(&mut Guard)) -> Self {
        let lab = Lab::build(&Options {
            server: false,
            ..options.clone()
        })
        .unwrap();
        let at_isp = Capture::start(&lab.isp).unwrap();
        let at_carrier = Capture::start(&lab.carrier.netns).unwrap();
        let mut guard = guard();
        change(&mut guard);
        let mut nft = Nft::new().unwrap();
        lab.router.run(|| Ok(nft.apply(&guard)?)).unwrap();
        let tunnel_device = TunnelDevice::create(&lab.router, TUNNEL).unwrap();
        modem_up(&lab.router).unwrap();
        let far = Echo::start(&lab.vps.netns, FAR.into());
        let tunnel = udp(&lab.router, (Ipv4Addr::UNSPECIFIED, LISTEN_PORT).into());
        Self {
            lab,
            at_isp,
            at_carrier,
            guard,
            tunnel,
            tunnel_device,
            source: MODEM.into(),
            nft: nft.into(),
            far,
        }
    }

    /// Runs something on the backend in the router's namespace.
    pub(crate) fn on_nft<T: Send>(
        &self,
        work: impl FnOnce(&mut Nft, &Guard) -> Result<T> + Send,
    ) -> T {
        let mut nft = self.nft.borrow_mut();
        let (nft, guard) = (&mut *nft, &self.guard);
        self.lab.router.run(|| work(nft, guard)).unwrap()
    }

    /// Puts the guard in place.
    pub(crate) fn apply(&self) {
        self.on_nft(|nft, guard| Ok(nft.apply(guard)?));
    }

    /// What differs, in words.
    pub(crate) fn differences(&self) -> Vec<String> {
        let found = self.on_nft(|nft, guard| Ok(nft.observe(guard)?));
        found.into_iter().map(|difference| difference.0).collect()
    }

    /// The counters: packets and bytes by name.
    pub(crate) fn counters(&self) -> BTreeMap<String, (u64, u64)> {
        self.on_nft(|nft, _| Ok(nft.counters()?))
            .into_iter()
            .map(|counter| (counter.name, (counter.packets, counter.bytes)))
            .collect()
    }

    /// Packets in one counter.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        self.counters().get(name).map_or(0, |counter| counter.0)
    }

    /// Whether this kernel's nftables see what leaves a device.
    pub(crate) fn has_egress(&self) -> bool {
        self.on_nft(|nft, _| Ok(nft.unguarded()?.is_empty()))
    }

    /// Runs lines of `ip -6` in a namespace.
    pub(crate) fn ip6(netns: &Netns, lines: &str) {
        netns
            .tool_with_input("ip", &["-6", "-batch", "-"], lines)
            .unwrap();
    }

    /// Runs nft by hand in the router.
    pub(crate) fn nft(&self, commands: &str) {
        self.lab
            .router
            .tool_with_input("nft", &["-f", "-"], commands)
            .unwrap();
    }

    /// Deletes the rule by which the tunnel finds its table, and the route by which the stand-in does.
    pub(crate) fn flush_port_rule(&self) {
        self.lab
            .router
            .ip(&format!("rule del pref 1230\nroute flush table {TABLE}\n"))
            .unwrap();
        self.source.set(UPLINK);
    }

    /// Sends as the tunnel, to the peer.
    pub(crate) fn send(&self, payload: &[u8]) {
        self.send_to(payload, FAR);
    }

    /// Sends as the tunnel.
    pub(crate) fn send_to(&self, payload: &[u8], to: (Ipv4Addr, u16)) {
        self.send_from(LISTEN_PORT, payload, to);
    }

    /// Sends as the tunnel, from a port that others have given it.
    pub(crate) fn send_from(&self, port: u16, payload: &[u8], to: (Ipv4Addr, u16)) {
        let source = (self.source.get().into(), port);
        self.send_ip(&datagram(source, (to.0.into(), to.1), payload).ip());
    }

    /// Sends an IP packet as the tunnel.
    pub(crate) fn send_ip(&self, ip: &[u8]) {
        self.tunnel_device.send(ip).unwrap();
    }

    /// Sends as the tunnel, and waits for the peer's echo.
    pub(crate) fn round_trip(&self, payload: &[u8]) {
        self.send(payload);
        let (echo, from) = receive(&self.tunnel, TIMEOUT).expect("no echo of the peer");
        assert_eq!((echo.as_slice(), from), (payload, SocketAddr::from(FAR)));
    }

    /// What left the router by the modem.
    pub(crate) fn left_by_modem(&self) -> Vec<Seen> {
        self.at_carrier.packets(left_by_modem).unwrap()
    }

    /// Nothing of UDP has left by the uplink: only the tunnel sends any.
    pub(crate) fn nothing_leaked(&self) {
        self.at_isp
            .none("UDP on the uplink", |seen| {
                seen.direction == Direction::In && seen.packet.ports.is_some()
            })
            .unwrap();
    }
}

/// It came from the modem into the carrier's network.
pub(crate) fn left_by_modem(seen: &Seen) -> bool {
    seen.direction == Direction::In && &*seen.interface == "modem0"
}

/// The lab's guard: IPv4 alone.
fn guard() -> Guard {
    Guard {
        modem: Some(Modem {
            index: 0,
            name: "modem".to_owned(),
            header: LinkHeader::Ethernet,
            v4: Some(FamilyAddr {
                address: MODEM,
                gateway: Some(MODEM_GATEWAY),
                admin: Some(MODEM_GATEWAY.into()),
            }),
            v6: None,
        }),
        tunnel: TUNNEL.to_owned(),
        listen_port: LISTEN_PORT,
        ..Guard::default()
    }
}

/// What the agent does with the modem once it is guarded.
fn modem_up(router: &Netns) -> Result<()> {
    sysctl::set(router, &[("ipv4/conf/modem/src_valid_mark", "1")])?;
    router.ip(&format!(
        "addr add {MODEM}/24 dev modem
         link set modem up
         route add 192.168.0.0/24 dev modem src {MODEM} table 123
         route add default via {MODEM_GATEWAY} dev modem src {MODEM} table 123
         route add default via {MODEM_GATEWAY} dev modem src {MODEM} table {TABLE}
         rule add pref 1230 iif lo ipproto udp sport {LISTEN_PORT} lookup 123
         rule add pref 1231 fwmark 0x7b/0xff lookup 123\n"
    ))?;
    wait::until(TIMEOUT, "the modem's link", || {
        let state = router.tool("ip", &["-br", "link", "show", "modem"])?;
        Ok(state.contains("LOWER_UP").then_some(()))
    })
}

/// A UDP socket in a namespace.
pub(crate) fn udp(netns: &Netns, at: SocketAddr) -> UdpSocket {
    netns.run(|| Ok(UdpSocket::bind(at)?)).unwrap()
}

/// What a socket gets within a time.
pub(crate) fn receive(socket: &UdpSocket, within: Duration) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = vec![0; 65536];
    socket.set_read_timeout(Some(within)).unwrap();
    match socket.recv_from(&mut buffer) {
        Ok((length, from)) => {
            buffer.truncate(length);
            Some((buffer, from))
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
        Err(error) => panic!("receiving: {error}"),
    }
}

/// Sends back whatever it gets, until dropped.
pub(crate) struct Echo {
    socket: UdpSocket,
    last: Arc<Mutex<Option<SocketAddr>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    pub(crate) fn start(netns: &Netns, at: SocketAddr) -> Self {
        let socket = udp(netns, at);
        let stop = Arc::new(AtomicBool::new(false));
        let last = Arc::new(Mutex::new(None));
        let thread = std::thread::spawn({
            let (stop, last) = (Arc::clone(&stop), Arc::clone(&last));
            let socket = socket.try_clone().unwrap();
            move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some((payload, from)) = receive(&socket, Duration::from_millis(50)) {
                        *last.lock().unwrap() = Some(from);
                        // Where there is no way back the test sees that nothing came.
                        socket.send_to(&payload, from).ok();
                    }
                }
            }
        });
        Self {
            socket,
            last,
            stop,
            thread: Some(thread),
        }
    }

    /// Sends to whom it heard last, unasked.
    pub(crate) fn speak(&self, payload: &[u8]) {
        let to = self.last.lock().unwrap().expect("it has heard nobody");
        self.socket.send_to(payload, to).unwrap();
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the echo panicked");
        }
    }
}

/// A payload of a type and length, as WireGuard's messages begin.
pub(crate) fn message(kind: u8, length: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; length];
    payload[..4].copy_from_slice(&[kind, 0, 0, 0]);
    payload
}

/// The smallest transport message.
pub(crate) fn keepalive() -> Vec<u8> {
    message(4, 32)
}

/// Whether a packet is from an address.
pub(crate) fn is_from(seen: &Seen, address: impl Into<IpAddr>) -> bool {
    seen.packet.source() == Some(address.into())
}

/// Sends a frame through a packet socket.
pub(crate) fn send_frame(netns: &Netns, interface: &str, frame: &[u8]) {
    let socket = FrameSocket::open(netns, interface).unwrap();
    socket.send(frame).unwrap();
}

/// Sends an ICMP message to an address; its checksum is put in.
pub(crate) fn send_icmp(netns: &Netns, to: Ipv4Addr, mut message: Vec<u8>) {
    let mut sum: u32 = message
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    message[2..4].copy_from_slice(&(!sum as u16).to_be_bytes());
    netns
        .run(|| {
            let (family, kind) = (AddressFamily::Inet, SockType::Raw);
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)?;
            let to = SockaddrIn::from(std::net::SocketAddrV4::new(to, 0));
            sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty())?;
            Ok(())
        })
        .unwrap();
}

/// Sends an ICMPv6 message to all nodes of a link, as its neighbours do. The kernel puts the
/// checksum in.
pub(crate) fn send_icmp6(netns: &Netns, interface: &str, message: &[u8]) {
    netns
        .run(|| {
            let (family, kind) = (AddressFamily::Inet6, SockType::Raw);
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)?;
            setsockopt(&socket, sockopt::Ipv6MulticastHops, &255)?;
            let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let to = SocketAddrV6::new(all, 0, 0, if_nametoindex(interface)?);
            let to = SockaddrIn6::from(to);
            sendto(socket.as_raw_fd(), message, &to, MsgFlags::empty())?;
            Ok(())
        })
        .unwrap();
}
