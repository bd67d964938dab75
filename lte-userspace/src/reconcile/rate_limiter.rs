//! How often everything is compared, and how often the fast path runs. Single changes are followed at once;
//! any number of changes causes ten comparisons a second at most.

use std::time::{Duration, Instant};

/// The average time between two comparisons.
const SPACING: Duration = Duration::from_millis(100);
/// How many may follow one another without a pause after an idle time.
const BURST: u32 = 10;

/// The rate limit: the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct RateLimiter {
    /// When the next one is due at the average rate.
    due: Option<Instant>,
}

impl RateLimiter {
    /// How long the next comparison has to wait; `None`: not at all.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.due?
            .checked_duration_since(now)?
            .checked_sub(SPACING * (BURST - 1))
            .filter(|wait| !wait.is_zero())
    }

    /// Records one.
    pub(super) fn record(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + SPACING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are allowed, asked every millisecond for so long.
    fn allowed(limiter: &mut RateLimiter, from: Instant, milliseconds: u64) -> u32 {
        let mut allowed = 0;
        for passed in 0..milliseconds {
            let now = from + Duration::from_millis(passed);
            if limiter.wait(now).is_none() {
                limiter.record(now);
                allowed += 1;
            }
        }
        allowed
    }

    #[test]
    fn a_few_follow_one_another_at_once() {
        assert_eq!(
            allowed(&mut RateLimiter::default(), Instant::now(), 10),
            BURST
        );
    }

    #[test]
    fn a_storm_causes_ten_a_second() {
        let mut limiter = RateLimiter::default();
        let begun = Instant::now();
        assert_eq!(allowed(&mut limiter, begun, 10_000), 99 + BURST);
        // It does not save up more than that while nothing happens.
        let later = begun + Duration::from_mins(10);
        assert_eq!(allowed(&mut limiter, later, 10), BURST);
    }

    #[test]
    fn it_returns_how_long_to_wait() {
        let mut limiter = RateLimiter::default();
        let now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(limiter.wait(now), None);
            limiter.record(now);
        }
        let wait = limiter.wait(now);
        assert_eq!(wait, Some(SPACING));
        assert_eq!(limiter.wait(now + SPACING), None);
    }
}
