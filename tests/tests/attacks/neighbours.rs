//! The carrier speaks IPv6 to others than the modem, and forges an error.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

use anyhow::{Result, ensure};
use lte_tests::addresses::{
    LAN_HOST6, LISTEN_PORT, MODEM_GATEWAY6, MODEM_MAC_BYTES, MODEM6, PEER_PORT, PEER6, ROUTER_LAN6,
    TUNNEL_PEER, UPLINK6,
};
use lte_tests::backend::Backend;
use lte_tests::capture::Capture;
use lte_tests::corpus::packet::{Packet, icmp, udp};
use lte_tests::outside_host::send_packet;
use lte_tests::packet::Kind;
use lte_tests::ping;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::{self, TIMEOUT};

use crate::answered;
use crate::tally::{Frame, Tally};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Hardware address of who asks.
const ASKING: [u8; 6] = [2, 0, 0, 0, 0, 0x42];
/// What IPv6 has to carry in one piece.
const SHORTEST_WAY: usize = 1280;

/// Each question is asked by another host of the modem's subnet, which the answer goes to.
const fn asking(host: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, host)
}

/// With the hop limit of a neighbour (RFC 4861, 4.3), whomever it is sent to.
fn solicitation(from: Ipv6Addr, to: Ipv6Addr, target: Ipv6Addr) -> Packet {
    let mut body = target.octets().to_vec();
    body.extend([1, 1]);
    body.extend(ASKING);
    let question = icmp(from.into(), to.into(), (SOLICITATION, 0), [0; 4], body);
    question.hop_limit(255)
}

/// Only the modem is found or reached by solicitations, and a forged "packet too big" is no end.
pub(crate) fn solicitations_for_others(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        ipv6: true,
        ..Options::lte()
    })?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    // The LAN host is known, so that nothing for it has to wait.
    ensure!(ping::answers(router, LAN_HOST6)?, "the LAN host is silent");
    let tally = Tally::open(&scene)?;
    let at_home = Capture::start(&scene.lab.lan)?;
    let questions = [
        solicitation(asking(0xa1), LAN_HOST6, LAN_HOST6),
        solicitation(asking(0xa2), ROUTER_LAN6, ROUTER_LAN6),
        solicitation(asking(0xa3), UPLINK6, UPLINK6),
        // To learn that an address is the router's, it need not be the one that is asked for.
        solicitation(asking(0xa4), ROUTER_LAN6, MODEM6),
        solicitation(asking(0xa5), UPLINK6, MODEM6),
        solicitation(asking(0xb1), MODEM6, MODEM6),
    ];
    let carrier = &scene.lab.carrier.netns;
    for question in &questions {
        send_packet(carrier, "modem0", MODEM_MAC_BYTES, question)?;
    }
    let mut frames = Vec::new();
    wait::until(TIMEOUT, "the modem's answer", || {
        frames.extend(tally.left()?);
        Ok(answered_hosts(&frames)
            .contains(&asking(0xb1))
            .then_some(()))
    })?;
    answered(&scene)?;
    frames.extend(tally.left()?);
    let hosts = answered_hosts(&frames);
    ensure!(hosts == [asking(0xb1)], "answers to {hosts:?}");
    at_home.none("a question of the carrier's in the LAN", |seen| {
        let source = seen.packet.source();
        (0xa1..0xb2).any(|host| source == Some(asking(host).into()))
    })?;
    scene.tunnel_is_sound()?;
    a_forged_short_way_is_gone(&scene, &tally)?;
    agent.interrupt()
}

/// Those of who asks that have an answer.
fn answered_hosts(frames: &[Frame]) -> Vec<Ipv6Addr> {
    let packets = frames.iter().map(Frame::packet);
    let answers = packets.filter(|packet| packet.kind == Kind::Icmp6(ADVERTISEMENT));
    answers
        .filter_map(|packet| match packet.destination() {
            Some(IpAddr::V6(to)) if (0xa0..0xc0).any(|host| to == asking(host)) => Some(to),
            _ => None,
        })
        .collect()
}

/// The kernel believes it, and the tunnel goes on in pieces.
fn a_forged_short_way_is_gone(scene: &Scene, tally: &Tally) -> Result<()> {
    let outer = udp(
        (MODEM6.into(), LISTEN_PORT),
        (PEER6.into(), PEER_PORT),
        traffic::shaped_as_data(),
    );
    // A shorter one is not believed.
    let mtu = (SHORTEST_WAY as u32).to_be_bytes();
    let from = MODEM_GATEWAY6.into();
    let error = icmp(from, MODEM6.into(), (2, 0), mtu, outer.ip());
    let carrier = &scene.lab.carrier.netns;
    send_packet(carrier, "modem0", MODEM_MAC_BYTES, &error)?;
    let since = Instant::now();
    let ping = ["-c", "5", "-i", "0.2", "-W", "5", "-s", "1250"];
    let peer = TUNNEL_PEER.to_string();
    let words = [&ping[..], &[&peer]].concat();
    scene.lab.router.tool("ping", &words)?;
    let frames = tally.left()?;
    let pieces: Vec<usize> = frames.iter().filter_map(piece).collect();
    ensure!(
        pieces.len() >= 10 && pieces.iter().all(|length| *length <= SHORTEST_WAY),
        "pieces of {pieces:?} bytes"
    );
    scene.session_kept(since)
}

/// The length of a piece of the tunnel's over IPv6.
fn piece(frame: &Frame) -> Option<usize> {
    const FRAGMENT: u8 = 44;
    let packet = frame.packet();
    let is_piece = frame.0.get(12..14)? == [0x86, 0xdd] && *frame.0.get(20)? == FRAGMENT;
    let to_the_peer = packet.addresses == Some((MODEM6.into(), PEER6.into()));
    (is_piece && to_the_peer).then_some(packet.bytes)
}
