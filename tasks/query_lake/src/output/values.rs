//! Values as text and as JSON, amounts digit by digit.

use chrono::{DateTime, NaiveDate, TimeDelta};
use invoices::money;
use polars::prelude::*;
use std::fmt::Write;

/// A value as a person or a CSV file has it; none for NULL.
pub fn text(value: &AnyValue) -> Option<String> {
    Some(match value {
        AnyValue::Null => return None,
        AnyValue::Boolean(value) => value.to_string(),
        AnyValue::String(text) => (*text).to_owned(),
        AnyValue::StringOwned(text) => text.to_string(),
        AnyValue::Decimal(unscaled, _, scale) => money::format(*unscaled, *scale as u8),
        AnyValue::Date(days) => date(*days),
        AnyValue::Datetime(count, unit, _) => timestamp(*count, *unit, ' '),
        AnyValue::DatetimeOwned(count, unit, _) => timestamp(*count, *unit, ' '),
        AnyValue::List(_) | AnyValue::Array(..) | AnyValue::Struct(..) | AnyValue::StructOwned(_) => {
            let mut nested = String::new();
            json(value, &mut nested);
            nested
        }
        AnyValue::Categorical(..) | AnyValue::CategoricalOwned(..) => unquoted(value),
        AnyValue::Enum(..) | AnyValue::EnumOwned(..) => unquoted(value),
        other => other.to_string(),
    })
}

fn unquoted(value: &AnyValue) -> String {
    value.get_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Appends a value as JSON. Decimals are numbers with all their digits.
pub fn json(value: &AnyValue, out: &mut String) {
    match value {
        AnyValue::Null => out.push_str("null"),
        AnyValue::Datetime(count, unit, _) => quoted(&timestamp(*count, *unit, 'T'), out),
        AnyValue::DatetimeOwned(count, unit, _) => quoted(&timestamp(*count, *unit, 'T'), out),
        AnyValue::Float32(number) if !number.is_finite() => out.push_str("null"),
        AnyValue::Float64(number) if !number.is_finite() => out.push_str("null"),
        AnyValue::List(items) | AnyValue::Array(items, _) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(&item, out);
            }
            out.push(']');
        }
        AnyValue::Struct(_, _, fields) => object(fields, value._iter_struct_av(), out),
        AnyValue::StructOwned(owned) => object(&owned.1, owned.0.iter().cloned(), out),
        number if number.is_numeric_or_bool() => out.push_str(&text(number).unwrap_or_default()),
        other => quoted(&text(other).unwrap_or_default(), out),
    }
}

/// Which values JSON writes without quotes.
trait Bare {
    fn is_numeric_or_bool(&self) -> bool;
}

impl Bare for AnyValue<'_> {
    fn is_numeric_or_bool(&self) -> bool {
        matches!(self, AnyValue::Boolean(_) | AnyValue::Decimal(..)) || self.is_primitive_numeric()
    }
}

fn object<'a>(fields: &[Field], values: impl Iterator<Item = AnyValue<'a>>, out: &mut String) {
    out.push('{');
    for (index, (field, value)) in fields.iter().zip(values).enumerate() {
        if index > 0 {
            out.push(',');
        }
        quoted(field.name(), out);
        out.push(':');
        json(&value, out);
    }
    out.push('}');
}

/// Appends a JSON text.
pub fn quoted(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

fn date(days: i32) -> String {
    let date = NaiveDate::default().checked_add_signed(TimeDelta::days(i64::from(days)));
    date.map_or_else(|| format!("day {days}"), |date| date.format("%Y-%m-%d").to_string())
}

fn timestamp(count: i64, unit: TimeUnit, separator: char) -> String {
    let time = match unit {
        TimeUnit::Nanoseconds => Some(DateTime::from_timestamp_nanos(count)),
        TimeUnit::Microseconds => DateTime::from_timestamp_micros(count),
        TimeUnit::Milliseconds => DateTime::from_timestamp_millis(count),
    };
    let format = if separator == 'T' { "%Y-%m-%dT%H:%M:%S%.f" } else { "%Y-%m-%d %H:%M:%S%.f" };
    time.map_or_else(|| count.to_string(), |time| time.naive_utc().format(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_every_digit() {
        let amount = AnyValue::Decimal(-12_345_678_901_234_567_890_123_456, 38, 2);
        assert_eq!(text(&amount).unwrap(), "-123456789012345678901234.56");
        let mut out = String::new();
        json(&amount, &mut out);
        assert_eq!(out, "-123456789012345678901234.56");
    }

    #[test]
    fn nested_values_are_json() {
        let fields =
            vec![Field::new("a\"".into(), DataType::Int64), Field::new("b".into(), DataType::String)];
        let values = vec![AnyValue::Int64(1), AnyValue::String("x\n\u{1}")];
        let text = text(&AnyValue::StructOwned(Box::new((values, fields)))).unwrap();
        assert_eq!(text, "{\"a\\\"\":1,\"b\":\"x\\n\\u0001\"}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["b"], "x\n\u{1}");
    }

    #[test]
    fn times_are_iso_without_needless_digits() {
        let value = AnyValue::Datetime(1_500_000, TimeUnit::Microseconds, None);
        assert_eq!(text(&value).unwrap(), "1970-01-01 00:00:01.500");
        assert_eq!(text(&AnyValue::Date(-1)).unwrap(), "1969-12-31");
    }
}
