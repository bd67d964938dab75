//! The time of day, and whether it is known to be right.
//!
//! A router without a battery-backed clock starts in 1970, or at the time of its last shutdown, until NTP has
//! been heard. Nothing is decided by such a time. It is taken for right where the kernel says that its
//! clock is synchronized (`adjtimex`, no `STA_UNSYNC`), or where it was set from a battery-backed clock
//! at boot (`hctosys` of one of `/sys/class/rtc`), and where it is not before this program was written.

use std::fs;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// 2026-01-01T00:00:00Z: no clock is right that shows an earlier time.
const NOT_BEFORE: i64 = 1_767_225_600;

/// The time of day.
#[derive(Debug, Clone, PartialEq)]
pub struct Clock {
    /// What the clock shows.
    pub now: Timestamp,
    /// Whether it is known to be right.
    pub is_right: bool,
    /// Where days and months begin and end.
    pub zone: TimeZone,
}

impl Clock {
    /// This machine's.
    pub fn read() -> Self {
        let now = Timestamp::now();
        let plausible = now.as_second() >= NOT_BEFORE;
        Self {
            now,
            is_right: plausible && (is_synchronized() || was_set_from_rtc()),
            zone: TimeZone::system(),
        }
    }
}

/// Whether the kernel's clock is synchronized to another.
fn is_synchronized() -> bool {
    // SAFETY: all of the structure is numbers.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with no mode set the call only fills the structure.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    state != -1 && timex.status & libc::STA_UNSYNC == 0
}

/// Whether a battery-backed clock has set the kernel's at boot.
fn was_set_from_rtc() -> bool {
    let Ok(clocks) = fs::read_dir("/sys/class/rtc") else {
        return false;
    };
    clocks.flatten().any(|clock| {
        let set = fs::read_to_string(clock.path().join("hctosys"));
        set.is_ok_and(|set| set.trim() == "1")
    })
}
