//! The carrier answers in the peer's name, or says what has become of the tunnel's packets.

use std::time::Instant;

use anyhow::{Result, ensure};
use lte_tests::addresses::{
    LAN_HOST, LISTEN_PORT, MODEM, MODEM_GATEWAY, MODEM_MAC_BYTES, PEER, PEER_PORT, TUNNEL,
    TUNNEL_PEER,
};
use lte_tests::backend::Backend;
use lte_tests::capture::{Capture, Seen};
use lte_tests::corpus::packet::{Packet, icmp, udp};
use lte_tests::outside_host::send_packet;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{drops, sysctl, traffic};
use nix::sys::signal::Signal;

use crate::tally::{Frame, Tally};
use crate::{answered, open_house};

/// Of the kernel (`ip_rt_min_pmtu`).
const SHORTEST_WAY: u16 = 552;

/// What is let in as the peer's goes to the tunnel, or nowhere.
pub(crate) fn lead_nowhere_else(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let agent = scene.installation()?.start(backend)?;
    let router = &scene.lab.router;
    // A router that obeys source routes.
    sysctl::set(
        router,
        &[
            ("ipv4/conf/all/accept_source_route", "1"),
            ("ipv4/conf/modem/accept_source_route", "1"),
        ],
    )?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    source_routes_lead_nowhere(&scene, &tally)?;
    a_forged_short_way_is_gone(&scene, &tally)?;

    // While WireGuard does not listen, and the agent cannot repair that.
    agent.signal(Signal::SIGSTOP)?;
    router.ip(&format!("link set {TUNNEL} down\n"))?;
    nobody_says_that_nobody_listens(&scene)?;
    agent.signal(Signal::SIGCONT)?;
    answered(&scene)?;
    tally.the_tunnel_alone()?;
    agent.interrupt()?;

    // The same without a guard does get in: it was well said.
    sysctl::set(
        router,
        &[
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/modem/rp_filter", "0"),
        ],
    )?;
    open_house(router)?;
    let at_home = Capture::start(&scene.lab.lan)?;
    say(&scene, &routed_on())?;
    at_home
        .wait_for(
            TIMEOUT,
            "what was routed on, by an unguarded router",
            is_reply,
        )
        .map(drop)
}

/// Replies of the peer's, with the LAN host behind the router in a source route.
fn routed_on() -> Vec<Packet> {
    let reply = || {
        let (from, to) = ((PEER.into(), PEER_PORT), (MODEM.into(), LISTEN_PORT));
        udp(from, to, traffic::shaped_as_data())
    };
    vec![
        reply().source_route(false, LAN_HOST),
        reply().source_route(true, LAN_HOST),
    ]
}

fn is_reply(seen: &Seen) -> bool {
    seen.packet.ports == Some((PEER_PORT, LISTEN_PORT))
}

fn say(scene: &Scene, words: &[Packet]) -> Result<()> {
    let carrier = &scene.lab.carrier.netns;
    for word in words {
        send_packet(carrier, "modem0", MODEM_MAC_BYTES, word)?;
    }
    Ok(())
}

fn source_routes_lead_nowhere(scene: &Scene, tally: &Tally) -> Result<()> {
    let at_home = Capture::start(&scene.lab.lan)?;
    say(scene, &routed_on())?;
    answered(scene)?;
    at_home.none("the carrier's at the LAN host", is_reply)?;
    tally.the_tunnel_alone().map(drop)
}

/// "Fragmentation needed", with the tunnel's packet in it: the kernel believes it, and the tunnel goes on.
fn a_forged_short_way_is_gone(scene: &Scene, tally: &Tally) -> Result<()> {
    let outer = udp(
        (MODEM.into(), LISTEN_PORT),
        (PEER.into(), PEER_PORT),
        traffic::shaped_as_data(),
    );
    let mtu = 68_u16.to_be_bytes();
    let error = icmp(
        MODEM_GATEWAY.into(),
        MODEM.into(),
        (3, 4),
        [0, 0, mtu[0], mtu[1]],
        outer.ip(),
    );
    say(scene, &[error])?;
    let since = Instant::now();
    // Larger than the way is said to be, from the first byte outside to the last.
    let ping = ["-c", "5", "-i", "0.2", "-W", "5", "-s", "1200"];
    let peer = TUNNEL_PEER.to_string();
    let words = [&ping[..], &[&peer]].concat();
    scene.lab.router.tool("ping", &words)?;
    let tunnel = tally.the_tunnel_alone()?;
    let pieces: Vec<_> = tunnel.iter().filter(|frame| frame.is_piece()).collect();
    let longest = pieces.iter().map(|piece| length(piece)).max();
    ensure!(
        pieces.len() >= 10 && longest <= Some(SHORTEST_WAY),
        "{} pieces, the longest of {longest:?} bytes",
        pieces.len()
    );
    scene.session_kept(since)
}

/// By its own words, from the IP header on.
fn length(frame: &Frame) -> u16 {
    let ip = frame.ipv4().unwrap_or(&[0; 4]);
    u16::from_be_bytes([ip[2], ip[3]])
}

/// What is let in and finds no socket is answered by the kernel, which does not get out.
fn nobody_says_that_nobody_listens(scene: &Scene) -> Result<()> {
    let router = &scene.lab.router;
    let before = drops::udp_no_ports(router)?;
    // Past the carrier's own conntrack, which would give them another port.
    let reply = |payload| {
        udp(
            (PEER.into(), PEER_PORT),
            (MODEM.into(), LISTEN_PORT),
            payload,
        )
    };
    let payloads = [traffic::shaped_as_data(), traffic::shaped_as_initiation()];
    say(scene, &payloads.map(reply))?;
    wait::until(TIMEOUT, "the replies to be let in", || {
        Ok((drops::udp_no_ports(router)? >= before + 2).then_some(()))
    })
}
