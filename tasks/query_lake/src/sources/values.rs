//! Columns of text turned into the type that all their values have. Numbers with a point become
//! decimals of as many digits as they need, so that money and rates stay exact.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
use invoices::money;
use polars::prelude::*;

const DIGITS_MAX: usize = 38;

/// What a value looks like, and what a column of such values becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Int,
    /// Digits before and after the point.
    Decimal {
        whole: usize,
        scale: usize,
    },
    /// A number with an exponent, or one that no decimal holds.
    Float,
    Date,
    Timestamp,
    Text,
}

impl Kind {
    pub fn of(text: &str) -> Self {
        if matches!(text, "true" | "false") {
            return Kind::Bool;
        }
        if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+' || c == '.') {
            if let Some(kind) = number(text) {
                return kind;
            }
            if date(text).is_some() {
                return Kind::Date;
            }
            if timestamp_us(text).is_some() {
                return Kind::Timestamp;
            }
        }
        Kind::Text
    }

    /// The kind that holds values of both; none when only text would.
    pub fn unified(self, other: Self) -> Option<Self> {
        use Kind::{Date, Decimal, Float, Int, Timestamp};
        Some(match (self, other) {
            (a, b) if a == b => a,
            (Decimal { whole: w1, scale: s1 }, Decimal { whole: w2, scale: s2 }) => {
                let (whole, scale) = (w1.max(w2), s1.max(s2));
                if whole + scale > DIGITS_MAX { Float } else { Decimal { whole, scale } }
            }
            (Int, decimal @ Decimal { .. }) | (decimal @ Decimal { .. }, Int) => {
                decimal.unified(Decimal { whole: 19, scale: 0 })?
            }
            (Float, Int | Decimal { .. }) | (Int | Decimal { .. }, Float) => Float,
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            _ => return None,
        })
    }

    pub fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Decimal { scale, .. } => DataType::Decimal(DIGITS_MAX, scale),
            Kind::Float => DataType::Float64,
            Kind::Date => DataType::Date,
            Kind::Timestamp => DataType::Datetime(TimeUnit::Microseconds, None),
            Kind::Text => DataType::String,
        }
    }

    /// In sentences: "where the others are decimal numbers".
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Bool => "true or false",
            Kind::Int => "whole numbers",
            Kind::Decimal { .. } => "decimal numbers",
            Kind::Float => "numbers",
            Kind::Date => "dates",
            Kind::Timestamp => "times",
            Kind::Text => "text",
        }
    }

    /// A value of this kind; none when the text is not one.
    pub fn value(self, text: &str) -> Option<AnyValue<'static>> {
        Some(match self {
            Kind::Bool => AnyValue::Boolean(text.parse().ok()?),
            Kind::Int => AnyValue::Int64(text.parse().ok()?),
            Kind::Decimal { scale, .. } => {
                let unscaled = money::parse(text, u8::try_from(scale).ok()?).ok()?;
                AnyValue::Decimal(unscaled, DIGITS_MAX, scale)
            }
            Kind::Float => AnyValue::Float64(text.parse().ok()?),
            Kind::Date => AnyValue::Date(days(date(text)?)),
            Kind::Timestamp => AnyValue::Datetime(timestamp_us(text)?, TimeUnit::Microseconds, None),
            Kind::Text => AnyValue::StringOwned(text.into()),
        })
    }
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

/// A number as people and programs write it; `007` is a code, not a number.
fn number(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, has_exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], true),
        None => (digits, false),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return None;
    }
    if whole.len() > 1 && whole.starts_with('0') {
        return None;
    }
    if has_exponent {
        return text.parse::<f64>().ok().map(|_| Kind::Float);
    }
    if !mantissa.contains('.') && text.parse::<i64>().is_ok() {
        return Some(Kind::Int);
    }
    if whole.len() + fraction.len() > DIGITS_MAX {
        return Some(Kind::Float);
    }
    Some(Kind::Decimal { whole: whole.len(), scale: fraction.len() })
}

fn date(text: &str) -> Option<NaiveDate> {
    (text.len() == 10).then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// ISO 8601 with T or a space; with an offset it is the instant in UTC.
pub fn timestamp_us(text: &str) -> Option<i64> {
    if let Some(date) = date(text) {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    if text.len() < 16 || !text.is_ascii() {
        return None;
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.timestamp_micros());
    }
    // Postgres writes offsets of whole hours without minutes.
    if let Ok(instant) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z") {
        return Some(instant.timestamp_micros());
    }
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(time.and_utc().timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_look_like() {
        let decimal = |whole, scale| Kind::Decimal { whole, scale };
        let cases = [
            ("1", Kind::Int),
            ("-12", Kind::Int),
            ("007", Kind::Text),
            ("0.10", decimal(1, 2)),
            ("-123456789012345678901.5", decimal(21, 1)),
            ("99999999999999999999", decimal(20, 0)),
            ("1e3", Kind::Float),
            ("1,5", Kind::Text),
            ("-", Kind::Text),
            ("true", Kind::Bool),
            ("2026-01-31", Kind::Date),
            ("2026-02-30", Kind::Text),
            ("2026-01-31 10:00", Kind::Timestamp),
            ("2026-01-31T10:00:00.5Z", Kind::Timestamp),
            ("INV-2026-01-31", Kind::Text),
        ];
        for (text, kind) in cases {
            assert_eq!(Kind::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn amounts_near_the_limits_are_exact() {
        let kind = Kind::of("12345678901234567890.12").unified(Kind::of("0.123456")).unwrap();
        assert_eq!(kind.value("0.1"), Some(AnyValue::Decimal(100_000, 38, 6)));
        let value = kind.value("12345678901234567890.12");
        assert_eq!(value, Some(AnyValue::Decimal(12_345_678_901_234_567_890_120_000, 38, 6)));
    }

    #[test]
    fn instants_with_an_offset_are_in_utc() {
        assert_eq!(timestamp_us("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(timestamp_us("1970-01-01 00:00:00.000001"), Some(1));
        assert_eq!(timestamp_us("1970-01-01 02:00:00+02"), Some(0));
    }
}
