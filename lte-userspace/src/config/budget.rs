//! How much the SIM may carry, and when it is filled again.

use jiff::civil::Date;

/// When the budget starts anew: as that day begins, in local time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renews {
    /// A prepaid bucket.
    Never,
    /// Once, on this day.
    On(Date),
    /// On this day of the month, 1 to 31; in a shorter month on its last day.
    MonthlyOn(i8),
    /// On this day of each year; the 29th of February in other years on the 28th.
    YearlyOn {
        /// 1 to 12.
        month: i8,
        /// 1 to 31, as the month has them in a leap year.
        day: i8,
    },
}

/// The SIM's budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes, both directions together.
    pub limit: u64,
    /// When it starts anew.
    pub renews: Renews,
    /// Bytes that the carrier bills for each packet on top of its IP bytes.
    pub overhead_per_packet: u16,
}

/// Reads `2 GB`, `500 MB`, `1.5 GiB`: decimal units are powers of 1000, `Ki`, `Mi`, `Gi` of 1024.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const WANTED: &str =
        "write a size as in \"2 GB\" or \"500 MB\" (MB is 1000000 bytes, MiB 1048576)";
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or(WANTED)?;
    let (number, unit) = text.split_at(at);
    let scale: u64 = match unit.trim_start() {
        "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(WANTED.to_owned()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || (number.contains('.') && fraction.is_empty()) {
        return Err(WANTED.to_owned());
    }
    if fraction.len() > 9 {
        return Err("at most nine digits after the point".to_owned());
    }
    let too_large = || "the size is larger than can be counted".to_owned();
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut part: u64 = 0;
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().map_err(|_| WANTED.to_owned())?;
        let parts = 10_u128.pow(fraction.len() as u32);
        part = u64::try_from(u128::from(digits) * u128::from(scale) / parts)
            .map_err(|_| too_large())?;
    }
    let bytes = whole
        .checked_mul(scale)
        .and_then(|bytes| bytes.checked_add(part))
        .ok_or_else(too_large)?;
    Ok(bytes)
}

/// Reads `never`, `on 2027-03-15`, `monthly on 15` or `yearly on 03-15`.
pub(super) fn parse_renews(text: &str) -> Result<Renews, String> {
    let renews = if text == "never" {
        Some(Renews::Never)
    } else if let Some(date) = text.strip_prefix("on ") {
        date.parse().ok().map(Renews::On)
    } else if let Some(day) = text.strip_prefix("monthly on ") {
        let day = day.parse().ok();
        day.filter(|day| (1..=31).contains(day))
            .map(Renews::MonthlyOn)
    } else if let Some(day) = text.strip_prefix("yearly on ") {
        // A leap year has all days.
        let day: Option<Date> = format!("2024-{day}").parse().ok();
        day.map(|day| Renews::YearlyOn {
            month: day.month(),
            day: day.day(),
        })
    } else {
        None
    };
    renews.ok_or_else(|| {
        "write \"never\", \"on 2027-03-15\", \"monthly on 15\" with a day from 1 to 31, or \"yearly on 03-15\""
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(parse_size("2 GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("2GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("1.5 GiB"), Ok(1_610_612_736));
        assert_eq!(parse_size("0.5 kB"), Ok(500));
        assert_eq!(parse_size("0 B"), Ok(0));
        for wrong in [
            "",
            "2",
            "GB",
            "2 gigabytes",
            "-1 GB",
            "1. GB",
            ".5 GB",
            "1.2.3 GB",
            "99999999999 TB",
        ] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn renewals() {
        assert_eq!(parse_renews("never"), Ok(Renews::Never));
        assert_eq!(parse_renews("monthly on 15"), Ok(Renews::MonthlyOn(15)));
        let date = Date::constant(2027, 3, 15);
        assert_eq!(parse_renews("on 2027-03-15"), Ok(Renews::On(date)));
        let leap = Renews::YearlyOn { month: 2, day: 29 };
        assert_eq!(parse_renews("yearly on 02-29"), Ok(leap));
        for wrong in [
            "",
            "monthly",
            "monthly on 0",
            "monthly on 32",
            "monthly on -1",
            "weekly",
            "on 2027-02-29",
            "on 15",
            "yearly on 15",
            "yearly on 02-30",
            "yearly on 13-01",
        ] {
            assert!(parse_renews(wrong).is_err(), "{wrong}");
        }
    }
}
