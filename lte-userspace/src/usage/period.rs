//! When the budget is renewed: rules of the calendar, in local time.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};

use crate::config::Renews;

/// The latest renewal that is not after a time; `None` where there was none.
pub(super) fn last_renewal(renews: Renews, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    around(renews, now, zone)
        .filter(|begin| *begin <= now)
        .max()
}

/// The next renewal after a time; `None` where there is none.
pub(super) fn next_renewal(renews: Renews, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    around(renews, now, zone).filter(|begin| *begin > now).min()
}

/// The renewals around a time: the one before it and the one after it are among them.
fn around(renews: Renews, now: Timestamp, zone: &TimeZone) -> impl Iterator<Item = Timestamp> {
    let today = now.to_zoned_datetime(zone.clone()).date();
    let days: Vec<Date> = match renews {
        Renews::Never => Vec::new(),
        Renews::On(date) => vec![date],
        Renews::MonthlyOn(day) => [-1, 0, 1]
            .into_iter()
            .filter_map(|months| today.first_of_month().checked_add(months.months()).ok())
            .filter_map(|month| in_month(month, day))
            .collect(),
        Renews::YearlyOn { month, day } => [-1, 0, 1]
            .into_iter()
            .filter_map(|years| Date::new(today.year().checked_add(years)?, month, 1).ok())
            .filter_map(|month| in_month(month, day))
            .collect(),
    };
    // Where a clock is put forward at midnight a day begins later.
    let begin = move |day: Date| Some(zone.to_zoned_datetime(day.at(0, 0, 0, 0)).ok()?.timestamp());
    days.into_iter().filter_map(begin)
}

/// That day of a month; in a shorter month its last one.
fn in_month(month: Date, day: i8) -> Option<Date> {
    let day = day.min(month.days_in_month());
    Date::new(month.year(), month.month(), day).ok()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn at(text: &str, zone: &TimeZone) -> Timestamp {
        let local: jiff::civil::DateTime = text.parse().unwrap();
        zone.to_zoned_datetime(local).unwrap().timestamp()
    }

    #[track_caller]
    fn check(renews: Renews, zone: &str, now: &str, last: Option<&str>, next: Option<&str>) {
        let zone = TimeZone::get(zone).unwrap();
        let now = at(now, &zone);
        let at = |text| at(text, &zone);
        assert_eq!(last_renewal(renews, now, &zone), last.map(at), "last");
        assert_eq!(next_renewal(renews, now, &zone), next.map(at), "next");
    }

    #[test]
    fn renewals_by_the_calendar() {
        let berlin = "Europe/Berlin";
        check(Renews::Never, berlin, "2026-11-30T12:00", None, None);
        let on = Renews::On("2027-03-15".parse().unwrap());
        check(
            on,
            berlin,
            "2027-03-14T23:59",
            None,
            Some("2027-03-15T00:00"),
        );
        check(
            on,
            berlin,
            "2027-03-15T00:00",
            Some("2027-03-15T00:00"),
            None,
        );
        let monthly = Renews::MonthlyOn(31);
        let (january, february) = ("2027-01-31T00:00", "2027-02-28T00:00");
        check(
            monthly,
            berlin,
            "2027-02-27T23:59:59",
            Some(january),
            Some(february),
        );
        check(
            monthly,
            berlin,
            "2027-02-28T00:00",
            Some(february),
            Some("2027-03-31T00:00"),
        );
        let leap = Renews::YearlyOn { month: 2, day: 29 };
        check(
            leap,
            berlin,
            "2028-02-28T12:00",
            Some("2027-02-28T00:00"),
            Some("2028-02-29T00:00"),
        );
        check(
            leap,
            berlin,
            "2028-02-29T00:00",
            Some("2028-02-29T00:00"),
            Some("2029-02-28T00:00"),
        );
    }

    #[test]
    fn a_day_without_a_midnight_begins_later() {
        // 2018-11-04 began at 01:00 in São Paulo.
        let monthly = Renews::MonthlyOn(4);
        let zone = "America/Sao_Paulo";
        let begin = Some("2018-11-04T01:00");
        check(
            monthly,
            zone,
            "2018-11-03T23:59:59",
            Some("2018-10-04T00:00"),
            begin,
        );
        check(
            monthly,
            zone,
            "2018-11-04T01:00",
            begin,
            Some("2018-12-04T00:00"),
        );
    }

    /// Over 400 years, in which the calendar repeats: periods follow one another without a gap, each begins
    /// once, on its day, and none is shorter than the shortest month or year.
    #[test]
    fn periods_follow_one_another_for_400_years() {
        let rules = [1, 15, 28, 29, 30, 31]
            .map(Renews::MonthlyOn)
            .into_iter()
            .chain(
                [(2, 28), (2, 29), (3, 15), (12, 31), (1, 1)]
                    .map(|(month, day)| Renews::YearlyOn { month, day }),
            );
        let zones = [
            "UTC",
            "Europe/Berlin",
            "America/Sao_Paulo",
            "Pacific/Apia",
            "Asia/Kathmandu",
        ];
        let zones: Vec<TimeZone> = zones.map(|zone| TimeZone::get(zone).unwrap()).into();
        for (renews, zone) in rules.flat_map(|rule| zones.iter().map(move |zone| (rule, zone))) {
            let (shortest, of_year) = match renews {
                Renews::YearlyOn { .. } => (364, 400),
                _ => (27, 400 * 12),
            };
            let begun = at("2000-01-01T12:00", zone);
            let mut last = last_renewal(renews, begun, zone).unwrap();
            for _ in 0..of_year {
                let next = next_renewal(renews, last, zone).unwrap();
                let days = (next - last).as_secs() / 86_400;
                assert!(days >= shortest, "{renews:?} {last} {next}");
                assert_eq!(last_renewal(renews, next, zone), Some(next), "{renews:?}");
                let before = next - 1.second();
                assert_eq!(
                    last_renewal(renews, before, zone),
                    Some(last),
                    "{renews:?} {next}"
                );
                assert_eq!(
                    next_renewal(renews, before, zone),
                    Some(next),
                    "{renews:?} {next}"
                );
                let date = next.to_zoned_datetime(zone.clone()).date();
                let (month, day) = match renews {
                    Renews::YearlyOn { month, day } => (month, day),
                    Renews::MonthlyOn(day) => (date.month(), day),
                    _ => unreachable!("no other rule is tried"),
                };
                // A day that a zone left out is the day after.
                let skipped = zone.iana_name() == Some("Pacific/Apia") && date.year() == 2011;
                assert!(
                    skipped || (date.month(), date.day()) == (month, day.min(date.days_in_month())),
                    "{renews:?} {next}"
                );
                last = next;
            }
        }
    }
}
