//! The two kinds of rows. A value is loaded as it stands or refused: nothing is rounded, cut or guessed.

use super::{BadField, Record, dates};
use crate::{CENTS, Customer};
use chrono::Datelike;
use invoices::fingerprint::NULL_BUSINESS;
use invoices::money::{self, MoneyError};
use invoices::{Invoice, Month};
use std::borrow::Cow;

impl Record for Customer {
    const COLUMNS: &'static [&'static str] = &["customer_id", "customer_name"];

    fn parse(fields: &[Cow<'_, str>], _: &[i64]) -> Result<Self, BadField> {
        let [customer_id, name] = columns(fields)?;
        if name.trim().is_empty() {
            return Err(BadField { column: 1, reason: "customer_name is empty; give it a name".to_owned() });
        }
        Ok(Self {
            customer_id: value::<Self, _>(0, customer_id, id(customer_id))?,
            customer_name: name.to_owned(),
        })
    }

    fn id(&self) -> i64 {
        self.customer_id
    }
}

impl Record for Invoice {
    const COLUMNS: &'static [&'static str] =
        &["invoice_id", "issue_date", "issuer_id", "receiver_id", "amount_usd"];

    fn parse(fields: &[Cow<'_, str>], customers: &[i64]) -> Result<Self, BadField> {
        let [invoice_id, issue_date, issuer, receiver, amount_usd] = columns(fields)?;
        Ok(Self {
            invoice_id: value::<Self, _>(0, invoice_id, id(invoice_id))?,
            issue_date_us: value::<Self, _>(1, issue_date, date(issue_date))?,
            issuer_id: business(2, issuer, customers)?,
            receiver_id: business(3, receiver, customers)?,
            amount: value::<Self, _>(4, amount_usd, amount(amount_usd))?,
        })
    }

    fn id(&self) -> i64 {
        self.invoice_id
    }
}

fn columns<'a, const N: usize>(fields: &'a [Cow<'_, str>]) -> Result<[&'a str; N], BadField> {
    let fields: Vec<&str> = fields.iter().map(|field| &**field).collect();
    let wrong =
        |fields: Vec<&str>| BadField { column: 0, reason: format!("{} fields instead of {N}", fields.len()) };
    fields.try_into().map_err(wrong)
}

/// The value, or the sentence that begins with the column's name and what stands there.
fn value<R: Record, T>(column: usize, text: &str, parsed: Result<T, String>) -> Result<T, BadField> {
    let said = |reason| BadField { column, reason: format!("{} {text:?} {reason}", R::COLUMNS[column]) };
    parsed.map_err(said)
}

/// A business that is known, or none.
fn business(column: usize, text: &str, customers: &[i64]) -> Result<Option<i64>, BadField> {
    let known = |id: i64| {
        let unknown = || "is not among the customers; add it with --customers-csv, or correct it".to_owned();
        customers.binary_search(&id).map(|_| id).map_err(|_| unknown())
    };
    match bare(text) {
        "" => Ok(None),
        _ => value::<Invoice, _>(column, text, id(text).and_then(known)).map(Some),
    }
}

/// Spaces beside a number or a date say nothing; other white space is not taken away.
fn bare(text: &str) -> &str {
    text.trim_matches(' ')
}

/// Only numbers that are written back as they stand: 007 could be another business than 7. The smallest 64-bit
/// integer stands for NULL in fingerprints and is no id.
fn id(text: &str) -> Result<i64, String> {
    let text = bare(text);
    let id = text.parse::<i64>().ok().filter(|id| *id != NULL_BUSINESS && id.to_string() == text);
    id.ok_or_else(|| {
        "is not an id; ids are whole numbers of 64 bits, without leading zeros or plus".to_owned()
    })
}

/// Only dates that lie in a month of the years 1 to 9999, which are those that the lake can keep.
fn date(text: &str) -> Result<i64, String> {
    let us = dates::timestamp_us(bare(text))?;
    match Month::of_timestamp_us(us) {
        Some(month) if (1..=9999).contains(&month.first_day().year()) => Ok(us),
        _ => Err("is not a date of the years 1 to 9999".to_owned()),
    }
}

/// Digits with at most two after a point: 1.500 is one thousand five hundred in half of the world.
fn amount(text: &str) -> Result<i64, String> {
    let text = bare(text);
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-'));
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    match money::parse_amount(text, CENTS) {
        Ok(amount) if plain && decimals <= CENTS.scale.into() => Ok(amount),
        Err(MoneyError::NotANumber) if text.contains(',') => {
            Err("has a comma; write decimals with a point and nothing between thousands, as in 1234.50"
                .to_owned())
        }
        Err(error @ MoneyError::NotANumber) => Err(format!("{error}; write it as in 1234.50")),
        Err(error) => Err(error.to_string()),
        Ok(_) if plain => {
            Err(format!("{}; write cents as in 1234.50", MoneyError::TooManyDecimals(CENTS.scale)))
        }
        Ok(_) => Err(format!("{}; write it as in 1234.50", MoneyError::NotANumber)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_64_bit_integers_that_are_written_back_as_they_stand() {
        assert_eq!(id(" 9223372036854775807 "), Ok(i64::MAX));
        assert_eq!((id("0"), id("-7")), (Ok(0), Ok(-7)));
        for text in [
            "",
            "1.0",
            "1e3",
            "9223372036854775808",
            "-9223372036854775808",
            "seven",
            "007",
            "+7",
            "-0",
            "1 000",
            "1,000",
            "\u{a0}7",
            "\t7",
            "INV-7",
            "12abc",
            "0x10",
            "٧",
            "NULL",
        ] {
            assert!(id(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn dates_are_those_of_the_lake() {
        assert_eq!(date(" 1970-01-01 00:00:01 "), Ok(1_000_000));
        assert!(date("0000-12-31").is_err());
        assert!(date("12/01/2010 08:26").unwrap_err().contains("write YYYY-MM-DD"));
    }

    #[test]
    fn amounts_are_exact_and_fit_the_column() {
        for (text, cents) in
            [("-12.3", -1230), ("9999999999.99", 999_999_999_999), (" 7 ", 700), ("+.50", 50)]
        {
            assert_eq!(amount(text), Ok(cents), "{text:?}");
        }
        for text in [
            "10000000000",
            "0.001",
            "NaN",
            "",
            "1,5",
            "1e2",
            "1.500",
            "1.000.000",
            "1 000.00",
            "1'000.00",
            "1_000",
            "$5",
            "5 USD",
            "(5.00)",
            "5-",
            "--5",
            "5%",
            "Infinity",
            "0x10",
            "\u{2212}5",
            "\u{a0}5",
            "٧",
            ".",
        ] {
            assert!(amount(text).is_err(), "{text:?}");
        }
        assert!(amount("1,234.50").unwrap_err().contains("has a comma; write decimals with a point"));
        assert!(amount("1.500").unwrap_err().contains("more than 2 digits after the decimal point"));
    }

    #[test]
    fn parties_are_customers_or_nobody() {
        let row = |issuer: &'static str| ["1", "2024-01-01", issuer, "", "5"].map(Cow::Borrowed);
        assert_eq!(Invoice::parse(&row("3"), &[1, 3]).unwrap().issuer_id, Some(3));
        assert_eq!(Invoice::parse(&row(""), &[]).unwrap().issuer_id, None);
        let bad = Invoice::parse(&row("2"), &[1, 3]).unwrap_err();
        assert!(
            bad.column == 2 && bad.reason.starts_with("issuer_id \"2\" is not among the customers"),
            "{bad:?}"
        );
    }
}
