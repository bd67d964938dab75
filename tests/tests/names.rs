//! An endpoint by name, in the hour when the system cannot resolve it: the agent asks over the modem,
//! for as long as it must, and nobody else gets through beside it.

use std::net::{SocketAddrV4, UdpSocket};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::addresses::{CARRIER, ELSEWHERE, MODEM, PEER, PEER_PORT};
use lte_tests::backend::Backend;
use lte_tests::capture::Seen;
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::name_server::NameServer;
use lte_tests::scene::{Scene, foreign, from_modem};
use lte_tests::topology::{Options, Uplink};
use lte_tests::wait::{self, PATIENCE};

for_each_backend!(
    a_name_is_asked_for_over_the_modem,
    a_tunnel_that_works_asks_nothing,
    without_name_servers_nothing_is_asked
);

const NAME: &str = "vpn.lab.test";

/// No uplink, so that the system's resolver has nobody to ask.
fn scene() -> Result<Scene> {
    Scene::open(&Options {
        uplink: Uplink::NoLease,
        ..Options::default()
    })
}

fn by_name(scene: &Scene, servers: &str) -> Result<Installation> {
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with(
            &format!("endpoint = \"{PEER}:{PEER_PORT}\""),
            &format!("endpoint = \"{NAME}:{PEER_PORT}\""),
        )?
        .with("[tunnel]\n", &format!("{servers}\n[tunnel]\n"))?;
    Ok(installation)
}

fn servers() -> String {
    format!("name_servers = [\"{ELSEWHERE}\"]\n")
}

fn is_question(seen: &Seen) -> bool {
    from_modem(seen)
        && seen.packet.destination() == Some(ELSEWHERE.into())
        && seen.packet.ports.is_some_and(|(_, to)| to == 53)
}

fn is_other(seen: &Seen) -> bool {
    foreign(seen) && !is_question(seen)
}

fn a_name_is_asked_for_over_the_modem(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let agent = by_name(&scene, &servers())?.start(backend)?;
    scene.handshake_after(agent.started())?;
    let endpoint = scene.lab.vps.endpoint()?.map(|endpoint| endpoint.ip());
    ensure!(endpoint == Some(CARRIER.into()), "at {endpoint:?}");
    ensure!(server.questions() > 0, "nobody was asked");
    scene
        .at_carrier
        .none("what is neither tunnel nor question", is_other)?;

    // The answer is there, and so the way is closed: from the agent's very port nothing leaves.
    let asked = scene.at_carrier.packets(is_question)?;
    let asked = asked.last().context("no question was seen")?;
    let (port, _) = asked.packet.ports.context("no ports")?;
    let before = scene.at_carrier.count(is_question)?;
    let socket = scene
        .lab
        .router
        .run(|| Ok(UdpSocket::bind(SocketAddrV4::new(MODEM, port))?))?;
    for _ in 0..5 {
        // nftables refuses it to the sender's face.
        socket.send_to(b"a question", (ELSEWHERE, 53)).ok();
    }
    thread::sleep(Duration::from_millis(500));
    let after = scene.at_carrier.count(is_question)?;
    ensure!(after == before, "{} questions more", after - before);
    Ok(())
}

fn a_tunnel_that_works_asks_nothing(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let installation = by_name(&scene, &servers())?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    agent.terminate()?;
    let before = server.questions();
    // It knows the address from before, and the system's resolver fails at once.
    let agent = installation.start(backend)?;
    wait::until(PATIENCE, "the agent to miss an answer", || {
        let log = agent.log();
        Ok(log.iter().any(|line| line.contains(NAME)).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    ensure!(server.questions() == before, "it has asked all the same");
    Ok(())
}

fn without_name_servers_nothing_is_asked(backend: Backend) -> Result<()> {
    let scene = scene()?;
    let server = NameServer::open(&scene.lab.vps.netns, ELSEWHERE, PEER)?;
    let agent = by_name(&scene, "")?.start(backend)?;
    wait::until(PATIENCE, "the agent to miss an answer", || {
        let log = agent.log();
        Ok(log.iter().any(|line| line.contains(NAME)).then_some(()))
    })?;
    thread::sleep(Duration::from_secs(2));
    ensure!(server.questions() == 0, "it has asked");
    scene.at_carrier.none("anything at all", foreign)
}
