//! Moments, as RFC 7519's `NumericDate` without a fraction.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 00:00:00 UTC, leap seconds ignored (RFC 7519 section 2, `NumericDate`).
///
/// In JSON it is a plain integer; a fraction is refused. `Display` writes it for people, in RFC 3339:
/// `2023-11-14T22:13:20Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UnixTime(pub i64);

impl UnixTime {
    /// The moment this many seconds later (earlier when negative). Stops at the ends of what `i64` holds.
    #[must_use]
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// How many seconds it is from here to `later`; negative when `later` is in the past.
    #[must_use]
    pub const fn seconds_until(self, later: Self) -> i64 {
        later.0.saturating_sub(self.0)
    }
}

/// For the edge of a program, where the clock is read. Fractions of a second are cut off.
impl From<SystemTime> for UnixTime {
    fn from(moment: SystemTime) -> Self {
        let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        match moment.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(seconds(after)),
            Err(before) => Self(-seconds(before.duration())),
        }
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, second) = (self.0.div_euclid(86_400), self.0.rem_euclid(86_400));
        let (year, month, day) = civil_date(days);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// Year, month and day of the Gregorian calendar for a count of days since 1970-01-01.
///
/// Years are counted from 1 March, so that the leap day is a year's last day, in eras of 400 years, after which
/// the calendar repeats.
const fn civil_date(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_ERA: i64 = 146_097;
    const DAYS_FROM_0000_03_01_TO_1970: i64 = 719_468;
    let days = days.saturating_add(DAYS_FROM_0000_03_01_TO_1970);
    let (era, day_of_era) = (days.div_euclid(DAYS_IN_ERA), days.rem_euclid(DAYS_IN_ERA));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_moment_is_written_as_rfc_3339() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-62_167_219_200, "0000-01-01T00:00:00Z"),
        ] {
            assert_eq!(UnixTime(seconds).to_string(), text);
        }
        // The ends of the range are no dates that anybody needs, but must not panic.
        let _ = (UnixTime(i64::MIN).to_string(), UnixTime(i64::MAX).to_string());
    }

    #[test]
    fn arithmetic_stops_at_the_ends_instead_of_wrapping() {
        assert_eq!(UnixTime(i64::MAX).plus_seconds(1), UnixTime(i64::MAX));
        assert_eq!(UnixTime(i64::MIN).seconds_until(UnixTime(i64::MAX)), i64::MAX);
        assert_eq!(UnixTime(10).seconds_until(UnixTime(4)), -6);
        assert_eq!(UnixTime::from(UNIX_EPOCH + Duration::from_millis(1999)), UnixTime(1));
        assert_eq!(UnixTime::from(UNIX_EPOCH - Duration::from_secs(2)), UnixTime(-2));
    }
}
