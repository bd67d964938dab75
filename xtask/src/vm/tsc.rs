//! The rate of the time stamp counter.
//!
//! An emulated guest reads this machine's counter (QEMU: `cpu_get_host_ticks`), and finds its rate
//! by the emulated timer chip (PIT) while it boots. On a busy host it loses the processor between two reads,
//! and its clock then runs up to ten times too fast until it ends: one boot in six, with three guests
//! and six busy processes on two processors, and every deadline in it is over too soon. So it is
//! told the rate.

use std::time::{Duration, Instant};

/// How long is counted. Two reads of the clock and the counter are a microsecond apart: 10 ppm.
const COUNTED: Duration = Duration::from_millis(100);

/// How often a read is tried: the closest pair of clock and counter counts.
const TRIES: usize = 20;

/// The rate of this machine's counter in kHz. `None` where the processor has none.
pub(crate) fn rate() -> Option<u64> {
    let first = read()?;
    std::thread::sleep(COUNTED);
    let last = read()?;
    let ticks = last.ticks.checked_sub(first.ticks)?;
    let time = last.at.checked_duration_since(first.at)?;
    let rate = u128::from(ticks) * 1_000_000 / time.as_nanos();
    u64::try_from(rate).ok().filter(|rate| *rate > 0)
}

/// The counter at a time.
struct Reading {
    at: Instant,
    ticks: u64,
}

/// This thread may be interrupted between the two; the reading that took the fewest ticks was not.
fn read() -> Option<Reading> {
    let mut best: Option<(u64, Reading)> = None;
    for _ in 0..TRIES {
        let before = counter()?;
        let at = Instant::now();
        let width = counter()?.checked_sub(before)?;
        if best.as_ref().is_none_or(|(least, _)| width < *least) {
            let ticks = before + width / 2;
            best = Some((width, Reading { at, ticks }));
        }
    }
    best.map(|(_, reading)| reading)
}

#[cfg(target_arch = "x86_64")]
#[expect(
    clippy::unnecessary_wraps,
    reason = "other processors have no such counter"
)]
fn counter() -> Option<u64> {
    // SAFETY: the instruction is in every x86_64 processor, and no program that runs here forbids it to
    // itself (prctl's PR_SET_TSC).
    Some(unsafe { std::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
fn counter() -> Option<u64> {
    None
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn two_measurements_agree() {
        let (one, other) = (rate().expect("a rate"), rate().expect("a rate"));
        // The guest's kernel itself corrects what is within one per cent.
        assert!(one.abs_diff(other) * 200 < one, "{one} and {other} kHz");
    }
}
