//! Amounts in cents out of every form that decimals take. Exact or refused; nothing is rounded.

use super::CENTS;
use super::cell::{Cell, shortened};
use clap::ValueEnum;
use invoices::money;
use openssl::base64;

/// Bytes of the largest integer that is looked at, 128 bits.
const INTEGER_BYTES_MAX: usize = 16;
/// Most digits after the decimal point that are looked at.
const SCALE_MAX: i64 = 30;

/// The connector's `decimal.handling.mode`: what a text is where no schema says so. The text 1234 is a
/// thousand dollars in one mode and base64 of a negative integer in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum DecimalMode {
    /// Decimal texts, as the shipped connector sends them
    #[default]
    String,
    /// Base64 of bytes, whose scale is in the schema alone
    Precise,
}

/// What a schema says of the amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AmountType {
    /// Nothing: there is no schema, or it lacks the column.
    #[default]
    Unsaid,
    /// A decimal text.
    Text,
    /// `org.apache.kafka.connect.data.Decimal`: base64 of a big-endian two's complement integer.
    Bytes { scale: i64 },
    /// Bytes of another meaning.
    OtherBytes,
}

/// The amount.
///
/// # Errors
/// The end of a sentence that begins with the column's name.
pub fn cents(
    cell: &Cell<'_>,
    schema: AmountType,
    mode: DecimalMode,
    allow_numbers: bool,
) -> Result<i64, String> {
    match (cell, schema) {
        (Cell::Text(text), AmountType::Bytes { scale }) => scaled(text, scale),
        (Cell::Text(_), AmountType::OtherBytes) => {
            Err("has a schema of bytes without a scale; set decimal.handling.mode=string".to_owned())
        }
        (Cell::Text(_), AmountType::Unsaid) if mode == DecimalMode::Precise => Err(
            "is base64 of bytes and no schema gives their scale; set decimal.handling.mode=string, or \
             value.converter.schemas.enable=true"
                .to_owned(),
        ),
        (Cell::Text(text), AmountType::Text | AmountType::Unsaid) => decimal(text),
        (Cell::Scaled { scale, value }, _) => scaled(value, *scale),
        (Cell::Integer(value), _) if allow_numbers => decimal(&value.to_string()),
        // The shortest decimal that is this float, which is the one the source wrote.
        (Cell::Number(value), _) if allow_numbers && value.is_finite() => decimal(&value.to_string()),
        (Cell::Integer(_) | Cell::Number(_), _) => Err(
            "is a JSON number, which may have been rounded; set decimal.handling.mode=string, or --allow-number-amounts"
                .to_owned(),
        ),
        (other, _) => Err(format!("is {}, not an amount", other.kind())),
    }
}

fn decimal(text: &str) -> Result<i64, String> {
    money::parse_amount(text, CENTS).map_err(|why| format!("{:?} {why}", shortened(text)))
}

fn scaled(text: &str, scale: i64) -> Result<i64, String> {
    let bytes = base64::decode_block(text).map_err(|_| format!("{:?} is not base64", shortened(text)))?;
    if bytes.is_empty() || bytes.len() > INTEGER_BYTES_MAX || !(0..=SCALE_MAX).contains(&scale) {
        return Err(format!("has {} bytes and scale {scale}, which is not an amount", bytes.len()));
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

    const BYTES: AmountType = AmountType::Bytes { scale: 2 };

    fn of(cell: &Cell<'_>, schema: AmountType) -> Result<i64, String> {
        cents(cell, schema, DecimalMode::String, false)
    }

    fn of_number(cell: &Cell<'_>) -> Result<i64, String> {
        cents(cell, AmountType::Unsaid, DecimalMode::String, true)
    }

    #[test]
    fn every_form_of_a_decimal_is_the_same_amount() {
        assert_eq!(of(&text("999.90"), AmountType::Unsaid), Ok(99_990));
        // 99990 = 0x018696
        assert_eq!(of(&text("AYaW"), BYTES), Ok(99_990));
        assert_eq!(of(&Cell::Scaled { scale: 2, value: "AYaW".into() }, AmountType::Unsaid), Ok(99_990));
        assert_eq!(of_number(&Cell::Number(999.9)), Ok(99_990));
        assert_eq!(of_number(&Cell::Integer(999)), Ok(99_900));
        assert_eq!(of(&text("/w=="), BYTES), Ok(-1));
        assert_eq!(of(&text("AYaW"), AmountType::Bytes { scale: 0 }), Ok(9_999_000));
    }

    #[test]
    fn digits_are_what_the_schema_or_the_mode_says_and_never_what_they_look_like() {
        // As base64: d7 6d f8, the integer -2,658,824.
        for schema in [AmountType::Unsaid, AmountType::Text] {
            assert_eq!(of(&text("1234"), schema), Ok(123_400));
        }
        assert_eq!(of(&text("1234"), BYTES), Ok(-2_658_824));
        let precise = |schema| cents(&text("1234"), schema, DecimalMode::Precise, false);
        assert!(precise(AmountType::Unsaid).unwrap_err().contains("no schema gives their scale"));
        assert_eq!((precise(BYTES), precise(AmountType::Text)), (Ok(-2_658_824), Ok(123_400)));
        assert!(of(&text("1234"), AmountType::OtherBytes).unwrap_err().contains("without a scale"));
        assert!(of(&text("AfQA"), AmountType::Unsaid).is_err());
    }

    #[test]
    fn what_is_not_exact_is_refused() {
        assert!(of(&Cell::Number(999.9), AmountType::Unsaid).is_err());
        assert!(of(&Cell::Integer(5), AmountType::Unsaid).is_err());
        assert!(of_number(&Cell::Number(0.1 + 0.2)).is_err());
        assert!(of_number(&Cell::Number(1e300)).is_err());
        for bad in ["", "NaN", "1.005", "1e3", "99999999999999.00", "AYaW"] {
            assert!(of(&text(bad), AmountType::Unsaid).is_err(), "{bad}");
        }
        assert!(of(&text("AYaW"), AmountType::Bytes { scale: -3 }).is_err());
        assert!(of(&text("AAAAAAAAAAAAAAAAAAAAAAAAAAA="), BYTES).is_err());
        assert!(of_number(&Cell::Null).is_err());
    }

    proptest! {
        #[test]
        fn bytes_and_text_agree(cents_in in -999_999_999_999_999_i64..=999_999_999_999_999) {
            let encoded = base64::encode_block(&cents_in.to_be_bytes());
            prop_assert_eq!(of(&text(&encoded), BYTES), Ok(cents_in));
            let written = money::format(cents_in.into(), 2);
            prop_assert_eq!(of(&text(&written), AmountType::Unsaid), Ok(cents_in));
        }

        #[test]
        fn floats_of_money_come_back(cents_in in -99_999_999_999_i64..=99_999_999_999) {
            prop_assert_eq!(of_number(&Cell::Number(cents_in as f64 / 100.0)), Ok(cents_in));
        }
    }
}
