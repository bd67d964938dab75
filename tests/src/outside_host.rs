//! A host on the carrier's side that is not the peer, or forges its address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrLike,
    bind, sendto, setsockopt, socket, sockopt,
};

use crate::corpus::packet::Packet;
use crate::netns::Netns;
use crate::topology::Lab;

/// A UDP socket that sends from any address and port, its own or not.
pub fn forged_udp(netns: &Netns, from: SocketAddrV4) -> Result<UdpSocket> {
    netns
        .run(|| {
            let socket = socket(
                AddressFamily::Inet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                None,
            )?;
            setsockopt(&socket, sockopt::IpTransparent, &true)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrIn::from(from))?;
            Ok(UdpSocket::from(socket))
        })
        .with_context(|| format!("a socket that sends from {from}"))
}

/// Puts a packet on a link, from whomever it says, for the one at the other end. `to` is that
/// one's hardware address, of no meaning on a link that has none.
pub fn send_packet(netns: &Netns, interface: &str, to: [u8; 6], packet: &Packet) -> Result<()> {
    let ip = packet.ip();
    let ether_type: u16 = match packet.addresses().0 {
        IpAddr::V4(_) => 0x0800,
        IpAddr::V6(_) => 0x86dd,
    };
    netns
        .run(|| {
            let (family, kind) = (AddressFamily::Packet, SockType::Datagram);
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)?;
            let mut sll_addr = [0; 8];
            sll_addr[..6].copy_from_slice(&to);
            let to = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: ether_type.to_be(),
                sll_ifindex: if_nametoindex(interface)?.cast_signed(),
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 6,
                sll_addr,
            };
            let length = size_of_val(&to) as libc::socklen_t;
            // SAFETY: the pointer is to a live address of that length, which says what it is.
            let to = unsafe { LinkAddr::from_raw((&raw const to).cast(), Some(length)) };
            let to = to.context("no link address")?;
            sendto(socket.as_raw_fd(), &ip, &to, MsgFlags::empty())?;
            Ok(())
        })
        .with_context(|| format!("sending on {interface} in {}", netns.name()))
}

/// The hardware address of an interface.
pub fn mac(netns: &Netns, interface: &str) -> Result<[u8; 6]> {
    let shown = netns.tool("ip", &["-o", "link", "show", "dev", interface])?;
    let mut words = shown
        .split_whitespace()
        .skip_while(|word| *word != "link/ether");
    let text = words.nth(1).with_context(|| shown.clone())?;
    let mut mac = [0; 6];
    for (byte, digits) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(digits, 16).with_context(|| text.to_owned())?;
    }
    Ok(mac)
}

/// Has the router know hosts as neighbours on the modem's link, at the carrier's hardware address. What a program
/// sends to them past the routes is not held back by a question by ARP that the carrier does not answer.
pub fn make_known(lab: &Lab, hosts: &[Ipv4Addr]) -> Result<()> {
    let hardware = mac(&lab.carrier.netns, "modem0")?;
    let hardware = hardware.map(|byte| format!("{byte:02x}")).join(":");
    let known = |host| format!("neigh replace {host} lladdr {hardware} dev modem nud permanent\n");
    let lines: String = hosts.iter().map(known).collect();
    lab.router.ip(&lines).map(drop)
}

/// The router's sockets that an unknown sender would like to reach: UDP and TCP, open to all, in both
/// families.
#[derive(Debug)]
pub struct Services {
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Services {
    /// Opens both on a port.
    pub fn open(netns: &Netns, port: u16) -> Result<Self> {
        netns
            .run(|| {
                let udp = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?;
                udp.set_nonblocking(true)?;
                let tcp = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
                tcp.set_nonblocking(true)?;
                Ok(Self { udp, tcp })
            })
            .with_context(|| format!("services on port {port} in {}", netns.name()))
    }

    /// How many datagrams and connections have arrived since the last question.
    pub fn visitors(&self) -> Result<(usize, usize)> {
        let mut buffer = [0; 2048];
        let mut datagrams = 0;
        while match self.udp.recv_from(&mut buffer) {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error).context("receiving"),
        } {
            datagrams += 1;
        }
        let mut connections = 0;
        while match self.tcp.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => false,
            Err(error) => return Err(error).context("accepting"),
        } {
            connections += 1;
        }
        Ok((datagrams, connections))
    }
}
