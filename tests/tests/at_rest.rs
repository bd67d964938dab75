//! An agent that has nothing to do costs next to nothing.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::for_each_backend;
use lte_tests::scene::Scene;
use lte_tests::topology::Options;

for_each_backend!(costs_next_to_nothing);

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
