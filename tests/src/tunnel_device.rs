//! In place of WireGuard where a test has to choose the payload: a VRF device of the tunnel's name.
//!
//! A frame that is sent to a VRF device goes out by IP once more, as one of this machine's own that has
//! come in by the device and belongs to no UDP socket (`vrf_process_v4_outbound`). So do WireGuard's.

use anyhow::Result;

use crate::frame_socket::FrameSocket;
use crate::netns::Netns;

/// The table that the device's packets are routed by first. Where it has no route for one, the rules
/// behind the device's own are asked, as for any packet.
pub const TABLE: u32 = 300;

/// The device, and a way to send by it.
#[derive(Debug)]
pub struct TunnelDevice(FrameSocket);

impl TunnelDevice {
    /// Makes the device.
    pub fn create(netns: &Netns, name: &str) -> Result<Self> {
        netns.ip(&format!(
            "link add {name} type vrf table {TABLE}\nlink set {name} up\n"
        ))?;
        Ok(Self(FrameSocket::open(netns, name)?))
    }

    /// Sends an IP packet.
    pub fn send(&self, ip: &[u8]) -> Result<()> {
        self.send_marked(ip, 0)
    }

    /// Sends an IP packet that bears a mark.
    pub fn send_marked(&self, ip: &[u8], mark: u32) -> Result<()> {
        let kind = if ip.first().is_some_and(|first| first >> 4 == 6) {
            [0x86, 0xdd]
        } else {
            [0x08, 0x00]
        };
        // The device takes the addresses off again.
        let frame = [&[2; 12], &kind[..], ip].concat();
        self.0.mark(mark)?;
        self.0.send(&frame)
    }
}
