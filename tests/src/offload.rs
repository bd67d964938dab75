//! What a device does for the kernel, as `ethtool -K` sets it.

use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use crate::netns::Netns;

/// `ETHTOOL_STXCSUM` of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Whether the device puts checksums into what it sends. A virtual cable that "does" carries
/// packets without; one that does not has the kernel put them in as they leave.
pub fn set_tx_checksum(netns: &Netns, interface: &str, on: bool) -> Result<()> {
    netns
        .run(|| {
            let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
            let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)?;
            let mut value = Value {
                command: SET_TX_CHECKSUM,
                data: on.into(),
            };
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
            // this command reads.
            let result =
                unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw const request) };
            Errno::result(result).context("ETHTOOL_STXCSUM")?;
            Ok(())
        })
        .with_context(|| format!("transmit checksums of {interface} in {}", netns.name()))
}
