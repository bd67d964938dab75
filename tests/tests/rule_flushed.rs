//! The rules are taken away while traffic flows: not one outer packet shows the uplink's address
//! (spec: `only-the-modem`).

use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::addresses::{CARRIER, LISTEN_PORT, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::netns::Netns;
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, flush_rules, rules, rules_back, tunnel_out};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;
use nix::sys::signal::Signal;

for_each_backend!(rules_flushed, rules_flushed_with_masquerading);

/// Twenty a second: the rules are gone for milliseconds only.
const QUICK: Duration = Duration::from_millis(50);

/// The rule that sends WireGuard's own packets, by their source port, to table 123.
fn flush_port_rule(router: &Netns) -> Result<()> {
    let before = rules(router)?;
    let port = LISTEN_PORT.to_string();
    let rule = [
        "rule", "del", "ipproto", "udp", "sport", &port, "lookup", "123",
    ];
    router.tool("ip", &rule)?;
    ensure!(rules(router)? == before - 1, "the port rule is still there");
    Ok(())
}

fn rules_flushed(backend: Backend) -> Result<()> {
    flushed(backend, false)
}

fn rules_flushed_with_masquerading(backend: Backend) -> Result<()> {
    flushed(backend, true)
}

fn flushed(backend: Backend, masquerade: bool) -> Result<()> {
    let scene = Scene::open(&Options {
        masquerade,
        ..Options::default()
    })?;
    let router = &scene.lab.router;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    // The port rule, the mark rule, and what else the agent may want.
    let all = rules(router)?;
    ensure!(all >= 2, "the agent has {all} rules");
    let pinger = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_more(5)?;

    for _ in 0..8 {
        flush_rules(router)?;
        pinger.wait_for_more(3)?;
    }
    rules_back(router, all)?;

    // An agent that cannot put them back leaves it to the guard alone: without the port rule it
    // steers, and the mark rule lets the answers in.
    agent.signal(Signal::SIGSTOP)?;
    flush_port_rule(router)?;
    let steered = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    steered.wait_for_more(20)?;
    let steered = steered.stop()?;
    ensure!(steered.lost() == 0, "without the port rule: {steered}");

    // Without any rule there is no way back in, and for nftables no way out either.
    flush_rules(router)?;
    let before = scene.at_carrier.count(tunnel_out)?;
    pinger.wait_for_more(20)?;
    ensure!(rules(router)? == 0, "somebody put the rules back");
    let steered = scene.at_carrier.count(tunnel_out)? - before;
    ensure!(
        backend == Backend::Nft || steered >= 15,
        "of 20 packets without a rule only {steered} went by the modem"
    );
    agent.signal(Signal::SIGCONT)?;
    rules_back(router, all)?;
    let healed = Pinger::start(router, TUNNEL_PEER, QUICK)?;
    healed.wait_for_answer(TIMEOUT)?;

    pinger.stop()?;
    scene.nothing_leaked()?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(
        endpoint == Some(CARRIER.into()),
        "the peer sees {endpoint:?}"
    );
    Ok(())
}
