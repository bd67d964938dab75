//! Somebody keeps taking the guard away.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::wait::PATIENCE;

use crate::eyes::Aspect;
use crate::guard;
use crate::house::House;

/// More often than is repaired at once, by far.
const BLOWS: usize = 120;
const BETWEEN: Duration = Duration::from_millis(200);

/// The agent spaces its repairs out, and what rests on the guard waits for it: the modem is not set up
/// in between. With nft under emulation no repair is quick enough for it to be made ten times in ten
/// seconds.
pub(crate) fn over_the_guard() -> Result<()> {
    let backend = Backend::Ebpf;
    let house = House::open(backend)?;
    let blow = &guard::damages(backend)?[0];
    let router = &house.scene.lab.router;
    let whole = router.run(|| house.eyes.see(Aspect::Guard))?;
    let held_back = || {
        let log = house.agent.log();
        log.iter()
            .any(|line| line.contains("set the guard: keeps being undone"))
    };
    let mut blows = 0;
    while !held_back() {
        blows += 1;
        ensure!(blows < BLOWS, "{blows} blows, and nothing is held back");
        // Most are in vain: it is not back yet.
        drop(blow.strike(&house));
        thread::sleep(BETWEEN);
    }
    house.all_in_place(PATIENCE)?;
    blow.strike(&house)?;
    router.ip("link set modem down\n")?;
    router.run(|| {
        let begun = Instant::now();
        loop {
            // In this order: what is seen of the modem rests on what is then seen of the guard.
            let up = house.eyes.see(Aspect::Modem)?.contains("modem up: true");
            let guarded = house.eyes.see(Aspect::Guard)? == whole;
            ensure!(!up || guarded, "the modem is up without a guard");
            if up {
                return Ok(());
            }
            ensure!(begun.elapsed() < PATIENCE, "the modem is not up again");
        }
    })?;
    house.nothing_leaked()?;
    house.close()
}
