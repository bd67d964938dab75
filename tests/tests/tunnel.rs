//! The tunnel comes up over the modem, and stays up when the uplink is gone.

use std::time::Instant;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::scene::{Scene, others};
use lte_tests::sysctl;
use lte_tests::topology::{Options, Uplink};
use lte_tests::wait::TIMEOUT;

for_each_backend!(
    up,
    uplink_lost,
    cold_start_without_a_lease,
    cold_start_without_a_link
);

fn up(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(8)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()?;

    let difference = before.difference(&scene.lab.snapshot()?).only(others);
    ensure!(
        difference.is_empty(),
        "what is not the agent's has changed:\n{difference}"
    );
    for (key, value) in sysctl::all(&scene.lab.router)? {
        if key.ends_with("/rp_filter") {
            ensure!(value == "1", "{key} is {value}");
        }
    }
    Ok(())
}

fn uplink_lost(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(5)?;
    scene.lab.lose_default_route()?;
    pinger.wait_for_more(10)?;
    scene.lab.unplug_uplink()?;
    pinger.wait_for_more(10)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()?;
    Ok(())
}

fn cold_start_without_a_lease(backend: Backend) -> Result<()> {
    cold_start(backend, Uplink::NoLease)
}

fn cold_start_without_a_link(backend: Backend) -> Result<()> {
    cold_start(backend, Uplink::Down)
}

fn cold_start(backend: Backend, uplink: Uplink) -> Result<()> {
    let scene = Scene::open(&Options {
        uplink,
        ..Options::lte()
    })?;
    let agent = scene.installation()?.start(backend)?;
    scene.prompt_handshake(&agent)?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_answer(TIMEOUT)?;
    let from = Instant::now();
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?.between(from, Instant::now());
    ensure!(report.lost() == 0, "{report}");
    scene.tunnel_is_sound()?;
    Ok(())
}
