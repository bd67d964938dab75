//! Somebody keeps taking the guard away.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use lte_tests::backend::Backend;
use lte_tests::wait::PATIENCE;

use crate::guard;
use crate::house::House;

/// More often than is repaired at once, by far.
const BLOWS: usize = 120;
const BETWEEN: Duration = Duration::from_millis(200);

/// The agent spaces its repairs out, and what rests on the guard waits for it: the modem is not set up
/// in between, which would show by the reports of multicast listeners that the kernel then sends by it.
/// With nft under emulation no repair is quick enough for it to be made ten times in ten seconds.
pub(crate) fn over_the_guard() -> Result<()> {
    let backend = Backend::Ebpf;
    let house = House::open(backend)?;
    let blow = &guard::damages(backend)?[0];
    house.lead_to_the_uplink()?;
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
    // It has been up for seconds: the kernel has no more to send of its own.
    blow.strike(&house)?;
    house.scene.lab.router.ip("link set modem down\n")?;
    house.all_in_place(PATIENCE)?;
    house.nothing_leaked()?;
    house.lead_to_the_modem("modem")?;
    house.close()
}
