//! Whose packet it is: the sockets of this machine, as the kernel reports them, and the session.
//!
//! Measured with kernel WireGuard at TC egress. WireGuard's own datagrams belong to no socket, or to
//! that of the flow they carry; a program's belong to its UDP socket, whose port is their source port
//! unless a masquerade has changed that.

use crate::headers::PacketInfo;

/// What the kernel knows of the sender of a packet on its way out.
pub trait Sockets {
    /// The local port of the UDP socket that the packet belongs to (`skb->sk`), host byte order; 0
    /// where it belongs to none, or to one of another protocol.
    fn sender(&self) -> u16;
    /// Whether that port is this one, host byte order: cheaper to ask.
    fn is_sender(&self, port: u16) -> bool {
        self.sender() == port
    }
    /// Whether a UDP socket of this namespace would be given an answer to the packet at this local
    /// port, host byte order (`bpf_sk_lookup_udp` of the packet's addresses reversed).
    fn is_bound(&self, info: &PacketInfo, port: u16) -> bool;
    /// Whether the packet's source is another host's: this namespace routes to it by an interface. False
    /// where that is not known, as on a machine that does not forward.
    fn is_foreign(&self, info: &PacketInfo) -> bool;
}

/// What is read of a packet only where something hangs on it.
pub trait Session {
    /// The receiver index of a data message, see [`receiver`](crate::headers::receiver).
    fn receiver(&self, info: &PacketInfo) -> u32;
}

/// Whether a program on this machine has sent the datagram by a socket of its own: the socket's port
/// is the datagram's. A flow inside the tunnel has another port: WireGuard holds this one.
#[inline(always)]
pub(super) fn is_sent_by_program(info: &PacketInfo, sockets: &impl Sockets) -> bool {
    info.source_port != 0 && sockets.is_sender(info.source_port)
}

#[cfg(any(test, feature = "std"))]
pub use host::HostSockets;

#[cfg(any(test, feature = "std"))]
mod host {
    use super::{PacketInfo, Session, Sockets};
    use std::collections::BTreeSet;

    /// The sockets and the session on the host, as a test sets them.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct HostSockets {
        /// The port of the UDP socket the packet belongs to; 0: none.
        pub sender: u16,
        /// The ports at which a UDP socket is bound.
        pub bound: BTreeSet<u16>,
        /// The receiver index of the packet; 0: none.
        pub receiver: u32,
        /// The packet's source is another host's.
        pub foreign: bool,
    }

    impl Session for HostSockets {
        fn receiver(&self, _: &PacketInfo) -> u32 {
            self.receiver
        }
    }

    impl Sockets for HostSockets {
        fn sender(&self) -> u16 {
            self.sender
        }
        fn is_bound(&self, _: &PacketInfo, port: u16) -> bool {
            self.bound.contains(&port)
        }
        fn is_foreign(&self, _: &PacketInfo) -> bool {
            self.foreign
        }
    }
}
