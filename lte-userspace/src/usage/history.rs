//! How much was carried when: by five minutes for an hour, by hours for a day, by days for over a year.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::count::Direction;

/// Seconds.
const SLOT: i64 = 300;
const HOUR: i64 = 3600;
/// How many of each are kept.
const SLOTS: i64 = 12;
const HOURS: i64 = 24;
const DAYS: i32 = 400;
/// Days of what is called a month here.
pub(super) const MONTH: i32 = 30;

/// Bytes sent and received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traffic(u64, u64);

impl Traffic {
    /// Both directions together.
    pub(super) const fn total(self) -> u64 {
        self.0.saturating_add(self.1)
    }

    pub(super) fn add(&mut self, direction: Direction, bytes: u64) {
        let which = match direction {
            Direction::Sent => &mut self.0,
            Direction::Received => &mut self.1,
        };
        *which = which.saturating_add(bytes);
    }

    const fn and(self, more: Self) -> Self {
        Self(self.0.saturating_add(more.0), self.1.saturating_add(more.1))
    }

    const fn is_none(self) -> bool {
        self.total() == 0
    }
}

/// What was carried when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct History {
    /// By the number of five minutes since 1970.
    slots: BTreeMap<i64, Traffic>,
    /// By the number of hours since 1970.
    hours: BTreeMap<i64, Traffic>,
    /// By the local day.
    days: BTreeMap<Date, Traffic>,
    /// While the clock was not known to be right. It counts for the time when that is known again.
    undated: Traffic,
}

impl History {
    /// Adds what was carried until now.
    pub(super) fn add(&mut self, traffic: Traffic, clock: &Clock) {
        self.undated = self.undated.and(traffic);
        if !clock.is_right {
            return;
        }
        let traffic = std::mem::take(&mut self.undated);
        let second = clock.now.as_second();
        let (slot, hour, day) = (second / SLOT, second / HOUR, today(clock));
        if !traffic.is_none() {
            let add = |at: &mut Traffic| *at = at.and(traffic);
            add(self.slots.entry(slot).or_default());
            add(self.hours.entry(hour).or_default());
            add(self.days.entry(day).or_default());
        }
        // What lies in the future was dated by a clock that was wrong; it is in the totals all the same.
        self.slots
            .retain(|at, _| (slot - SLOTS + 1..=slot).contains(at));
        self.hours
            .retain(|at, _| (hour - HOURS + 1..=hour).contains(at));
        let first = day.checked_sub(DAYS.days()).unwrap_or(Date::MIN);
        self.days.retain(|at, _| (first..=day).contains(at));
    }

    /// Bytes of the last hour, to five minutes.
    pub(super) fn last_hour(&self, now: Timestamp) -> u64 {
        let slot = now.as_second() / SLOT;
        sum(self.slots.range(slot - SLOTS + 1..=slot))
    }

    /// Bytes of the last 24 hours, to the hour.
    pub(super) fn last_day(&self, now: Timestamp) -> u64 {
        let hour = now.as_second() / HOUR;
        sum(self.hours.range(hour - HOURS + 1..=hour))
    }

    /// Bytes of the last 30 days, today among them.
    pub(super) fn last_month(&self, clock: &Clock) -> u64 {
        self.last_days(clock).iter().map(|(_, bytes)| bytes).sum()
    }

    /// Bytes of today.
    pub(super) fn today(&self, clock: &Clock) -> u64 {
        self.days.get(&today(clock)).map_or(0, |day| day.total())
    }

    /// Bytes of each of the last 30 days, today the last.
    pub(super) fn last_days(&self, clock: &Clock) -> Vec<(Date, u64)> {
        let today = today(clock);
        (0..MONTH)
            .rev()
            .filter_map(|ago| today.checked_sub(ago.days()).ok())
            .map(|day| (day, self.days.get(&day).map_or(0, |found| found.total())))
            .collect()
    }
}

fn today(clock: &Clock) -> Date {
    clock.now.to_zoned_datetime(clock.zone.clone()).date()
}

fn sum<'a, K: 'a>(all: impl Iterator<Item = (&'a K, &'a Traffic)>) -> u64 {
    all.map(|(_, traffic)| traffic.total()).sum()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn clock(text: &str, is_right: bool) -> Clock {
        let now = text.parse().unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        Clock {
            now,
            is_right,
            zone,
        }
    }

    fn traffic(bytes: u64) -> Traffic {
        Traffic(bytes, 0)
    }

    #[test]
    fn windows_of_time() {
        let mut history = History::default();
        for (time, bytes) in [
            ("2026-10-01T00:00:00Z", 10_000),
            ("2026-11-29T11:30:00Z", 1_000),
            ("2026-11-30T10:55:00Z", 100),
            ("2026-11-30T11:05:00Z", 10),
            ("2026-11-30T12:00:00Z", 1),
        ] {
            history.add(traffic(bytes), &clock(time, true));
        }
        let now = clock("2026-11-30T12:00:00Z", true);
        assert_eq!(history.last_hour(now.now), 11);
        assert_eq!(history.last_day(now.now), 111);
        assert_eq!(history.last_month(&now), 1_111);
        assert_eq!(history.today(&now), 111);
        let days = history.last_days(&now);
        assert_eq!(days.len(), 30);
        assert_eq!(days[29], ("2026-11-30".parse().unwrap(), 111));
        assert_eq!(days[28].1, 1_000);
    }

    #[test]
    fn a_day_is_local() {
        let mut history = History::default();
        // 00:30 in Berlin.
        history.add(traffic(7), &clock("2026-11-29T23:30:00Z", true));
        assert_eq!(history.today(&clock("2026-11-30T22:59:00Z", true)), 7);
        assert_eq!(history.today(&clock("2026-11-30T23:00:00Z", true)), 0);
    }

    #[test]
    fn without_the_time_traffic_counts_when_the_time_is_known() {
        let mut history = History::default();
        history.add(traffic(5), &clock("1970-01-01T00:10:00Z", false));
        history.add(traffic(6), &clock("1970-01-01T00:20:00Z", false));
        let now = clock("2026-11-30T12:00:00Z", true);
        assert_eq!(history.last_hour(now.now), 0);
        history.add(traffic(0), &now);
        assert_eq!(history.last_hour(now.now), 11);
        assert_eq!(history.today(&now), 11);
    }

    #[test]
    fn a_clock_that_was_ahead_leaves_nothing_in_the_future() {
        let mut history = History::default();
        history.add(traffic(5), &clock("2036-11-30T12:00:00Z", true));
        let now = clock("2026-11-30T12:00:00Z", true);
        history.add(traffic(1), &now);
        assert_eq!(
            history.slots.len() + history.hours.len() + history.days.len(),
            3
        );
        assert_eq!(history.last_month(&now), 1);
    }

    #[test]
    fn it_stays_small() {
        let mut history = History::default();
        let mut now = clock("2020-01-01T00:00:00Z", true);
        for _ in 0..24 * 12 * 500 {
            now.now += SLOT.seconds();
            history.add(Traffic(u64::MAX / 1_000_000, 1), &now);
        }
        assert_eq!(history.slots.len(), 12);
        assert_eq!(history.hours.len(), 24);
        assert_eq!(history.days.len(), 401);
        let text = serde_json::to_string(&history).unwrap();
        assert!(text.len() < 24_000, "{}", text.len());
    }
}
