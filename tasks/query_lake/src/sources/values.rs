//! Columns of text turned into the type that all their values have. Numbers with a point become
//! decimals of as many digits as they need, so that money and rates stay exact.

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime};
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
                if whole + scale > DIGITS_MAX { return None } else { Decimal { whole, scale } }
            }
            (Int, decimal @ Decimal { .. }) | (decimal @ Decimal { .. }, Int) => {
                decimal.unified(Decimal { whole: 19, scale: 0 })?
            }
            (Float, Int | Decimal { .. }) | (Int | Decimal { .. }, Float) => Float,
            (Date, Timestamp) | (Timestamp, Date) => Timestamp,
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
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
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
            Kind::Text => "text",
        }
    }

    /// A column of values of this kind.
    ///
    /// # Errors
    /// The row of the first text that is not one.
    pub fn array(self, texts: &[Option<&str>]) -> Result<ArrayRef, usize> {
        Ok(match self {
            Kind::Bool => Arc::new(BooleanArray::from(each(texts, |text| text.parse().ok())?)),
            Kind::Int => Arc::new(Int64Array::from(each(texts, |text| text.parse().ok())?)),
            Kind::Decimal { scale, .. } => {
                let values = each(texts, |text| unscaled(text, scale))?;
                let array = Decimal128Array::from(values);
                Arc::new(array.with_precision_and_scale(DIGITS_MAX as u8, scale as i8).map_err(|_| 0_usize)?)
            }
            Kind::Float => Arc::new(Float64Array::from(each(texts, |text| text.parse().ok())?)),
            Kind::Date => Arc::new(Date32Array::from(each(texts, |text| Some(days(date(text)?)))?)),
            Kind::Timestamp => Arc::new(TimestampMicrosecondArray::from(each(texts, timestamp_us)?)),
            Kind::Text => Arc::new(StringArray::from(texts.to_vec())),
        })
    }
}

fn each<T>(texts: &[Option<&str>], parse: impl Fn(&str) -> Option<T>) -> Result<Vec<Option<T>>, usize> {
    let parsed = texts.iter().enumerate().map(|(row, text)| match text {
        None => Ok(None),
        Some(text) => parse(text).map(Some).ok_or(row),
    });
    parsed.collect()
}

fn unscaled(text: &str, scale: usize) -> Option<i128> {
    let plain = expanded(text)?;
    money::parse(&plain, u8::try_from(scale).ok()?).ok()
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
    let plain = if has_exponent { expanded(text) } else { Some(Cow::Borrowed(text)) };
    let Some(plain) = plain else { return text.parse::<f64>().ok().map(|_| Kind::Float) };
    if !plain.contains('.') && !has_exponent && plain.parse::<i64>().is_ok() {
        return Some(Kind::Int);
    }
    let (whole, fraction) = plain.split_once('.').unwrap_or((&plain, ""));
    let whole = whole.trim_start_matches(['-', '+']);
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
    use arrow::array::Array;

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
        let column = kind.array(&[Some("0.1"), Some("12345678901234567890.12"), Some("1.5e-3")]).unwrap();
        let expected = Decimal128Array::from(vec![100_000, 12_345_678_901_234_567_890_120_000, 1_500]);
        assert_eq!(column.as_ref(), &expected.with_precision_and_scale(38, 6).unwrap() as &dyn Array);
    }

    #[test]
    fn instants_with_an_offset_are_in_utc() {
        assert_eq!(timestamp_us("1970-01-01T02:00:00+02:00"), Some(0));
        assert_eq!(timestamp_us("1970-01-01 00:00:00.000001"), Some(1));
        assert_eq!(timestamp_us("1970-01-01 02:00:00+02"), Some(0));
    }
}
