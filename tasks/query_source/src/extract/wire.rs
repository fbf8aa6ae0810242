//! Rows as they travel from Postgres: packed into one binary value per group of rows.
//!
//! One message per row costs more CPU than the row itself, on both sides. So the source
//! concatenates its own binary forms (`int8send` and relatives) and sends a few thousand rows at
//! once. A packed row is id, date, issuer, receiver (8 bytes each, big-endian, a missing business is
//! [`NULL_BUSINESS`]) and the amount in the binary form of numeric, which says its own length.

use invoices::fingerprint::{NULL_BUSINESS, POSTGRES_EPOCH_US};
use invoices::money::{self, MoneyType};
use invoices::source::table::PostgresTable;
use invoices::{Error, Invoice, Result};

const FIXED_BYTES: usize = 32;

/// SQL of one packed row (bytea).
pub fn packed_sql(table: &PostgresTable) -> String {
    let [id, date, issuer, receiver, amount] = table.expressions();
    let business = |column: &str| format!("int8send(coalesce({column}, '{NULL_BUSINESS}'::int8))");
    format!(
        "int8send({id}) || timestamp_send({date}) || {} || {} || numeric_send({amount})",
        business(&issuer),
        business(&receiver)
    )
}

/// Decodes packed rows one after the other, returning how many there were.
///
/// # Errors
/// Refused for an amount that isn't exact, with the invoice's id; bug for bytes that are no rows.
pub fn decode(
    packed: &[u8],
    money: MoneyType,
    amount_column: &str,
    mut consume: impl FnMut(Invoice) -> Result<()>,
) -> Result<u64> {
    let mut rest = packed;
    let mut rows = 0;
    while !rest.is_empty() {
        let Some((fixed, tail)) = rest.split_at_checked(FIXED_BYTES) else {
            return Err(Error::bug("the source sent half a row"));
        };
        let word = |index: usize| {
            let mut bytes = [0_u8; 8];
            bytes.copy_from_slice(&fixed[index * 8..index * 8 + 8]);
            i64::from_be_bytes(bytes)
        };
        let invoice_id = word(0);
        let (amount, amount_bytes) = money::decode_numeric(tail, money).map_err(|error| {
            Error::refused(format!("invoice {invoice_id}: {amount_column} {error}; correct it in the source"))
        })?;
        let business = |value: i64| (value != NULL_BUSINESS).then_some(value);
        consume(Invoice {
            invoice_id,
            issue_date_us: word(1).wrapping_add(POSTGRES_EPOCH_US),
            issuer_id: business(word(2)),
            receiver_id: business(word(3)),
            amount,
        })?;
        rows += 1;
        rest = tail.get(amount_bytes..).ok_or_else(|| Error::bug("the source sent half a row"))?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CENTS: MoneyType = MoneyType { precision: 12, scale: 2 };

    fn packed(values: [i64; 4], numeric: &[u16]) -> Vec<u8> {
        let fixed = values.iter().flat_map(|value| value.to_be_bytes());
        fixed.chain(numeric.iter().flat_map(|word| word.to_be_bytes())).collect()
    }

    #[test]
    fn rows_come_back_as_they_were_sent() {
        let mut bytes = packed([7, 0, 1, NULL_BUSINESS], &[2, 0, 0, 2, 12, 3400]);
        bytes.extend(packed([8, -1, NULL_BUSINESS, 2], &[0, 0, 0, 2]));
        let mut rows = Vec::new();
        let count = decode(&bytes, CENTS, "amount_usd", |row| {
            rows.push(row);
            Ok(())
        });
        assert_eq!(count.unwrap(), 2);
        assert_eq!(rows[0].amount, 1234);
        assert_eq!((rows[0].issuer_id, rows[0].receiver_id), (Some(1), None));
        assert_eq!(rows[1].issue_date_us, POSTGRES_EPOCH_US - 1);
        assert_eq!((rows[1].issuer_id, rows[1].amount), (None, 0));
    }

    #[test]
    fn a_bad_amount_names_its_invoice() {
        let bytes = packed([7, 0, 1, 2], &[0, 0, 0xC000, 0]);
        let error = decode(&bytes, CENTS, "amount_usd", |_| Ok(())).unwrap_err();
        assert!(error.to_string().starts_with("invoice 7: amount_usd is not a number"), "{error}");
    }

    #[test]
    fn half_a_row_is_never_a_row() {
        let whole = packed([7, 0, 1, 2], &[2, 0, 0, 2, 12, 3400]);
        for length in 1..whole.len() {
            assert!(decode(&whole[..length], CENTS, "amount_usd", |_| Ok(())).is_err(), "{length}");
        }
    }
}
