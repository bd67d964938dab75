//! What an agent costs that has nothing to do, and while others change a lot that is not its own.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::agent::Agent;
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::for_each_backend;
use lte_tests::scene::{Scene, flush_rules, rules, rules_back};
use lte_tests::topology::Options;
use lte_tests::wait::TIMEOUT;

for_each_backend!(
    costs_next_to_nothing,
    compares_at_a_limited_rate_through_a_storm
);

// About the agent more than about the kernel.
lte_tests::runs_on!(newest);

const WATCHED: Duration = Duration::from_secs(10);

/// An agent whose own doings wake it up would be at it all the time.
fn costs_next_to_nothing(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let agent = scene.installation()?.start(backend)?;
    scene.handshake_after(agent.started())?;
    // What coming up has set off is over.
    std::thread::sleep(Duration::from_secs(2));
    let before = processor_time(agent.id())?;
    std::thread::sleep(WATCHED);
    let used = processor_time(agent.id())?.saturating_sub(before);
    let share = used.as_secs_f64() / WATCHED.as_secs_f64();
    figure(
        "agent at rest, per cent of a processor",
        &backend.to_string(),
        format!("{:.1}", share * 100.0),
    );
    ensure!(share < 0.25, "{used:?} of {WATCHED:?}");
    agent.interrupt()
}

/// Changes of a kind that could be the agent's matter.
const STORM: usize = 6000;
/// So many looks of a kind may follow one another at once, and so many more each second.
const AT_ONCE: usize = 10;
const A_SECOND: usize = 10;
/// A look at everything that has found something is followed by others, three at most.
const TO_MAKE_SURE: usize = 3;
/// What the agent takes in a minute without a reason.
const NOW_AND_THEN: usize = 3;
/// After which nothing of a storm is left to be looked at.
const CALM: Duration = Duration::from_secs(3);

/// Each change causes an event, and not a look; and what is the agent's is put back meanwhile.
fn compares_at_a_limited_rate_through_a_storm(backend: Backend) -> Result<()> {
    let scene = Scene::open(&Options::lte())?;
    let agent = scene
        .installation()?
        .launch_prepared(Some(backend), |command| {
            command.arg("--verbose");
        })?
        .wait_ready(TIMEOUT)?;
    scene.handshake_after(agent.started())?;
    std::thread::sleep(Duration::from_secs(2));
    let router = &scene.lab.router;
    let count = rules(router)?;
    let before = comparisons(&agent);
    let storm = "addr add 10.77.0.1/32 dev lo\naddr del 10.77.0.1/32 dev lo\n".repeat(STORM / 2);
    let begun = Instant::now();
    let repaired = std::thread::scope(|scope| -> Result<Duration> {
        let storm = scope.spawn(|| router.ip(&storm));
        std::thread::sleep(Duration::from_millis(100));
        let struck = Instant::now();
        flush_rules(router)?;
        rules_back(router, count)?;
        let repaired = struck.elapsed();
        storm
            .join()
            .map_err(|_| anyhow::anyhow!("the storm panicked"))??;
        Ok(repaired)
    })?;
    let lasted = begun.elapsed();
    // Until the last look: what the agent had no time for comes after the storm.
    let (mut last, mut after) = (begun.elapsed(), comparisons(&agent));
    while begun.elapsed() < last + CALM {
        std::thread::sleep(Duration::from_millis(10));
        let now = comparisons(&agent);
        if now != after {
            (last, after) = (begun.elapsed(), now);
        }
    }
    let whole = after.whole - before.whole;
    let quick = after.quick() - before.quick();
    figure(
        "a storm of events",
        &format!("{backend}: events, ms, looks and quick ones, ms until rules were back"),
        format!(
            "{STORM}, {}, {whole} and {quick}, {}",
            lasted.as_millis(),
            repaired.as_millis()
        ),
    );
    let most = AT_ONCE + (last.as_millis() as usize * A_SECOND).div_ceil(1000);
    ensure!(
        (1..=most + TO_MAKE_SURE).contains(&whole) && quick <= most,
        "{whole} looks and {quick} quick ones at {STORM} events, the last after {last:?}"
    );
    std::thread::sleep(CALM);
    let more = comparisons(&agent).all - after.all;
    ensure!(
        more <= NOW_AND_THEN,
        "{more} more looks long after the storm"
    );
    agent.interrupt()
}

/// How often the agent has looked.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Comparisons {
    /// At the kernel's objects.
    all: usize,
    /// At the guard as well.
    whole: usize,
}

impl Comparisons {
    fn quick(self) -> usize {
        // A whole look may be half done.
        self.all.saturating_sub(self.whole)
    }
}

fn comparisons(agent: &Agent) -> Comparisons {
    let log = agent.log();
    let count = |words: &str| log.iter().filter(|line| line.contains(words)).count();
    Comparisons {
        all: count("saw the kernel's objects"),
        whole: count("looked in "),
    }
}

/// What a process has used so far, in user space and in the kernel.
fn processor_time(pid: u32) -> Result<Duration> {
    /// `USER_HZ`, the same on every kernel of this architecture.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold spaces; behind it the first is the third field, and 14 and 15 are wanted.
    let (_, rest) = stat.rsplit_once(')').context("no name")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |field: usize| -> Result<u64> {
        let text = fields.get(field - 3).context("too short")?;
        Ok(text.parse()?)
    };
    Ok(Duration::from_millis(
        (ticks(14)? + ticks(15)?) * 1000 / TICKS,
    ))
}
