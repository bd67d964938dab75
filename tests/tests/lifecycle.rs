//! It goes as it came, and the datapath outlives the process (spec: `leaves-nothing`, `outlives-its-agent`).

use std::ffi::CStr;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::packet::{Kind, Message};
use lte_tests::scene::Scene;
use lte_tests::seccomp::read_only;
use lte_tests::topology::{Options, Uplink};

for_each_backend!(
    interrupt_leaves_nothing,
    down_after_terminate_leaves_nothing,
    down_without_an_uplink_leaves_nothing,
    down_does_what_it_can_and_reports_what_it_cannot,
    datapath_outlives_the_agent,
);

// What is removed is compared on the model, too.
lte_tests::runs_on!(
    oldest, newest;
    down_after_terminate_leaves_nothing,
    down_without_an_uplink_leaves_nothing,
    down_does_what_it_can_and_reports_what_it_cannot,
);

fn interrupt_leaves_nothing(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let during = before.difference(&scene.lab.snapshot()?);
    ensure!(!during.is_empty(), "the agent has changed nothing");
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)?;
    scene.nothing_leaked()
}

fn down_after_terminate_leaves_nothing(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    let ended = installation.run(Some(backend), &["down"])?;
    ensure!(ended.status.success(), "down: {ended:?}");
    before.assert_same(&scene.lab.router)?;
    // Once more, with nothing to take down.
    let ended = installation.run(Some(backend), &["down"])?;
    ensure!(ended.status.success(), "the second down: {ended:?}");
    before.assert_same(&scene.lab.router)?;
    scene.nothing_leaked()
}

fn down_without_an_uplink_leaves_nothing(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options {
        uplink: Uplink::Down,
        ..Options::default()
    })?;
    let before = scene.lab.snapshot()?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

/// Two things cannot be put back: all the others are, both are reported, and the next `down` does the rest.
fn down_does_what_it_can_and_reports_what_it_cannot(backend: Backend) -> Result<()> {
    const STUCK: [(&CStr, &str); 2] = [
        (
            c"/proc/sys/net/ipv4/conf/modem/src_valid_mark",
            "sysctl net.ipv4.conf.modem.src_valid_mark = 0",
        ),
        (
            c"/proc/sys/net/ipv6/conf/modem/accept_ra",
            "sysctl net.ipv6.conf.modem.accept_ra = 1",
        ),
    ];
    let scene = Scene::open(&Options::default())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    let mut down = installation.command(Some(backend), &["down"])?;
    for (file, _) in STUCK {
        read_only(&mut down, file);
    }
    let ended = installation.run_command(&mut down)?;
    let told = ended.stderr.lines();
    let failures = told.filter(|line| line.starts_with("error: ")).count();
    ensure!(
        ended.status.code() == Some(1) && failures == STUCK.len(),
        "not two failures: {ended:?}"
    );
    for (_, setting) in STUCK {
        ensure!(ended.stderr.contains(setting), "no {setting}: {ended:?}");
    }
    let left = before.difference(&scene.lab.snapshot()?);
    let stuck = |line: &str| line.contains("/modem/src_valid_mark") || line.contains("/accept_ra");
    ensure!(
        left.gone.len() == STUCK.len() && left.only(stuck) == left,
        "more is left than what is stuck:\n{left}"
    );
    let ended = installation.run(Some(backend), &["down"])?;
    ensure!(ended.status.success(), "the second down: {ended:?}");
    before.assert_same(&scene.lab.router)
}

fn datapath_outlives_the_agent(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(3)?;
    agent.terminate()?;
    pinger.wait_for_more(5)?;
    // A default route that goes while no agent runs.
    scene.lab.lose_default_route()?;
    pinger.wait_for_more(5)?;
    let agent = installation.start(backend)?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    let initiations = scene.at_carrier.count(|seen| {
        seen.packet.kind == Kind::WireGuard(Message::Initiation)
            && lte_tests::scene::from_modem(seen)
    })?;
    ensure!(initiations == 1, "{initiations} handshakes instead of one");
    scene.tunnel_is_sound()?;

    agent.interrupt()?;
    scene
        .lab
        .router
        .ip("route add default via 198.51.100.1 dev wan proto dhcp metric 100\n")?;
    before.assert_same(&scene.lab.router)
}
