//! Issue dates in microseconds out of every form that timestamps take.

use super::cell::{Cell, shortened};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use clap::ValueEnum;

/// Unit of a date that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DateUnit {
    Days,
    Ms,
    Us,
    Ns,
}

impl DateUnit {
    /// By the name of a schema: Debezium's own types and Kafka Connect's.
    pub fn of_schema(name: &str) -> Option<Self> {
        match name {
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Some(Self::Days),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Some(Self::Ms),
            "io.debezium.time.MicroTimestamp" => Some(Self::Us),
            "io.debezium.time.NanoTimestamp" => Some(Self::Ns),
            _ => None,
        }
    }

    /// By the size of a number, for messages without a schema: right for dates from 1974 to 5138.
    fn of_size(value: i64) -> Self {
        match value.unsigned_abs() {
            0..10_000_000 => Self::Days,
            10_000_000..100_000_000_000_000 => Self::Ms,
            100_000_000_000_000..100_000_000_000_000_000 => Self::Us,
            _ => Self::Ns,
        }
    }

    fn to_us(self, value: i64) -> Option<i64> {
        match self {
            Self::Days => value.checked_mul(86_400_000_000),
            Self::Ms => value.checked_mul(1_000),
            Self::Us => Some(value),
            Self::Ns => Some(value.div_euclid(1_000)),
        }
    }
}

/// The time in microseconds since 1970-01-01 UTC; nanoseconds are rounded down.
///
/// # Errors
/// The end of a sentence that begins with the column's name.
pub fn timestamp_us(cell: &Cell<'_>, schema: Option<&str>, unit: Option<DateUnit>) -> Result<i64, String> {
    match cell {
        Cell::Integer(value) => {
            let unit =
                schema.and_then(DateUnit::of_schema).or(unit).unwrap_or_else(|| DateUnit::of_size(*value));
            let time = unit.to_us(*value).filter(|us| is_in_calendar(*us));
            time.ok_or_else(|| format!("{value} is outside the years 1 to 9999"))
        }
        Cell::Text(text) => iso_us(text)
            .filter(|us| is_in_calendar(*us))
            .ok_or_else(|| format!("{:?} is not an ISO 8601 time", shortened(text))),
        other => Err(format!("is {}, no time", other.kind())),
    }
}

fn is_in_calendar(us: i64) -> bool {
    // 0001-01-01 and 10000-01-01.
    (-62_135_596_800_000_000..253_402_300_800_000_000).contains(&us)
}

/// With `T` or a space, with or without a time zone, with or without a time.
fn iso_us(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_micros());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Some(time.and_utc().timestamp_micros());
        }
        if let Ok(time) = DateTime::parse_from_str(text, &format!("{format}%#z")) {
            return Some(time.timestamp_micros());
        }
    }
    let day = NaiveDate::parse_from_str(text.strip_suffix('Z').unwrap_or(text), "%Y-%m-%d").ok()?;
    Some(day.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-01-31 09:15:00.5 UTC
    const TIME_US: i64 = 1_769_850_900_500_000;

    #[test]
    fn every_form_of_a_time_is_the_same_time() {
        let number = |value, schema| timestamp_us(&Cell::Integer(value), schema, None);
        assert_eq!(number(TIME_US, Some("io.debezium.time.MicroTimestamp")), Ok(TIME_US));
        assert_eq!(number(TIME_US / 1000, Some("io.debezium.time.Timestamp")), Ok(TIME_US));
        assert_eq!(number(TIME_US * 1000 + 999, Some("io.debezium.time.NanoTimestamp")), Ok(TIME_US));
        for value in [TIME_US, TIME_US / 1000, TIME_US * 1000] {
            assert_eq!(number(value, None), Ok(TIME_US));
        }
        assert_eq!(number(20_484, None), Ok(20_484 * 86_400_000_000));
        assert_eq!(timestamp_us(&Cell::Integer(5), None, Some(DateUnit::Us)), Ok(5));
        for text in [
            "2026-01-31T09:15:00.5Z",
            "2026-01-31T10:15:00.500+01:00",
            "2026-01-31 09:15:00.5",
            "2026-01-31T09:15:00.500000",
            "2026-01-31 09:15:00.5+00",
        ] {
            assert_eq!(timestamp_us(&Cell::Text(text.into()), None, None), Ok(TIME_US), "{text}");
        }
        assert_eq!(timestamp_us(&Cell::Text("1970-01-02".into()), None, None), Ok(86_400_000_000));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "infinity"] {
            assert!(timestamp_us(&Cell::Text(text.into()), None, None).is_err(), "{text}");
        }
        assert!(timestamp_us(&Cell::Null, None, None).is_err());
        assert!(timestamp_us(&Cell::Integer(i64::MAX), Some("io.debezium.time.Timestamp"), None).is_err());
        assert!(
            timestamp_us(&Cell::Integer(i64::MAX), Some("io.debezium.time.MicroTimestamp"), None).is_err()
        );
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            let _ = iso_us(&text);
        }
    }
}
