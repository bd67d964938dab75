//! A modem known by its hardware address: a bridge or a bond that has this address from it is not it.

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::MODEM_MAC;
use lte_tests::backend::Backend;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

use crate::masters::{Master, wait_alone};

/// Plugged in after the bridge was made, so that the bridge is listed before it.
const NAME: &str = "wwan0";

pub(crate) fn by_its_address(backend: Backend, to: &Master) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let lab = &scene.lab;
    let router = &lab.router;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with("interface = \"modem\"", &format!("mac = \"{MODEM_MAC}\""))?;
    lab.unplug_modem("modem")?;
    router.ip(to.make)?;
    lab.plug_modem(NAME)?;
    to.take_in(router, NAME)?;
    // A bridge may as well be given the address by hand.
    router.ip(&format!("link set {} address {MODEM_MAC}\n", to.name))?;

    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    // No guard was there before to keep anything from leaving.
    scene.at_carrier.clear();
    wait_alone(router, NAME)?;
    scene.ping_tunnel()?.wait_for_answer(TIMEOUT)?;
    installation.wait_in_place(backend)?;

    // The modem goes, and what has its address stays.
    lab.unplug_modem(NAME)?;
    agent.wait_logged("waiting for the modem")?;
    let addresses = router.tool("ip", &["-o", "-4", "addr", "show", "dev", to.name])?;
    ensure!(!addresses.contains("192.168.0.2"), "{addresses}");
    let qdiscs = router.tool("tc", &["qdisc", "show", "dev", to.name])?;
    ensure!(!qdiscs.contains("drr"), "{qdiscs}");
    lab.plug_modem(NAME)?;
    scene
        .ping_tunnel()?
        .wait_for_answer(TIMEOUT)
        .context("it is plugged in again")?;
    scene.nothing_leaked()?;
    agent.interrupt()?;
    router.ip(to.unmake)?;
    Ok(())
}
