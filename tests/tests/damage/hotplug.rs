//! A modem that is plugged in is closed before anything else is done with it: the guard takes its time, and
//! a program that waits for a new interface, a DHCP client above all, may set it up meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::wait::{self, TIMEOUT};

use crate::fixture::Fixture;
use crate::probe::Aspect;

const TIMES: usize = 3;
/// A modem needs as long at least to begin anew.
pub(crate) const REPLUG: Duration = Duration::from_secs(2);

/// What the agent says when it has nothing left to do, with a modem and without one.
const IN_PLACE: &str = "the datapath is in place";
const ALONE: &str = "waiting for the modem";

/// How often the agent has said so.
fn log_count(fixture: &Fixture, words: &str) -> usize {
    let log = fixture.agent.log();
    log.iter().filter(|line| line.contains(words)).count()
}

pub(crate) fn closed_first(backend: Backend) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    let lab = &fixture.scene.lab;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let before = log_count(&fixture, ALONE);
        lab.unplug_modem("modem")?;
        thread::sleep(REPLUG);
        // A guard that was on its way to the old one goes by the name, and may be at the new one before
        // anything else is: nothing is under way any more.
        wait::until(TIMEOUT, "the agent to be done without a modem", || {
            Ok((log_count(&fixture, ALONE) > before).then_some(()))
        })?;
        // What is there of the guard after that is not taken for the new modem's.
        wait::until(TIMEOUT, "the guard to be without a modem", || {
            let guard = lab.router.run(|| fixture.probe.read(Aspect::Guard))?;
            Ok((guard != fixture.expected(Aspect::Guard)?).then_some(()))
        })?;
        let before = log_count(&fixture, IN_PLACE);
        let begun = Instant::now();
        lab.plug_modem("modem")?;
        times.push(closed(&fixture, begun)?.as_millis());
        fixture.all_in_place(TIMEOUT)?;
        fixture.route_by_modem("modem")?;
        wait::until(TIMEOUT, "the agent to say that everything in place", || {
            Ok((log_count(&fixture, IN_PLACE) > before).then_some(()))
        })?;
    }
    times.sort_unstable();
    figure(
        "time until a new modem is closed, ms",
        &backend.to_string(),
        format!("{} / {}", times[TIMES / 2], times[TIMES - 1]),
    );
    fixture.close()
}

/// How long it was open. The guard is looked at before the root qdisc: it must not be the first there.
fn closed(fixture: &Fixture, begun: Instant) -> Result<Duration> {
    let expected = fixture.expected(Aspect::Modem)?;
    let net = expected
        .iter()
        .find(|fact| fact.starts_with("root qdisc "))
        .context("the modem has no root qdisc of ours")?;
    let guard = fixture.expected(Aspect::Guard)?;
    fixture.scene.lab.router.run(|| {
        loop {
            let guarded = fixture.probe.read(Aspect::Guard)? == guard;
            let closed = fixture.probe.read(Aspect::Modem)?.contains(net);
            if closed {
                return Ok(begun.elapsed());
            }
            ensure!(
                !guarded,
                "the guard is there, and the modem was not closed; the agent said: {:#?}",
                fixture.last_lines()
            );
            ensure!(begun.elapsed() < TIMEOUT, "the modem is not closed");
        }
    })
}
