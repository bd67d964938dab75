//! Nothing but the tunnel uses the modem, in either direction (spec: `only-the-tunnel`).

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::addresses::{ELSEWHERE, LISTEN_PORT, MODEM, PEER, PEER_PORT};
use lte_tests::backend::Backend;
use lte_tests::drops::udp_received;
use lte_tests::for_each_backend;
use lte_tests::outside_host::{Services, forged_udp};
use lte_tests::packet::Kind;
use lte_tests::scene::{Scene, from_modem, from_wan, tunnel_out};
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{ping, traffic};

for_each_backend!(
    forwarded_look_alike,
    forwarded_look_alike_with_masquerading,
    lan_with_default_route_on_modem,
    router_with_default_route_on_modem,
    unknown_senders_on_the_modem,
    unknown_senders_on_the_listen_port,
);

/// A length that the tunnel itself never has here.
const LOOK_ALIKE: usize = 32 + 16 * 37;

fn forwarded_look_alike(backend: Backend) -> Result<()> {
    look_alike(backend, false)
}

fn forwarded_look_alike_with_masquerading(backend: Backend) -> Result<()> {
    look_alike(backend, true)
}

fn look_alike(backend: Backend, masquerade: bool) -> Result<()> {
    let scene = Scene::open(&Options {
        masquerade,
        ..Options::default()
    })?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let mut payload = traffic::shaped_as_data();
    payload.resize(LOOK_ALIKE, 0x5a);
    let targets = [
        SocketAddrV4::new(PEER, PEER_PORT),
        SocketAddrV4::new(PEER, 9),
        SocketAddrV4::new(ELSEWHERE, PEER_PORT),
    ];
    let payloads = vec![payload; 10];
    let sent = traffic::send_udp(&scene.lab.lan, LISTEN_PORT, &targets, &payloads)?;
    ensure!(sent == 30, "the LAN host could send {sent} of 30");

    let length = 28 + LOOK_ALIKE;
    wait::until(TIMEOUT, "the look-alikes at the provider's", || {
        let arrived = scene
            .at_isp
            .count(|seen| from_wan(seen) && seen.packet.bytes == length)?;
        Ok((arrived == sent).then_some(()))
    })?;
    scene.at_carrier.none("look-alikes on the modem", |seen| {
        from_modem(seen) && seen.packet.bytes == length
    })?;
    scene
        .at_carrier
        .none("foreign packets", lte_tests::scene::foreign)
}

fn lan_with_default_route_on_modem(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route_on_modem()?;
    // The kernel does send the LAN that way, so that only the guard is in between.
    let way = scene.lab.router.tool(
        "ip",
        &[
            "route",
            "get",
            "192.0.2.20",
            "from",
            "192.168.77.10",
            "iif",
            "lan0",
        ],
    )?;
    ensure!(
        way.contains("dev modem"),
        "the LAN is routed elsewhere: {way}"
    );

    let lan = &scene.lab.lan;
    let targets = [
        SocketAddrV4::new(ELSEWHERE, 53),
        SocketAddrV4::new(ELSEWHERE, 123),
        SocketAddrV4::new(PEER, PEER_PORT),
    ];
    let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
    for port in [LISTEN_PORT, 40000] {
        traffic::send_udp(lan, port, &targets, &payloads)?;
    }
    ensure!(!ping::answers(lan, ELSEWHERE)?, "a ping came back");
    let tcp = SocketAddrV4::new(ELSEWHERE, 443);
    ensure!(!traffic::connects(lan, tcp, Duration::from_millis(500))?);

    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(3)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "through the tunnel: {report}");
    scene.tunnel_is_sound()
}

fn router_with_default_route_on_modem(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route_on_modem()?;
    let router = &scene.lab.router;
    let targets = [
        SocketAddrV4::new(ELSEWHERE, 53),
        SocketAddrV4::new(ELSEWHERE, 123),
        SocketAddrV4::new(PEER, PEER_PORT),
    ];
    let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
    traffic::send_udp(router, 40000, &targets, &payloads)?;
    ensure!(!ping::answers(router, ELSEWHERE)?, "a ping came back");
    let tcp = SocketAddrV4::new(ELSEWHERE, 443);
    ensure!(!traffic::connects(router, tcp, Duration::from_millis(500))?);
    scene.tunnel_is_sound()
}

fn unknown_senders_on_the_modem(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let services = Services::open(&scene.lab.router, 8080)?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let carrier = &scene.lab.carrier.netns;
    let target = SocketAddrV4::new(MODEM, 8080);
    let hello = [b"hello".to_vec()];
    traffic::send_udp(carrier, 4000, &[target], &hello)?;
    // As if the peer itself had sent it, from its own port.
    let forged = forged_udp(carrier, SocketAddrV4::new(PEER, PEER_PORT))?;
    forged.send_to(b"hello", target)?;
    ensure!(!traffic::connects(
        carrier,
        target,
        Duration::from_millis(800)
    )?);
    ensure!(!ping::answers(carrier, MODEM)?, "the router answers pings");
    // All of it reached the modem.
    let sent = scene.at_carrier.packets(|seen| {
        seen.packet.destination() == Some(MODEM.into())
            && !seen.packet.is_wireguard()
            && &*seen.interface == "modem0"
    })?;
    for kind in [Kind::Udp, Kind::Tcp, Kind::Icmp(8)] {
        ensure!(
            sent.iter().any(|seen| seen.packet.kind == kind),
            "no {kind} was sent"
        );
    }
    ensure!(services.visitors()? == (0, 0), "an unknown sender got in");
    scene.tunnel_is_sound()
}

fn unknown_senders_on_the_listen_port(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(2)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");

    let before = udp_received(&scene.lab.router)?;
    let carrier = &scene.lab.carrier.netns;
    for from in [
        SocketAddrV4::new(PEER, PEER_PORT + 1),
        SocketAddrV4::new(ELSEWHERE, PEER_PORT),
    ] {
        let forged = forged_udp(carrier, from)?;
        for payload in [traffic::shaped_as_data(), traffic::shaped_as_initiation()] {
            forged.send_to(&payload, (MODEM, LISTEN_PORT))?;
        }
    }
    scene.only_pings_get_in(before)?;
    ensure!(scene.at_carrier.count(tunnel_out)? > 0);
    scene.tunnel_is_sound()
}
