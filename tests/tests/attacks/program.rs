//! A program without privileges asks for the modem in many ways.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use lte_tests::addresses::{ELSEWHERE, MODEM, PEER, PEER_PORT, TUNNEL_ROUTER, UPLINK};
use lte_tests::backend::Backend;
use lte_tests::outside_host::make_known;
use lte_tests::ping;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};

use crate::tally::{Frame, Tally};
use crate::ways::WAYS;
use crate::{answered, open_house};

/// More than twice what the programs remember (`REMOTES`): they pass over one that is in use once before they forget it.
const REMOTES: u32 = 12_000;
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

/// As the tunnel's, by the modem and by the uplink, to so many that what is known of the peer would be forgotten.
fn to_many_remotes(scene: &Scene) -> Result<()> {
    scene.lab.router.run(|| {
        let payload = lte_tests::traffic::shaped_as_data();
        for source in [MODEM, UPLINK] {
            let socket = UdpSocket::bind((source, 0))?;
            for number in 0..REMOTES {
                let remote = Ipv4Addr::from(BENCHMARKS + number);
                // That it is refused is one way of not getting out.
                socket.send_to(&payload, (remote, PEER_PORT)).ok();
            }
        }
        Ok(())
    })
}

/// Which of them a frame is of.
fn of_way(frame: &Frame) -> Option<&'static str> {
    let mut ways = WAYS.iter().enumerate();
    let found = ways.find(|(number, way)| (way.is)(frame, &payload(*number)));
    found.map(|(_, way)| way.name)
}

/// Whatever it asks for, nothing of it leaves by the modem; without a guard each of them does.
pub(crate) fn gets_nothing_out(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
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
    to_many_remotes(&scene)?;
    // The peer speaks first: what the router sends to it would have it remembered anew.
    ensure!(
        ping::answers(&scene.lab.vps.netns, TUNNEL_ROUTER)?,
        "the peer is forgotten"
    );
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
