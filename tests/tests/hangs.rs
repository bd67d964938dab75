//! Nothing that hangs stops the agent: not nft, not the kernel's answer, not a storm of events. Each has its
//! deadline and is logged; signals, the watchdog and what does not rest on it go on.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lte_tests::addresses::TUNNEL;
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::for_each_backend;
use lte_tests::installation::Installation;
use lte_tests::keys;
use lte_tests::netns::Netns;
use lte_tests::scene::{Scene, flush_rules, rules, rules_back};
use lte_tests::stopped_thread::StoppedThread;
use lte_tests::topology::Options;
use lte_tests::wait::{self, TIMEOUT};
use nix::sys::signal::Signal;

for_each_backend!(a_storm_starves_nothing, the_kernel_does_not_answer);

// What hangs is nft, the verifier or a netlink answer; the loop is the same.
lte_tests::runs_on!(oldest, newest);

/// The deadlines of nft and of the kernel, as they are logged.
const NO_ANSWER: &str = "gave no answer within 10 s";
/// How soon the agent ends on a signal: long before what it waits for comes to its deadline.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Half of it is how often the agent is to be heard of.
const WATCHDOG: &str = "1000000";

/// An nft that hangs as long as a file is there, and writes its process number to another each time.
struct Nft {
    hang: PathBuf,
    hung: PathBuf,
}

impl Nft {
    fn new(installation: &Installation) -> Result<Self> {
        let at = |name: &str| installation.path().join(name);
        let nft = Self {
            hang: at("hang"),
            hung: at("hung"),
        };
        let script = format!(
            "#!/bin/sh\nif [ -e {hang} ]; then\n  echo $$ >> {hung}\n  while [ -e {hang} ]; do sleep 1; done\nfi\n\
             exec /usr/sbin/nft \"$@\"\n",
            hang = nft.hang.display(),
            hung = nft.hung.display(),
        );
        installation.files().write("nft", 0o755, &script)?;
        Ok(nft)
    }

    fn hangs(&self) -> Result<()> {
        Ok(fs::write(&self.hang, "")?)
    }

    fn works(&self) -> Result<()> {
        Ok(fs::remove_file(&self.hang)?)
    }

    fn count(&self) -> usize {
        self.processes().len()
    }

    /// Those that have hung, in order.
    fn processes(&self) -> Vec<String> {
        let text = fs::read_to_string(&self.hung).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Whether the first that hung does so still.
    fn first_still_hangs(&self) -> bool {
        let first = self.processes().into_iter().next();
        first.is_some_and(|first| Path::new("/proc").join(first).exists())
    }

    /// Waits until it has been called once more, and hangs.
    fn wait_called(&self, before: usize) -> Result<()> {
        wait::until(TIMEOUT, "nft to be called", || {
            Ok((self.count() > before).then_some(()))
        })
    }
}

#[test]
fn nft() -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let nft = Nft::new(&installation)?;
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", installation.path().display());
    let agent = installation
        .launch_prepared(Some(Backend::Nft), |command| {
            command.env("PATH", &path).env("WATCHDOG_USEC", WATCHDOG);
        })?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let router = &scene.lab.router;
    let count = rules(router)?;

    // Another's table: nft's ruleset is to be listed again.
    nft.hangs()?;
    router.tool("nft", &["add", "table", "ip", "somebodys"])?;
    nft.wait_called(0)?;
    let struck = Instant::now();
    flush_rules(router)?;
    rules_back(router, count)?;
    let back = struck.elapsed();
    // The log does not show it: where a poll gives nft up, it has no line of that.
    ensure!(
        nft.first_still_hangs(),
        "the rules were back after {back:?}, when nft was given up: {:?}",
        agent.log()
    );
    beats(&agent)?;
    agent.wait_logged(NO_ANSWER)?;
    beats(&agent)?;

    // And again, for as long as it hangs.
    nft.wait_called(nft.count())?;
    flush_rules(router)?;
    rules_back(router, count)?;
    nft.wait_called(nft.count())?;
    let asked = Instant::now();
    agent.terminate()?;
    let ended = asked.elapsed();
    figure(
        "nft hangs",
        "ms until rules were back, until the agent had ended",
        format!("{}, {}", back.as_millis(), ended.as_millis()),
    );
    ensure!(ended < AT_ONCE, "it ended after {ended:?}");
    nft.works()?;
    scene.tunnel_is_sound()?;
    router.tool("nft", &["delete", "table", "ip", "somebodys"])?;
    let down = installation.run(Some(Backend::Nft), &["down"])?;
    ensure!(down.status.success(), "{down:?}");
    Ok(())
}

/// As if another process held the kernel's routing lock: the thread that asks it does not come back.
fn the_kernel_does_not_answer(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation
        .launch_prepared(Some(backend), |command| {
            command.env("WATCHDOG_USEC", WATCHDOG);
        })?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let router = &scene.lab.router;
    let count = rules(router)?;

    let first = StoppedThread::of(agent.id(), "netlink")?;
    flush_rules(router)?;
    beats(&agent)?;
    agent.wait_logged(NO_ANSWER)?;
    beats(&agent)?;
    // Another connection asks then.
    rules_back(router, count)?;

    let second = StoppedThread::of(agent.id(), "netlink")?;
    flush_rules(router)?;
    beats(&agent)?;
    let asked = Instant::now();
    agent.signal(Signal::SIGTERM)?;
    first.wait_end()?;
    second.wait_end()?;
    agent.terminate()?;
    let ended = asked.elapsed();
    ensure!(ended < AT_ONCE, "it ended after {ended:?}");
    let down = installation.run(Some(backend), &["down"])?;
    ensure!(down.status.success(), "{down:?}");
    Ok(())
}

/// Events without an end. What the kernel sends events for is put back, and so is what it sends none for; the
/// config is read again, and the agent ends when it is asked to.
fn a_storm_starves_nothing(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let installation = scene.installation()?;
    let agent = installation
        .launch_prepared(Some(backend), |command| {
            command.env("WATCHDOG_USEC", WATCHDOG);
        })?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    let router = &scene.lab.router;
    let count = rules(router)?;
    let keepalive = || router.tool("wg", &["show", TUNNEL, "persistent-keepalive"]);
    let usual = keepalive()?;
    let storm = Storm::default();
    let (rules, settings) = std::thread::scope(|scope| -> Result<(Duration, Duration)> {
        let blowing = scope.spawn(|| storm.blow(router));
        let harm = || -> Result<(Duration, Duration)> {
            storm.wait_risen()?;
            let struck = Instant::now();
            flush_rules(router)?;
            rules_back(router, count)?;
            let rules = struck.elapsed();
            let struck = Instant::now();
            let key = keys::SERVER.public;
            let words = ["set", TUNNEL, "peer", key, "persistent-keepalive", "7"];
            router.tool("wg", &words)?;
            wait::until(TIMEOUT, "the keepalive to be as it was", || {
                Ok((keepalive()? == usual).then_some(()))
            })?;
            let settings = struck.elapsed();
            beats(&agent)?;
            agent.signal(Signal::SIGHUP)?;
            agent.wait_logged("configuration reloaded")?;
            Ok((rules, settings))
        };
        let harmed = harm();
        let ended = harmed.and_then(|times| agent.interrupt().map(|()| times));
        storm.over.store(true, Ordering::Relaxed);
        blowing
            .join()
            .map_err(|_| anyhow::anyhow!("the storm panicked"))??;
        ended
    })?;
    figure(
        "a storm without an end",
        &format!("{backend}: ms until rules and WireGuard's settings were back"),
        format!("{}, {}", rules.as_millis(), settings.as_millis()),
    );
    Ok(())
}

/// Changes of a link that the agent has to look at.
#[derive(Default)]
struct Storm {
    rounds: AtomicUsize,
    over: AtomicBool,
}

impl Storm {
    /// Rounds after which the kernel has certainly had some: what a pipe holds is less.
    const RISEN: usize = 1500;

    /// Until it is over, in one process: between two there would be a calm.
    fn blow(&self, router: &Netns) -> Result<()> {
        let mut command = Command::new("ip");
        let mut ip = router.spawn(command.args(["-batch", "-"]).stdin(Stdio::piped()))?;
        let mut lines = ip.stdin.take().context("its input is a pipe")?;
        while !self.over.load(Ordering::Relaxed) {
            lines.write_all(b"link set lan0 alias storm\nlink set lan0 alias calm\n")?;
            self.rounds.fetch_add(1, Ordering::Relaxed);
        }
        drop(lines);
        let status = ip.wait()?;
        ensure!(status.success(), "ip: {status}");
        Ok(())
    }

    fn wait_risen(&self) -> Result<()> {
        wait::until(TIMEOUT, "the storm to rise", || {
            let rounds = self.rounds.load(Ordering::Relaxed);
            Ok((rounds > Self::RISEN).then_some(()))
        })
    }
}

/// The watchdog is fed from now on, and not only before.
fn beats(agent: &Agent) -> Result<()> {
    agent.discard_notified()?;
    agent.wait_notified("a word for the watchdog", |message| message == "WATCHDOG=1")?;
    Ok(())
}
