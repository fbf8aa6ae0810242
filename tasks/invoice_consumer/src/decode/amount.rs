//! Amounts in cents out of every form that decimals take. Exact or refused; nothing is rounded.

use super::CENTS;
use super::cell::{Cell, shortened};
use invoices::money;
use openssl::base64;

/// Bytes of the largest integer that is looked at, 128 bits.
const INTEGER_BYTES_MAX: usize = 16;
/// Most digits after the decimal point that are looked at.
const SCALE_MAX: i64 = 30;

/// The amount; `schema_scale` is that of `org.apache.kafka.connect.data.Decimal`, whose values are
/// base64 of a big-endian two's complement integer.
///
/// # Errors
/// The end of a sentence that begins with the column's name.
pub fn cents(cell: &Cell<'_>, schema_scale: Option<i64>, allow_numbers: bool) -> Result<i64, String> {
    match (cell, schema_scale) {
        (Cell::Text(text), Some(scale)) => scaled(text, scale),
        (Cell::Text(text), None) => decimal(text),
        (Cell::Scaled { scale, value }, _) => scaled(value, *scale),
        (Cell::Integer(value), _) if allow_numbers => decimal(&value.to_string()),
        // The shortest decimal that is this float, which is the one the source wrote.
        (Cell::Number(value), _) if allow_numbers && value.is_finite() => decimal(&value.to_string()),
        (Cell::Integer(_) | Cell::Number(_), _) => Err(
            "is a JSON number, which may have been rounded; set decimal.handling.mode=string, or --allow-number-amounts"
                .to_owned(),
        ),
        (other, _) => Err(format!("is {}, no amount", other.kind())),
    }
}

fn decimal(text: &str) -> Result<i64, String> {
    money::parse_amount(text, CENTS).map_err(|why| format!("{:?} {why}", shortened(text)))
}

fn scaled(text: &str, scale: i64) -> Result<i64, String> {
    let bytes = base64::decode_block(text).map_err(|_| format!("{:?} is not base64", shortened(text)))?;
    if bytes.is_empty() || bytes.len() > INTEGER_BYTES_MAX || !(0..=SCALE_MAX).contains(&scale) {
        return Err(format!("has {} bytes and scale {scale}, no amount", bytes.len()));
    }
    let start = if bytes[0] & 0x80 == 0 { 0_i128 } else { -1 };
    let unscaled = bytes.iter().fold(start, |value, byte| value << 8 | i128::from(*byte));
    decimal(&money::format(unscaled, scale as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(value: &str) -> Cell<'_> {
        Cell::Text(value.into())
    }

    #[test]
    fn every_form_of_a_decimal_is_the_same_amount() {
        assert_eq!(cents(&text("999.90"), None, false), Ok(99_990));
        // 99990 = 0x018696
        assert_eq!(cents(&text("AYaW"), Some(2), false), Ok(99_990));
        assert_eq!(cents(&Cell::Scaled { scale: 2, value: "AYaW".into() }, None, false), Ok(99_990));
        assert_eq!(cents(&Cell::Number(999.9), None, true), Ok(99_990));
        assert_eq!(cents(&Cell::Integer(999), None, true), Ok(99_900));
        assert_eq!(cents(&text("/w=="), Some(2), false), Ok(-1));
        assert_eq!(cents(&text("AYaW"), Some(0), false), Ok(9_999_000));
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        assert!(cents(&Cell::Number(999.9), None, false).is_err());
        assert!(cents(&Cell::Integer(5), None, false).is_err());
        assert!(cents(&Cell::Number(0.1 + 0.2), None, true).is_err());
        assert!(cents(&Cell::Number(1e300), None, true).is_err());
        for bad in ["", "NaN", "1.005", "1e3", "99999999999999.00", "AYaW"] {
            assert!(cents(&text(bad), None, false).is_err(), "{bad}");
        }
        assert!(cents(&text("AYaW"), Some(-3), false).is_err());
        assert!(cents(&text("AAAAAAAAAAAAAAAAAAAAAAAAAAA="), Some(2), false).is_err());
        assert!(cents(&Cell::Null, None, true).is_err());
    }

    proptest! {
        #[test]
        fn bytes_and_text_agree(cents_in in -999_999_999_999_999_i64..=999_999_999_999_999) {
            let encoded = base64::encode_block(&cents_in.to_be_bytes());
            prop_assert_eq!(cents(&text(&encoded), Some(2), false), Ok(cents_in));
            let written = money::format(cents_in.into(), 2);
            prop_assert_eq!(cents(&text(&written), None, false), Ok(cents_in));
        }

        #[test]
        fn floats_of_money_come_back(cents_in in -99_999_999_999_i64..=99_999_999_999) {
            prop_assert_eq!(cents(&Cell::Number(cents_in as f64 / 100.0), None, true), Ok(cents_in));
        }
    }
}
