//! What is remembered before and after a packet.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lte_common::layout::{Addr, FlowKey, FragmentKey, FragmentValue, Remote, RemoteKey};
use lte_common::policy::Hook;

use super::packet::Endpoint;

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// A moment, by both clocks that memory is dated by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// The kernel's ticks (jiffies): remotes, pieces and questions.
    pub ticks: u64,
    /// Ticks in a second.
    pub hz: u64,
    /// `CLOCK_MONOTONIC`, ns: permits.
    pub ns: u64,
}

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Not yet.
    Never,
    /// So many seconds before the packet.
    Ago(u64),
    /// With the packet.
    Now,
}

/// A conversation as this side sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// The far address; `None` is any, in a permit.
    pub remote: Option<IpAddr>,
    /// The far port, 0 with ICMP.
    pub remote_port: u16,
    /// The near port, the identifier with ICMP.
    pub local_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

/// Something that is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// A remote of the tunnel.
    Remote {
        /// Where it is.
        at: Endpoint,
        /// When the tunnel last sent to it.
        sent: When,
        /// The source address that was replaced by the modem's.
        source: Option<IpAddr>,
        /// The source port that a masquerade gave the tunnel, 0 where none did.
        source_port: u16,
        /// The receiver index of the session, 0 where no data message was noted.
        receiver: u32,
    },
    /// A permit of the agent's that is open for so many seconds more, or was open until so many
    /// seconds ago.
    Permit(Flow, Result<u64, u64>),
    /// The modem itself was asked something.
    AdminFlow(Flow, When),
    /// The first piece of a datagram has passed.
    Fragment {
        /// Where.
        hook: Hook,
        /// The datagram's addresses.
        between: (IpAddr, IpAddr),
        /// The datagram's identification.
        ident: u32,
        /// When.
        seen: When,
        /// The address that replaced the first piece's.
        replace: Option<IpAddr>,
        /// The first piece was marked.
        marked: bool,
        /// IP protocol number.
        protocol: u8,
        /// The port of the UDP socket that it belonged to; 0: none.
        sender: u16,
    },
}

/// All that is remembered, dated.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardState {
    /// Far ends of the tunnel.
    pub remotes: BTreeMap<RemoteKey, Remote>,
    /// Datagrams in pieces.
    pub fragments: BTreeMap<FragmentKey, FragmentValue>,
    /// What the modem itself was asked.
    pub admin_flows: BTreeMap<FlowKey, u64>,
    /// What is permitted, and until when.
    pub permits: BTreeMap<FlowKey, u64>,
}

impl GuardState {
    /// What is known, dated from `now` on.
    pub fn of(known: &[Known], now: Clocks) -> Self {
        let mut state = Self::default();
        for known in known {
            state.add(known, now, now);
        }
        state
    }

    /// Adds to what is known; what it replaces is forgotten. What is ago is dated from `past` on.
    pub fn add(&mut self, known: &Known, past: Clocks, now: Clocks) {
        match *known {
            Known::Remote {
                at,
                sent,
                source,
                source_port,
                receiver,
            } => {
                let value = Remote {
                    sent: sent.at(past, now),
                    source: source.map_or(Addr::NONE, addr),
                    source_port,
                    pad: 0,
                    receiver,
                };
                self.remotes.insert(remote_key(at), value);
            }
            Known::Permit(flow, left) => {
                let until = match left {
                    Ok(left) => past.ns + left * SECOND,
                    Err(ago) => past.ns.saturating_sub(ago * SECOND),
                };
                self.permits.insert(flow.key(), until);
            }
            Known::AdminFlow(flow, when) => {
                self.admin_flows.insert(flow.key(), when.at(past, now));
            }
            Known::Fragment {
                hook,
                between,
                ident,
                seen,
                replace,
                marked,
                protocol,
                sender,
            } => {
                let key = FragmentKey {
                    source: addr(between.0),
                    destination: addr(between.1),
                    ident,
                    hook: hook as u8,
                    protocol,
                    sender,
                };
                let value = FragmentValue {
                    seen: seen.at(past, now),
                    replace: replace.map_or(Addr::NONE, addr),
                    marked: u64::from(marked),
                };
                self.fragments.insert(key, value);
            }
        }
    }

    /// With every date in ticks that lies between `from` and `to` set to `to`: what was dated
    /// while a packet was judged was dated by that packet.
    #[must_use]
    pub fn dated(mut self, from: Clocks, to: Clocks) -> Self {
        let date = |at: &mut u64| {
            if (from.ticks..=to.ticks).contains(at) {
                *at = to.ticks;
            }
        };
        self.remotes.values_mut().for_each(|r| date(&mut r.sent));
        self.fragments.values_mut().for_each(|f| date(&mut f.seen));
        self.admin_flows.values_mut().for_each(date);
        self
    }
}

impl When {
    /// In ticks. The kernel's begin five minutes before they overflow 32 bits: "long ago" can be
    /// said right after boot.
    fn at(self, past: Clocks, now: Clocks) -> u64 {
        match self {
            Self::Never => 0,
            Self::Ago(seconds) => past.ticks - seconds * past.hz,
            Self::Now => now.ticks,
        }
    }
}

impl Flow {
    fn key(self) -> FlowKey {
        FlowKey {
            remote: self.remote.map_or(Addr::NONE, addr),
            remote_port: self.remote_port,
            local_port: self.local_port,
            protocol: u32::from(self.protocol),
        }
    }
}

fn remote_key((address, port): Endpoint) -> RemoteKey {
    RemoteKey {
        address: addr(address),
        port,
        pad: 0,
    }
}

fn addr(address: IpAddr) -> Addr {
    match address {
        IpAddr::V4(address) => Addr::from_v4(address.octets()),
        IpAddr::V6(address) => Addr::from_v6(address.octets()),
    }
}
