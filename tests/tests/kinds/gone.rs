//! The modem is away: what the tunnel sends is dropped.

use anyhow::Result;
use lte_tests::addresses::{MODEM_GATEWAY, MODEM_MAC, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::ping::Pinger;
use lte_tests::scene::Scene;
use lte_tests::wait::{self, PATIENCE};

use crate::{Alone, QUICK, a_leak_would_be_seen, nothing_at_the_provider, plain, start};

for_each_backend!(
    modem_gone,
    modem_gone_behind_the_agents_back,
    modem_without_carrier,
);

/// Somebody pulls the modem out.
fn unplug_modem(scene: &Scene) -> Result<()> {
    scene.lab.router.ip("link del modem\n").map(drop)
}

/// And puts it in again, and the carrier gives it what it had.
fn plug_modem(scene: &Scene) -> Result<()> {
    scene.lab.router.ip(&format!(
        "link add modem address {MODEM_MAC} type veth peer name modem0 netns {}\n",
        scene.lab.carrier.netns.path()
    ))?;
    scene
        .lab
        .carrier
        .netns
        .ip(&format!(
            "addr add {MODEM_GATEWAY}/24 dev modem0
             link set modem0 up\n"
        ))
        .map(drop)
}

/// The agent has seen it go: the rules lead to an empty table, and then there are none.
fn modem_gone(backend: Backend) -> Result<()> {
    let scene = Scene::open(&plain())?;
    let agent = start(&scene, &scene.installation()?, backend)?;
    a_leak_would_be_seen(&scene)?;
    let pinger = Pinger::start(&scene.lab.router, TUNNEL_PEER, QUICK)?;
    pinger.wait_for_answer(PATIENCE)?;
    unplug_modem(&scene)?;
    pinger.wait_for_more(20)?;
    wait::until(PATIENCE, "the agent to have seen it", || {
        let log = agent.log();
        let seen = log
            .iter()
            .any(|line| line.contains("waiting for the modem"));
        Ok(seen.then_some(()))
    })?;
    let alone = Alone::leave(&scene, agent)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    plug_modem(&scene)?;
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
    unplug_modem(&scene)?;
    alone.pinger.wait_for_more(20)?;
    nothing_at_the_provider(&scene)?;
    plug_modem(&scene)?;
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
    pinger.wait_for_answer(PATIENCE)?;
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
