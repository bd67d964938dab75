//! What `-vv` adds: a line for each packet that the programs drop. They are loaded with other
//! constants then, so it is the verifier of every kernel that is asked again.

use std::net::SocketAddrV4;
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::addresses::ELSEWHERE;
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::installation::Installation;
use lte_tests::keys;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::traffic;
use lte_tests::wait::TIMEOUT;

// The program that writes it is attached in two ways.
lte_tests::runs_on!(oldest, newest);

/// A length that nothing else in the lab has; 28 bytes of headers come to it.
const PAYLOAD: usize = 613;

#[test]
fn names_each_dropped_packet() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let agent = start_verbose(&installation)?;
    scene.handshake_after(agent.started())?;
    scene.lab.default_route_on_modem()?;
    says_what_it_drops(&scene, &agent, PAYLOAD)?;
    agent.kill()?;

    // The programs go on, and their log is not read, until the next agent that wants it.
    let next = start_verbose(&installation)?;
    says_what_it_drops(&scene, &next, PAYLOAD + 1)?;
    next.terminate()?;

    // One that wants no lines has programs that write none.
    let silent = installation.start(Backend::Ebpf)?;
    let pings = scene.ping_tunnel()?;
    pings.wait_for_more(3)?;
    ensure!(pings.stop()?.lost() == 0, "the session was not kept");
    send(&scene, PAYLOAD)?;
    // Longer than the others took to say it.
    std::thread::sleep(Duration::from_secs(1));
    let lines = silent.log();
    ensure!(
        !lines.iter().any(|line| line.contains("modem-out")),
        "it was not asked for: {lines:?}"
    );
    silent.interrupt()
}

/// Programs that log are no other build to a command that only looks, nor are those that do not to one that is
/// told to log itself.
#[test]
fn is_no_other_build_to_who_looks() -> Result<()> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let start_verbose = start_verbose(&installation)?;
    scene.handshake_after(start_verbose.started())?;
    finds_all_in_place(&installation, false)?;
    finds_all_in_place(&installation, true)?;
    start_verbose.terminate()?;
    let silent = installation.start(Backend::Ebpf)?;
    finds_all_in_place(&installation, true)?;
    silent.interrupt()
}

fn finds_all_in_place(installation: &Installation, verbose: bool) -> Result<()> {
    let ask = |command| {
        let mut words = vec![command];
        if verbose {
            words.push("-vv");
        }
        installation.run(Some(Backend::Ebpf), &words)
    };
    let plan = ask("plan")?;
    ensure!(plan.stdout.contains("nothing to do"), "{plan:?}");
    let doctor = ask("doctor")?;
    ensure!(doctor.stdout.contains("everything in place"), "{doctor:?}");
    Ok(())
}

/// An agent with `-vv`, ready.
fn start_verbose(installation: &Installation) -> Result<Agent> {
    installation
        .launch_prepared(Some(Backend::Ebpf), |command| {
            command.arg("-vv");
        })?
        .wait_ready(TIMEOUT)
}

/// A LAN host tries the modem; the guard drops it and the agent says so, and no secret with it.
fn says_what_it_drops(scene: &Scene, agent: &Agent, payload: usize) -> Result<()> {
    send(scene, payload)?;
    let line = agent.wait_logged(&format!(": {} bytes", payload + 28))?;
    ensure!(line.contains("modem-out"), "of another hook: {line}");
    let log = agent.log().join("\n");
    ensure!(
        !log.contains(keys::ROUTER.private().trim()),
        "the private key is in the log"
    );
    Ok(())
}

fn send(scene: &Scene, payload: usize) -> Result<()> {
    let to = [SocketAddrV4::new(ELSEWHERE, 9)];
    let sent = traffic::send_udp(&scene.lab.lan, 40000, &to, &[vec![0x5a; payload]])?;
    ensure!(sent == 1, "the LAN host could not send");
    Ok(())
}
