//! The modem's root qdisc, the backstop below the guard: what becomes of it where the kernel lacks a
//! module or others replace it, and what waits in it. That it lets nothing out without a guard, and comes
//! back, `damage` asks.

mod upload;

use anyhow::{Result, ensure};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::hidden_module::HiddenModule;
use lte_tests::installation::Installation;
use lte_tests::process;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

// The qdiscs are the same on the kernels between.
lte_tests::runs_on!(oldest, newest);

const ROOT: &str = "qdisc drr 7b: root";
const QUEUE: &str = "qdisc fq_codel 7d: parent 7b:1";
const NO_NET: &str = "there is no backstop";

/// The backend makes no difference to it.
const BACKEND: Backend = Backend::Ebpf;

fn up() -> Result<(Scene, Installation, Agent)> {
    let scene = Scene::open(&Options::default())?;
    let installation = scene.installation()?;
    let agent = installation.start(BACKEND)?;
    scene.handshake_after(agent.started())?;
    Ok((scene, installation, agent))
}

/// The modem's qdiscs, a line each.
fn shown(scene: &Scene) -> Result<String> {
    let router = &scene.lab.router;
    router.tool("tc", &["qdisc", "show", "dev", "modem"])
}

fn tc(scene: &Scene, line: &str) -> Result<()> {
    let router = &scene.lab.router;
    let batch = router.tool_with_input("tc", &["-batch", "-"], line);
    batch.map(drop)
}

fn wait_for(scene: &Scene, wanted: &[&str]) -> Result<()> {
    wait::until(TIMEOUT, &format!("{wanted:?} on the modem"), || {
        let shown = shown(scene)?;
        Ok(wanted
            .iter()
            .all(|wanted| shown.contains(wanted))
            .then_some(()))
    })
}

fn nothing_to_do(installation: &Installation) -> Result<()> {
    wait::until(TIMEOUT, "nothing to be left to do", || {
        let planned = installation.run(Some(BACKEND), &["plan"])?;
        Ok(planned.stdout.contains("nothing to do").then_some(()))
    })
}

/// The tunnel does without, and says so once; there is nothing left to do. When the module is there, who
/// reads the config anew asks for it.
#[test]
fn a_kernel_that_lacks_a_module_is_asked_again() -> Result<()> {
    let hidden = HiddenModule::new("sch_drr")?;
    let (scene, installation, agent) = up()?;
    let said = agent.wait_logged(NO_NET)?;
    ensure!(said.contains("lacks sch_drr:"), "{said}");
    nothing_to_do(&installation)?;
    scene.tunnel_is_sound()?;

    drop(hidden);
    agent.signal(Signal::SIGHUP)?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    nothing_to_do(&installation)?;
    scene.tunnel_is_sound()?;
    agent.interrupt()
}

/// Then what queues is short. The queue is exchanged for the better one with nothing lost.
#[test]
fn without_fq_codel_there_is_a_short_queue() -> Result<()> {
    if HiddenModule::cannot_be("sch_fq_codel") {
        println!("sch_fq_codel is built in: there is no such kernel without it");
        return Ok(());
    }
    // Nothing is loaded while one is hidden.
    for others in ["cls_fw", "cls_matchall"] {
        process::tool("modprobe", &[others], "")?;
    }
    let hidden = HiddenModule::new("sch_fq_codel")?;
    let (scene, installation, agent) = up()?;
    let said = agent.wait_logged("wait in one short queue")?;
    ensure!(said.contains("lacks sch_fq_codel:"), "{said}");
    let found = shown(&scene)?;
    ensure!(found.contains(ROOT), "{found}");
    ensure!(
        found.contains("qdisc pfifo 7e: parent 7b:1 limit 50p"),
        "{found}"
    );
    nothing_to_do(&installation)?;

    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_answer(TIMEOUT)?;
    drop(hidden);
    agent.signal(Signal::SIGHUP)?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    pinger.wait_for_more(3)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    nothing_to_do(&installation)?;
    agent.interrupt()
}

/// One that the kernel gives by itself, or that an earlier version gave, is too long. One that the user
/// gives is left: he may know what the modem can send.
#[test]
fn a_long_queue_is_replaced_and_somebodys_own_stays() -> Result<()> {
    let (scene, installation, agent) = up()?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    for line in [
        "qdisc replace dev modem parent 7b:1 handle 7c: pfifo limit 1000\n",
        "qdisc del dev modem parent 7b:1\n",
    ] {
        let pinger = scene.ping_tunnel()?;
        pinger.wait_for_answer(TIMEOUT)?;
        tc(&scene, line)?;
        wait_for(&scene, &[ROOT, QUEUE])?;
        let report = pinger.stop()?;
        ensure!(report.lost() == 0, "{line}: {report}");
    }
    let own =
        "qdisc replace dev modem parent 7b:1 handle 10: tbf rate 5mbit burst 10kb latency 50ms\n";
    tc(&scene, own)?;
    nothing_to_do(&installation)?;
    tc(&scene, "qdisc del dev modem root\n")?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    tc(&scene, own)?;
    nothing_to_do(&installation)?;
    let found = shown(&scene)?;
    ensure!(found.contains("qdisc tbf 10: parent 7b:1"), "{found}");
    scene.tunnel_is_sound()?;
    agent.interrupt()
}

/// Others who take the root away while the agent builds on it have the kernel say what it says of a kind
/// that it does not know.
#[test]
fn a_root_that_others_take_away_is_no_missing_module() -> Result<()> {
    let (scene, installation, agent) = up()?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    // Most come where there is none to take, and that is an error.
    let storm = "qdisc del dev modem root\n".repeat(20_000);
    let quietly = "tc -force -batch - 2>/dev/null || true";
    let router = &scene.lab.router;
    router.tool_with_input("sh", &["-c", quietly], &storm)?;
    wait_for(&scene, &[ROOT, QUEUE])?;
    nothing_to_do(&installation)?;
    let log = agent.log();
    let repairs = log
        .iter()
        .filter(|line| line.contains("set qdisc drr"))
        .count();
    ensure!(repairs > 1, "the storm was not noticed: {log:#?}");
    let given_up: Vec<&String> = log.iter().filter(|line| line.contains(NO_NET)).collect();
    ensure!(given_up.is_empty(), "{given_up:#?}");
    scene.tunnel_is_sound()?;
    agent.interrupt()
}
