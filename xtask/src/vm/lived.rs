//! Time in which this process really ran: a machine that stood still, as one that is itself virtual does
//! when it is moved or saved, finds its clock far ahead and has done nothing meanwhile.

use std::time::{Duration, Instant};

/// The longest step that counts between two calls.
const STEP: Duration = Duration::from_secs(1);

/// The time that has passed so far, as far as it counts.
#[derive(Debug)]
pub(crate) struct Lived {
    last: Instant,
    total: Duration,
}

impl Default for Lived {
    fn default() -> Self {
        Self {
            last: Instant::now(),
            total: Duration::ZERO,
        }
    }
}

impl Lived {
    /// To be called several times a second. Returns what has passed since the last call.
    pub(crate) fn pass(&mut self) -> Duration {
        let now = Instant::now();
        let step = now.saturating_duration_since(self.last).min(STEP);
        self.last = now;
        self.total += step;
        step
    }

    /// All of it.
    pub(crate) const fn total(&self) -> Duration {
        self.total
    }
}
