//! A policy of IPsec that takes the server's network in.

use std::net::SocketAddrV4;

use anyhow::{Result, ensure};
use lte_tests::addresses::{ELSEWHERE, UPLINK, UPLINK_GATEWAY};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::packet::Kind;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, from_wan};
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::TIMEOUT;

use crate::QUICK;
use crate::tally::Tally;

const ESP: u8 = 50;

fn in_esp(seen: &Seen) -> bool {
    seen.packet.kind == Kind::OtherIp(ESP)
}

/// It takes what the LAN sends to that network, and neither the tunnel's packets nor what answers them.
pub(crate) fn policy_for_the_server(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let router = &scene.lab.router;
    let policy = format!("tmpl src {UPLINK} dst {UPLINK_GATEWAY} proto esp mode tunnel");
    let back = format!("tmpl src {UPLINK_GATEWAY} dst {UPLINK} proto esp mode tunnel");
    let keys = "auth hmac(sha256) 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \
                enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f";
    router.ip(&format!(
        "xfrm state add src {UPLINK} dst {UPLINK_GATEWAY} proto esp spi 0x1001 mode tunnel {keys}
         xfrm policy add src 0.0.0.0/0 dst 192.0.2.0/24 dir out {policy}
         xfrm policy add src 192.0.2.0/24 dst 0.0.0.0/0 dir in {back}
         xfrm policy add src 192.0.2.0/24 dst 0.0.0.0/0 dir fwd {back}\n"
    ))?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let tally = Tally::open(&scene)?;
    let pinger = Pinger::start(router, lte_tests::addresses::TUNNEL_PEER, QUICK)?;
    pinger.wait_for_more(20)?;
    let pings = pinger.stop()?;
    ensure!(pings.lost() == 0, "through the tunnel: {pings}");
    ensure!(
        tally.the_tunnel_alone()?.len() >= 20,
        "by the modem too few"
    );
    scene.at_isp.none("the tunnel in ESP", in_esp)?;
    scene.tunnel_is_sound()?;

    // The policy is in force: what the LAN sends there goes by it.
    let to = [SocketAddrV4::new(ELSEWHERE, 9)];
    traffic::send_udp(router, 40000, &to, &[b"hello".to_vec()])?;
    scene.at_isp.wait_for(TIMEOUT, "the LAN's in ESP", |seen| {
        from_wan(seen) && in_esp(seen)
    })?;
    agent.interrupt()
}
