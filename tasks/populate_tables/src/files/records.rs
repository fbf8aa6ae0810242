//! The two kinds of lines.

use super::Record;
use crate::{CENTS, Customer};
use chrono::Datelike;
use invoices::fingerprint::NULL_BUSINESS;
use invoices::source::sqlite::timestamp_us;
use invoices::{Invoice, Month, money};

impl Record for Customer {
    const COLUMNS: &'static [&'static str] = &["customer_id", "customer_name"];

    fn parse(fields: &[&str]) -> Result<Self, String> {
        let [customer_id, name] = columns(fields)?;
        if name.trim().is_empty() || name.contains('\0') {
            return Err("customer_name is empty or holds a NUL character".to_owned());
        }
        Ok(Self { customer_id: id("customer_id", customer_id)?, customer_name: name.to_owned() })
    }

    fn id(&self) -> i64 {
        self.customer_id
    }
}

impl Record for Invoice {
    const COLUMNS: &'static [&'static str] =
        &["invoice_id", "issue_date", "issuer_id", "receiver_id", "amount_usd"];

    fn parse(fields: &[&str]) -> Result<Self, String> {
        let [invoice_id, issue_date, issuer, receiver, amount_usd] = columns(fields)?;
        let amount = money::parse_amount(amount_usd, CENTS);
        Ok(Self {
            invoice_id: id("invoice_id", invoice_id)?,
            issue_date_us: date("issue_date", issue_date)?,
            issuer_id: business("issuer_id", issuer)?,
            receiver_id: business("receiver_id", receiver)?,
            amount: amount.map_err(|error| format!("amount_usd {amount_usd:?} {error}"))?,
        })
    }

    fn id(&self) -> i64 {
        self.invoice_id
    }
}

fn columns<'a, const N: usize>(fields: &[&'a str]) -> Result<[&'a str; N], String> {
    fields.try_into().map_err(|_| format!("{} fields instead of {N}", fields.len()))
}

/// The smallest 64-bit integer stands for NULL in fingerprints and is no id.
fn id(column: &str, text: &str) -> Result<i64, String> {
    let id = text.trim().parse().ok().filter(|&id| id != NULL_BUSINESS);
    id.ok_or_else(|| format!("{column} {text:?} is not an id"))
}

fn business(column: &str, text: &str) -> Result<Option<i64>, String> {
    if text.trim().is_empty() { Ok(None) } else { id(column, text).map(Some) }
}

/// Only dates that lie in a month of the years 1 to 9999, which are those that the lake can keep.
fn date(column: &str, text: &str) -> Result<i64, String> {
    let in_a_month = |us: &i64| {
        Month::of_timestamp_us(*us).is_some_and(|month| (1..=9999).contains(&month.first_day().year()))
    };
    timestamp_us(text.trim())
        .filter(in_a_month)
        .ok_or_else(|| format!("{column} {text:?} is not a date (YYYY-MM-DD HH:MM:SS)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_bit_integers() {
        assert_eq!(id("x", " 9223372036854775807 "), Ok(i64::MAX));
        for text in ["", "1.0", "1e3", "9223372036854775808", "-9223372036854775808", "seven"] {
            assert!(id("x", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dates_have_the_forms_that_sources_use() {
        assert_eq!(date("d", "1970-01-01 00:00:01.5"), Ok(1_500_000));
        assert_eq!(date("d", "1970-01-01T00:00:01Z"), Ok(1_000_000));
        assert_eq!(date("d", "1970-01-02"), Ok(86_400_000_000));
        for text in ["", "yesterday", "2023-02-29", "12/01/2010 08:26", "20000-01-01", "0000-12-31"] {
            assert!(date("d", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn amounts_are_exact_and_fit_the_column() {
        let with =
            |amount| Invoice::parse(&["1", "2024-01-01", "", "", amount]).map(|invoice| invoice.amount);
        assert_eq!(with("-12.3"), Ok(-1230));
        assert_eq!(with("9999999999.99"), Ok(999_999_999_999));
        for text in ["10000000000", "0.001", "NaN", "", "1,5", "1e2"] {
            assert!(with(text).unwrap_err().starts_with("amount_usd"), "{text:?}");
        }
    }
}
