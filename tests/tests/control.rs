//! The usual recipe, set up by hand, fails where it is known to fail.
//!
//! These tests assert the failures: they show that the lab can distinguish a tunnel that holds from one
//! that does not, and that what the other tests find absent would have been seen.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::addresses::{CARRIER, ELSEWHERE, LAN_HOST, MODEM, PEER, PEER_PORT, UPLINK};
use lte_tests::capture::Direction;
use lte_tests::fwmark_baseline::{ReversePath, flush_rules, set_up};
use lte_tests::outside_host::Services;

// That the tests can fail: the fixture is the same on every kernel.
lte_tests::runs_on!(newest);
use lte_tests::packet::{Kind, Message};
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::{Options, Uplink};
use lte_tests::{ping, traffic};

/// How long a handshake is waited for that is not to come: WireGuard tries every five seconds.
const NEVER: Duration = Duration::from_secs(6);

fn set_up_baseline(uplink: Uplink, reverse_path: ReversePath) -> Result<(Scene, Instant)> {
    let scene = Scene::open(&Options {
        uplink,
        ..Options::default()
    })?;
    let start = Instant::now();
    set_up(&scene.lab.router, reverse_path)?;
    Ok((scene, start))
}

/// The initiation was answered, and the answer was of no use.
fn no_handshake(scene: &Scene) -> Result<()> {
    scene.at_vps.wait_for(NEVER, "a response", |seen| {
        seen.direction == Direction::Out && seen.packet.kind == Kind::WireGuard(Message::Response)
    })?;
    let established = scene.at_vps.wait_for(NEVER, "a session", |seen| {
        seen.direction == Direction::In && seen.packet.kind == Kind::WireGuard(Message::Data)
    });
    ensure!(
        established.is_err(),
        "the recipe got a handshake: {established:?}"
    );
    ensure!(
        scene.reverse_path_drops()? > 0,
        "no handshake, but the reverse-path filter dropped nothing"
    );
    Ok(())
}

#[test]
fn works_while_the_uplink_works() -> Result<()> {
    let (scene, start) = set_up_baseline(Uplink::Up, ReversePath::Loose)?;
    scene.handshake_after(start)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(endpoint == Some(CARRIER.into()), "{endpoint:?}");
    Ok(())
}

#[test]
fn strict_filter_lets_no_handshake_through() -> Result<()> {
    let (scene, _) = set_up_baseline(Uplink::Up, ReversePath::Strict)?;
    no_handshake(&scene)
}

#[test]
fn no_default_route_no_handshake() -> Result<()> {
    let (scene, _) = set_up_baseline(Uplink::NoLease, ReversePath::Loose)?;
    no_handshake(&scene)
}

#[test]
fn uplink_lost_pings_die() -> Result<()> {
    let (scene, start) = set_up_baseline(Uplink::Up, ReversePath::Loose)?;
    scene.handshake_after(start)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    let lost = Instant::now();
    scene.lab.lose_default_route()?;
    pinger.wait_for_more(10)?;
    let report = pinger.stop()?;
    let after = report.between(lost + ping::PACE, Instant::now());
    ensure!(report.between(start, lost).lost() <= 1, "before: {report}");
    ensure!(after.sent() >= 8, "{after}");
    ensure!(
        after.lost() == after.sent(),
        "with the default route gone: {after}"
    );
    Ok(())
}

#[test]
fn lan_uses_a_default_route_on_the_modem() -> Result<()> {
    let (scene, start) = set_up_baseline(Uplink::Up, ReversePath::Loose)?;
    scene.handshake_after(start)?;
    scene.lab.default_route_on_modem()?;
    ping::answers(&scene.lab.lan, ELSEWHERE)?;
    let leaked = scene
        .at_carrier
        .count(|seen| from_modem(seen) && seen.packet.source() == Some(LAN_HOST.into()))?;
    ensure!(leaked > 0, "no LAN packet on the modem");
    Ok(())
}

#[test]
fn unknown_senders_on_the_modem_are_let_in() -> Result<()> {
    let (scene, start) = set_up_baseline(Uplink::Up, ReversePath::Loose)?;
    scene.handshake_after(start)?;
    let services = Services::open(&scene.lab.router, 8080)?;
    let carrier = &scene.lab.carrier.netns;
    let target = std::net::SocketAddrV4::new(MODEM, 8080);
    traffic::send_udp(carrier, 4000, &[target], &[b"hello".to_vec()])?;
    ensure!(traffic::connects(carrier, target, Duration::from_secs(2))?);
    ensure!(ping::answers(carrier, MODEM)?);
    ensure!(services.visitors()? == (1, 1));
    Ok(())
}

#[test]
fn rule_flushed_the_peer_sees_the_uplink() -> Result<()> {
    for masquerade in [true, false] {
        let scene = Scene::open(&Options {
            masquerade,
            ..Options::default()
        })?;
        let start = Instant::now();
        set_up(&scene.lab.router, ReversePath::Loose)?;
        scene.handshake_after(start)?;
        let pinger = scene.ping_tunnel()?;
        pinger.wait_for_more(3)?;
        flush_rules(&scene.lab.router)?;
        pinger.wait_for_more(5)?;
        pinger.stop()?;
        let seen = scene.at_vps.count(|seen| {
            seen.packet.is_wireguard() && seen.packet.source() == Some(UPLINK.into())
        })?;
        // Without masquerading the packet keeps the modem's address, on the uplink all the same.
        let on_the_uplink = scene.at_isp.count(|seen| seen.packet.is_wireguard())?;
        ensure!(
            on_the_uplink > 0,
            "masquerade {masquerade}: nothing on the uplink"
        );
        ensure!(
            seen > 0,
            "masquerade {masquerade}: the peer saw nothing from {UPLINK}"
        );
    }
    Ok(())
}

#[test]
fn a_forged_answer_reaches_the_listen_port() -> Result<()> {
    let (scene, start) = set_up_baseline(Uplink::Up, ReversePath::Loose)?;
    scene.handshake_after(start)?;
    let before = lte_tests::drops::udp_received(&scene.lab.router)?;
    let forged = lte_tests::outside_host::forged_udp(
        &scene.lab.carrier.netns,
        std::net::SocketAddrV4::new(PEER, PEER_PORT + 1),
    )?;
    forged.send_to(
        &traffic::shaped_as_data(),
        (MODEM, lte_tests::addresses::LISTEN_PORT),
    )?;
    lte_tests::wait::until(
        Duration::from_secs(2),
        "the forged packet's arrival",
        || {
            let now = lte_tests::drops::udp_received(&scene.lab.router)?;
            Ok((now > before).then_some(()))
        },
    )
}
