//! Repairs that keep coming back are not fought at full speed.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Repairs of one thing within [`WINDOW`] that are made at once.
const AT_ONCE: usize = 10;
/// After this long without a repair a thing is calm again.
const WINDOW: Duration = Duration::from_secs(10);
/// The first pause between repairs of one thing.
const FIRST: Duration = Duration::from_secs(1);
/// The longest.
pub(super) const LONGEST: Duration = Duration::from_mins(1);
/// The longest in which there is no guard: it is then that others get out by the modem.
pub(super) const LONGEST_WITHOUT_A_GUARD: Duration = Duration::from_secs(2);

#[derive(Debug)]
struct Trouble {
    /// The repairs within the window before the last, and the last.
    recent: VecDeque<Instant>,
    last: Instant,
    pause: Duration,
}

/// Who keeps being repaired.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    troubles: HashMap<String, Trouble>,
}

impl Repairs {
    /// For how long a repair is held back; `None`: it may be made.
    pub(super) fn held(&self, what: &str, now: Instant) -> Option<Duration> {
        let trouble = self.troubles.get(what)?;
        (trouble.last + trouble.pause)
            .checked_duration_since(now)
            .filter(|left| !left.is_zero())
    }

    /// Notes that a repair was made, or tried. Returns the pause until the next one, `longest` at
    /// most, where it has just been lengthened, which is worth a line.
    pub(super) fn note(&mut self, what: &str, longest: Duration, now: Instant) -> Option<Duration> {
        self.troubles
            .retain(|_, t| now.saturating_duration_since(t.last) < WINDOW + t.pause);
        let trouble = self.troubles.entry(what.to_owned()).or_insert(Trouble {
            recent: VecDeque::new(),
            last: now,
            pause: Duration::ZERO,
        });
        trouble
            .recent
            .retain(|time| now.saturating_duration_since(*time) < WINDOW);
        trouble.recent.push_back(now);
        trouble.last = now;
        if trouble.pause.is_zero() && trouble.recent.len() <= AT_ONCE {
            return None;
        }
        let longer = (trouble.pause * 2).clamp(FIRST, longest);
        let lengthened = longer > trouble.pause;
        trouble.pause = longer;
        lengthened.then_some(longer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_repairs_are_made_at_once_and_then_ever_more_slowly() {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        for _ in 0..AT_ONCE {
            assert_eq!(repairs.held("rule", now), None);
            assert_eq!(repairs.note("rule", LONGEST, now), None);
            now += Duration::from_millis(50);
        }
        assert_eq!(repairs.note("rule", LONGEST, now), Some(FIRST));
        assert!(repairs.held("rule", now).is_some());
        assert_eq!(repairs.held("route", now), None, "others are not held");
        let mut longest = FIRST;
        for _ in 0..10 {
            now += repairs.held("rule", now).unwrap_or_default();
            assert_eq!(repairs.held("rule", now), None, "the pause is over");
            longest = repairs.note("rule", LONGEST, now).unwrap_or(longest);
        }
        assert_eq!(longest, LONGEST);
    }

    #[test]
    fn what_happens_now_and_then_is_repaired_at_once_however_often() {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        for _ in 0..100 {
            assert_eq!(repairs.note("route", LONGEST, now), None);
            assert_eq!(repairs.held("route", now), None);
            now += WINDOW / 5;
        }
    }

    #[test]
    fn what_has_been_calm_is_repaired_at_once_again() {
        let mut repairs = Repairs::default();
        let mut now = Instant::now();
        for _ in 0..=AT_ONCE {
            repairs.note("rule", LONGEST, now);
        }
        now += WINDOW + FIRST + Duration::from_millis(1);
        assert_eq!(repairs.note("rule", LONGEST, now), None);
        assert_eq!(repairs.held("rule", now), None);
    }
}
