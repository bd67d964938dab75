//! Frames sent as they are, round the IP stack.

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, setsockopt,
    socket, sockopt,
};

use crate::netns::Netns;

/// A packet socket that sends by one Ethernet interface and hears nothing.
#[derive(Debug)]
pub struct FrameSocket {
    socket: OwnedFd,
    index: u32,
}

impl FrameSocket {
    /// Opens it on an interface of a namespace.
    pub fn open(netns: &Netns, interface: &str) -> Result<Self> {
        netns.run(|| {
            let index = if_nametoindex(interface).with_context(|| interface.to_owned())?;
            let flags = SockFlag::SOCK_CLOEXEC;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
            Ok(Self { socket, index })
        })
    }

    /// From now on its frames go to the driver itself, past traffic control and the root qdisc.
    pub fn bypass_qdisc(&self) -> Result<()> {
        let on: libc::c_int = 1;
        // SAFETY: it reads the number, of the length that is given, which lives until it returns.
        let result = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_QDISC_BYPASS,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        Errno::result(result).context("PACKET_QDISC_BYPASS")?;
        Ok(())
    }

    /// From now on its frames bear a mark.
    pub fn mark(&self, mark: u32) -> Result<()> {
        setsockopt(&self.socket, sockopt::Mark, &mark).context("SO_MARK")
    }

    /// Sends a frame, from its Ethernet header on. That something on the way out drops it is how
    /// the kernel says ENOBUFS, and no error.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let protocol = frame
            .get(12..14)
            .context("a frame has an Ethernet header")?;
        let to = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: u16::from_ne_bytes([protocol[0], protocol[1]]),
            sll_ifindex: self.index.cast_signed(),
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 6,
            sll_addr: [0xff; 8],
        };
        let length = size_of_val(&to) as libc::socklen_t;
        // SAFETY: the pointer is to a live address of that length, which says what it is.
        let to = unsafe { LinkAddr::from_raw((&raw const to).cast(), Some(length)) };
        let to = to.context("no link address")?;
        match sendto(self.socket.as_raw_fd(), frame, &to, MsgFlags::empty()) {
            Ok(_) | Err(Errno::ENOBUFS | Errno::EPERM) => Ok(()),
            Err(error) => Err(error).context("sending a frame"),
        }
    }
}
