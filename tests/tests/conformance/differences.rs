//! Where real packets fare otherwise than `docs/spec.md`, section 3, says, and why.
//!
//! Each reason is a row of a table in the docs, quoted by its first cell.

use lte_common::policy::Hook::{self, ModemOut};
use lte_tests::backend::Backend::{self, Nft};
use lte_tests::corpus::Case;

use crate::rig::through_the_stack;
use crate::verdict::Kind::{self, Counters, LetsPass};
use crate::{rows, rows_of_senders};

/// Why a verdict differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    AnotherHost,
    Answers,
    Astray,
    BeforeEgress,
    Broadcast,
    Broken,
    Claims,
    EchoAnswer,
    Expired,
    Extensions,
    Forwarded,
    Holder,
    MarkRule,
    Masquerade,
    ModemHook,
    NotForwarded,
    NothingToUndo,
    FragmentsIn,
    FragmentsOut,
    Quote,
    Shape,
    SocketPiece,
    TagOff,
    Tags,
    Tun,
}

impl Why {
    /// The first cell of the row in the docs that says more.
    pub(crate) const fn row(self) -> &'static str {
        match self {
            Self::AnotherHost => "another host's packet, by a device of its own on an uplink",
            Self::Answers => "answers of the modem's page",
            Self::Astray => {
                "from a remote, to the tunnel's port and another address than the modem's"
            }
            Self::BeforeEgress => "kernel before 5.16",
            Self::Broadcast => "a broadcast of this machine's own",
            Self::Broken => "what the IP stack itself refuses (bad checksum, lengths that lie)",
            Self::Claims => "a forwarded packet that claims an address of this machine",
            Self::EchoAnswer => "the answer to a permitted echo",
            Self::Expired => "a reply after the flow time-out",
            Self::Extensions => "IPv6 extension headers",
            Self::Forwarded => "forwarded",
            Self::Holder => "a program that holds the tunnel's port",
            Self::MarkRule => "routed with our mark on it already",
            Self::Masquerade => "a source port changed by masquerade on an uplink",
            Self::ModemHook => "steered, and then dropped at the modem",
            Self::NotForwarded => "multicast of a link",
            Self::NothingToUndo => "a reply to what was steered",
            Self::FragmentsIn => "fragments coming in",
            Self::FragmentsOut => "fragments made before the IP stack cuts",
            Self::Quote => "what an ICMP error quotes",
            Self::Shape => "shape",
            Self::SocketPiece => "a later fragment that belongs to a socket",
            Self::TagOff => "a VLAN tag on what enters",
            Self::Tags => "VLAN tags on an uplink",
            Self::Tun => "a TUN device",
        }
    }
}

/// What is known of a difference.
pub(crate) fn explained(side: Backend, case: &Case, sees_what_leaves: bool) -> Option<(Kind, Why)> {
    let is_local = case.hook == ModemOut && !case.forwarded;
    if side == Nft && !sees_what_leaves && is_local && through_the_stack(case).is_none() {
        let passes = case.want.fate == lte_tests::corpus::Fate::Passed;
        return Some((if passes { Counters } else { LetsPass }, Why::BeforeEgress));
    }
    let of_case = |row: &&Row| {
        row.side == side && row.hook == case.hook && row.names.contains(&case.name.as_str())
    };
    rows().find(of_case).map(|row| (row.kind, row.why))
}

fn rows() -> impl Iterator<Item = &'static Row> {
    rows::ROWS.iter().chain(rows_of_senders::ROWS)
}

/// Every name in the list, with its hook: each has to be a case's.
pub(crate) fn names() -> impl Iterator<Item = (Hook, &'static str)> {
    rows().flat_map(|row| row.names.iter().map(|name| (row.hook, *name)))
}

/// Cases of a hook that differ alike for one reason.
pub(crate) struct Row {
    pub(crate) side: Backend,
    pub(crate) hook: Hook,
    pub(crate) kind: Kind,
    pub(crate) why: Why,
    pub(crate) names: &'static [&'static str],
}
