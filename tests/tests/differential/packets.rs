//! Frames to try: from the corpus, from pools of what matters, from nothing, and broken.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use lte_tests::corpus::packet::{Extension, Packet, bare, icmp, tcp, udp};
use lte_tests::corpus::payload::shaped;
use lte_tests::corpus::program::{LONGEST, SHORTEST};
use lte_tests::corpus::site::{
    GATEWAY, GATEWAY6, GATEWAY6_LINK, LAN_HOST, LAN_HOST6, LISTEN, MODEM, MODEM6, PEER, PEER6,
    UNKNOWN_SENDER, UNKNOWN_SENDER6, WAN, WAN6,
};
use lte_tests::corpus::{Case, Device, Endpoint, cases};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// The corpus, made once.
pub(crate) static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases::all);

/// Identification of all datagrams in pieces: pieces are to meet.
pub(crate) const IDENT: u32 = 0x4d2;

fn address4() -> impl Strategy<Value = IpAddr> {
    let other = Ipv4Addr::new(192, 168, 0, 3).into();
    let broadcast = Ipv4Addr::BROADCAST.into();
    select(vec![
        MODEM,
        MODEM,
        MODEM,
        WAN,
        WAN,
        PEER.0,
        PEER.0,
        PEER.0,
        GATEWAY,
        UNKNOWN_SENDER,
        LAN_HOST,
        other,
        broadcast,
    ])
}

fn address6() -> impl Strategy<Value = IpAddr> {
    let any = Ipv6Addr::UNSPECIFIED.into();
    select(vec![
        MODEM6,
        MODEM6,
        MODEM6,
        WAN6,
        WAN6,
        PEER6.0,
        PEER6.0,
        PEER6.0,
        GATEWAY6,
        GATEWAY6_LINK,
        UNKNOWN_SENDER6,
        LAN_HOST6,
        any,
    ])
}

/// Two addresses of one family.
fn pair() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![(address4(), address4()), (address6(), address6())]
}

fn port() -> impl Strategy<Value = u16> {
    prop_oneof![
        8 => select(vec![LISTEN, LISTEN, LISTEN, PEER.1, PEER.1, 61000, 80, 443, 0, 53, 40000]),
        1 => any::<u16>(),
    ]
}

fn endpoints() -> impl Strategy<Value = (Endpoint, Endpoint)> {
    let modem = select(vec![
        (MODEM, PEER),
        (WAN, PEER),
        (MODEM6, PEER6),
        (WAN6, PEER6),
    ]);
    prop_oneof![
        // What the tunnel sends, and what comes back.
        3 => modem.clone().prop_map(|(us, peer)| ((us, LISTEN), peer)),
        2 => modem.clone().prop_map(|(us, peer)| (peer, (us, LISTEN))),
        1 => modem.prop_map(|(us, peer)| ((us, 61000), peer)),
        3 => (pair(), port(), port()).prop_map(|((a, b), p, q)| ((a, p), (b, q))),
    ]
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let right = select(vec![
        (1, 148),
        (2, 92),
        (3, 64),
        (4, 32),
        (4, 96),
        (4, 1312),
    ]);
    prop_oneof![
        6 => right.prop_map(|(kind, len)| shaped(kind, len)),
        2 => Just(vec![0xff]),
        2 => (0_u8..6, 0_usize..200).prop_map(|(kind, len)| shaped(kind, len)),
        1 => vec(any::<u8>(), 0..80),
    ]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        Just(Extension::HopByHop),
        (0_u8..4).prop_map(Extension::Destination),
        Just(Extension::Routing),
        Just(Extension::Auth),
        (0_u16..3, any::<bool>()).prop_map(|(at, more)| Extension::Fragment(IDENT, at, more)),
    ]
}

/// What ICMP errors quote: a packet that the tunnel may have sent, as far as so many bytes.
fn quote() -> impl Strategy<Value = Vec<u8>> {
    (endpoints(), payload(), 0_usize..120).prop_map(|((from, to), payload, len)| {
        let ip = udp(from, to, payload).ip();
        ip[..len.min(ip.len())].to_vec()
    })
}

fn transport() -> impl Strategy<Value = Packet> {
    let kinds = select(vec![
        0_u8, 1, 2, 3, 4, 5, 8, 11, 12, 13, 128, 129, 133, 134, 135, 136, 137,
    ]);
    let ids = select(vec![[0x12, 0x34, 0, 1], [0; 4], [0, 80, 0, 0]]);
    prop_oneof![
        8 => (endpoints(), payload()).prop_map(|((from, to), payload)| udp(from, to, payload)),
        2 => (endpoints(), any::<u8>()).prop_map(|((from, to), flags)| tcp(from, to, flags)),
        3 => (pair(), kinds, ids, quote())
            .prop_map(|((from, to), kind, id, quote)| icmp(from, to, (kind, 0), id, quote)),
        1 => (pair(), any::<u8>(), vec(any::<u8>(), 0..60))
            .prop_map(|((from, to), protocol, body)| bare(from, to, protocol, body)),
    ]
}

/// A packet of the pools, with what may stand around its transport header.
fn packet() -> impl Strategy<Value = Packet> {
    let tags = select(vec![
        vec![],
        vec![],
        vec![],
        vec![0x8100],
        vec![0x88a8, 0x8100],
    ]);
    let piece = prop_oneof![
        5 => Just(None),
        2 => (0_usize..5, 1_usize..80).prop_map(|(from, len)| Some((from * 8 * 10, len * 8))),
    ];
    let extensions = prop_oneof![3 => Just(vec![]), 1 => vec(extension(), 0..8)];
    (
        transport(),
        (tags, piece, extensions),
        (0_usize..11, prop::bool::weighted(0.2)),
        (select(vec![64, 64, 255, 1]), prop::bool::weighted(0.15)),
        prop_oneof![3 => Just(vec![]), 1 => vec(select(vec![0_u8, 0xff]), 0..30)],
    )
        .prop_map(
            |(packet, (tags, piece, extensions), options, rest, padding)| {
                let (words, with_options) = options;
                let (hop_limit, unsummed) = rest;
                let mut packet = packet.hop_limit(hop_limit).padding(&padding);
                for tag in tags {
                    packet = packet.tag(tag, 7);
                }
                if with_options {
                    packet = packet.options(words);
                }
                if unsummed {
                    packet = packet.unsummed();
                }
                packet = packet.extensions(&extensions);
                match piece {
                    Some((from, len)) if from < packet.datagram_len() => {
                        packet.fragment(IDENT, from, len)
                    }
                    _ => packet,
                }
            },
        )
}

/// A change to a frame.
#[derive(Debug, Clone)]
enum Change {
    /// A byte becomes another.
    Byte(Index, u8),
    /// Two bytes become another number.
    Word(Index, u16),
    /// It ends earlier.
    Cut(Index),
    /// It ends later.
    Grow(Vec<u8>),
}

/// Mostly to headers: an index below 100 bytes, where there are as many.
fn change() -> impl Strategy<Value = Change> {
    let word = prop_oneof![
        select(vec![
            0_u16, 1, 7, 8, 20, 28, 40, 0x2000, 0x1fff, 0x0800, 0x86dd, 0x8100, 0xffff, LISTEN
        ]),
        0_u16..200,
    ];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        3 => (any::<Index>(), word).prop_map(|(at, word)| Change::Word(at, word)),
        3 => any::<Index>().prop_map(Change::Cut),
        1 => vec(any::<u8>(), 1..40).prop_map(Change::Grow),
    ]
}

impl Change {
    fn apply(&self, frame: &mut Vec<u8>) {
        let headers = frame.len().min(100);
        match self {
            Self::Byte(at, byte) if headers > 0 => frame[at.index(headers)] = *byte,
            Self::Word(at, word) if headers > 1 => {
                // Fields of two bytes begin at even offsets.
                let at = at.index(headers / 2) * 2;
                frame[at..at + 2].copy_from_slice(&word.to_be_bytes());
            }
            Self::Cut(at) => frame.truncate(at.index(frame.len() + 1)),
            Self::Grow(bytes) => frame.extend_from_slice(bytes),
            Self::Byte(..) | Self::Word(..) => {}
        }
    }
}

/// A frame for a device, of a length that the kernel takes; and the case it was made of.
pub(crate) fn frame(device: Device) -> impl Strategy<Value = (Vec<u8>, Option<usize>)> {
    let of_corpus: Vec<usize> = CASES
        .iter()
        .enumerate()
        .filter(|(_, case)| case.site.device == device)
        .map(|(at, _)| at)
        .collect();
    let whole = prop_oneof![
        4 => select(of_corpus).prop_map(|at| (CASES[at].frame.clone(), Some(at))),
        6 => packet().prop_map(move |packet| (packet.frame(device), None)),
        1 => vec(any::<u8>(), SHORTEST..150).prop_map(|bytes| (bytes, None)),
    ];
    let changes = prop_oneof![2 => Just(vec![]), 1 => vec(change(), 1..4)];
    (whole, changes).prop_map(|((mut frame, case), changes)| {
        for change in changes {
            change.apply(&mut frame);
        }
        frame.resize(frame.len().clamp(SHORTEST, LONGEST), 0);
        (frame, case)
    })
}
