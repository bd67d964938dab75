//! The cases, in groups (spec: `modem-out`, `modem-in`, `uplink-out`).

// Tables: a case is to be read as a line, or as a few that belong together.
#[rustfmt::skip]
mod answers;
#[rustfmt::skip]
mod broken;
#[rustfmt::skip]
mod fragments_in;
#[rustfmt::skip]
mod fragments_out;
#[rustfmt::skip]
mod icmp_errors;
#[rustfmt::skip]
mod admin_page;
#[rustfmt::skip]
mod neighbours;
#[rustfmt::skip]
mod permits;
#[rustfmt::skip]
mod replies;
#[rustfmt::skip]
mod senders;
#[rustfmt::skip]
mod steering;
#[rustfmt::skip]
mod tunnel_out;
#[rustfmt::skip]
mod unwanted_in;
#[rustfmt::skip]
mod unwanted_out;
#[rustfmt::skip]
mod uplink_rest;

use super::case::Case;
use super::guard_state::{Flow, Known, When};
use super::packet::{Endpoint, Packet, udp};
use super::payload::RECEIVER;
use super::site::{LISTEN, MODEM, MODEM6, PEER, PEER6};

/// All of them. Names are unique.
pub fn all() -> Vec<Case> {
    let rows = [
        ("out: tunnel, NAT keepalive", tunnel_out::cases()),
        ("out: fragments", fragments_out::cases()),
        ("out: the modem itself", admin_page::cases()),
        ("both: neighbours", neighbours::cases()),
        ("both: permits", permits::cases()),
        ("out: anything else", unwanted_out::cases()),
        ("in: reply", replies::cases()),
        ("in: fragments", fragments_in::cases()),
        ("in: ICMP errors", icmp_errors::cases()),
        ("in: answers of the modem itself", answers::cases()),
        ("in: anything else", unwanted_in::cases()),
        ("uplink: tunnel", steering::cases()),
        ("uplink: anything else", uplink_rest::cases()),
        ("out: look-alikes, by who sends them", senders::cases()),
        ("broken packets", broken::cases()),
    ];
    let named = rows.into_iter().flat_map(|(row, cases)| {
        cases.into_iter().map(move |mut case| {
            case.row = row;
            case
        })
    });
    named.collect()
}

/// From the tunnel's port on the modem to the peer.
fn tunnel(payload: impl Into<Vec<u8>>) -> Packet {
    udp((MODEM, LISTEN), PEER, payload)
}

/// The same over IPv6.
fn tunnel6(payload: impl Into<Vec<u8>>) -> Packet {
    udp((MODEM6, LISTEN), PEER6, payload)
}

/// From the peer to the tunnel's port on the modem.
fn reply(payload: impl Into<Vec<u8>>) -> Packet {
    udp(PEER, (MODEM, LISTEN), payload)
}

/// The same over IPv6.
fn reply6(payload: impl Into<Vec<u8>>) -> Packet {
    udp(PEER6, (MODEM6, LISTEN), payload)
}

/// The tunnel has sent there, from the modem's address and its own port.
fn remote(at: Endpoint, sent: When) -> Known {
    Known::Remote {
        at,
        sent,
        source: None,
        source_port: 0,
        receiver: 0,
    }
}

/// The tunnel has sent there by an uplink, from the uplink's address: it was steered.
fn steered(at: Endpoint, sent: When, source: std::net::IpAddr, source_port: u16) -> Known {
    Known::Remote {
        at,
        sent,
        source: Some(source),
        source_port,
        receiver: 0,
    }
}

/// It has sent data messages there, by the session of [`data`].
fn in_session(known: Known) -> Known {
    match known {
        Known::Remote {
            at,
            sent,
            source,
            source_port,
            ..
        } => Known::Remote {
            at,
            sent,
            source,
            source_port,
            receiver: RECEIVER,
        },
        other => other,
    }
}

/// A flow with a known remote.
fn flow(remote: Endpoint, local_port: u16, protocol: u8) -> Flow {
    Flow {
        remote: Some(remote.0),
        remote_port: remote.1,
        local_port,
        protocol,
    }
}

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

const SYN: u8 = 2;
const SYN_ACK: u8 = 0x12;
const RST: u8 = 4;
