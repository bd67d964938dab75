//! A peer that does not answer is left in peace, and asked again now and then.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::addresses::{TUNNEL, TUNNEL_ROUTER};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::clock::ClockAhead;
use lte_tests::netns::Netns;
use lte_tests::packet::{Kind, Message};
use lte_tests::ping;
use lte_tests::scene::{Scene, from_modem};
use lte_tests::topology::Options;

// About the agent more than about the kernel. The second one waits two minutes.
lte_tests::runs_on!(newest);
lte_tests::runs_on!(newest, long; nothing_is_sent_during_a_pause);
use lte_tests::wait::{self, TIMEOUT};

const TEN_YEARS: Duration = Duration::from_hours(10 * 365 * 24);

/// WireGuard goes on by itself for so long (REKEY_ATTEMPT_TIME), and this is some more.
const LAST_WORD: Duration = Duration::from_secs(100);

#[test]
fn a_silent_peer_is_tried_now_and_then() -> Result<()> {
    let (scene, agent) =
        without_an_answer("handshake_retry_for = 3\nhandshake_retry_interval = 6")?;
    for wanted in ["off", "80", "off"] {
        keepalive_becomes(&scene.lab.router, wanted)?;
    }
    ensure!(
        log_count(&agent, "does not answer") == 1,
        "{:?}",
        agent.log()
    );
    scene.lab.vps.netns.ip("link set wg0 up\n")?;
    wait::until(TIMEOUT, "word that the peer answers", || {
        Ok((log_count(&agent, "answers again") == 1).then_some(()))
    })?;
    keepalive_becomes(&scene.lab.router, "80")?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(3)?;
    pinger.stop()?;
    scene.nothing_leaked()?;
    agent.interrupt()
}

#[test]
fn nothing_is_sent_during_a_pause() -> Result<()> {
    let (scene, agent) =
        without_an_answer("handshake_retry_for = 3\nhandshake_retry_interval = 3600")?;
    keepalive_becomes(&scene.lab.router, "off")?;
    std::thread::sleep(LAST_WORD);
    let before = initiations(&scene)?;
    ensure!(before > 5, "only {before} handshakes were tried");
    std::thread::sleep(Duration::from_secs(20));
    let more = initiations(&scene)? - before;
    ensure!(more == 0, "{more} handshakes in 20 s");
    agent.interrupt()
}

/// Ten years ahead, and right again with a handshake of that time: a router without a battery-backed clock
/// that has asked the wrong server.
#[test]
fn a_clock_that_jumps_makes_no_peer_silent() -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let mut installation = scene.installation()?;
    let settings = "mtu = 1380\nhandshake_retry_for = 3\nhandshake_retry_interval = 3600";
    installation.config = installation.config.with("mtu = 1380", settings)?;
    let agent = installation.start(Backend::Ebpf)?;
    scene.handshake_after(agent.started())?;
    let pinger = scene.ping_tunnel()?;

    let ahead = ClockAhead::new(TEN_YEARS)?;
    stays_in_favour(&scene, &agent)?;
    let before = scene.lab.vps.latest_handshake()?;
    // With its link it loses its session: its next packet begins a new one.
    scene
        .lab
        .vps
        .netns
        .ip("link set wg0 down\nlink set wg0 up\n")?;
    wait::until(TIMEOUT, "a handshake by the wrong clock", || {
        ping::answers(&scene.lab.vps.netns, TUNNEL_ROUTER)?;
        let now = scene.lab.vps.latest_handshake()?;
        Ok((now.is_some() && now != before).then_some(()))
    })?;
    ahead.set_back();
    stays_in_favour(&scene, &agent)?;
    pinger.wait_for_more(3)?;
    pinger.stop()?;
    scene.nothing_leaked()?;
    agent.interrupt()
}

/// The peer is not found silent, for several times the time it may be.
fn stays_in_favour(scene: &Scene, agent: &Agent) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(12);
    while Instant::now() < end {
        let shown = scene
            .lab
            .router
            .tool("wg", &["show", TUNNEL, "persistent-keepalive"])?;
        let keepalive = shown.split_whitespace().nth(1);
        ensure!(keepalive == Some("80"), "a keepalive of {keepalive:?}");
        ensure!(
            log_count(agent, "does not answer") == 0,
            "{:?}",
            agent.log()
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    Ok(())
}

/// A running agent whose peer is there and does not answer.
fn without_an_answer(settings: &str) -> Result<(Scene, Agent)> {
    let scene = Scene::open(&Options::lte())?;
    scene.lab.vps.netns.ip("link set wg0 down\n")?;
    let mut installation = scene.installation()?;
    installation.config = installation
        .config
        .with("mtu = 1380", &format!("mtu = 1380\n{settings}"))?;
    let agent = installation.start(Backend::Ebpf)?;
    Ok((scene, agent))
}

fn keepalive_becomes(router: &Netns, wanted: &str) -> Result<()> {
    wait::until(TIMEOUT, &format!("a keepalive of {wanted}"), || {
        let shown = router.tool("wg", &["show", TUNNEL, "persistent-keepalive"])?;
        Ok((shown.split_whitespace().nth(1) == Some(wanted)).then_some(()))
    })
}

fn log_count(agent: &Agent, words: &str) -> usize {
    let log = agent.log();
    log.iter().filter(|line| line.contains(words)).count()
}

/// How many handshakes the router has begun.
fn initiations(scene: &Scene) -> Result<usize> {
    scene
        .at_carrier
        .count(|seen| seen.packet.kind == Kind::WireGuard(Message::Initiation) && from_modem(seen))
}
