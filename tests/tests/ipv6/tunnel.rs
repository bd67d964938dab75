//! The tunnel itself: up, kept up, and gone without a trace.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::addresses::{
    MODEM, MODEM_GATEWAY, MODEM_GATEWAY6, MODEM_GATEWAY6_IN_SUBNET, MODEM6, PEER6, UPLINK6,
};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::ping::PACE;
use lte_tests::scene::{
    Scene, flush_rules, from_modem, is_neighbour_discovery, others, rules, rules_back, tunnel_out,
};
use lte_tests::topology::{Options, Uplink};
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

use crate::{open, options, ping_tunnel6};

for_each_backend!(
    up,
    up_without_ipv4,
    uplink_lost,
    cold_start_without_a_lease,
    rules_flushed,
    link_down_and_up,
    interrupt_leaves_nothing,
);

// What `tunnel` holds on every kernel, over IPv6.
lte_tests::runs_on!(oldest, newest);

/// Twenty a second: the rules are gone for milliseconds only.
const QUICK: Duration = Duration::from_millis(50);

fn up(backend: Backend) -> Result<()> {
    let scene = open()?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    for pinger in [scene.ping_tunnel()?, ping_tunnel6(&scene, PACE)?] {
        pinger.wait_for_more(5)?;
        let report = pinger.stop()?;
        ensure!(report.lost() == 0, "{report}");
    }
    scene.tunnel_is_sound()?;
    let difference = before.difference(&scene.lab.snapshot()?).only(others);
    ensure!(
        difference.is_empty(),
        "what is not the agent's has changed:\n{difference}"
    );
    // The whole way: the modem's neighbours were found, no main table was asked.
    ensure!(
        scene
            .at_carrier
            .count(|seen| from_modem(seen) && is_neighbour_discovery(seen))?
            > 0,
        "the modem's gateway was found without neighbour discovery"
    );
    Ok(())
}

/// The gateway is in the subnet, as static set-ups have it, and there is no IPv4 on the modem.
fn up_without_ipv4(backend: Backend) -> Result<()> {
    let scene = open()?;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(&format!("\"{MODEM}/24\", "), "")?
        .with(
            &format!("\"{MODEM_GATEWAY}\", \"{MODEM_GATEWAY6}\""),
            &format!("\"{MODEM_GATEWAY6_IN_SUBNET}\""),
        )?;
    let agent = installation.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()?;
    let addresses = scene
        .lab
        .router
        .tool("ip", &["-4", "addr", "show", "modem"])?;
    ensure!(addresses.is_empty(), "IPv4 on the modem: {addresses}");
    scene.at_carrier.none("IPv4 on the modem", |seen| {
        from_modem(seen) && matches!(seen.packet.source(), Some(IpAddr::V4(_)))
    })
}

fn uplink_lost(backend: Backend) -> Result<()> {
    let scene = open()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_more(5)?;
    scene.lab.lose_default_route()?;
    pinger.wait_for_more(10)?;
    scene.lab.unplug_uplink()?;
    pinger.wait_for_more(10)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

/// Also: the agent does not wait for the detection of duplicates of the modem's addresses.
fn cold_start_without_a_lease(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        uplink: Uplink::NoLease,
        ..options()
    })?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(TIMEOUT)?;
    let from = Instant::now();
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?.between(from, Instant::now());
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

fn rules_flushed(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let all = rules(router)?;
    ensure!(all == 6, "the agent has {all} rules, not three a family");
    let pinger = ping_tunnel6(&scene, QUICK)?;
    pinger.wait_for_more(5)?;
    for _ in 0..5 {
        flush_rules(router)?;
        pinger.wait_for_more(3)?;
    }
    rules_back(router, all)?;

    // An agent that cannot put them back leaves it to the guard alone.
    agent.signal(Signal::SIGSTOP)?;
    flush_rules(router)?;
    let way = router.tool("ip", &["route", "get", &PEER6.to_string()])?;
    ensure!(
        way.contains("dev wan"),
        "the peer is not by the uplink: {way}"
    );
    scene.forget_source()?;
    let before = scene.at_carrier.count(tunnel_out)?;
    pinger.wait_for_more(20)?;
    ensure!(rules(router)? == 0, "somebody put the rules back");
    let steered = scene.at_carrier.count(tunnel_out)? - before;
    match backend {
        Backend::Ebpf => {
            ensure!(
                steered >= 15,
                "of 20 packets without a rule only {steered} went by the modem"
            );
            // No filter asks for the way back: what was steered is answered.
            let pings = pinger.so_far();
            let last = &pings.probes[pings.sent() - 15..pings.sent() - 5];
            let answered = last.iter().filter(|ping| ping.answered.is_some()).count();
            ensure!(
                answered >= 8,
                "{answered} of 10 pings were answered: {pings}"
            );
        }
        // Its steering needs rule 11.
        Backend::Nft => ensure!(steered == 0, "{steered} packets without a rule"),
    }
    agent.signal(Signal::SIGCONT)?;
    rules_back(router, all)?;
    ping_tunnel6(&scene, QUICK)?.wait_for_answer(TIMEOUT)?;
    pinger.stop()?;
    scene.nothing_leaked()?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(MODEM6.into()),
        "the peer sees {endpoint:?}, the uplink is {UPLINK6}"
    );
    Ok(())
}

/// A link that goes down loses its IPv6 addresses and the routes over it; the kernel sends no event for the
/// routes.
fn link_down_and_up(backend: Backend) -> Result<()> {
    let scene = open()?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let table = || router.tool("ip", &["-6", "route", "show", "table", "123"]);
    let before = table()?;
    ensure!(before.contains("default via fe80::1"), "{before}");
    for _ in 0..3 {
        router.ip("link set modem down\n")?;
        router.ip("link set modem up\n")?;
        wait::until(TIMEOUT, "the routes to be back", || {
            Ok((table()? == before).then_some(()))
        })?;
    }
    let pinger = ping_tunnel6(&scene, PACE)?;
    pinger.wait_for_answer(TIMEOUT)?;
    let from = Instant::now();
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?.between(from, Instant::now());
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()
}

fn interrupt_leaves_nothing(backend: Backend) -> Result<()> {
    let scene = open()?;
    // A machine that has switched IPv6 off on the modem.
    lte_tests::sysctl::set(&scene.lab.router, &[("ipv6/conf/modem/disable_ipv6", "1")])?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    ensure!(
        scene
            .at_carrier
            .count(|seen| { tunnel_out(seen) && seen.packet.source() == Some(MODEM6.into()) })?
            > 0
    );
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)?;
    scene.nothing_leaked()
}
