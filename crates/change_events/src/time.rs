//! Issue dates in microseconds out of every form that timestamps take.

use super::cell::{Cell, shortened};
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use clap::ValueEnum;

/// Unit of a date that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DateUnit {
    /// Days, as of a column of type date
    Days,
    /// Milliseconds: time.precision.mode=connect, or timestamp(3) with adaptive
    Ms,
    /// Microseconds: timestamps with adaptive
    Us,
    /// Nanoseconds: time.precision.mode=nanoseconds
    Ns,
}

impl DateUnit {
    /// By the name of a schema: Debezium's own types and Kafka Connect's. The size of a number says
    /// nothing: the year 9999 in microseconds is 1978 in nanoseconds.
    ///
    /// # Errors
    /// The end of a sentence, for a type that is no date.
    fn of_schema(name: &str) -> Result<Self, String> {
        match name {
            "io.debezium.time.Date" | "org.apache.kafka.connect.data.Date" => Ok(Self::Days),
            "io.debezium.time.Timestamp" | "org.apache.kafka.connect.data.Timestamp" => Ok(Self::Ms),
            "io.debezium.time.MicroTimestamp" => Ok(Self::Us),
            "io.debezium.time.NanoTimestamp" => Ok(Self::Ns),
            other => Err(format!("is a number of the type {:?}, which is not a date", shortened(other))),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Days => "days",
            Self::Ms => "ms",
            Self::Us => "us",
            Self::Ns => "ns",
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

/// The time in microseconds since 1970-01-01 UTC; nanoseconds are rounded down. The unit of a number is
/// its schema's, and `unit` where the schema names none.
///
/// # Errors
/// The end of a sentence that begins with the column's name.
pub fn timestamp_us(cell: &Cell<'_>, schema: Option<&str>, unit: DateUnit) -> Result<i64, String> {
    match cell {
        Cell::Integer(value) => {
            let unit = schema.map_or(Ok(unit), DateUnit::of_schema)?;
            let time = unit.to_us(*value).filter(|us| is_in_calendar(*us));
            time.ok_or_else(|| {
                format!(
                    "{value} is outside the years 1 to 9999 in the unit {}; --date-unit names the connector's unit",
                    unit.name()
                )
            })
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
        let number = |value, schema| timestamp_us(&Cell::Integer(value), schema, DateUnit::Us);
        assert_eq!(number(TIME_US, Some("io.debezium.time.MicroTimestamp")), Ok(TIME_US));
        assert_eq!(number(TIME_US / 1000, Some("io.debezium.time.Timestamp")), Ok(TIME_US));
        assert_eq!(number(TIME_US * 1000 + 999, Some("io.debezium.time.NanoTimestamp")), Ok(TIME_US));
        assert_eq!(number(20_484, Some("io.debezium.time.Date")), Ok(20_484 * 86_400_000_000));
        for (value, unit) in
            [(TIME_US, DateUnit::Us), (TIME_US / 1000, DateUnit::Ms), (TIME_US * 1000, DateUnit::Ns)]
        {
            assert_eq!(timestamp_us(&Cell::Integer(value), None, unit), Ok(TIME_US));
        }
        for text in [
            "2026-01-31T09:15:00.5Z",
            "2026-01-31T10:15:00.500+01:00",
            "2026-01-31 09:15:00.5",
            "2026-01-31T09:15:00.500000",
            "2026-01-31 09:15:00.5+00",
        ] {
            assert_eq!(timestamp_us(&Cell::Text(text.into()), None, DateUnit::Ms), Ok(TIME_US), "{text}");
        }
        assert_eq!(timestamp_us(&Cell::Text("1970-01-02".into()), None, DateUnit::Us), Ok(86_400_000_000));
    }

    #[test]
    fn a_date_of_any_size_has_the_unit_that_is_set() {
        let of = |value| timestamp_us(&Cell::Integer(value), None, DateUnit::Us);
        // 9999-12-31 in microseconds would be a day of 1978 in nanoseconds, 1970-01-21 one of 2026 in
        // milliseconds, and 0001-01-01 one of 1968 in nanoseconds.
        for value in [253_402_214_400_000_000, 1_769_850_900_000, 5, 0, -1, -62_135_596_800_000_000] {
            assert_eq!(of(value), Ok(value));
        }
        assert!(of(253_402_300_800_000_000).unwrap_err().contains("years 1 to 9999 in the unit us"));
        assert!(of(-62_135_596_800_000_001).is_err());
    }

    #[test]
    fn a_number_whose_schema_is_no_date_is_refused() {
        for name in ["io.debezium.time.MicroTime", "io.debezium.time.Year", "io.debezium.time.ZonedTimestamp"]
        {
            let why = timestamp_us(&Cell::Integer(TIME_US), Some(name), DateUnit::Us).unwrap_err();
            assert!(why.contains("not a date"), "{why}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "yesterday", "2026-13-01", "infinity", "1769850900500000", "20260131", "31.01.2026"]
        {
            assert!(timestamp_us(&Cell::Text(text.into()), None, DateUnit::Us).is_err(), "{text}");
        }
        assert!(timestamp_us(&Cell::Null, None, DateUnit::Us).is_err());
        for schema in ["io.debezium.time.Timestamp", "io.debezium.time.MicroTimestamp"] {
            assert!(timestamp_us(&Cell::Integer(i64::MAX), Some(schema), DateUnit::Us).is_err());
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "\\PC{0,40}") {
            let _ = iso_us(&text);
        }
    }
}
