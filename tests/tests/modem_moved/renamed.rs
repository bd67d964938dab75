//! The modem gets another name, and the config identifies it by the old one: the guard follows the device.

use std::net::SocketAddrV4;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{
    ELSEWHERE, LISTEN_PORT, MODEM, MODEM_MAC_BYTES, PEER, PEER_PORT, TUNNEL_PEER,
};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::corpus::packet::udp;
use lte_tests::installation::Installation;
use lte_tests::outside_host::{Services, send_packet};
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::{Scene, from_modem, tunnel_out};
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

const SERVICE: u16 = 8080;
const NAME: &str = "wwan7";

/// It is set up under its new name, as by a DHCP client, and the LAN is led there.
fn set_up(scene: &Scene, name: &str) -> Result<()> {
    scene
        .lab
        .router
        .ip(&format!(
            "link set {name} up
             addr replace {MODEM}/24 dev {name}
             route replace default via 192.168.0.1 dev {name} metric 1\n"
        ))
        .map(drop)
}

/// Neither LAN nor router use it, in either direction, though the default route leads there.
fn closed(scene: &Scene, services: &Services, name: &str) -> Result<()> {
    closed_to(scene, services, name, |_| true)
}

/// The same, to those whom `counts` picks.
fn closed_to(
    scene: &Scene,
    services: &Services,
    name: &str,
    counts: impl Fn(&Seen) -> bool,
) -> Result<()> {
    let lab = &scene.lab;
    // That the agent sets it down is as good as any way of not letting out; this is about the others.
    set_up(scene, name)?;
    services.visitors()?;
    let since = Instant::now();
    let targets = [
        SocketAddrV4::new(ELSEWHERE, 53),
        SocketAddrV4::new(PEER, PEER_PORT),
    ];
    let payloads = [traffic::shaped_as_data(), b"a question".to_vec()];
    for port in [LISTEN_PORT, 40000] {
        traffic::send_udp(&lab.lan, port, &targets, &payloads)?;
    }
    traffic::send_udp(&lab.router, 40001, &targets, &payloads)?;
    ensure!(
        !lte_tests::ping::answers(&lab.lan, ELSEWHERE)?,
        "the LAN has been answered"
    );
    for _ in 0..3 {
        let packet = udp(
            (ELSEWHERE.into(), 4000),
            (MODEM.into(), SERVICE),
            b"let me in",
        );
        send_packet(&lab.carrier.netns, "modem0", MODEM_MAC_BYTES, &packet)?;
    }
    ensure!(!lte_tests::ping::answers(&lab.carrier.netns, MODEM)?);
    let visitors = services.visitors()?;
    ensure!(visitors == (0, 0), "{visitors:?} came in");
    scene
        .at_carrier
        .none("packets by a device that is to be closed", |seen| {
            seen.at >= since
                && counts(seen)
                && from_modem(seen)
                && seen.packet.kind != lte_tests::packet::Kind::Arp
        })
}

fn reports(installation: &Installation, backend: Backend, name: &str) -> Result<()> {
    for command in ["status", "doctor"] {
        let said = installation.run(Some(backend), &[command])?;
        ensure!(
            said.stdout.contains(name) && said.stdout.contains("closed"),
            "{command}: {said:?}"
        );
    }
    Ok(())
}

pub(crate) fn stays_closed(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let lab = &scene.lab;
    let router = &lab.router;
    let before = lab.snapshot()?;
    let installation = scene.installation()?;
    let services = Services::open(router, SERVICE)?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;

    // Of the first name the agent does not hear before it is attacked.
    agent.signal(Signal::SIGSTOP)?;
    router.ip("link set modem down\nlink set modem name wwan6\n")?;
    closed_to(&scene, &services, "wwan6", |seen| !tunnel_out(seen))?;
    router.ip(&format!(
        "link set wwan6 down\nlink set wwan6 name {NAME}\n"
    ))?;
    agent.signal(Signal::SIGCONT)?;
    agent.wait_logged(&format!("{NAME} is the modem's device"))?;
    installation.wait_in_place(backend)?;
    closed(&scene, &services, NAME)?;
    reports(&installation, backend, NAME)?;

    // With the agent gone, and after the next has come.
    agent.terminate()?;
    closed(&scene, &services, NAME)?;
    let agent = installation.launch_prepared(Some(backend), |command| {
        command.arg("--wait");
    })?;
    agent.wait_logged(&format!("{NAME} is the modem's device"))?;
    installation.wait_in_place(backend)?;
    closed(&scene, &services, NAME)?;

    // Plugged in again, in another port as it were.
    lab.unplug_modem(NAME)?;
    lab.plug_modem("wwan8")?;
    agent.wait_logged("wwan8 is the modem's device")?;
    installation.wait_in_place(backend)?;
    closed(&scene, &services, "wwan8")?;
    reports(&installation, backend, "wwan8")?;

    // And under its own name it is the modem.
    router.ip("link set wwan8 down\nlink set wwan8 name modem\n")?;
    Pinger::start(router, TUNNEL_PEER, PACE)?
        .wait_for_answer(TIMEOUT)
        .with_context(|| format!("{:#?}", agent.log()))?;
    installation.wait_in_place(backend)?;
    agent.interrupt()?;
    router.ip("link set modem down\n")?;
    wait::until(TIMEOUT, "nothing to be left", || {
        let left = router.tool("ip", &["rule", "show"])?;
        Ok((!left.contains("lookup 123")).then_some(()))
    })?;
    drop(before);
    Ok(())
}
