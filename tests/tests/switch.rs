//! One backend takes over from the other while the tunnel is up: the new guard is in place before
//! the old one goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::TUNNEL_ROUTER;
use lte_tests::backend::Backend;
use lte_tests::netns::Netns;
use lte_tests::packet::{Kind, Message};
use lte_tests::ping::Pinger;
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::Options;

// The programs are attached in two ways.
lte_tests::runs_on!(oldest, newest);
use lte_tests::wait::{self, TIMEOUT};
use lte_tests::{bpf, kernel_version, traffic};

/// Of what would use the modem, at least so much has to be seen trying.
const TRIED: usize = 100;

#[test]
fn from_ebpf_to_nft() -> Result<()> {
    switch(Backend::Ebpf, Backend::Nft)
}

#[test]
fn from_nft_to_ebpf() -> Result<()> {
    switch(Backend::Nft, Backend::Ebpf)
}

fn switch(from: Backend, to: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(from)?;
    scene.handshake_after(agent.started())?;
    // The LAN, and this machine, would go by the modem.
    scene.lab.default_route_on_modem()?;
    let pinger = scene.ping_tunnel()?;
    // The peer speaks too, and is not waited for.
    let back = Pinger::start(
        &scene.lab.vps.netns,
        TUNNEL_ROUTER,
        Duration::from_millis(100),
    )?;
    pinger.wait_for_more(5)?;
    let handshakes = initiations(&scene)?;

    let stop = AtomicBool::new(false);
    let (agent, tried) = std::thread::scope(|scope| {
        let foreign = scope.spawn(|| traffic::by_the_modem(&scene.lab, &stop));
        let agent: Result<_> = (|| {
            agent.terminate()?;
            pinger.wait_for_more(3)?;
            let agent = installation.start(to)?;
            // The old guard goes when all is in place.
            wait::until(TIMEOUT, "the old guard to go", || {
                Ok((!is_there(from, &scene.lab.router)?).then_some(()))
            })?;
            pinger.wait_for_more(10)?;
            Ok(agent)
        })();
        stop.store(true, Ordering::Relaxed);
        let tried = foreign
            .join()
            .map_err(|_| anyhow::anyhow!("the sender panicked"));
        anyhow::Ok((agent?, tried??))
    })?;
    ensure!(tried >= TRIED, "only {tried} foreign packets were sent");
    ensure!(is_there(to, &scene.lab.router)?, "no guard of {to}");
    let spared = losses_of_a_qdisc()?;
    for report in [pinger.stop()?, back.stop()?] {
        ensure!(report.sent() > 0 && report.lost() <= spared, "{report}");
    }
    let more = initiations(&scene)? - handshakes;
    ensure!(more == 0, "{more} new handshakes");
    scene.tunnel_is_sound()?;

    scene
        .lab
        .router
        .ip("route del default dev modem metric 1\n")?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

/// Before TCX links (6.6) a clsact qdisc comes and goes with the eBPF guard, on the modem and on the
/// uplink, and the kernel drops what an interface is given to send in that moment
/// (`qdisc_graft`: `dev_deactivate`, `dev_activate`), whichever program adds it.
fn losses_of_a_qdisc() -> Result<usize> {
    Ok(usize::from(kernel_version::running()? < (6, 6)))
}

/// How many handshakes the router has begun so far.
fn initiations(scene: &Scene) -> Result<usize> {
    scene
        .at_carrier
        .count(|seen| seen.packet.kind == Kind::WireGuard(Message::Initiation) && from_modem(seen))
}

/// Whether anything of a backend is on the machine.
fn is_there(backend: Backend, router: &Netns) -> Result<bool> {
    Ok(match backend {
        Backend::Ebpf => std::path::Path::new(bpf::AGENTS_PINS).exists(),
        Backend::Nft => router
            .tool("nft", &["list", "tables"])
            .context("what tables there are")?
            .contains("lte_backup"),
    })
}
