//! The modem is away: what the tunnel sends is dropped.

use anyhow::Result;
use lte_tests::addresses::TUNNEL_PEER;
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::wait::{self, TIMEOUT};

use crate::{Alone, QUICK, a_leak_would_be_seen, nothing_at_the_provider, plain, start};

for_each_backend!(
    modem_gone,
    modem_gone_behind_the_agents_back,
    modem_without_carrier,
);

/// The agent has seen it go: the rules lead to an empty table, and then there are none.
fn modem_gone(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    scene.lab.unplug_modem("modem")?;
    pinger.wait_for_more(20)?;
    wait::until(TIMEOUT, "the agent to have seen it", || {
        let log = agent.log();
        let seen = log
            .iter()
            .any(|line| line.contains("waiting for the modem"));
        Ok(seen.then_some(()))
    })?;
    let alone = Alone::leave(&scene, agent)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    scene.lab.plug_modem("modem")?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// It goes while the agent is stopped: the guard on the uplink still names it.
fn modem_gone_behind_the_agents_back(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let alone = Alone::leave(&scene, agent)?;
    scene.lab.unplug_modem("modem")?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    scene.lab.plug_modem("modem")?;
    alone.pinger.wait_for_more(10)?;
    nothing_at_the_provider(&scene)?;
    alone.back(&scene)?;
    nothing_at_the_provider(&scene)?;
    scene.nothing_foreign()
}

/// It is there and up, and has lost its network.
fn modem_without_carrier(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let carrier = &scene.lab.carrier.netns;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(TIMEOUT)?;
    carrier.ip("link set modem0 down\n")?;
    pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    let alone = Alone::leave(&scene, agent)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    carrier.ip("link set modem0 up\n")?;
    alone.back(&scene)?;
    scene.nothing_leaked()
}
