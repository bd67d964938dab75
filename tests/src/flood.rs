//! Packets of all sorts at the modem, sent raw so that each is what it is said to be.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendto, socket,
};

use crate::addresses::{ELSEWHERE, LAN_HOST, LISTEN_PORT, MODEM, PEER, PEER_PORT, UPLINK};
use crate::backend::Backend;
use crate::corpus::packet::{Device, Packet, bare, icmp, tcp, udp};
use crate::corpus::payload::{data, initiation};
use crate::frame_socket::FrameSocket;
use crate::netns::Netns;

/// A sort of packets, and the guard's counter that each of them is to be in.
#[derive(Debug, Clone)]
pub struct Template {
    /// What they are.
    pub name: &'static str,
    /// The counter, without its hook.
    pub counter: &'static str,
    packet: Packet,
    /// To whom the raw socket sends it; by its header's destination.
    to: Ipv4Addr,
}

const SYN: u8 = 2;

fn sort(name: &'static str, counter: &'static str, to: Ipv4Addr, packet: Packet) -> Template {
    Template {
        name,
        counter,
        packet,
        to,
    }
}

/// What local programs send by the modem, with its address, by raw sockets.
pub fn local(backend: Backend) -> Vec<Template> {
    // nftables see that it has not come by the tunnel's interface, and look no further.
    let of_the_port = match backend {
        Backend::Ebpf => "drop-not-wireguard",
        Backend::Nft => "drop-local",
    };
    let (modem, elsewhere) = (IpAddr::V4(MODEM), IpAddr::V4(ELSEWHERE));
    let peer = (IpAddr::V4(PEER), PEER_PORT);
    vec![
        sort(
            "DNS",
            "drop-local",
            ELSEWHERE,
            udp((modem, 40000), (elsewhere, 53), b"a question".to_vec()),
        ),
        sort(
            "WireGuard's data from another port",
            "drop-local",
            PEER,
            udp((modem, 40001), peer, data(1376)),
        ),
        sort(
            "other UDP from the tunnel's port",
            of_the_port,
            ELSEWHERE,
            udp(
                (modem, LISTEN_PORT),
                (elsewhere, 123),
                b"what time is it".to_vec(),
            ),
        ),
        sort(
            "ping",
            "drop-local",
            ELSEWHERE,
            icmp(modem, elsewhere, (8, 0), [0, 7, 0, 1], vec![0; 56]),
        ),
        sort(
            "TCP SYN",
            "drop-local",
            ELSEWHERE,
            tcp((modem, 40002), (elsewhere, 443), SYN),
        ),
        sort(
            "GRE",
            "drop-local",
            ELSEWHERE,
            bare(modem, elsewhere, 47, vec![0; 24]),
        ),
    ]
}

/// What a LAN host sends that the router would forward by the modem.
pub fn forwarded() -> Vec<Template> {
    let (lan, elsewhere) = (IpAddr::V4(LAN_HOST), IpAddr::V4(ELSEWHERE));
    let peer = (IpAddr::V4(PEER), PEER_PORT);
    let sort = |name, to, packet| sort(name, "drop-forwarded", to, packet);
    vec![
        sort(
            "a LAN host's DNS",
            ELSEWHERE,
            udp((lan, 40000), (elsewhere, 53), b"a question".to_vec()),
        ),
        sort(
            "a LAN host's WireGuard from the tunnel's port",
            PEER,
            udp((lan, LISTEN_PORT), peer, initiation()),
        ),
        sort(
            "a LAN host's WireGuard data from the tunnel's port",
            PEER,
            udp((lan, LISTEN_PORT), peer, data(96)),
        ),
        sort(
            "a LAN host's TCP SYN",
            ELSEWHERE,
            tcp((lan, 40002), (elsewhere, 443), SYN),
        ),
        sort(
            "a LAN host's ping",
            ELSEWHERE,
            icmp(lan, elsewhere, (8, 0), [0, 9, 0, 1], vec![0; 56]),
        ),
    ]
}

/// What goes round the IP stack: frames of a packet socket on the modem.
pub fn frames() -> Vec<Template> {
    let wan = (IpAddr::V4(UPLINK), 68);
    let six = |last| IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    vec![
        sort(
            "a DHCP client's frame",
            "drop-local",
            ELSEWHERE,
            udp(wan, (IpAddr::V4(Ipv4Addr::BROADCAST), 67), vec![1; 240]),
        ),
        sort(
            "IPv6 in a frame",
            "drop-family",
            ELSEWHERE,
            udp((six(2), 40000), (six(1), 53), b"a question".to_vec()),
        ),
    ]
}

/// Sends each sort so many times, in turns, as IP packets that are routed. What a guard refuses to
/// the sender's face (EPERM of nftables, ENOBUFS of a queue) was sent as far as this one goes.
pub fn send_routed(netns: &Netns, sorts: &[Template], times: usize) -> Result<()> {
    let socket = netns.run(|| {
        let flags = SockFlag::SOCK_CLOEXEC;
        Ok(socket(
            AddressFamily::Inet,
            SockType::Raw,
            flags,
            Some(SockProtocol::Raw),
        )?)
    })?;
    let packets: Vec<_> = sorts
        .iter()
        .map(|sort| {
            let to = SockaddrIn::from(SocketAddrV4::new(sort.to, 0));
            (sort, sort.packet.frame(Device::Raw), to)
        })
        .collect();
    for _ in 0..times {
        for (sort, packet, to) in &packets {
            let sent = sendto(socket.as_raw_fd(), packet, to, MsgFlags::empty());
            refused_is_sent(sent).with_context(|| format!("sending {}", sort.name))?;
        }
    }
    Ok(())
}

/// Sends each sort so many times, in turns, as frames on an interface.
pub fn send_frames(netns: &Netns, interface: &str, sorts: &[Template], times: usize) -> Result<()> {
    let socket = FrameSocket::open(netns, interface)?;
    let frames: Vec<_> = sorts
        .iter()
        .map(|sort| (sort, sort.packet.frame(Device::Ethernet)))
        .collect();
    for _ in 0..times {
        for (sort, frame) in &frames {
            let sent = socket.send(frame);
            sent.with_context(|| format!("sending {}", sort.name))?;
        }
    }
    Ok(())
}

fn refused_is_sent(result: nix::Result<usize>) -> Result<()> {
    match result {
        Ok(_) | Err(Errno::EPERM | Errno::ENOBUFS) => Ok(()),
        Err(error) => bail!(error),
    }
}
