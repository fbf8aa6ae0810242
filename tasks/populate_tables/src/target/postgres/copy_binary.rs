//! Rows in the binary format of COPY: exact, and nothing has to be written as text and parsed again.
//!
//! Format (`COPY`, "Binary Format"): a signature, then per row the number of fields and per field
//! its length (-1 for NULL) and its bytes, all big-endian, then -1 in place of a number of fields.

use crate::Customer;
use invoices::Invoice;

/// Signature, flags (none), length of the header extension (none).
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
pub const TRAILER: [u8; 2] = (-1_i16).to_be_bytes();

/// Postgres counts microseconds from 2000-01-01.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
const NULL_LENGTH: i32 = -1;
const NEGATIVE: u16 = 0x4000;

/// Appends customer_id bigint, customer_name text.
pub fn customer(customer: &Customer, out: &mut Vec<u8>) {
    out.extend_from_slice(&2_i16.to_be_bytes());
    int8(customer.customer_id, out);
    let name = customer.customer_name.as_bytes();
    out.extend_from_slice(&(name.len() as i32).to_be_bytes());
    out.extend_from_slice(name);
}

/// Appends invoice_id bigint, issue_date timestamp, issuer_id and receiver_id bigint, amount_usd
/// numeric.
pub fn invoice(invoice: &Invoice, out: &mut Vec<u8>) {
    out.extend_from_slice(&5_i16.to_be_bytes());
    int8(invoice.invoice_id, out);
    int8(invoice.issue_date_us - POSTGRES_EPOCH_US, out);
    for business in [invoice.issuer_id, invoice.receiver_id] {
        match business {
            Some(id) => int8(id, out),
            None => out.extend_from_slice(&NULL_LENGTH.to_be_bytes()),
        }
    }
    let length_at = out.len();
    out.extend_from_slice(&[0; 4]);
    numeric(invoice.amount, out);
    let length = (out.len() - length_at - 4) as i32;
    out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
}

fn int8(value: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&8_i32.to_be_bytes());
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends an amount in cents as `numeric_recv` reads it: ndigits, weight, sign, dscale, then the
/// base-10000 digits from the first to the last that isn't zero; digit i counts 10000^(weight - i).
fn numeric(cents: i64, out: &mut Vec<u8>) {
    let magnitude = cents.unsigned_abs();
    // Five digits hold any whole number of dollars, the sixth is the cents as ten-thousandths.
    let mut digits = [0_u16; 6];
    digits[5] = (magnitude % 100) as u16 * 100;
    let mut dollars = magnitude / 100;
    for digit in digits[..5].iter_mut().rev() {
        *digit = (dollars % 10_000) as u16;
        dollars /= 10_000;
    }
    let first = digits.iter().position(|&digit| digit != 0).unwrap_or(4);
    let end = digits.iter().rposition(|&digit| digit != 0).map_or(first, |last| last + 1);
    let weight = 4 - first as i16;
    let sign = if cents < 0 { NEGATIVE } else { 0 };
    for word in [(end - first) as u16, weight as u16, sign, 2] {
        out.extend_from_slice(&word.to_be_bytes());
    }
    for digit in &digits[first..end] {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::money::{MoneyType, decode_numeric};
    use proptest::prelude::*;

    const WIDEST: MoneyType = MoneyType { precision: 18, scale: 2 };

    fn encoded(cents: i64) -> Vec<u8> {
        let mut bytes = Vec::new();
        numeric(cents, &mut bytes);
        bytes
    }

    fn words(cents: i64) -> Vec<u16> {
        encoded(cents).chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect()
    }

    #[test]
    fn numerics_are_what_postgres_itself_sends() {
        assert_eq!(words(0), [0, 0, 0, 2]);
        assert_eq!(words(1234), [2, 0, 0, 2, 12, 3400]);
        assert_eq!(words(-1_000_000), [1, 1, NEGATIVE, 2, 1]);
        assert_eq!(words(5), [1, 0xFFFF, 0, 2, 500]);
        assert_eq!(words(100_000_001), [3, 1, 0, 2, 100, 0, 100]);
    }

    proptest! {
        #[test]
        fn every_amount_comes_back_exactly(cents in -999_999_999_999_999_999_i64..=999_999_999_999_999_999) {
            let bytes = encoded(cents);
            prop_assert_eq!(decode_numeric(&bytes, WIDEST), Ok((cents, bytes.len())));
        }

        #[test]
        fn round_amounts_come_back_exactly(whole in -999_999_i64..=999_999, zeros in 0_u32..12) {
            let cents = whole * 10_i64.pow(zeros);
            prop_assert_eq!(decode_numeric(&encoded(cents), WIDEST), Ok((cents, encoded(cents).len())));
        }
    }

    #[test]
    fn an_invoice_is_five_fields_with_their_lengths() {
        let mut bytes = Vec::new();
        let row = Invoice {
            invoice_id: 7,
            issue_date_us: POSTGRES_EPOCH_US + 1,
            issuer_id: Some(-2),
            receiver_id: None,
            amount: 100,
        };
        invoice(&row, &mut bytes);
        let mut expected = vec![0, 5];
        for value in [7, 1, -2_i64] {
            expected.extend([0, 0, 0, 8]);
            expected.extend(value.to_be_bytes());
        }
        expected.extend([255, 255, 255, 255]);
        expected.extend([0, 0, 0, 10, 0, 1, 0, 0, 0, 0, 0, 2, 0, 1]);
        assert_eq!(bytes, expected);
    }
}
