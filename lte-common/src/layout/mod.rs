//! Map keys, values and counters, as both sides see them in memory.
//!
//! Every type is `repr(C)` without implicit padding, so that a value written by one side is the
//! value read by the other and a key's padding never makes two equal keys differ. Addresses are
//! in network byte order, ports and times in host byte order.

mod addr;
mod policy;

pub use addr::Addr;
pub use policy::{ADMIN_PORTS, Policy};

/// Version of everything in this module; part of the path under which maps are pinned.
///
/// To be raised when a size, an offset or a meaning changes: opening a pinned map does not
/// compare its layout. An upgraded agent makes its maps anew then, and takes over of the old ones
/// what the tunnel's session rests on: [`RemoteKey`], and that a [`Remote`] begins with `sent`,
/// are the same in every version.
pub const VERSION: u32 = 1;

impl RemoteKey {
    /// Word by word, as [`Addr::eq_words`].
    #[inline(always)]
    pub const fn eq_words(&self, other: &Self) -> bool {
        self.address.eq_words(&other.address) && self.port == other.port
    }
}

/// Key of [`maps::REMOTES`]: a remote of the tunnel.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteKey {
    /// Its address.
    pub address: Addr,
    /// Its UDP port, host byte order.
    pub port: u16,
    /// Zero.
    pub pad: u16,
}

/// Value of [`maps::REMOTES`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Remote {
    /// When the tunnel last sent to it, ticks (jiffies); 0: known from the config, never
    /// sent to. Known is enough for steering, not for letting a reply in.
    pub sent: u64,
    /// The source address that was replaced by the modem's, [`Addr::NONE`] where none was.
    pub source: Addr,
    /// A source port other than the listen port, given by a masquerade on the way; else 0.
    pub source_port: u16,
    /// Zero.
    pub pad: u16,
    /// The receiver index of the last data message that was noted, as it lies in the message; 0: none
    /// yet. A packet of the same session is the tunnel's.
    pub receiver: u32,
}

impl Remote {
    /// Whether a port of ours is the one that a masquerade gave the tunnel.
    #[inline(always)]
    pub const fn is_port(&self, port: u16) -> bool {
        self.source_port != 0 && self.source_port == port
    }
}

/// Value of [`maps::RECENT`]: the remote that this CPU met last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    /// Which it is.
    pub key: RemoteKey,
    /// Zero.
    pub pad: u32,
    /// A copy of what was known of it.
    pub remote: Remote,
}

/// Key of [`maps::FRAGMENTS`]: a datagram whose first fragment was let through (RFC 791, 3.2;
/// RFC 8200, 4.5).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FragmentKey {
    /// Source of the datagram.
    pub source: Addr,
    /// Destination of the datagram.
    pub destination: Addr,
    /// Identification, host byte order.
    pub ident: u32,
    /// The hook it was seen on, as [`Hook`](crate::policy::Hook).
    pub hook: u8,
    /// IP protocol number: an identification is of one protocol (RFC 791, 3.2).
    pub protocol: u8,
    /// On its way out the local port of the UDP socket that it belongs to, host byte order; 0 where it
    /// belongs to none, and on its way in. A user can choose the identification of his own datagrams, and
    /// not the socket of another's.
    pub sender: u16,
}

/// Value of [`maps::FRAGMENTS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentValue {
    /// When the first fragment passed, ticks (jiffies).
    pub seen: u64,
    /// The address that replaces the datagram's, [`Addr::NONE`] where none does.
    pub replace: Addr,
    /// Non-zero: the first fragment was marked.
    pub marked: u64,
}

/// Key of [`maps::ADMIN_FLOWS`] and [`maps::PERMITS`]: a flow as this side sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The remote address; in a permit [`Addr::NONE`] stands for any.
    pub remote: Addr,
    /// The remote port; 0 with ICMP.
    pub remote_port: u16,
    /// The local port; the identifier with ICMP echo.
    pub local_port: u16,
    /// IP protocol number.
    pub protocol: u32,
}

/// One of [`maps::COUNTERS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    /// Packets.
    pub packets: u64,
    /// Bytes from the IP header on, as a carrier bills them.
    pub bytes: u64,
}

/// Room for classes of one hook in [`maps::COUNTERS`]; the index is `hook * STRIDE + class`.
pub const COUNTER_STRIDE: u32 = 32;

/// Names and sizes of the maps.
pub mod maps {
    /// Remotes of the tunnel: LRU hash, [`RemoteKey`](super::RemoteKey) to [`Remote`](super::Remote).
    pub const REMOTES: &str = "REMOTES";
    /// Entries in it: peers, and the addresses they roamed through. An LRU map hands its free
    /// entries to each CPU by 128, and evicts where none are left: enough for 32 CPUs.
    pub const REMOTES_MAX: u32 = 4096;
    /// A copy of the last entry of [`REMOTES`] that a CPU met, valid for a second: per-CPU array of
    /// one [`Recent`](super::Recent), not pinned.
    pub const RECENT: &str = "RECENT";
    /// Datagrams under way in pieces: LRU hash, [`FragmentKey`](super::FragmentKey) to
    /// [`FragmentValue`](super::FragmentValue).
    pub const FRAGMENTS: &str = "FRAGMENTS";
    /// Entries in it.
    pub const FRAGMENTS_MAX: u32 = 4096;
    /// Requests to the admin page: LRU hash, [`FlowKey`](super::FlowKey) to a time in ticks. It is
    /// pinned by the name that it has had since the first layout.
    pub const ADMIN_FLOWS: &str = "ASKED";
    /// Entries in it.
    pub const ADMIN_FLOWS_MAX: u32 = 4096;
    /// What the agent permits: hash, [`FlowKey`](super::FlowKey) to an expiry in ns of
    /// `CLOCK_MONOTONIC`.
    pub const PERMITS: &str = "PERMITS";
    /// Entries in it.
    pub const PERMITS_MAX: u32 = 64;
    /// Counters by hook and class: per-CPU array of [`Counter`](super::Counter).
    pub const COUNTERS: &str = "COUNTERS";
    /// Entries in it.
    pub const COUNTERS_MAX: u32 = 3 * super::COUNTER_STRIDE;
}

const _: () = {
    assert!(size_of::<RemoteKey>() == 20);
    assert!(size_of::<Remote>() == 32);
    assert!(core::mem::offset_of!(Remote, sent) == 0);
    assert!(core::mem::offset_of!(Remote, source) == 8);
    assert!(core::mem::offset_of!(Remote, source_port) == 24);
    assert!(core::mem::offset_of!(Remote, receiver) == 28);
    assert!(size_of::<Recent>() == 56);
    assert!(size_of::<FragmentKey>() == 40);
    assert!(size_of::<FragmentValue>() == 32);
    assert!(size_of::<FlowKey>() == 24);
    assert!(size_of::<Counter>() == 16);
};
