//! Moments as people write them on a command line.

use flatpass_token::UnixTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

/// Reads `2027-06-30` (the end of that day, UTC) or an RFC 3339 moment such as `2027-06-30T18:00:00Z`.
///
/// # Errors
/// A sentence that names both forms.
pub(super) fn parse_until(text: &str) -> Result<UnixTime, String> {
    let day = Date::parse(text, format_description!("[year]-[month]-[day]"));
    if let Ok(day) = day.map(|day| day.next_day().unwrap_or(day)) {
        return Ok(UnixTime(OffsetDateTime::new_utc(day, Time::MIDNIGHT).unix_timestamp()));
    }
    OffsetDateTime::parse(text, &Rfc3339)
        .map(|moment| UnixTime(moment.unix_timestamp()))
        .map_err(|_| "write a date such as 2027-06-30, or a moment such as 2027-06-30T18:00:00Z".to_owned())
}

/// Reads `2027-06-30` (the beginning of that day, UTC) or an RFC 3339 moment.
///
/// # Errors
/// A sentence that names both forms.
pub(super) fn parse_from(text: &str) -> Result<UnixTime, String> {
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(day) => Ok(UnixTime(OffsetDateTime::new_utc(day, Time::MIDNIGHT).unix_timestamp())),
        Err(_) => parse_until(text),
    }
}

/// Refuses a moment that is over.
pub(super) fn must_be_ahead(until: Option<UnixTime>, now: UnixTime) -> Result<(), super::Failure> {
    match until {
        Some(until) if until <= now => {
            Err(super::Failure::told(format!("{until} is in the past"), "give --until a later date"))
        }
        _ => Ok(()),
    }
}

/// A moment for a table; `never` when there is none.
pub(super) fn shown(moment: Option<UnixTime>, never: &str) -> String {
    moment.map_or_else(|| never.to_owned(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_means_to_the_end_of_the_day() {
        assert_eq!(parse_until("2023-11-14"), Ok(UnixTime(1_700_006_400)));
        assert_eq!(parse_from("2023-11-14"), Ok(UnixTime(1_699_920_000)));
        assert_eq!(parse_from("2023-11-14T22:13:20Z"), Ok(UnixTime(1_700_000_000)));
        assert_eq!(parse_until("2023-11-14T22:13:20Z"), Ok(UnixTime(1_700_000_000)));
        assert_eq!(parse_until("2023-11-14T23:13:20+01:00"), Ok(UnixTime(1_700_000_000)));
        for bad in ["", "tomorrow", "2023-13-01", "2023-02-29", "14.11.2023", "2023-11-14 22:13"] {
            assert!(parse_until(bad).is_err(), "{bad:?}");
        }
    }
}
