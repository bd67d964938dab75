//! The modem was a part of something before the agent came: so it is again when the agent has gone.

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

use crate::masters::{Master, master};

pub(crate) fn and_restored(backend: Backend, to: &Master) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let router = &scene.lab.router;
    let installation = scene.installation()?;
    router.ip(to.make)?;
    to.take_in(router, "modem")?;
    let plan = installation.run(Some(backend), &["plan"])?;
    ensure!(plan.stdout.contains("set link modem nomaster"), "{plan:?}");
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    // No guard was there before to keep anything from leaving.
    scene.at_carrier.clear();
    ensure!(master(router, "modem")?.is_none(), "it has a master");
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    installation.wait_in_place(backend)?;
    scene.nothing_leaked()?;
    agent.interrupt()?;
    let left = master(router, "modem")?;
    ensure!(left.as_deref() == Some(to.name), "its master is {left:?}");
    Ok(())
}
