//! The back-off of repairs that are undone again and again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::step::StepId;

/// Repairs of one object within [`WINDOW`] that are made at once.
const BURST: usize = 10;
/// After this long without a repair an object's back-off ends.
const WINDOW: Duration = Duration::from_secs(10);
/// The first pause between repairs of one thing.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
pub(super) const LONGEST: Duration = Duration::from_mins(1);
/// The longest for the guard: without it other packets could leave by the modem.
pub(super) const LONGEST_WITHOUT_A_GUARD: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Repairs {
    /// The repairs within the window before the last, and the last.
    recent: VecDeque<Instant>,
    last: Instant,
    pause: Duration,
}

/// Recent repairs by step.
#[derive(Debug, Default)]
pub(super) struct RepairBackoff {
    by_step: HashMap<StepId, Repairs>,
}

impl RepairBackoff {
    /// How long until a repair is due; `None`: it is due.
    pub(super) fn remaining(&self, what: &StepId, now: Instant) -> Option<Duration> {
        let repairs = self.by_step.get(what)?;
        (repairs.last + repairs.pause)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Records that a repair was made, or tried. Returns the pause until the next one, `longest` at
    /// most, where it has just been lengthened, which is worth a line.
    pub(super) fn record(
        &mut self,
        what: &StepId,
        longest: Duration,
        now: Instant,
    ) -> Option<Duration> {
        self.by_step
            .retain(|_, t| now.saturating_duration_since(t.last) < WINDOW + t.pause);
        let repairs = self.by_step.entry(what.clone()).or_insert(Repairs {
            recent: VecDeque::new(),
            last: now,
            pause: Duration::ZERO,
        });
        repairs
            .recent
            .retain(|time| now.saturating_duration_since(*time) < WINDOW);
        repairs.recent.push_back(now);
        repairs.last = now;
        if repairs.pause.is_zero() && repairs.recent.len() <= BURST {
            return None;
        }
        let longer = (repairs.pause * 2).clamp(FIRST, longest);
        let lengthened = longer > repairs.pause;
        repairs.pause = longer;
        lengthened.then_some(longer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::step::{ObjectId, Verb};
    use super::*;
    use crate::desired::IpFamily;

    fn set(object: ObjectId) -> StepId {
        let verb = Verb::Set;
        StepId { verb, object }
    }

    fn rule() -> StepId {
        set(ObjectId::Rule(Some(IpFamily::V4), 10))
    }

    fn route() -> StepId {
        set(ObjectId::Route(123, None))
    }

    #[test]
    fn the_first_repairs_are_made_at_once_and_then_ever_more_slowly() {
        let mut backoff = RepairBackoff::default();
        let mut now = Instant::now();
        for _ in 0..BURST {
            assert_eq!(backoff.remaining(&rule(), now), None);
            assert_eq!(backoff.record(&rule(), LONGEST, now), None);
            now += Duration::from_millis(50);
        }
        assert_eq!(backoff.record(&rule(), LONGEST, now), Some(FIRST));
        assert!(backoff.remaining(&rule(), now).is_some());
        assert_eq!(
            backoff.remaining(&route(), now),
            None,
            "others are not held"
        );
        let mut longest = FIRST;
        for _ in 0..10 {
            now += backoff.remaining(&rule(), now).unwrap_or_default();
            assert_eq!(backoff.remaining(&rule(), now), None, "the pause is over");
            longest = backoff.record(&rule(), LONGEST, now).unwrap_or(longest);
        }
        assert_eq!(longest, LONGEST);
    }

    #[test]
    fn what_happens_now_and_then_is_repaired_at_once_however_often() {
        let mut backoff = RepairBackoff::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert_eq!(backoff.record(&route(), LONGEST, now), None);
            assert_eq!(backoff.remaining(&route(), now), None);
            now += WINDOW / 5;
        }
    }

    #[test]
    fn what_has_been_calm_is_repaired_at_once_again() {
        let mut backoff = RepairBackoff::default();
        let mut now = Instant::now();
        for _ in 0..=BURST {
            backoff.record(&rule(), LONGEST, now);
        }
        now += WINDOW + FIRST + Duration::from_millis(1);
        assert_eq!(backoff.record(&rule(), LONGEST, now), None);
        assert_eq!(backoff.remaining(&rule(), now), None);
    }
}
