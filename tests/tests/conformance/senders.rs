//! Who sends a local packet: sockets that hold ports, and datagrams by a socket of a program's.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use lte_common::policy::Hook;
use lte_tests::corpus::Case;
use lte_tests::corpus::site::LISTEN;
use lte_tests::netns::Netns;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};

use crate::rig::through_the_stack;

/// The sockets that hold ports while a case is shown.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// At the tunnel's port, in WireGuard's place.
    wireguard: Option<UdpSocket>,
    other: Option<UdpSocket>,
}

impl Held {
    /// Holds the ports that the case says are held, and no others.
    pub(crate) fn hold(&mut self, netns: &Netns, case: &Case) -> Result<()> {
        self.other = None;
        if !case.sender.wireguard {
            self.wireguard = None;
        } else if self.wireguard.is_none() {
            self.wireguard = Some(bind(netns, LISTEN)?);
        }
        if let Some(port) = source_port(case)
            && case.sender.bound
            && case.sender.socket != port
        {
            self.other = Some(bind(netns, port)?);
        }
        Ok(())
    }

    /// Whether a packet of the tunnel carries the flow of the socket that it belongs to. No test can
    /// choose what such a packet's payload is: it is sent as one that carries no flow of a socket.
    pub(crate) fn carries(case: &Case) -> bool {
        case.sender.socket != LISTEN && source_port(case) == Some(LISTEN)
    }
}

/// A fragment of an IPv4 datagram behind its first.
pub(crate) fn is_later_piece(case: &Case) -> bool {
    through_the_stack(case)
        .is_some_and(|(ip, to)| to.is_ipv4() && u16::from_be_bytes([ip[6], ip[7]]) & 0x1fff != 0)
}

fn bind(netns: &Netns, port: u16) -> Result<UdpSocket> {
    netns
        .run(|| Ok(UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port))?))
        .with_context(|| format!("UDP port {port}"))
}

/// The source port of a case's datagram, behind an IP header of the usual length.
fn source_port(case: &Case) -> Option<u16> {
    let (ip, _) = through_the_stack(case)?;
    let at = header_len(ip);
    let word = ip.get(at..at + 2)?;
    Some(u16::from_be_bytes([word[0], word[1]]))
}

fn header_len(ip: &[u8]) -> usize {
    if ip[0] >> 4 == 4 {
        usize::from(ip[0] & 15) * 4
    } else {
        40
    }
}

/// Sends a datagram's payload by a UDP socket of the port that the case says.
pub(crate) fn send_by_a_socket(ip: &[u8], to: IpAddr, device: &str, case: &Case) -> Result<()> {
    let at = header_len(ip);
    let source: IpAddr = match to {
        IpAddr::V4(_) => <[u8; 4]>::try_from(&ip[12..16])?.into(),
        IpAddr::V6(_) => <[u8; 16]>::try_from(&ip[8..24])?.into(),
    };
    let port = u16::from_be_bytes([ip[at + 2], ip[at + 3]]);
    let socket = UdpSocket::bind(SocketAddr::from((source, case.sender.socket)))
        .with_context(|| format!("UDP port {}", case.sender.socket))?;
    if case.hook == Hook::ModemOut {
        setsockopt(&socket, sockopt::BindToDevice, &device.into())?;
    }
    setsockopt(&socket, sockopt::Mark, &case.mark)?;
    may_be_cut(&socket)?;
    match socket.send_to(&ip[at + 8..], SocketAddr::from((to, port))) {
        // A chain, or the program behind the qdisc, has dropped it.
        Err(error)
            if !matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::EPERM | Errno::ENOBUFS)
            ) =>
        {
            Err(error).context("sending by a UDP socket")
        }
        _ => Ok(()),
    }
}

/// The corpus's packets do not bear the flag that forbids it.
fn may_be_cut(socket: &UdpSocket) -> Result<()> {
    let never: libc::c_int = libc::IP_PMTUDISC_DONT;
    // SAFETY: it reads the number, of the length that is given, which lives until it returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_MTU_DISCOVER,
            (&raw const never).cast(),
            size_of_val(&never) as libc::socklen_t,
        )
    };
    Errno::result(result).context("IP_MTU_DISCOVER").map(drop)
}

/// Has the kernel give a program's datagram the case's source port, where that is not its socket's.
pub(crate) fn masquerade(netns: &Netns, case: &Case) -> Result<()> {
    let (socket, Some(port)) = (case.sender.socket, source_port(case)) else {
        return Ok(());
    };
    if socket == port {
        return Ok(());
    }
    let rules = format!(
        "add table ip another_port
         add chain ip another_port out {{ type nat hook postrouting priority 100; }}
         add rule ip another_port out udp sport {socket} masquerade to :{port}\n"
    );
    netns.tool_with_input("nft", &["-f", "-"], &rules).map(drop)
}

/// Takes that back.
pub(crate) fn unmasquerade(netns: &Netns, case: &Case) -> Result<()> {
    if source_port(case) == Some(case.sender.socket) {
        return Ok(());
    }
    let tables = "delete table ip another_port";
    netns.tool_with_input("nft", &["-f", "-"], tables).map(drop)
}
