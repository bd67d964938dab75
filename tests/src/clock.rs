//! The machine's clock, set wrong.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_settime};

/// A clock that is ahead, until dropped. This is the whole machine's matter: it is done for seconds, and in
/// a virtual machine.
#[derive(Debug)]
pub struct ClockAhead {
    by: Duration,
}

impl ClockAhead {
    /// Sets it ahead.
    pub fn new(by: Duration) -> Result<Self> {
        set(now()? + by)?;
        Ok(Self { by })
    }

    /// Sets it right.
    pub fn set_back(self) {
        drop(self);
    }
}

impl Drop for ClockAhead {
    fn drop(&mut self) {
        let back = now().and_then(|now| set(now.saturating_sub(self.by)));
        if let Err(error) = back {
            eprintln!("setting the clock back: {error:#}");
        }
    }
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

fn set(to: Duration) -> Result<()> {
    let to = TimeSpec::from_duration(to);
    clock_settime(ClockId::CLOCK_REALTIME, to).context("setting the clock")
}
