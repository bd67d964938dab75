//! A running agent gets a request: to read its config again, by a second agent that it is not
//! alone, and by the service manager that it wants to be kept informed.

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::{TUNNEL, TUNNEL_PEER};
use lte_tests::backend::Backend;
use lte_tests::for_each_backend;
use lte_tests::ping::{PACE, Pinger};
use lte_tests::scene::Scene;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

for_each_backend!(
    reload_applies_only_the_difference,
    invalid_config_is_refused_at_reload,
    second_agent_leaves,
    ready_when_in_place,
    watchdog_is_fed,
);

// About the agent more than about the kernel.
lte_tests::runs_on!(last_between);

const KEEPALIVE: &str = "persistent_keepalive = 80";

fn reload_applies_only_the_difference(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let before = scene.lab.snapshot()?;
    let mut installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let up = scene.lab.snapshot()?;
    let pinger = scene.ping_tunnel()?;
    pinger.wait_for_more(2)?;
    let since = std::time::Instant::now();

    installation.config = installation
        .config
        .with(KEEPALIVE, "persistent_keepalive = 25")?;
    installation.write_config()?;
    let asked = now()?;
    agent.signal(Signal::SIGHUP)?;
    let told = agent.wait_notified("that it reloads", |message| message.contains("RELOADING=1"))?;
    let began: u64 = told
        .lines()
        .find_map(|line| line.strip_prefix("MONOTONIC_USEC="))
        .with_context(|| format!("no time of the reload in {told:?}"))?
        .parse()?;
    ensure!(
        (asked..=now()?).contains(&began),
        "the reload is said to have begun at {began} us, after {asked}"
    );
    agent.wait_notified("that it is ready again", |message| {
        message.lines().any(|line| line == "READY=1")
    })?;
    wait::until(TIMEOUT, "the new keepalive", || {
        let shown = scene
            .lab
            .router
            .tool("wg", &["show", TUNNEL, "persistent-keepalive"])?;
        Ok(shown.trim_end().ends_with("\t25").then_some(()))
    })?;
    pinger.wait_for_more(5)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    scene.session_kept(since)?;
    // The guard waits for a reply as long as the keepalive makes it: programs and sets are new, and
    // as many as before.
    let changed = up.difference(&scene.lab.snapshot()?);
    let guard = |line: &str| line.starts_with("tc filter ") || line.starts_with("nft ");
    let [gone, new] = [&changed.gone, &changed.new].map(|lines| {
        let others: Vec<&String> = lines.iter().filter(|line| !guard(line)).collect();
        (lines.len(), others)
    });
    ensure!(
        gone.0 == new.0
            && gone.1.len() == 1
            && new.1.len() == 1
            && new.1[0].starts_with("wireguard "),
        "more has changed than the keepalive:\n{changed}"
    );
    scene.tunnel_is_sound()?;
    agent.interrupt()?;
    before.assert_same(&scene.lab.router)
}

fn invalid_config_is_refused_at_reload(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let mut installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let up = scene.lab.snapshot()?;
    let good = installation.config.clone();
    installation.config = good.clone().with("mtu = 1380", "mtu = 13")?;
    installation.write_config()?;
    agent.signal(Signal::SIGHUP)?;
    let line = agent.wait_logged("new configuration refused, the old one stays in use")?;
    ensure!(
        line.contains("mtu") && line.contains("config.toml"),
        "no reason in: {line}"
    );
    agent.wait_notified("that it is ready again", |message| message == "READY=1")?;
    up.assert_same(&scene.lab.router)?;
    // It still listens, and takes the next one that is right.
    installation.config = good.with(KEEPALIVE, "persistent_keepalive = 25")?;
    installation.write_config()?;
    agent.signal(Signal::SIGHUP)?;
    agent.wait_logged("configuration reloaded")?;
    Pinger::start(&scene.lab.router, TUNNEL_PEER, PACE)?.wait_for_answer(TIMEOUT)?;
    agent.interrupt()
}

fn second_agent_leaves(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation.start(backend)?;
    scene.handshake_after(agent.started())?;
    let up = scene.lab.snapshot()?;
    let pinger = scene.ping_tunnel()?;
    let second = installation.run(Some(backend), &[])?;
    ensure!(
        second.status.code() == Some(1),
        "the second agent ended with {}",
        second.status
    );
    let pid = format!("another agent is running (pid {})", agent.pid()?);
    ensure!(second.stderr.contains(&pid), "it said {:?}", second.stderr);
    pinger.wait_for_more(3)?;
    let report = pinger.stop()?;
    ensure!(report.lost() == 0, "{report}");
    up.assert_same(&scene.lab.router)?;
    agent.interrupt()
}

/// Stopped the moment it says so, the agent has left nothing to be done.
fn ready_when_in_place(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation.launch(backend)?;
    let told = agent.wait_notified("that it is ready", |message| {
        message.lines().any(|line| line == "READY=1")
    })?;
    agent.signal(Signal::SIGSTOP)?;
    ensure!(
        told.lines()
            .any(|line| line.starts_with("STATUS=the datapath is in place")),
        "it told {told:?}"
    );
    let plan = installation.run(Some(backend), &["plan"])?;
    ensure!(plan.stdout.contains("nothing to do"), "plan: {plan:?}");
    agent.signal(Signal::SIGCONT)?;
    agent.interrupt()
}

fn watchdog_is_fed(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation
        .launch_prepared(Some(backend), |command| {
            command.env("WATCHDOG_USEC", "2000000");
        })?
        .wait_ready(TIMEOUT)?;
    for _ in 0..3 {
        agent.wait_notified("the watchdog's food", |message| message == "WATCHDOG=1")?;
    }
    agent.interrupt()
}

/// us of `CLOCK_MONOTONIC`.
fn now() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(u64::try_from(
        now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000,
    )?)
}
