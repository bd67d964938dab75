//! Who has sent a packet of this machine's own.

use std::collections::BTreeSet;

use lte_common::policy::HostSockets;

use super::site::LISTEN;

/// The socket a packet belongs to, and which ports are held. Without meaning for what is forwarded
/// and for what enters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sender {
    /// The port of the UDP socket it belongs to; 0: it belongs to none.
    pub socket: u16,
    /// A UDP socket holds its source port. That the tunnel's port is held, `wireguard` says.
    pub bound: bool,
    /// WireGuard holds the tunnel's port.
    pub wireguard: bool,
    /// Another host has sent it, whose address its source is: no hook of the IP stack here has seen it,
    /// as where it comes from a container on a macvlan.
    pub foreign: bool,
}

impl Sender {
    /// WireGuard, by the tunnel.
    pub const TUNNEL: Self = Self {
        socket: 0,
        bound: false,
        wireguard: true,
        foreign: false,
    };

    /// As the pure policy is given it; `source_port` is the packet's, where it has one.
    pub fn host_sockets(self, source_port: Option<u16>) -> HostSockets {
        let mut bound = BTreeSet::new();
        bound.extend(self.wireguard.then_some(LISTEN));
        bound.extend(source_port.filter(|port| self.bound && *port != 0));
        HostSockets {
            sender: self.socket,
            bound,
            receiver: 0,
            foreign: self.foreign,
        }
    }
}
