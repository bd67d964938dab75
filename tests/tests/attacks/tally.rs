//! What left the router by the modem: every frame, as it came to the carrier.

use std::fmt;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail, ensure};
use lte_tests::addresses::{CARRIER, LISTEN_PORT, MODEM, PEER, PEER_PORT};
use lte_tests::packet::Packet;
use lte_tests::scene::Scene;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};

/// Room for all that comes between two looks.
const RECEIVE_BUFFER: usize = 8 << 20;

/// A packet socket on the carrier's side of the modem.
#[derive(Debug)]
pub(crate) struct Tally {
    socket: OwnedFd,
    index: usize,
}

/// A frame that left.
#[derive(Debug, Clone)]
pub(crate) struct Frame(pub(crate) Vec<u8>);

/// What ARP says in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arp {
    pub(crate) answer: bool,
    pub(crate) sender: Ipv4Addr,
    pub(crate) target: Ipv4Addr,
}

impl Tally {
    /// What leaves from the return on is seen.
    pub(crate) fn open(scene: &Scene) -> Result<Self> {
        scene.lab.carrier.netns.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let (family, kind) = (AddressFamily::Packet, SockType::Raw);
            let socket = socket(family, kind, flags, SockProtocol::EthAll)?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            Ok(Self {
                socket,
                index: if_nametoindex("modem0")? as usize,
            })
        })
    }

    /// What has left since the last time.
    pub(crate) fn left(&self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        let mut bytes = [0; 2048];
        loop {
            match recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut bytes) {
                Ok((length, Some(from))) => {
                    let arrived = from.pkttype() != libc::PACKET_OUTGOING;
                    if arrived && from.ifindex() == self.index {
                        frames.push(Frame(bytes[..length].to_vec()));
                    }
                }
                Ok((_, None)) => bail!("a frame without an interface"),
                Err(Errno::EAGAIN) => return Ok(frames),
                Err(Errno::EINTR | Errno::ENETDOWN) => {}
                Err(error) => return Err(error).context("reading what left"),
            }
        }
    }

    /// Nothing has left since the last time but the tunnel and questions and answers by ARP of the modem's own
    /// address; what the tunnel was is returned.
    pub(crate) fn the_tunnel_alone(&self) -> Result<Vec<Frame>> {
        let (tunnel, others): (Vec<_>, Vec<_>) =
            self.left()?.into_iter().partition(Frame::is_tunnel);
        let foreign: Vec<_> = others.iter().filter(|frame| !frame.is_own_arp()).collect();
        let shown: Vec<_> = foreign.iter().take(5).map(ToString::to_string).collect();
        ensure!(
            foreign.is_empty(),
            "by the modem {} foreign frames left: {}",
            foreign.len(),
            shown.join("; ")
        );
        Ok(tunnel)
    }
}

impl Frame {
    pub(crate) fn packet(&self) -> Packet {
        Packet::of_ethernet(&self.0)
    }

    /// The IPv4 packet.
    pub(crate) fn ipv4(&self) -> Option<&[u8]> {
        let is_ipv4 = self.0.get(12..14)? == [8, 0];
        self.0.get(14..).filter(|_| is_ipv4)
    }

    /// An outer packet, or a piece of one.
    pub(crate) fn is_tunnel(&self) -> bool {
        let packet = self.packet();
        let from = |source: Ipv4Addr| packet.addresses == Some((source.into(), PEER.into()));
        let whole = packet.is_wireguard() && packet.ports == Some((LISTEN_PORT, PEER_PORT));
        // The carrier's translation writes into pieces that have not been read here yet.
        from(MODEM) && (whole || self.is_piece()) || from(CARRIER) && self.is_piece()
    }

    /// A piece of a UDP datagram; of the first the ports are the tunnel's.
    pub(crate) fn is_piece(&self) -> bool {
        let Some(ip) = self.ipv4() else { return false };
        let fragment = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff;
        let offset = fragment & 0x1fff;
        let ports = self.packet().ports == Some((LISTEN_PORT, PEER_PORT));
        fragment != 0 && ip[9] == 17 && (offset > 0 || ports)
    }

    pub(crate) fn arp(&self) -> Option<Arp> {
        let is_arp = self.0.get(12..14)? == [8, 6];
        let address = |at: usize| {
            let octets: [u8; 4] = self.0.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(octets))
        };
        let arp = Arp {
            answer: self.0.get(20..22)? == [0, 2],
            sender: address(28)?,
            target: address(38)?,
        };
        is_arp.then_some(arp)
    }

    fn is_own_arp(&self) -> bool {
        self.arp().is_some_and(|arp| arp.sender == MODEM)
    }
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.arp() {
            Some(arp) if arp.answer => write!(f, "ARP: {} is here", arp.sender),
            Some(arp) => write!(f, "ARP: who has {}, tell {}", arp.target, arp.sender),
            None => self.packet().fmt(f),
        }
    }
}
