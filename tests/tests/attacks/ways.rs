//! The ways in which a program without privileges can ask for the modem.

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use lte_tests::addresses::{
    ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT, ROUTER_LAN, TUNNEL_ROUTER, UPLINK,
};
use lte_tests::packet::Kind;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, bind,
    connect, sendmsg, sendto, setsockopt, socket, sockopt,
};

use crate::options;
use crate::tally::Frame;

const SERVER: SocketAddrV4 = SocketAddrV4::new(PEER, PEER_PORT);
/// From the IP header to the payload.
const HEADERS: usize = 28;
/// UDP-Lite (RFC 3828), which newer kernels no longer have.
const UDP_LITE: u8 = 136;

/// A way to ask for it.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    /// Tries it, in the router, with a payload of WireGuard's shape that is as long as no other's.
    pub(crate) send: fn(&[u8]) -> Result<()>,
    /// Whether a frame is what it sent, with that payload.
    pub(crate) is: fn(&Frame, &[u8]) -> bool,
}

/// All of them.
pub(crate) static WAYS: [Way; 13] = [
    Way {
        name: "SO_BINDTODEVICE",
        send: |payload| {
            say(&bound()?, payload, SERVER);
            Ok(())
        },
        is: alone,
    },
    Way {
        name: "IP_UNICAST_IF",
        send: |payload| {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            let index = if_nametoindex("modem")?.to_be_bytes();
            options::set(&socket, libc::IPPROTO_IP, libc::IP_UNICAST_IF, &index)?;
            say(&socket, payload, SERVER);
            Ok(())
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
        send: |payload| {
            say(&UdpSocket::bind((MODEM, 0))?, payload, SERVER);
            Ok(())
        },
        is: alone,
    },
    Way {
        name: "SO_BROADCAST",
        send: |payload| {
            let socket = bound()?;
            socket.set_broadcast(true)?;
            let subnet = Ipv4Addr::new(192, 168, 0, 255);
            say(&socket, payload, SocketAddrV4::new(subnet, PEER_PORT));
            let all = SocketAddrV4::new(Ipv4Addr::BROADCAST, PEER_PORT);
            say(&socket, payload, all);
            Ok(())
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
            say(&socket, payload, SocketAddrV4::new(group, 5353));
            Ok(())
        },
        is: alone,
    },
    Way {
        name: "UDP in pieces",
        send: |payload| {
            let mut long = payload.to_vec();
            long.resize(3000, 0x5a);
            say(&UdpSocket::bind((MODEM, 0))?, &long, SERVER);
            Ok(())
        },
        is: |frame, _| is_piece(frame),
    },
    Way {
        name: "UDP_SEGMENT",
        send: |payload| {
            let socket = UdpSocket::bind((MODEM, 0))?;
            let size = i32::try_from(payload.len())?;
            options::set_int(&socket, libc::SOL_UDP, libc::UDP_SEGMENT, size)?;
            say(&socket, &payload.repeat(3), SERVER);
            Ok(())
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
        is: |frame, _| frame.packet().kind == Kind::OtherIp(UDP_LITE),
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

/// A fragment of an IPv4 datagram, from any host.
fn is_piece(frame: &Frame) -> bool {
    let fragment = |ip: &[u8]| u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
    frame.ipv4().is_some_and(|ip| fragment(ip) != 0)
}

/// That it is refused is one way of not getting out.
fn say(socket: &UdpSocket, payload: &[u8], to: SocketAddrV4) {
    for _ in 0..3 {
        socket.send_to(payload, to).ok();
    }
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
            i32::from(UDP_LITE),
        )
    };
    if fd < 0 && Errno::last() == Errno::EPROTONOSUPPORT {
        return Ok(());
    }
    Errno::result(fd).context("a socket of UDP-Lite")?;
    // SAFETY: the number is a socket's that has just been made, and no other code has it.
    let socket = unsafe { <UdpSocket as std::os::fd::FromRawFd>::from_raw_fd(fd) };
    bind(
        socket.as_raw_fd(),
        &SockaddrIn::from(SocketAddrV4::new(MODEM, 0)),
    )?;
    say(&socket, payload, SERVER);
    Ok(())
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
            say(&UdpSocket::from(socket), payload, SERVER);
        }
    }
    Ok(())
}
