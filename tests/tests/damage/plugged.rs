//! A modem that is plugged in is closed before anything else is done with it: the guard takes its time, and
//! whoever waits for a new interface, a DHCP client above all, may set it up meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;
use lte_tests::wait::{self, PATIENCE};

use crate::eyes::Aspect;
use crate::house::House;

const TIMES: usize = 3;
/// A modem needs as long at least to begin anew.
pub(crate) const REPLUG: Duration = Duration::from_secs(2);

/// What the agent says when it has nothing left to do, with a modem and without one.
const IN_PLACE: &str = "the datapath is in place";
const ALONE: &str = "waiting for the modem";

/// How often the agent has said so.
fn said(house: &House, words: &str) -> usize {
    let log = house.agent.log();
    log.iter().filter(|line| line.contains(words)).count()
}

pub(crate) fn closed_first(backend: Backend) -> Result<()> {
    let house = House::open(backend)?;
    let lab = &house.scene.lab;
    let mut times = Vec::new();
    for _ in 0..TIMES {
        let before = said(&house, ALONE);
        lab.unplug_modem("modem")?;
        thread::sleep(REPLUG);
        // A guard that was on its way to the old one goes by the name, and may be at the new one before
        // anything else is: nothing is under way any more.
        wait::until(PATIENCE, "the agent to be done without a modem", || {
            Ok((said(&house, ALONE) > before).then_some(()))
        })?;
        // What is there of the guard after that is not taken for the new modem's.
        wait::until(PATIENCE, "the guard to be without a modem", || {
            let guard = lab.router.run(|| house.eyes.see(Aspect::Guard))?;
            Ok((guard != house.usual(Aspect::Guard)?).then_some(()))
        })?;
        let before = said(&house, IN_PLACE);
        let begun = Instant::now();
        lab.plug_modem("modem")?;
        times.push(closed(&house, begun)?.as_millis());
        house.all_in_place(PATIENCE)?;
        house.lead_to_the_modem("modem")?;
        wait::until(PATIENCE, "the agent to say that all is in place", || {
            Ok((said(&house, IN_PLACE) > before).then_some(()))
        })?;
    }
    times.sort_unstable();
    figure(
        "time until a new modem is closed, ms",
        &backend.to_string(),
        format!("{} / {}", times[TIMES / 2], times[TIMES - 1]),
    );
    house.close()
}

/// How long it was open. The guard is looked at before the root qdisc: it must not be the first there.
fn closed(house: &House, begun: Instant) -> Result<Duration> {
    let usual = house.usual(Aspect::Modem)?;
    let net = usual
        .iter()
        .find(|fact| fact.starts_with("root qdisc "))
        .context("the modem has no root qdisc of ours")?;
    let guard = house.usual(Aspect::Guard)?;
    house.scene.lab.router.run(|| {
        loop {
            let guarded = house.eyes.see(Aspect::Guard)? == guard;
            let closed = house.eyes.see(Aspect::Modem)?.contains(net);
            if closed {
                return Ok(begun.elapsed());
            }
            ensure!(
                !guarded,
                "the guard is there, and the modem was not closed; the agent said: {:#?}",
                house.last_words()
            );
            ensure!(begun.elapsed() < PATIENCE, "the modem is not closed");
        }
    })
}
