//! One damage after the other, each three times.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::figure::figure;

use crate::damage::{Damage, Defeats};
use crate::fixture::{Fixture, Repair};

/// How often each is done.
const TIMES: usize = 3;
/// Between two of them, so that the agent is at rest.
const REST: Duration = Duration::from_millis(200);
/// The agent repairs one thing ten times in ten seconds and then ever more slowly, and the guard is
/// one thing: so many damages to it, and it is left in peace.
const IN_A_ROW: usize = 3;
const PEACE: Duration = Duration::from_secs(11);

/// All of a list, in one fixture.
pub(crate) fn alone(backend: Backend, damages: &[Damage]) -> Result<()> {
    let fixture = Fixture::open(backend)?;
    in_fixture(&fixture, damages)?;
    fixture.close()
}

pub(crate) fn in_fixture(fixture: &Fixture, damages: &[Damage]) -> Result<()> {
    let mut to_the_guard = 0;
    for damage in damages {
        if damage.defeats == Defeats::Guard {
            if to_the_guard == IN_A_ROW {
                thread::sleep(PEACE);
                to_the_guard = 0;
            }
            to_the_guard += 1;
        }
        let mut repairs = Vec::new();
        for _ in 0..TIMES {
            repairs.push(once(fixture, damage)?);
            thread::sleep(REST);
        }
        ensure!(
            repairs.iter().any(|repair| repair.seen),
            "{}: of {TIMES} times it was never seen to do anything",
            damage.name
        );
        report(damage.name, fixture.backend, &repairs);
    }
    Ok(())
}

/// Everybody is led to the modem, also where it was taken away the last time.
pub(crate) fn once(fixture: &Fixture, damage: &Damage) -> Result<Repair> {
    fixture.route_by_modem("modem")?;
    fixture.repair(damage)
}

/// In the tables of `cargo xtask test`.
pub(crate) fn report(name: &str, backend: Backend, repairs: &[Repair]) {
    let mut times: Vec<u128> = repairs.iter().map(|one| one.took.as_millis()).collect();
    times.sort_unstable();
    let (Some(median), Some(worst)) = (times.get(times.len() / 2), times.last()) else {
        return;
    };
    figure(
        "time to repair, ms",
        &format!("{name} ({backend})"),
        format!("{median} / {worst}"),
    );
}
