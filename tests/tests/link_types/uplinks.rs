//! Uplinks: a VLAN, one that masquerades, those that come and go.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{
    LISTEN_PORT, MODEM, PEER, PEER_PORT, TUNNEL_PEER, UPLINK, UPLINK_GATEWAY,
};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::{self, TIMEOUT};

use crate::{
    Alone, QUICK, a_leak_would_be_seen, expect_steered, nothing_at_the_provider, outer, plain,
    start, without_rules,
};

for_each_backend!(
    vlan_uplink,
    vlan_uplink_guarded_below,
    source_port_changed_by_masquerade,
    uplink_that_comes_and_goes,
);

/// Longer than the agent takes to notice a change and to act on it.
const SETTLED: Duration = Duration::from_secs(2);

/// The provider wants its packets in VLAN 7.
fn lay_vlan(scene: &Scene) -> Result<()> {
    scene.lab.lose_lease()?;
    scene.lab.router.ip(&format!(
        "link add link wan name wan.7 type vlan id 7
         link set wan.7 up
         addr add {UPLINK}/24 dev wan.7
         route add default via {UPLINK_GATEWAY} dev wan.7 proto dhcp metric 100\n"
    ))?;
    scene
        .lab
        .isp
        .ip(&format!(
            "addr del {UPLINK_GATEWAY}/24 dev cust0
             link add link cust0 name cust0.7 type vlan id 7
             link set cust0.7 up
             addr add {UPLINK_GATEWAY}/24 dev cust0.7\n"
        ))
        .map(drop)
}

fn vlan_uplink(backend: Backend) -> Result<()> {
    vlan(backend, "")
}

/// The config names the device below the VLAN: its frames bear the tag.
fn vlan_uplink_guarded_below(backend: Backend) -> Result<()> {
    vlan(backend, "\n[uplinks]\ninterfaces = [\"wan\"]\n")
}

fn vlan(backend: Backend, uplinks: &str) -> Result<()> {
    let scene = Scene::open(&plain())?;
    lay_vlan(&scene)?;
    let mut installation = scene.installation()?;
    installation.config.0.push_str(uplinks);
    let agent = start(&scene, &installation, backend)?;
    a_leak_would_be_seen(&scene)?;
    without_rules(&scene, agent, backend)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// A LAN host's flow has taken the listen port on the uplink, so that the masquerade must give the
/// tunnel's own packets another.
fn source_port_changed_by_masquerade(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let to = std::net::SocketAddrV4::new(PEER, PEER_PORT);
    traffic::send_udp(&scene.lab.lan, LISTEN_PORT, &[to], &[b"first".to_vec()])?;
    scene
        .at_isp
        .wait_for(TIMEOUT, "the LAN's flow on the uplink", |seen| {
            seen.packet.addresses == Some((UPLINK.into(), PEER.into()))
                && seen.packet.ports == Some((LISTEN_PORT, PEER_PORT))
        })?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    // The mark rule stays, by which the strict filter lets the answers in.
    let alone = Alone::leave_with(&scene, agent, 1, |router| {
        router.ip("rule del pref 10\nrule del pref 12\n").map(drop)
    })?;
    let steered = alone.steered(&scene)?;
    nothing_at_the_provider(&scene)?;
    ensure!(
        steered >= 15,
        "of 20 packets only {steered} went by the modem"
    );
    // The last ten, whose answers may still be on their way.
    let sent = alone.pinger.so_far().sent();
    wait::until(TIMEOUT, "answers to eight of ten pings", || {
        let pings = alone.pinger.so_far();
        let last = pings.probes.iter().take(sent).skip(sent - 10);
        let answered = last.filter(|ping| ping.answered.is_some()).count();
        Ok((answered >= 8).then_some(()))
    })?;
    let other_port = scene.at_carrier.count(|seen| {
        outer(seen)
            && seen
                .packet
                .ports
                .is_some_and(|(port, _)| port != LISTEN_PORT)
    })?;
    match backend {
        Backend::Ebpf => ensure!(other_port > 0, "the masquerade left the tunnel its port"),
        // It steers before the translation.
        Backend::Nft => ensure!(other_port == 0, "{other_port} packets of another port"),
    }
    scene
        .at_carrier
        .none("other addresses than the modem's", |seen| {
            outer(seen) && seen.packet.addresses != Some((MODEM.into(), PEER.into()))
        })?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)
}

/// What the agent said last of its guard.
fn guard_line(agent: &Agent) -> Option<String> {
    let log = agent.log();
    let line = log.iter().rfind(|line| line.contains("set guard on modem"));
    line.cloned()
}

/// Waits until the agent has had nothing to say for a while.
fn quiet(agent: &Agent) -> Result<()> {
    let mut lines = agent.log().len();
    let mut since = Instant::now();
    wait::until(TIMEOUT, "the agent to be done", || {
        let now = agent.log().len();
        if now != lines {
            (lines, since) = (now, Instant::now());
        }
        Ok((since.elapsed() >= SETTLED).then_some(()))
    })
}

/// A new interface takes the default route while the tunnel runs. It keeps its guard when it loses
/// that route, for it may come back faster than a guard.
fn uplink_that_comes_and_goes(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let (router, isp) = (&scene.lab.router, &scene.lab.isp);
    let agent = start(&scene, &scene.installation()?, backend)?;
    let default = "default via 198.51.101.1 dev wan2 metric 50\n";
    let plug = || -> Result<()> {
        router.ip(&format!(
            "link add wan2 type veth peer name cust2 netns {}
             addr add 198.51.101.2/24 dev wan2
             link set wan2 up\n",
            isp.path()
        ))?;
        isp.ip("addr add 198.51.101.1/24 dev cust2\nlink set cust2 up\n")?;
        Ok(())
    };
    plug()?;
    let asked = Instant::now();
    router.ip(&format!("route add {default}"))?;
    // nftables' rules are about every interface but the modem, and know no list of uplinks.
    if backend == Backend::Ebpf {
        wait::until(TIMEOUT, "the guard on wan2", || {
            Ok(guard_line(&agent)
                .filter(|line| line.contains(" wan2"))
                .map(drop))
        })?;
    }
    eprintln!(
        "measured: wan2 is guarded {:?} after its default route",
        asked.elapsed()
    );
    let agent = without_rules(&scene, agent, backend).context("a new uplink")?;

    // The route goes and comes back while the agent is stopped.
    router.ip(&format!("route del {default}"))?;
    Pinger::start(router, TUNNEL_PEER, QUICK)?.wait_for_answer(TIMEOUT)?;
    let alone = Alone::leave(&scene, agent)?;
    router.ip(&format!("route add {default}"))?;
    let steered = alone.steered(&scene)?;
    nothing_at_the_provider(&scene).context("an uplink whose route came back")?;
    expect_steered(backend, steered)?;
    let agent = alone.back(&scene)?;

    // The interface goes, with its guard; another of its name gets one anew.
    router.ip("link del wan2\n")?;
    quiet(&agent)?;
    plug()?;
    router.ip(&format!("route add {default}"))?;
    quiet(&agent)?;
    let line = guard_line(&agent).unwrap_or_default();
    ensure!(
        backend == Backend::Nft || line.contains(" wan2"),
        "wan2 got no guard anew: {line}"
    );
    let agent = without_rules(&scene, agent, backend).context("an uplink plugged in again")?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()?;
    agent.interrupt()
}
