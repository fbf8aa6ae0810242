//! Columns of text turned into the type that all their values have. Numbers with a point become
//! decimals of as many digits as they need, so that money and rates stay exact.

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use invoices::money;
use std::borrow::Cow;
use std::sync::Arc;

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
    /// A time without an offset, which may be any zone's.
    Timestamp,
    /// A time with its offset from UTC.
    Instant,
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
                return if has_offset(text) { Kind::Instant } else { Kind::Timestamp };
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
                if whole + scale > DIGITS_MAX { return None } else { Decimal { whole, scale } }
            }
            // Whether the whole numbers fit beside the digits after the point shows when they are read.
            (Int, decimal @ Decimal { .. }) | (decimal @ Decimal { .. }, Int) => decimal,
            (Float, Int | Decimal { .. }) | (Int | Decimal { .. }, Float) => Float,
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
            // Beside instants, a day or a time without an offset would have to be some zone's.
            _ => return None,
        })
    }

    pub fn is_number(self) -> bool {
        matches!(self, Kind::Int | Kind::Decimal { .. } | Kind::Float)
    }

    pub fn data_type(self) -> DataType {
        match self {
            Kind::Bool => DataType::Boolean,
            Kind::Int => DataType::Int64,
            Kind::Decimal { scale, .. } => DataType::Decimal128(DIGITS_MAX as u8, scale as i8),
            Kind::Float => DataType::Float64,
            Kind::Date => DataType::Date32,
            Kind::Timestamp | Kind::Instant => DataType::Timestamp(TimeUnit::Microsecond, None),
            Kind::Text => DataType::Utf8,
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
            Kind::Instant => "times with an offset",
            Kind::Text => "text",
        }
    }

    /// A column of values of this kind.
    ///
    /// # Errors
    /// The row of the first text that is not one.
    pub fn array(self, texts: &[Option<&str>]) -> Result<ArrayRef, usize> {
        let mut builder = Builder::new(self);
        for (row, text) in texts.iter().enumerate() {
            if !builder.push(*text) {
                return Err(row);
            }
        }
        Ok(builder.finish())
    }
}

/// A column that grows by one text after the other.
pub enum Builder {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    Decimal(Decimal128Builder, usize),
    Float(Float64Builder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Text(StringBuilder),
}

impl Builder {
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Bool => Self::Bool(BooleanBuilder::new()),
            Kind::Int => Self::Int(Int64Builder::new()),
            Kind::Decimal { scale, .. } => {
                Self::Decimal(Decimal128Builder::new().with_data_type(kind.data_type()), scale)
            }
            Kind::Float => Self::Float(Float64Builder::new()),
            Kind::Date => Self::Date(Date32Builder::new()),
            Kind::Timestamp | Kind::Instant => Self::Timestamp(TimestampMicrosecondBuilder::new()),
            Kind::Text => Self::Text(StringBuilder::new()),
        }
    }

    /// Appends a value, none for NULL; false when the text is not one of this kind.
    pub fn push(&mut self, text: Option<&str>) -> bool {
        /// What a text is, NULL included; none when it is of another kind.
        fn read<T>(text: Option<&str>, parse: impl Fn(&str) -> Option<T>) -> Option<Option<T>> {
            text.map_or(Some(None), |text| parse(text).map(Some))
        }
        match self {
            Self::Bool(column) => {
                read(text, |text| text.parse().ok()).map(|value| column.append_option(value))
            }
            Self::Int(column) => {
                read(text, |text| text.parse().ok()).map(|value| column.append_option(value))
            }
            Self::Decimal(column, scale) => {
                read(text, |text| unscaled(text, *scale)).map(|value| column.append_option(value))
            }
            Self::Float(column) => read(text, float).map(|value| column.append_option(value)),
            Self::Date(column) => {
                read(text, |text| date(text).map(days)).map(|value| column.append_option(value))
            }
            Self::Timestamp(column) => read(text, timestamp_us).map(|value| column.append_option(value)),
            Self::Text(column) => {
                column.append_option(text);
                Some(())
            }
        }
        .is_some()
    }

    pub fn finish(self) -> ArrayRef {
        match self {
            Self::Bool(mut column) => Arc::new(column.finish()),
            Self::Int(mut column) => Arc::new(column.finish()),
            Self::Decimal(mut column, _) => Arc::new(column.finish()),
            Self::Float(mut column) => Arc::new(column.finish()),
            Self::Date(mut column) => Arc::new(column.finish()),
            Self::Timestamp(mut column) => Arc::new(column.finish()),
            Self::Text(mut column) => Arc::new(column.finish()),
        }
    }
}

/// Shortest number of a telephone, with its country's.
const TELEPHONE_DIGITS: usize = 7;

/// Whether a text is signs that a number would lose, as `007` and `+34600111222` are.
pub fn is_code(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_longer = if digits.len() < text.len() {
        digits.len() >= TELEPHONE_DIGITS
    } else {
        digits.len() > 1 && digits.starts_with('0')
    };
    is_longer && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn unscaled(text: &str, scale: usize) -> Option<i128> {
    let plain = expanded(text)?;
    let value = money::parse(&plain, u8::try_from(scale).ok()?).ok()?;
    (value.unsigned_abs() < 10_u128.pow(DIGITS_MAX as u32)).then_some(value)
}

/// A float of the same value; whole numbers beyond 2^53 have none.
fn float(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    let whole: Result<i64, _> = text.parse();
    whole.map_or(true, |whole| value as i128 == i128::from(whole)).then_some(value)
}

/// A number without its exponent, with all its digits; none when there are too many of them.
fn expanded(text: &str) -> Option<Cow<'_, str>> {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return Some(Cow::Borrowed(text)) };
    let exponent: i32 = exponent.parse().ok().filter(|exponent: &i32| exponent.unsigned_abs() <= 76)?;
    let (sign, digits) = match mantissa.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all = format!("{whole}{fraction}");
    let point = whole.len() as i32 + exponent;
    let plain = if point <= 0 {
        format!("0.{}{all}", "0".repeat(point.unsigned_abs() as usize))
    } else if point as usize >= all.len() {
        format!("{all}{}", "0".repeat(point as usize - all.len()))
    } else {
        format!("{}.{}", &all[..point as usize], &all[point as usize..])
    };
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    Some(Cow::Owned(format!("{sign}{whole}{point}{fraction}")))
}

fn days(date: NaiveDate) -> i32 {
    date.signed_duration_since(NaiveDate::default()).num_days() as i32
}

/// A number as people and programs write it, and no code.
fn number(text: &str) -> Option<Kind> {
    if is_code(text) {
        return None;
    }
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
    let plain = if has_exponent { expanded(text) } else { Some(Cow::Borrowed(text)) };
    let Some(plain) = plain else { return text.parse::<f64>().ok().map(|_| Kind::Float) };
    if !plain.contains('.') && !has_exponent && plain.parse::<i64>().is_ok() {
        return Some(Kind::Int);
    }
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let whole = whole.trim_start_matches(['-', '+']);
    if whole.trim_start_matches('0').len() + fraction.len() > DIGITS_MAX {
        return Some(Kind::Float);
    }
    Some(Kind::Decimal { whole: whole.len(), scale: fraction.len() })
}

fn date(text: &str) -> Option<NaiveDate> {
    has_shape(text, "0000-00-00").then(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()).flatten()
}

/// Whether a text has digits where the shape has zeros, and is the shape elsewhere.
fn has_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| if shape == b'0' { byte.is_ascii_digit() } else { byte == shape };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// ISO 8601 with T or a space; with an offset it is the instant in UTC. None for what microseconds do not hold as it
/// is: a finer fraction, a leap second.
pub fn timestamp_us(text: &str) -> Option<i64> {
    if let Some(date) = date(text) {
        return Some(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    if text.len() < 16 || !has_shape(text.get(..10)?, "0000-00-00") {
        return None;
    }
    // Postgres writes offsets of whole hours without minutes.
    let instant = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z"))
        .map(|instant| instant.naive_utc());
    let formats = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"];
    let local = || formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let time = instant.ok().or_else(local)?;
    let is_whole = time.nanosecond() < 1_000_000_000 && time.nanosecond().is_multiple_of(1000);
    is_whole.then(|| time.and_utc().timestamp_micros())
}

/// Whether a time says how far from UTC it is.
fn has_offset(time: &str) -> bool {
    time.get(11..).is_some_and(|clock| clock.contains(['Z', 'z', '+', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, Decimal128Array};

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
            ("1e3", decimal(4, 0)),
            ("1.5E-3", decimal(1, 4)),
            ("1e99", Kind::Float),
            ("1,5", Kind::Text),
            ("-", Kind::Text),
            ("true", Kind::Bool),
            ("2026-01-31", Kind::Date),
            ("2026-02-30", Kind::Text),
            ("2026-01-31 10:00", Kind::Timestamp),
            ("2026-01-31T10:00:00.5Z", Kind::Instant),
            ("2026-01-31 10:00:00+02", Kind::Instant),
            ("2026-01-31T10:00:00-03:30", Kind::Instant),
            ("INV-2026-01-31", Kind::Text),
            ("+34600111222", Kind::Text),
            ("+12", Kind::Int),
            ("+1234567.50", decimal(7, 2)),
            ("+202-01-01", Kind::Text),
            ("2026- 1-05", Kind::Text),
            ("2016-12-31T23:59:60Z", Kind::Text),
            ("2026-01-31T10:00:00.123456000", Kind::Timestamp),
            ("2026-01-31T10:00:00.123456789", Kind::Text),
        ];
        for (text, kind) in cases {
            assert_eq!(Kind::of(text), kind, "{text:?}");
        }
    }

    #[test]
    fn amounts_near_the_limits_are_exact() {
        let kind = Kind::of("12345678901234567890.12").unified(Kind::of("0.123456")).unwrap();
        let column = kind.array(&[Some("0.1"), Some("12345678901234567890.12"), Some("1.5e-3")]).unwrap();
        let expected = Decimal128Array::from(vec![100_000, 12_345_678_901_234_567_890_120_000, 1_500]);
        assert_eq!(column.as_ref(), &expected.with_precision_and_scale(38, 6).unwrap() as &dyn Array);
    }

    #[test]
    fn what_a_type_does_not_hold_is_named_and_never_changed() {
        let decimals = Kind::Decimal { whole: 1, scale: 20 };
        assert!(decimals.array(&[Some("999999999999999999")]).is_ok());
        assert_eq!(decimals.array(&[Some("0.5"), Some("9999999999999999999")]).unwrap_err(), 1);
        assert_eq!(Kind::Float.array(&[Some("1.5"), Some("9007199254740993")]).unwrap_err(), 1);
        assert_eq!(Kind::Float.array(&[Some("9223372036854775807")]).unwrap_err(), 0);
        assert_eq!(Kind::of(&format!("0.{}", "1".repeat(38))), Kind::Decimal { whole: 1, scale: 38 });
    }

    #[test]
    fn times_with_and_without_an_offset_are_no_column_of_times() {
        let (instant, local, day) = (Kind::Instant, Kind::Timestamp, Kind::Date);
        assert_eq!(instant.unified(instant), Some(instant));
        assert_eq!(day.unified(local), Some(local));
        for (one, other) in [(instant, local), (local, instant), (instant, day), (day, instant)] {
            assert_eq!(one.unified(other), None);
        }
    }

    #[test]
    fn instants_with_an_offset_are_in_utc() {
        assert_eq!(timestamp_us("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(timestamp_us("1970-01-01 00:00:00.000001"), Some(1));
        assert_eq!(timestamp_us("1970-01-01 02:00:00+02"), Some(0));
    }
}
