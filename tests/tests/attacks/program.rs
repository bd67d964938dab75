//! A program without privileges asks for the modem in many ways.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT, TUNNEL_ROUTER, UPLINK};
use lte_tests::backend::Backend;
use lte_tests::drops::udp_received;
use lte_tests::outside_host::{forged_udp, make_known};
use lte_tests::ping;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};

use crate::tally::{Frame, Tally};
use crate::ways::WAYS;
use crate::{answered, open_house};

/// More than twice what the programs remember (`REMOTES`, 4096): they pass over one that is in use once before
/// they forget it.
const REMOTES: u32 = 12_000;
/// Half of what they remember. A block is tried, and once more: a remote that is met again while it is known is in
/// use, as the peer is. Two in a row would be met as one: each processor has a copy of the last.
const BLOCK: u32 = 2000;
/// 198.18.0.0/15, which no host has (RFC 2544).
const BENCHMARKS: u32 = 0xc612_0000;

/// The payload of a way: WireGuard's data, and no other is as long.
fn payload(number: usize) -> Vec<u8> {
    let mut payload = lte_tests::traffic::shaped_as_data();
    payload.resize(320 + 16 * number, 0x5a);
    payload
}

/// Tries all of them.
fn try_all(scene: &Scene) -> Result<()> {
    make_known(&scene.lab, &[PEER, ELSEWHERE])?;
    scene.lab.router.run(|| {
        for (number, way) in WAYS.iter().enumerate() {
            (way.send)(&payload(number)).context(way.name)?;
        }
        Ok(())
    })
}

/// One of those that are tried.
fn remote(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(BENCHMARKS + number)
}

/// As the tunnel's, from an address of the router's, to so many that what is known of the peer would be forgotten.
fn to_many_remotes(scene: &Scene, source: Ipv4Addr) -> Result<()> {
    scene.lab.router.run(|| {
        let payload = lte_tests::traffic::shaped_as_data();
        let socket = UdpSocket::bind((source, 0))?;
        for first in (0..REMOTES).step_by(BLOCK as usize) {
            for number in (first..first + BLOCK).chain(first..first + BLOCK) {
                // That it is refused is one way of not getting out.
                socket.send_to(&payload, (remote(number), PEER_PORT)).ok();
            }
        }
        Ok(())
    })
}

/// Those of them that would be known still, the first with nftables, the last with eBPF, speak as the peer may.
fn remotes_get_nothing_in(scene: &Scene) -> Result<()> {
    let before = udp_received(&scene.lab.router)?;
    let carrier = &scene.lab.carrier.netns;
    for number in [0, REMOTES - 1] {
        let forged = forged_udp(carrier, SocketAddrV4::new(remote(number), PEER_PORT))?;
        forged.send_to(&lte_tests::traffic::shaped_as_data(), (MODEM, LISTEN_PORT))?;
    }
    scene.only_pings_get_in(before)
}

/// Which of them a frame is of.
fn of_way(frame: &Frame) -> Option<&'static str> {
    let mut ways = WAYS.iter().enumerate();
    let found = ways.find(|(number, way)| (way.is)(frame, &payload(*number)));
    found.map(|(_, way)| way.name)
}

/// Whatever it asks for, nothing of it leaves by the modem; without a guard each of them does.
pub(crate) fn gets_nothing_out(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    try_all(&scene)?;
    answered(&scene)?;
    let tunnel = tally.the_tunnel_alone()?;
    ensure!(!tunnel.is_empty(), "the tally is blind");
    if let Some(frame) = tunnel.iter().find(|frame| of_way(frame).is_some()) {
        bail!("{} gets out: {frame}", of_way(frame).unwrap_or_default());
    }
    scene.tunnel_is_sound()?;

    let since = Instant::now();
    // By the modem, and by the uplink.
    for source in [MODEM, UPLINK] {
        to_many_remotes(&scene, source)?;
        // The peer speaks first: what the router sends to it would have it remembered anew.
        ensure!(
            ping::answers(&scene.lab.vps.netns, TUNNEL_ROUTER)?,
            "the peer is forgotten"
        );
        remotes_get_nothing_in(&scene)?;
    }
    answered(&scene)?;
    tally.the_tunnel_alone()?;
    scene.session_kept(since)?;
    agent.interrupt()?;

    open_house(&scene.lab.router)?;
    try_all(&scene)?;
    let mut missing: Vec<_> = WAYS.iter().map(|way| way.name).collect();
    if !has_udp_lite() {
        missing.retain(|name| *name != "UDP-Lite");
    }
    let all = wait::until(TIMEOUT, "each of them at an unguarded router", || {
        for frame in tally.left()? {
            let of = of_way(&frame);
            missing.retain(|name| Some(*name) != of);
        }
        Ok(missing.is_empty().then_some(()))
    });
    all.with_context(|| format!("these did not leave: {missing:?}"))
}

fn has_udp_lite() -> bool {
    std::fs::read_to_string("/proc/net/protocols").is_ok_and(|known| known.contains("UDP-Lite"))
}
