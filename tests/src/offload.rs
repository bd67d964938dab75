//! What a device does for the kernel, as `ethtool -K` sets it.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns::Netns;

/// What a device does, or the kernel for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Puts checksums into what it sends. A virtual cable that "does" carries packets without; one that
    /// does not has the kernel put them in as they leave.
    TxChecksum,
    /// Cuts TCP's long packets.
    TcpSegments,
    /// Is given long packets at all.
    Segments,
    /// Joins what comes in.
    Receive,
}

impl Offload {
    /// The commands that read and set it, of linux/ethtool.h.
    const fn commands(self) -> (u32, u32) {
        match self {
            Self::TxChecksum => (0x16, 0x17),
            Self::TcpSegments => (0x1e, 0x1f),
            Self::Segments => (0x23, 0x24),
            Self::Receive => (0x2b, 0x2c),
        }
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Switches something.
pub fn set(netns: &Netns, interface: &str, what: Offload, on: bool) -> Result<()> {
    let (_, command) = what.commands();
    ask(netns, interface, what, command, on.into()).map(drop)
}

/// Whether it is on.
pub fn get(netns: &Netns, interface: &str, what: Offload) -> Result<bool> {
    let (command, _) = what.commands();
    Ok(ask(netns, interface, what, command, 0)? != 0)
}

fn ask(netns: &Netns, interface: &str, what: Offload, command: u32, data: u32) -> Result<u32> {
    netns
        .run(|| {
            let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
            let mut value = Value { command, data };
            let mut name = [0; libc::IFNAMSIZ];
            for (to, from) in name.iter_mut().zip(interface.bytes()) {
                *to = from.cast_signed();
            }
            let request = libc::ifreq {
                ifr_name: name,
                ifr_ifru: libc::__c_anonymous_ifr_ifru {
                    ifru_data: (&raw mut value).cast(),
                },
            };
            // SAFETY: the request and the value that it points to are live values of the types
            // these commands read and write.
            let result =
                unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw const request) };
            Errno::result(result).context("SIOCETHTOOL")?;
            Ok(value.data)
        })
        .with_context(|| format!("{what:?} of {interface} in {}", netns.name()))
}
