//! Times and spans as people read them.

use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};

/// A time in milliseconds since the Unix epoch as UTC, to the second: `2026-11-22T00:40:00Z`.
#[must_use]
pub fn at_millis(millis: u64) -> String {
    at_seconds(millis / 1_000)
}

/// A time in seconds since the Unix epoch as UTC.
#[must_use]
pub fn at_seconds(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().map(DateTime::from_secs);
    let shown = time.and_then(|time| time.fmt(DateTimeFormat::DateTime).ok());
    shown.unwrap_or_else(|| format!("{seconds} s after 1970"))
}

/// A span: `42 s`, `7 min`, `3 h`, `2 days`.
#[must_use]
pub fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_second() {
        assert_eq!(at_millis(1_795_219_207_999), "2026-11-21T00:00:07Z");
        assert_eq!(at_seconds(0), "1970-01-01T00:00:00Z");
        assert_eq!(at_seconds(u64::MAX), format!("{} s after 1970", u64::MAX));
        assert_eq!([7, 119, 120, 7_200, 200_000].map(span), ["7 s", "119 s", "2 min", "2 h", "2 days"]);
    }
}
