//! A program without privileges has many ways to ask for the modem.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use lte_tests::addresses::{
    ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT, ROUTER_LAN, TUNNEL_ROUTER, UPLINK,
};
use lte_tests::backend::Backend;
use lte_tests::packet::Kind;
use lte_tests::scene::Scene;
use lte_tests::stranger::mac;
use lte_tests::topology::Options;
use lte_tests::wait::{self, PATIENCE};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind,
    connect, sendmsg, sendto, setsockopt, socket, sockopt,
};

use crate::tally::{Frame, Tally};
use crate::{answered, open_house, options};

const SERVER: SocketAddrV4 = SocketAddrV4::new(PEER, PEER_PORT);
/// From the IP header to the payload.
const HEADERS: usize = 28;
/// UDP-Lite (RFC 3828), which newer kernels no longer have.
const UDP_LITE: i32 = 136;

/// More than the programs remember (`REMOTES`).
const REMOTES: u32 = 6000;
/// 198.18.0.0/15, which is nobody's (RFC 2544).
const BENCHMARKS: u32 = 0xc612_0000;

/// A way to ask for it.
struct Way {
    name: &'static str,
    /// Tries it, in the router, with a payload of WireGuard's shape that is as long as no other's.
    send: fn(&[u8]) -> Result<()>,
    /// Whether a frame is what it sent, with that payload.
    is: fn(&Frame, &[u8]) -> bool,
}

/// All of them.
static WAYS: [Way; 13] = [
    Way {
        name: "SO_BINDTODEVICE",
        send: |payload| say(&bound()?, payload, SERVER),
        is: alone,
    },
    Way {
        name: "IP_UNICAST_IF",
        send: |payload| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let index = if_nametoindex("modem")?.to_be_bytes();
            options::set(&socket, libc::IPPROTO_IP, libc::IP_UNICAST_IF, &index)?;
            say(&socket, payload, SERVER)
        },
        is: alone,
    },
    Way {
        name: "IP_PKTINFO",
        send: with_packet_info,
        is: alone,
    },
    Way {
        name: "the modem's address",
        send: |payload| say(&UdpSocket::bind((MODEM, 0))?, payload, SERVER),
        is: alone,
    },
    Way {
        name: "SO_BROADCAST",
        send: |payload| {
            let socket = bound()?;
            socket.set_broadcast(true)?;
            let subnet = Ipv4Addr::new(192, 168, 0, 255);
            say(&socket, payload, SocketAddrV4::new(subnet, PEER_PORT))?;
            let all = SocketAddrV4::new(Ipv4Addr::BROADCAST, PEER_PORT);
            say(&socket, payload, all)
        },
        is: |frame, payload| {
            let to_all = frame.packet().destination() == Some(Ipv4Addr::BROADCAST.into());
            to_all && alone(frame, payload)
        },
    },
    Way {
        name: "multicast",
        send: |payload| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let index = if_nametoindex("modem")?.to_ne_bytes();
            // `struct ip_mreqn`: no group, no address, the interface.
            let interface = [&[0; 8], &index[..]].concat();
            let (level, name) = (libc::IPPROTO_IP, libc::IP_MULTICAST_IF);
            options::set(&socket, level, name, &interface)?;
            let group = Ipv4Addr::new(224, 0, 0, 251);
            say(&socket, payload, SocketAddrV4::new(group, 5353))
        },
        is: alone,
    },
    Way {
        name: "UDP in pieces",
        send: |payload| {
            let mut long = payload.to_vec();
            long.resize(3000, 0x5a);
            say(&UdpSocket::bind((MODEM, 0))?, &long, SERVER)
        },
        is: |frame, _| is_piece(frame),
    },
    Way {
        name: "UDP_SEGMENT",
        send: |payload| {
            let socket = UdpSocket::bind((MODEM, 0))?;
            let size = i32::try_from(payload.len())?;
            options::set_int(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, size)?;
            say(&socket, &payload.repeat(3), SERVER)
        },
        // Where the device takes it whole, it is not cut before a wire.
        is: |frame, payload| {
            let packet = frame.packet();
            let length = packet.bytes.saturating_sub(HEADERS);
            packet.ports.is_some() && [1, 3].map(|n| n * payload.len()).contains(&length)
        },
    },
    Way {
        name: "UDP-Lite",
        send: by_udp_lite,
        is: |frame, _| frame.packet().kind == Kind::OtherIp(UDP_LITE as u8),
    },
    Way {
        name: "TCP to the peer's port",
        send: |_| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let protocol = SockProtocol::Tcp;
            let socket = socket(AddressFamily::Inet, SockType::Stream, flags, protocol)?;
            let own = SockaddrIn::from(SocketAddrV4::new(MODEM, 0));
            bind(socket.as_raw_fd(), &own)?;
            match connect(socket.as_raw_fd(), &SockaddrIn::from(SERVER)) {
                Ok(()) | Err(Errno::EINPROGRESS) => Ok(()),
                Err(error) => Err(error).context("connecting"),
            }
        },
        is: |frame, _| frame.packet().kind == Kind::Tcp,
    },
    Way {
        name: "an echo of one hop",
        send: an_echo_of_one_hop,
        is: |frame, _| frame.packet().kind == Kind::Icmp(8),
    },
    Way {
        name: "IPv6 without a config for it",
        send: |payload| {
            let socket = UdpSocket::bind("[::]:0")?;
            let index = if_nametoindex("modem")?;
            let all_nodes = "ff02::1".parse()?;
            // That it is refused is one way of not getting out.
            let to = SocketAddrV6::new(all_nodes, 9, 0, index);
            socket.send_to(payload, to).ok();
            Ok(())
        },
        is: |frame, payload| frame.packet().bytes == HEADERS + 20 + payload.len(),
    },
    Way {
        name: "the tunnel's port at every address",
        send: by_the_tunnels_port,
        is: |frame, payload| {
            let from_it = frame.packet().ports.map(|ports| ports.0) == Some(LISTEN_PORT);
            from_it && alone(frame, payload)
        },
    },
];

/// One datagram with that payload.
fn alone(frame: &Frame, payload: &[u8]) -> bool {
    frame.packet().bytes == HEADERS + payload.len()
}

/// A piece of an IPv4 datagram, from whoever.
fn is_piece(frame: &Frame) -> bool {
    let fragment = |ip: &[u8]| u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    frame.ipv4().is_some_and(|ip| fragment(ip) != 0)
}

/// That it is refused is one way of not getting out.
fn say(socket: &UdpSocket, payload: &[u8], to: SocketAddrV4) -> Result<()> {
    for _ in 0..3 {
        socket.send_to(payload, to).ok();
    }
    Ok(())
}

fn bound() -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    setsockopt(&socket, sockopt::BindToDevice, &"modem".into())?;
    Ok(socket)
}

fn with_packet_info(payload: &[u8]) -> Result<()> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let address = |address: Ipv4Addr| libc::in_addr {
        s_addr: u32::from_ne_bytes(address.octets()),
    };
    let info = libc::in_pktinfo {
        ipi_ifindex: i32::try_from(if_nametoindex("modem")?)?,
        ipi_spec_dst: address(MODEM),
        ipi_addr: address(Ipv4Addr::UNSPECIFIED),
    };
    sendmsg(
        socket.as_raw_fd(),
        &[IoSlice::new(payload)],
        &[ControlMessage::Ipv4PacketInfo(&info)],
        MsgFlags::empty(),
        Some(&SockaddrIn::from(SERVER)),
    )
    .ok();
    Ok(())
}

fn by_udp_lite(payload: &[u8]) -> Result<()> {
    // SAFETY: it takes three numbers.
    let fd = unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_DGRAM | libc::SOCK_CLOEXEC,
            UDP_LITE,
        )
    };
    if fd < 0 && Errno::last() == Errno::EPROTONOSUPPORT {
        return Ok(());
    }
    Errno::result(fd).context("a socket of UDP-Lite")?;
    // SAFETY: the number is a socket's that has just been made, and nobody else has it.
    let socket = unsafe { <UdpSocket as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    bind(
        socket.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(MODEM, 0)),
    )?;
    say(&socket, payload, SERVER)
}

fn an_echo_of_one_hop(_: &[u8]) -> Result<()> {
    let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
    let socket = socket(family, SockType::Raw, flags, SockProtocol::Icmp)?;
    options::set_int(&socket, libc::IPPROTO_IP, libc::IP_TTL, 1)?;
    let own = SockaddrIn::from(SocketAddrV4::new(MODEM, 0));
    bind(socket.as_raw_fd(), &own)?;
    // An echo request of identifier 1: its checksum is right.
    let echo = [8, 0, 0xf7, 0xfe, 0, 1, 0, 0];
    let to = SockaddrIn::from(SocketAddrV4::new(ELSEWHERE, 0));
    sendto(socket.as_raw_fd(), &echo, &to, MsgFlags::empty()).ok();
    Ok(())
}

/// Beside WireGuard, as far as the kernel allows it.
fn by_the_tunnels_port(payload: &[u8]) -> Result<()> {
    let addresses = [
        Ipv4Addr::UNSPECIFIED,
        Ipv4Addr::LOCALHOST,
        MODEM,
        ROUTER_LAN,
        UPLINK,
        TUNNEL_ROUTER,
    ];
    for address in addresses {
        let (family, flags) = (AddressFamily::Inet, SockFlag::SOCK_CLOEXEC);
        let socket = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::ReusePort, &true)?;
        setsockopt(&socket, sockopt::BindToDevice, &"modem".into())?;
        let own = SocketAddrV4::new(address, LISTEN_PORT);
        if bind(socket.as_raw_fd(), &SockaddrIn::from(own)).is_ok() {
            say(&UdpSocket::from(socket), payload, SERVER)?;
        }
    }
    Ok(())
}

/// The payload of a way: WireGuard's data, and no other is as long.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = lte_tests::traffic::shaped_as_data();
    payload.resize(320 + 16 * number, 0x5a);
    payload
}

/// The peer and another are known on the modem's link, so that nothing for them has to wait.
fn neighbours_are_known(scene: &Scene) -> Result<()> {
    let hardware = mac(&scene.lab.carrier.netns, "modem0")?;
    let hardware = hardware.map(|byte| format!("{byte:02x}")).join(":");
    let known = [PEER, ELSEWHERE]
        .map(|one| format!("neigh replace {one} lladdr {hardware} dev modem nud permanent\n"));
    scene.lab.router.ip(&known.concat()).map(drop)
}

/// Tries all of them.
fn try_all(scene: &Scene) -> Result<()> {
    neighbours_are_known(scene)?;
    scene.lab.router.run(|| {
        for (number, way) in WAYS.iter().enumerate() {
            (way.send)(&payload(number)).context(way.name)?;
        }
        Ok(())
    })
}

/// As the tunnel's, by the modem and by the uplink, to so many that what is known of the peer would be forgotten.
fn to_many_remotes(scene: &Scene) -> Result<()> {
    scene.lab.router.run(|| {
        let payload = lte_tests::traffic::shaped_as_data();
        for source in [MODEM, UPLINK] {
            let socket = UdpSocket::bind((source, 0))?;
            for number in 0..REMOTES {
                let remote = Ipv4Addr::from(BENCHMARKS + number);
                // That it is refused is one way of not getting out.
                socket.send_to(&payload, (remote, PEER_PORT)).ok();
            }
        }
        Ok(())
    })
}

/// Which of them a frame is of.
fn of_way(frame: &Frame) -> Option<&'static str> {
    let mut ways = WAYS.iter().enumerate();
    let found = ways.find(|(number, way)| (way.is)(frame, &payload(*number)));
    found.map(|(_, way)| way.name)
}

/// Whatever it asks for, nothing of it leaves by the modem; without a guard each of them does.
pub(crate) fn gets_nothing_out(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    try_all(&scene)?;
    answered(&scene)?;
    let tunnel = tally.the_tunnel_alone()?;
    ensure!(!tunnel.is_empty(), "the tally is blind");
    if let Some(frame) = tunnel.iter().find(|frame| of_way(frame).is_some()) {
        bail!("{} gets out: {frame}", of_way(frame).unwrap_or_default());
    }
    scene.tunnel_is_sound()?;

    let since = Instant::now();
    to_many_remotes(&scene)?;
    answered(&scene)?;
    tally.the_tunnel_alone()?;
    scene.session_kept(since)?;
    agent.interrupt()?;

    open_house(&scene.lab.router)?;
    try_all(&scene)?;
    let mut missing: Vec<_> = WAYS.iter().map(|way| way.name).collect();
    if !has_udp_lite() {
        missing.retain(|name| *name != "UDP-Lite");
    }
    let all = wait::until(PATIENCE, "each of them in an open house", || {
        for frame in tally.left()? {
            let of = of_way(&frame);
            missing.retain(|name| Some(*name) != of);
        }
        Ok(missing.is_empty().then_some(()))
    });
    all.with_context(|| format!("these did not leave: {missing:?}"))
}

fn has_udp_lite() -> bool {
    std::fs::read_to_string("/proc/net/protocols").is_ok_and(|known| known.contains("UDP-Lite"))
}
