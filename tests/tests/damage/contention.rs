//! Another program removes the guard again and again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::wait::TIMEOUT;

use crate::fixture::Fixture;
use crate::guard;
use crate::probe::Aspect;

/// More often than is repaired at once, by far.
const ATTEMPTS: usize = 120;
const BETWEEN: Duration = Duration::from_millis(200);

/// The agent spaces its repairs out, and what rests on the guard waits for it: the modem is not set up
/// in between. With nft under emulation no repair is quick enough for it to be made ten times in ten
/// seconds.
pub(crate) fn over_the_guard() -> Result<()> {
    let backend = Backend::Ebpf;
    let fixture = Fixture::open(backend)?;
    let damage = &guard::damages(backend)?[0];
    let router = &fixture.scene.lab.router;
    let whole = router.run(|| fixture.probe.read(Aspect::Guard))?;
    let held_back = || {
        let log = fixture.agent.log();
        log.iter()
            .any(|line| line.contains("set the guard: undone repeatedly"))
    };
    let mut attempts = 0;
    while !held_back() {
        attempts += 1;
        ensure!(
            attempts < ATTEMPTS,
            "{attempts} blows, and nothing is held back"
        );
        // Most are in vain: it is not back yet.
        drop(damage.inject(&fixture));
        thread::sleep(BETWEEN);
    }
    fixture.all_in_place(TIMEOUT)?;
    damage.inject(&fixture)?;
    router.ip("link set modem down\n")?;
    router.run(|| {
        let begun = Instant::now();
        loop {
            // In this order: what is seen of the modem rests on what is then seen of the guard.
            let up = fixture
                .probe
                .read(Aspect::Modem)?
                .contains("modem up: true");
            let guarded = fixture.probe.read(Aspect::Guard)? == whole;
            ensure!(!up || guarded, "the modem is up without a guard");
            if up {
                return Ok(());
            }
            ensure!(begun.elapsed() < TIMEOUT, "the modem is not up again");
        }
    })?;
    fixture.nothing_leaked()?;
    fixture.close()
}
