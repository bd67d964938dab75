//! How often everything is looked at, and how often all but the guard is. Somebody who changes one thing
//! after the other is followed at once; a storm of changes causes ten looks a second, whatever its strength.

use std::time::{Duration, Instant};

/// The time between two looks, over a longer while.
const SPACING: Duration = Duration::from_millis(100);
/// So many may follow one another without a pause, where there were fewer before.
const AT_ONCE: u32 = 10;

/// The pace of looks at everything: the generic cell rate algorithm (ITU-T I.371).
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When the next one would be due, did they come evenly.
    due: Option<Instant>,
}

impl Pace {
    /// How long the next look has to wait; `None`: it may be taken.
    pub(super) fn wait(&self, now: Instant) -> Option<Duration> {
        self.due?
            .checked_duration_since(now)?
            .checked_sub(SPACING * (AT_ONCE - 1))
            .filter(|wait| !wait.is_zero())
    }

    /// Notes that one is taken.
    pub(super) fn note(&mut self, now: Instant) {
        self.due = Some(self.due.map_or(now, |due| due.max(now)) + SPACING);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks as often as it may, asked every millisecond for so long.
    fn looks(pace: &mut Pace, from: Instant, milliseconds: u64) -> u32 {
        let mut looks = 0;
        for passed in 0..milliseconds {
            let now = from + Duration::from_millis(passed);
            if pace.wait(now).is_none() {
                pace.note(now);
                looks += 1;
            }
        }
        looks
    }

    #[test]
    fn a_few_follow_one_another_at_once() {
        assert_eq!(looks(&mut Pace::default(), Instant::now(), 10), AT_ONCE);
    }

    #[test]
    fn a_storm_causes_ten_a_second() {
        let mut pace = Pace::default();
        let begun = Instant::now();
        assert_eq!(looks(&mut pace, begun, 10_000), 99 + AT_ONCE);
        // It does not save up more than that while nothing happens.
        let later = begun + Duration::from_mins(10);
        assert_eq!(looks(&mut pace, later, 10), AT_ONCE);
    }

    #[test]
    fn it_says_how_long_to_wait() {
        let mut pace = Pace::default();
        let now = Instant::now();
        for _ in 0..AT_ONCE {
            assert_eq!(pace.wait(now), None);
            pace.note(now);
        }
        let wait = pace.wait(now);
        assert_eq!(wait, Some(SPACING));
        assert_eq!(pace.wait(now + SPACING), None);
    }
}
