//! Packets that are several on the wire, and what they are counted as.

use std::fmt::Write;

use anyhow::Result;
use lte_common::headers::Joined;
use lte_common::policy::{Class, Hook};

use super::guard_state::{Known, When};
use super::packet::{Packet, bare, udp};
use super::site::{GATEWAY, GATEWAY6, LISTEN, MODEM, MODEM6, PEER, PEER6, Site};
use super::{Device, Endpoint, GuardState, Seen, Sender, Subject};

const TCP: u8 = 6;

/// Such a packet, and the one counter it is in: packets, bytes.
struct Case {
    name: &'static str,
    hook: Hook,
    packet: Packet,
    size: u32,
    segments: u32,
    counted: (Class, u64, u64),
}

/// TCP with so many words of header and bytes of payload.
fn tcp(from: Endpoint, to: Endpoint, words: u8, payload: usize) -> Packet {
    let mut segment = Vec::new();
    segment.extend(from.1.to_be_bytes());
    segment.extend(to.1.to_be_bytes());
    segment.extend([0; 8]);
    segment.extend([words << 4, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(usize::from(words) * 4 + payload, 0x5a);
    bare(from.0, to.0, TCP, segment)
}

fn cases() -> Vec<Case> {
    let case = |name, hook, packet, (size, segments), counted| Case {
        name,
        hook,
        packet,
        size,
        segments,
        counted,
    };
    let page = || tcp((MODEM, 40000), (GATEWAY, 80), 8, 2000);
    let page6 = tcp((MODEM6, 40000), (GATEWAY6, 80), 5, 2000);
    let other = tcp((MODEM, 40000), (GATEWAY, 8080), 5, 2000);
    let data = |len| {
        let mut payload = vec![0x5a; len];
        payload[..4].copy_from_slice(&[4, 0, 0, 0]);
        payload
    };
    let reply = udp(PEER, (MODEM, LISTEN), data(3 * 128));
    let reply6 = udp(PEER6, (MODEM6, LISTEN), data(2 * 128 + 64));
    let out = udp((MODEM, LISTEN), PEER, data(320));
    let (leaving, entering) = (Hook::ModemOut, Hook::ModemIn);
    // 20 bytes of IP, 32 of TCP, 2000 of payload, and 52 for each packet more.
    vec![
        case("one packet", leaving, page(), (0, 0), (Class::Admin, 1, 2052)),
        case("one packet, counted", leaving, page(), (0, 1), (Class::Admin, 1, 2052)),
        case("TCP, counted", leaving, page(), (536, 4), (Class::Admin, 4, 2052 + 3 * 52)),
        case("TCP, not counted", leaving, page(), (536, 0), (Class::Admin, 4, 2052 + 3 * 52)),
        case("TCP that fits, not counted", leaving, page(), (2000, 0), (Class::Admin, 1, 2052)),
        case("TCP, all but the last byte fits", leaving, page(), (1999, 0), (Class::Admin, 2, 2052 + 52)),
        case("TCP by pieces of no size", leaving, page(), (0xffff, 3), (Class::Admin, 3, 2052 + 2 * 52)),
        case("TCP over IPv6", leaving, page6, (1000, 2), (Class::Admin, 2, 2060 + 60)),
        case("TCP behind IPv4 options", leaving, page().options(2), (1000, 2), (Class::DropLocal, 2, 2060 + 60)),
        case("TCP that is dropped", leaving, other, (500, 0), (Class::DropLocal, 4, 2040 + 3 * 40)),
        case("UDP of the tunnel", leaving, out, (160, 2), (Class::Tunnel, 2, 348 + 28)),
        case("UDP, three replies", entering, reply, (128, 3), (Class::Reply, 3, 412 + 2 * 28)),
        case("UDP over IPv6, three replies", entering, reply6, (128, 0), (Class::Reply, 3, 368 + 2 * 48)),
    ]
}

/// Shows them to a subject; what is counted otherwise, a line each.
pub fn check_all(subject: &mut impl Subject) -> Result<String> {
    let mut wrong = String::new();
    for case in cases() {
        let now = subject.now()?;
        let known = [PEER, PEER6].map(|at| Known::Remote {
            at,
            sent: When::Ago(1),
            source: None,
            source_port: 0,
            receiver: 0,
        });
        subject.set_state(&GuardState::of(&known, now))?;
        let frame = case.packet.frame(Device::Ethernet);
        let seen = Seen {
            hook: case.hook,
            site: Site::ETHERNET,
            forwarded: false,
            sender: Sender::TUNNEL,
            mark: 0,
            frame: &frame,
            joined: Joined {
                size: case.size,
                segments: case.segments,
            },
        };
        let (class, packets, bytes) = case.counted;
        let wanted = vec![(case.hook, class, packets, bytes)];
        match subject.judge(&seen)? {
            Some(outcome) if outcome.counters == wanted => {}
            other => {
                let found = other.map(|outcome| outcome.counters);
                writeln!(wrong, "{}: {found:?} and not {wanted:?}", case.name)?;
            }
        }
    }
    Ok(wrong)
}
