//! Values as text and as JSON, amounts digit by digit, floats so that they read back as themselves.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float32Type, Float64Type};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use invoices::money;
use std::fmt::Write;

/// A value as a person or a CSV file has it; none for NULL.
pub fn text(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) || column.data_type() == &DataType::Null {
        return None;
    }
    Some(match column.data_type() {
        DataType::Decimal128(_, scale) if *scale >= 0 => {
            money::format(column.as_primitive::<Decimal128Type>().value(row), scale.unsigned_abs())
        }
        DataType::Float64 => format!("{:?}", column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => format!("{:?}", column.as_primitive::<Float32Type>().value(row)),
        DataType::Timestamp(..) => timestamp(column, row, "%Y-%m-%d %H:%M:%S%.f"),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) | DataType::Struct(_) => {
            let mut nested = String::new();
            json(column, row, &mut nested);
            nested
        }
        _ => shown(column, row, &FormatOptions::new()),
    })
}

/// Appends a value as JSON. Decimals are numbers with all their digits.
pub fn json(column: &ArrayRef, row: usize, out: &mut String) {
    let Some(items) = nested(column, row) else {
        match (column.data_type(), text(column, row)) {
            (_, None) => out.push_str("null"),
            (DataType::Float64 | DataType::Float32, Some(text))
                if !text.contains(|c: char| c.is_ascii_digit()) =>
            {
                out.push_str("null");
            }
            (DataType::Timestamp(..), _) => quoted(&timestamp(column, row, "%Y-%m-%dT%H:%M:%S%.f"), out),
            (DataType::Boolean, Some(text)) => out.push_str(&text),
            (data_type, Some(text)) if data_type.is_numeric() => out.push_str(&text),
            (_, Some(text)) => quoted(&text, out),
        }
        return;
    };
    match items {
        Nested::List(items) => {
            out.push('[');
            for index in 0..items.len() {
                if index > 0 {
                    out.push(',');
                }
                json(&items, index, out);
            }
            out.push(']');
        }
        Nested::Struct => {
            let columns = column.as_struct();
            out.push('{');
            for (index, (field, values)) in columns.fields().iter().zip(columns.columns()).enumerate() {
                if index > 0 {
                    out.push(',');
                }
                quoted(field.name(), out);
                out.push(':');
                json(values, row, out);
            }
            out.push('}');
        }
    }
}

enum Nested {
    List(ArrayRef),
    Struct,
}

fn nested(column: &ArrayRef, row: usize) -> Option<Nested> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::List(_) => Some(Nested::List(column.as_list::<i32>().value(row))),
        DataType::LargeList(_) => Some(Nested::List(column.as_list::<i64>().value(row))),
        DataType::FixedSizeList(..) => Some(Nested::List(column.as_fixed_size_list().value(row))),
        DataType::Struct(_) => Some(Nested::Struct),
        _ => None,
    }
}

fn timestamp(column: &ArrayRef, row: usize, format: &str) -> String {
    let options =
        FormatOptions::new().with_timestamp_format(Some(format)).with_timestamp_tz_format(Some(format));
    shown(column, row, &options)
}

fn shown(column: &ArrayRef, row: usize, options: &FormatOptions) -> String {
    let formatted =
        ArrayFormatter::try_new(column, options).map(|formatter| formatter.value(row).to_string());
    formatted.unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Decimal128Array, Float64Array, TimestampMicrosecondArray};
    use std::sync::Arc;

    #[test]
    fn amounts_keep_every_digit() {
        let amounts = Decimal128Array::from(vec![-12_345_678_901_234_567_890_123_456]);
        let column: ArrayRef = Arc::new(amounts.with_precision_and_scale(38, 2).unwrap());
        assert_eq!(text(&column, 0).unwrap(), "-123456789012345678901234.56");
    }

    #[test]
    fn floats_read_back_as_themselves() {
        for value in [0.1, 1.0, 15_413_466.7, 1e300, 5e-324, f64::MAX, -0.0] {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            let mut line = String::new();
            json(&column, 0, &mut line);
            assert_eq!(text(&column, 0).unwrap().parse::<f64>().unwrap().to_bits(), value.to_bits());
            assert_eq!(line.parse::<f64>().unwrap().to_bits(), value.to_bits());
        }
    }

    #[test]
    fn times_are_iso_without_needless_digits() {
        let times: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]));
        assert_eq!(text(&times, 0).unwrap(), "1970-01-01 00:00:01.500");
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![-1]));
        assert_eq!(text(&dates, 0).unwrap(), "1969-12-31");
    }
}
