//! What the kernel has joined, or will cut: one packet to a program, several on the wire.

use super::{PacketInfo, Reader, protocol};

/// Bytes of a UDP header.
const UDP_LEN: u32 = 8;
/// Where TCP says how long its header is, in words in the upper half of a byte.
const TCP_DATA_OFFSET: usize = 12;

/// How the kernel says that a packet is several (`struct skb_shared_info`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Bytes of payload in each of them but the last; 0: it is one packet.
    pub size: u32,
    /// How many they are; 0 if the kernel has not counted them: what comes from a virtual machine or by a
    /// packet socket has a size alone.
    pub segments: u32,
}

/// A number of packets, and their bytes from the IP header on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wire {
    /// Packets.
    pub packets: u32,
    /// Bytes.
    pub bytes: u32,
}

/// What a packet is on the wire: each segment has all headers from IP's to the payload.
#[inline(always)]
pub fn on_the_wire<R: Reader>(reader: &R, info: &PacketInfo, joined: Joined) -> Wire {
    let one = Wire {
        packets: 1,
        bytes: info.ip_len,
    };
    if joined.size == 0 {
        return one;
    }
    let transport = match info.protocol {
        protocol::UDP => UDP_LEN,
        protocol::TCP => match reader.load::<u8>(usize::from(info.transport) + TCP_DATA_OFFSET) {
            Some(words) => u32::from(words >> 4) * 4,
            None => return one,
        },
        _ => 0,
    };
    let headers = u32::from(info.transport.wrapping_sub(info.network)) + transport;
    let counted = match joined.segments {
        0 => {
            let payload = info.ip_len.saturating_sub(headers);
            // A size of 0 is gone by now, and the compiler knows.
            payload.wrapping_add(joined.size - 1) / joined.size
        }
        counted => counted,
    };
    let packets = if counted == 0 { 1 } else { counted };
    Wire {
        packets,
        bytes: info
            .ip_len
            .wrapping_add((packets - 1).wrapping_mul(headers)),
    }
}
