//! Somebody on the carrier's side who is not the peer, or says he is.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::netns::Netns;

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

/// The router's sockets that a stranger would like to reach: UDP and TCP, open to all.
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
                let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?;
                udp.set_nonblocking(true)?;
                let tcp = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?;
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
