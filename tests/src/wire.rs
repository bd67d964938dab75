//! What passes a virtual cable, as it would on a wire: by a packet socket to which the kernel says of
//! each packet whether it is several (`PACKET_VNET_HDR`), and by the packets' own headers.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockProtocol, SockType, setsockopt, socket, sockopt,
};

use crate::netns::Netns;

/// Of linux/if_packet.h.
const PACKET_VNET_HDR: libc::c_int = 15;
/// `struct virtio_net_hdr` (linux/virtio_net.h): its length, and where the size of a segment stands.
const VNET_HEADER: usize = 10;
const GSO_SIZE: usize = 4;
const ETHERNET: usize = 14;
const TCP: u8 = 6;
/// Room for all that a test sends at once.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Packets, and their bytes from the IP header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

/// IPv4 TCP of one port that has passed an interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// What came in.
    pub entered: Sum,
    /// What went out.
    pub left: Sum,
    /// How many that came in were several.
    pub joined: u64,
}

/// Counts at one interface.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    port: u16,
    passed: Passed,
}

impl Wire {
    /// Begins. What passes from the return on is counted.
    pub fn watch(netns: &Netns, interface: &str, port: u16) -> Result<Self> {
        let socket = netns.run(|| {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                flags,
                // Bound below: nothing of other interfaces before that.
                None::<SockProtocol>,
            )?;
            setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
            let on: libc::c_int = 1;
            // SAFETY: the option is an int, which `on` is.
            let set = unsafe {
                libc::setsockopt(
                    socket.as_raw_fd(),
                    libc::SOL_PACKET,
                    PACKET_VNET_HDR,
                    (&raw const on).cast(),
                    size_of_val(&on) as libc::socklen_t,
                )
            };
            Errno::result(set).context("PACKET_VNET_HDR")?;
            let address = libc::sockaddr_ll {
                sll_family: libc::AF_PACKET as u16,
                sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
                sll_ifindex: if_nametoindex(interface)?.cast_signed(),
                sll_hatype: 0,
                sll_pkttype: 0,
                sll_halen: 0,
                sll_addr: [0; 8],
            };
            // SAFETY: the address is a live value of the size that is given.
            let bound = unsafe {
                libc::bind(
                    socket.as_raw_fd(),
                    (&raw const address).cast(),
                    size_of_val(&address) as libc::socklen_t,
                )
            };
            Errno::result(bound).context("binding")?;
            Ok(socket)
        });
        Ok(Self {
            socket: socket.with_context(|| format!("a packet socket on {interface}"))?,
            port,
            passed: Passed::default(),
        })
    }

    /// What has passed so far.
    pub fn passed(&mut self) -> Result<Passed> {
        let mut frame = vec![0; 1 << 17];
        loop {
            let mut from = std::mem::MaybeUninit::<libc::sockaddr_ll>::zeroed();
            let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            // SAFETY: the kernel writes to the two buffers, not beyond their lengths.
            let read = unsafe {
                libc::recvfrom(
                    self.socket.as_raw_fd(),
                    frame.as_mut_ptr().cast(),
                    frame.len(),
                    0,
                    from.as_mut_ptr().cast(),
                    &raw mut length,
                )
            };
            let read = match Errno::result(read) {
                Ok(read) => read.unsigned_abs(),
                Err(Errno::EAGAIN) => return Ok(self.passed),
                Err(error) => return Err(error).context("reading what passes"),
            };
            // SAFETY: zeros are a valid address, and the kernel has written to some of them.
            let outgoing = unsafe { from.assume_init() }.sll_pkttype == libc::PACKET_OUTGOING;
            let Some(segments) = segments(&frame[..read], self.port) else {
                continue;
            };
            let sum = if outgoing {
                &mut self.passed.left
            } else {
                self.passed.joined += u64::from(segments.packets > 1);
                &mut self.passed.entered
            };
            sum.packets += segments.packets;
            sum.bytes += segments.bytes;
        }
    }
}

/// What a frame of our port is on a wire.
fn segments(frame: &[u8], port: u16) -> Option<Sum> {
    let (vnet, frame) = frame.split_at_checked(VNET_HEADER)?;
    let ip = frame.get(ETHERNET..)?;
    let word = |bytes: &[u8], at: usize| {
        let pair = bytes.get(at..at + 2)?;
        Some(u16::from_be_bytes([pair[0], pair[1]]))
    };
    if frame.get(12..14)? != [8, 0] || *ip.get(9)? != TCP {
        return None;
    }
    let ip_header = usize::from(ip[0] & 15) * 4;
    let tcp = ip.get(ip_header..)?;
    if word(tcp, 0)? != port && word(tcp, 2)? != port {
        return None;
    }
    let bytes = u64::from(word(ip, 2)?);
    let headers = ip_header as u64 + u64::from(tcp.get(12)? >> 4) * 4;
    let size = u64::from(u16::from_ne_bytes([vnet[GSO_SIZE], vnet[GSO_SIZE + 1]]));
    let packets = match size {
        0 => 1,
        size => (bytes - headers).div_ceil(size).max(1),
    };
    Some(Sum {
        packets,
        bytes: bytes + (packets - 1) * headers,
    })
}
