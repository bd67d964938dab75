//! What `lte-userspace usage` prints.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::clock::Clock;
use super::count::{Count, Direction, billed};
use super::history::MONTH;
use super::ledger::Ledger;
use super::period::next_renewal;
use crate::config::Budget;

const SECONDS_A_DAY: i64 = 86_400;
/// The heights of the chart's bars.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The usage at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    since: Option<Timestamp>,
    limit_bytes: Option<u64>,
    spent_bytes: u64,
    left_bytes: Option<u64>,
    sent_bytes: u64,
    received_bytes: u64,
    by_class: BTreeMap<String, Count>,
    rates: Rates,
    /// At the rate of the last 30 days.
    empty_at: Option<Timestamp>,
    renews_at: Option<Timestamp>,
    today_bytes: u64,
    #[serde(skip)]
    empty_at_last_day: Option<Timestamp>,
    #[serde(skip)]
    days: Vec<(Date, u64)>,
    #[serde(skip)]
    zone: TimeZone,
}

/// Bytes of the last hour, the last 24 hours and the last 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the keys of the JSON name the unit"
)]
struct Rates {
    hour_bytes: u64,
    day_bytes: u64,
    month_bytes: u64,
}

impl Report {
    /// From a ledger that is up to date.
    pub fn new(ledger: &Ledger, budget: Option<&Budget>, clock: &Clock) -> Self {
        let limit = budget.map(|budget| budget.limit);
        let left = limit.map(|limit| limit.saturating_sub(ledger.spent));
        let (mut sent, mut received) = (0_u64, 0_u64);
        for (name, count) in &ledger.by_class {
            match billed(name) {
                Some(Direction::Sent) => sent = sent.saturating_add(count.bytes),
                Some(Direction::Received) => received = received.saturating_add(count.bytes),
                None => {}
            }
        }
        let history = &ledger.history;
        let rates = Rates {
            hour_bytes: history.last_hour(clock.now),
            day_bytes: history.last_day(clock.now),
            month_bytes: history.last_month(clock),
        };
        // Where it is counted for less than that, the rate is of that time.
        let counted = ledger
            .began
            .map_or(0, |began| clock.now.as_second() - began.as_second());
        let empty_at = |bytes, days: i64| {
            let span = counted.clamp(1, days * SECONDS_A_DAY);
            clock
                .is_right
                .then(|| empty_at(clock.now, left?, bytes, span))?
        };
        Self {
            since: ledger.since,
            limit_bytes: limit,
            spent_bytes: ledger.spent,
            left_bytes: left,
            sent_bytes: sent,
            received_bytes: received,
            by_class: ledger.by_class.clone(),
            rates,
            empty_at: empty_at(rates.month_bytes, MONTH.into()),
            renews_at: budget
                .filter(|_| clock.is_right)
                .and_then(|budget| next_renewal(budget.renews, clock.now, &clock.zone)),
            today_bytes: history.today(clock),
            empty_at_last_day: empty_at(rates.day_bytes, 1),
            days: history.last_days(clock),
            zone: clock.zone.clone(),
        }
    }

    fn date(&self, time: Timestamp) -> Date {
        time.to_zoned_datetime(self.zone.clone()).date()
    }
}

/// When so many bytes will be gone at so many in so many seconds; `None` where nothing is spent, or they last
/// longer than dates are made for.
fn empty_at(now: Timestamp, left: u64, bytes: u64, seconds: i64) -> Option<Timestamp> {
    let bytes = u128::from(bytes);
    let lasts = (u128::from(left) * u128::try_from(seconds).ok()?).checked_div(bytes)?;
    Timestamp::from_second(now.as_second().checked_add(i64::try_from(lasts).ok()?)?).ok()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spent      {}", Size(self.spent_bytes))?;
        if let (Some(limit), Some(left)) = (self.limit_bytes, self.left_bytes) {
            write!(f, " of {}, {} left", Size(limit), Size(left))?;
        }
        match self.since {
            Some(since) => writeln!(f, ", since {}", self.date(since))?,
            None => writeln!(
                f,
                "; since when is not known: the clock is not known to be right"
            )?,
        }
        if let Some(renews) = self.renews_at {
            writeln!(f, "renews     on {}", self.date(renews))?;
        }
        let empty = [
            (self.empty_at, "the last 30 days"),
            (self.empty_at_last_day, "the last 24 hours"),
        ];
        for (time, window) in empty {
            if let Some(time) = time {
                writeln!(
                    f,
                    "empty      on {} at the rate of {window}",
                    self.date(time)
                )?;
            }
        }
        writeln!(f, "sent       {}", Size(self.sent_bytes))?;
        writeln!(f, "received   {}", Size(self.received_bytes))?;
        let Rates {
            hour_bytes,
            day_bytes,
            month_bytes,
        } = self.rates;
        writeln!(
            f,
            "last hour  {}, 24 hours {}, 30 days {}, today {}",
            Size(hour_bytes),
            Size(day_bytes),
            Size(month_bytes),
            Size(self.today_bytes)
        )?;
        self.chart(f)?;
        for (name, count) in &self.by_class {
            writeln!(
                f,
                "  {name:<28} {:>10} packets {:>14} bytes",
                count.packets, count.bytes
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// A bar for each of the last 30 days.
    fn chart(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.days.iter().max_by_key(|(_, bytes)| *bytes);
        let Some((day, most)) = most.filter(|(_, most)| *most > 0) else {
            return Ok(());
        };
        let bar = |(_, bytes): &(Date, u64)| {
            let height = (u128::from(*bytes) * 8).div_ceil(u128::from(*most));
            usize::try_from(height)
                .ok()
                .and_then(|height| BARS.get(height.checked_sub(1)?).copied())
                .unwrap_or(' ')
        };
        let bars: String = self.days.iter().map(bar).collect();
        writeln!(f, "30 days    {bars}  most {} on {day}", Size(*most))
    }
}

/// Bytes as people read them, in powers of 1000.
pub(crate) struct Size(pub(crate) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(&str, u64); 4] = [
            ("TB", 1_000_000_000_000),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("kB", 1_000),
        ];
        // Cut, not rounded: what is left is never less than is said.
        for (unit, scale) in UNITS {
            if self.0 >= scale {
                let hundredths = u128::from(self.0) * 100 / u128::from(scale);
                return write!(f, "{}.{:02} {unit}", hundredths / 100, hundredths % 100);
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
