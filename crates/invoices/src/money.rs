//! Exact money: an amount is an integer count of the smallest unit of its column's scale.
//!
//! `12.34` at scale 2 is `1234`. One amount fits an `i64` (checked where it enters); sums are `i128`,
//! which 2^64 amounts of 64 bits cannot overflow, so a sum that exists is exact. No float anywhere.

use std::fmt;

/// Most decimal digits of one amount: any such number fits an `i64`, and Parquet stores it as INT64.
pub const MAX_PRECISION: u8 = 18;

/// How a column writes its amounts: `numeric(precision, scale)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct MoneyType {
    /// Decimal digits in all, at most [`MAX_PRECISION`].
    pub precision: u8,
    /// Digits after the decimal point.
    pub scale: u8,
}

impl MoneyType {
    /// Largest absolute unscaled value of this type.
    pub fn max_unscaled(self) -> i64 {
        10_i64.pow(u32::from(self.precision.min(MAX_PRECISION))) - 1
    }

    /// The value if it fits the declared precision.
    pub fn check(self, unscaled: i64) -> Result<i64, MoneyError> {
        if unscaled.unsigned_abs() <= self.max_unscaled().unsigned_abs() {
            Ok(unscaled)
        } else {
            Err(MoneyError::TooLarge(self))
        }
    }
}

impl fmt::Display for MoneyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "decimal({},{})", self.precision, self.scale)
    }
}

/// Why a value is not an amount; the texts complete the sentence "invoice 7: amount_usd …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("is not a number")]
    NotANumber,
    #[error("is infinite")]
    Infinite,
    #[error("has more than {0} digits after the decimal point")]
    TooManyDecimals(u8),
    #[error("does not fit {0}")]
    TooLarge(MoneyType),
}

/// Parses `-12.30` into the unscaled integer of `scale` digits. Trailing zeros beyond the scale are
/// accepted; any other digit there is an error, never rounded.
pub fn parse(text: &str, scale: u8) -> Result<i128, MoneyError> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if matches!(digits.to_ascii_lowercase().as_str(), "infinity" | "inf") {
        return Err(MoneyError::Infinite);
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all_digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
        return Err(MoneyError::NotANumber);
    }
    let kept = fraction.len().min(scale as usize);
    if fraction[kept..].bytes().any(|b| b != b'0') {
        return Err(MoneyError::TooManyDecimals(scale));
    }
    let too_large = MoneyError::TooLarge(MoneyType { precision: 38, scale });
    let mut unscaled: i128 = 0;
    let padding = std::iter::repeat_n(b'0', scale as usize - kept);
    for digit in whole.bytes().chain(fraction[..kept].bytes()).chain(padding) {
        unscaled = unscaled
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit - b'0')))
            .ok_or_else(|| too_large.clone())?;
    }
    Ok(if negative { -unscaled } else { unscaled })
}

/// Parses one amount of a column: like [`parse`], and it must fit the column's type.
pub fn parse_amount(text: &str, money: MoneyType) -> Result<i64, MoneyError> {
    let unscaled = parse(text, money.scale)?;
    let unscaled = i64::try_from(unscaled).map_err(|_| MoneyError::TooLarge(money))?;
    money.check(unscaled)
}

/// Writes an unscaled value as a plain decimal: `1234` at scale 2 is `12.34`.
pub fn format(unscaled: i128, scale: u8) -> String {
    let sign = if unscaled < 0 { "-" } else { "" };
    let digits = unscaled.unsigned_abs().to_string();
    let scale = scale as usize;
    if scale == 0 {
        return format!("{sign}{digits}");
    }
    let padded = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

const NUMERIC_HEADER_BYTES: usize = 8;

/// Decodes one value of Postgres' binary `numeric` format from the front of `bytes`, returning the
/// unscaled amount and the bytes consumed.
///
/// Format (`numeric_send`): ndigits, weight, sign, dscale as big-endian 16-bit words, then ndigits
/// base-10000 digits; the value is the sum of `digit[i] * 10000^(weight - i)`.
pub fn decode_numeric(bytes: &[u8], money: MoneyType) -> Result<(i64, usize), MoneyError> {
    let word = |index: usize| -> Result<u16, MoneyError> {
        let at = index * 2;
        let pair = bytes.get(at..at + 2).ok_or(MoneyError::NotANumber)?;
        Ok(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let digit_count = word(0)? as usize;
    let weight = i32::from(word(1)? as i16);
    match word(2)? {
        0x0000 | 0x4000 => {}
        0xC000 => return Err(MoneyError::NotANumber),
        _ => return Err(MoneyError::Infinite),
    }
    let negative = word(2)? == 0x4000;
    let too_large = || MoneyError::TooLarge(money);
    let mut unscaled: i64 = 0;
    for index in 0..digit_count {
        let digit = i64::from(word(4 + index)?);
        let exponent = (weight - index as i32) * 4 + i32::from(money.scale);
        let term = if exponent >= 0 {
            let factor = 10_i64.checked_pow(exponent as u32);
            if digit == 0 { Some(0) } else { factor.and_then(|factor| digit.checked_mul(factor)) }
        } else {
            let divisor = 10_i64.checked_pow(exponent.unsigned_abs()).unwrap_or(i64::MAX);
            if digit % divisor != 0 {
                return Err(MoneyError::TooManyDecimals(money.scale));
            }
            Some(digit / divisor)
        };
        unscaled = term.and_then(|term| unscaled.checked_add(term)).ok_or_else(too_large)?;
    }
    let unscaled = money.check(if negative { -unscaled } else { unscaled })?;
    Ok((unscaled, NUMERIC_HEADER_BYTES + 2 * digit_count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CENTS: MoneyType = MoneyType { precision: 12, scale: 2 };

    fn words(values: &[i32]) -> Vec<u8> {
        values.iter().flat_map(|v| (*v as u16).to_be_bytes()).collect()
    }

    #[test]
    fn amounts_parse_exactly_or_not_at_all() {
        assert_eq!(parse("12.34", 2), Ok(1234));
        assert_eq!(parse("-0.5", 2), Ok(-50));
        assert_eq!(parse("7", 2), Ok(700));
        assert_eq!(parse("1.2300", 2), Ok(123));
        assert_eq!(parse("1.234", 2), Err(MoneyError::TooManyDecimals(2)));
        assert_eq!(parse("NaN", 2), Err(MoneyError::NotANumber));
        assert_eq!(parse("-Infinity", 2), Err(MoneyError::Infinite));
        for text in ["", ".", "-", "1e3", "1,5", "0x1", "--1"] {
            assert_eq!(parse(text, 2), Err(MoneyError::NotANumber), "{text:?}");
        }
        assert_eq!(parse_amount("10000000000.00", CENTS), Err(MoneyError::TooLarge(CENTS)));
    }

    #[test]
    fn postgres_numeric_decodes_exactly() {
        // 12.34 = 12 * 10000^0 + 3400 * 10000^-1
        assert_eq!(decode_numeric(&words(&[2, 0, 0, 2, 12, 3400]), CENTS), Ok((1234, 12)));
        // -10000 = -(1 * 10000^1)
        assert_eq!(decode_numeric(&words(&[1, 1, 0x4000, 2, 1]), CENTS), Ok((-1_000_000, 10)));
        assert_eq!(decode_numeric(&words(&[0, 0, 0, 2]), CENTS), Ok((0, 8)));
        // 0.001 has a third decimal
        let third = words(&[1, -1, 0, 3, 10]);
        assert_eq!(decode_numeric(&third, CENTS), Err(MoneyError::TooManyDecimals(2)));
        let nan = words(&[0, 0, 0xC000, 0]);
        assert_eq!(decode_numeric(&nan, CENTS), Err(MoneyError::NotANumber));
        let infinity = words(&[0, 0, 0xD000, 0]);
        assert_eq!(decode_numeric(&infinity, CENTS), Err(MoneyError::Infinite));
        let huge = words(&[1, 300, 0, 0, 1]);
        assert_eq!(decode_numeric(&huge, CENTS), Err(MoneyError::TooLarge(CENTS)));
        assert_eq!(decode_numeric(&[0, 1], CENTS), Err(MoneyError::NotANumber));
    }

    proptest! {
        #[test]
        fn format_then_parse_is_identity(value in -(1_i128 << 120)..(1_i128 << 120), scale in 0_u8..=18) {
            prop_assert_eq!(parse(&format(value, scale), scale), Ok(value));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_numeric(&bytes, CENTS);
        }
    }
}
