//! Invoices as they travel from Postgres: many rows in one message, column by column.
//!
//! One message per row costs more CPU than the row itself, on both sides. So the source strings its
//! own binary forms (`int8send` and relatives) together and sends a few thousand rows at once: ids,
//! dates, issuers and receivers as 8 bytes each, big-endian, a missing business as [`NULL_BUSINESS`];
//! amounts in the binary form of numeric, which says its own length. Where an id is no integer all of them are texts,
//! each with a zero byte behind, which no text of Postgres has inside; a business's has a sign in front, and a missing
//! one is nothing. Joining the columns of a row first would cost the source a third more.

use invoices::fingerprint::{NULL_BUSINESS, POSTGRES_EPOCH_US};
use invoices::money::{self, MoneyType};
use invoices::source::table::PostgresTable;
use invoices::{Error, InvoiceOf, Keys, Result, Texts};

/// Columns of a message after its number of rows.
pub const COLUMNS: usize = 5;

const WORD_BYTES: usize = 8;
/// In front of a business that is text, so that the empty one is not a missing one.
const SIGN: char = '=';

/// The columns of a message, the further ones behind the five.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    pub own: [Vec<u8>; COLUMNS],
    pub more: Vec<Vec<u8>>,
}

impl Sent {
    /// # Errors
    /// What `next` says, which gives one column after the other.
    pub fn read(more: usize, mut next: impl FnMut() -> Result<Vec<u8>>) -> Result<Self> {
        let mut sent = Self { own: Default::default(), more: vec![Vec::new(); more] };
        for column in sent.own.iter_mut().chain(&mut sent.more) {
            *column = next()?;
        }
        Ok(sent)
    }
}

/// SQL of the columns' binary forms (bytea); NULL where an id, a date or an amount is missing.
pub fn columns_sql(table: &PostgresTable) -> Vec<String> {
    let [id, date, issuer, receiver, amount] = table.expressions();
    let are_integers = table.keys.are_integers();
    let text = |text: &str| format!("textsend({text}) || '\\x00'::bytea");
    let business = |column: &str| match are_integers {
        true => format!("int8send(coalesce({column}, '{NULL_BUSINESS}'::int8))"),
        false => text(&format!("coalesce('{SIGN}' || {column}, '')")),
    };
    let own = [
        if are_integers { format!("int8send({id})") } else { text(&id) },
        format!("timestamp_send({date})"),
        business(&issuer),
        business(&receiver),
        format!("numeric_send({amount})"),
    ];
    own.into_iter().chain(table.more.iter().map(|(_, sql)| text(sql))).collect()
}

/// Ids as they travel.
pub trait SentKeys: Keys {
    /// How many ids the column holds; none for bytes that are no ids.
    fn count(column: &[u8]) -> Option<u64>;

    /// The ids of a column that has been counted.
    fn keys(column: &[u8]) -> impl Iterator<Item = Self::Key<'_>>;

    /// The businesses of a column that has been counted.
    fn businesses(column: &[u8]) -> impl Iterator<Item = Option<Self::Key<'_>>>;
}

impl SentKeys for Vec<i64> {
    fn count(column: &[u8]) -> Option<u64> {
        let (whole, rest) = column.as_chunks::<WORD_BYTES>();
        rest.is_empty().then_some(whole.len() as u64)
    }

    fn keys(column: &[u8]) -> impl Iterator<Item = i64> {
        words(column)
    }

    fn businesses(column: &[u8]) -> impl Iterator<Item = Option<i64>> {
        words(column).map(|id| (id != NULL_BUSINESS).then_some(id))
    }
}

impl SentKeys for Texts {
    fn count(column: &[u8]) -> Option<u64> {
        let text = std::str::from_utf8(column).ok()?;
        (text.is_empty() || text.ends_with('\0')).then(|| text.split_terminator('\0').count() as u64)
    }

    fn keys(column: &[u8]) -> impl Iterator<Item = &str> {
        std::str::from_utf8(column).unwrap_or_default().split_terminator('\0')
    }

    fn businesses(column: &[u8]) -> impl Iterator<Item = Option<&str>> {
        Self::keys(column).map(|sent| sent.strip_prefix(SIGN))
    }
}

/// Decodes the rows of one message.
///
/// # Errors
/// Refused for a row that lacks a value and for an amount that isn't exact, with its id; bug for
/// bytes that are no rows.
pub fn decode<'c, Ids: SentKeys>(
    rows: u64,
    sent: &'c Sent,
    money: MoneyType,
    amount_column: &str,
    mut consume: impl FnMut(InvoiceOf<Ids::Key<'c>>, &[&'c str]) -> Result<()>,
) -> Result<()> {
    let [ids, dates, issuers, receivers, amounts] = &sent.own;
    if !sent.more.iter().all(|column| Texts::count(column) == Some(rows)) {
        return Err(garbled());
    }
    let mut more: Vec<_> = sent.more.iter().map(|column| Texts::keys(column)).collect();
    let mut values: Vec<&str> = Vec::with_capacity(more.len());
    let counts = [ids, issuers, receivers].map(|column| Ids::count(column));
    for count in counts.into_iter().chain([<Vec<i64>>::count(dates)]) {
        match rows.checked_sub(count.ok_or_else(garbled)?) {
            Some(0) => {}
            Some(missing) => return Err(incomplete(missing)),
            None => return Err(garbled()),
        }
    }
    let parties = Ids::businesses(issuers).zip(Ids::businesses(receivers));
    let mut rest = amounts.as_slice();
    for (row, ((invoice_id, date), (issuer_id, receiver_id))) in
        (0..).zip(Ids::keys(ids).zip(words(dates)).zip(parties))
    {
        if rest.is_empty() {
            return Err(incomplete(rows - row));
        }
        let (amount, amount_bytes) = money::decode_numeric(rest, money).map_err(|error| {
            Error::refused(format!("invoice {invoice_id}: {amount_column} {error}; correct it in the source"))
        })?;
        rest = rest.get(amount_bytes..).ok_or_else(garbled)?;
        let issue_date_us = date.wrapping_add(POSTGRES_EPOCH_US);
        values.clear();
        values.extend(more.iter_mut().map(|column| column.next().unwrap_or_default()));
        consume(InvoiceOf { invoice_id, issue_date_us, issuer_id, receiver_id, amount }, &values)?;
    }
    if rest.is_empty() { Ok(()) } else { Err(garbled()) }
}

fn words(column: &[u8]) -> impl Iterator<Item = i64> {
    column.as_chunks::<WORD_BYTES>().0.iter().map(|word| i64::from_be_bytes(*word))
}

fn incomplete(rows: u64) -> Error {
    Error::refused(format!("{rows} invoices have no id, date or amount; correct them in the source"))
}

fn garbled() -> Error {
    Error::bug("the source sent columns of different lengths")
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Invoice;

    const CENTS: MoneyType = MoneyType { precision: 12, scale: 2 };
    /// 12.34, as `numeric_send` has it.
    const AMOUNT: [u16; 6] = [2, 0, 0, 2, 12, 3400];

    fn column(values: &[i64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_be_bytes()).collect()
    }

    fn amounts(numerics: &[&[u16]]) -> Vec<u8> {
        numerics.iter().flat_map(|words| words.iter().flat_map(|word| word.to_be_bytes())).collect()
    }

    fn decoded(rows: u64, columns: &[Vec<u8>; COLUMNS]) -> Result<Vec<Invoice>> {
        let mut invoices = Vec::new();
        let sent = Sent { own: columns.clone(), more: Vec::new() };
        decode::<Vec<i64>>(rows, &sent, CENTS, "amount_usd", |row, _| {
            invoices.push(row);
            Ok(())
        })?;
        Ok(invoices)
    }

    fn one_row() -> [Vec<u8>; COLUMNS] {
        [column(&[7]), column(&[0]), column(&[1]), column(&[2]), amounts(&[&AMOUNT])]
    }

    #[test]
    fn rows_come_back_as_they_were_sent() {
        let columns = [
            column(&[7, 8]),
            column(&[0, -1]),
            column(&[1, NULL_BUSINESS]),
            column(&[NULL_BUSINESS, 2]),
            amounts(&[&AMOUNT, &[0, 0, 0, 2]]),
        ];
        let rows = decoded(2, &columns).unwrap();
        assert_eq!(rows[0].amount, 1234);
        assert_eq!((rows[0].issuer_id, rows[0].receiver_id), (Some(1), None));
        assert_eq!(rows[1].issue_date_us, POSTGRES_EPOCH_US - 1);
        assert_eq!((rows[1].issuer_id, rows[1].amount), (None, 0));
    }

    #[test]
    fn texts_come_back_whatever_is_in_them() {
        let texts = ["", " padded ", "ñ'%/"];
        let ids = texts.map(|text| format!("{text}\0")).concat().into_bytes();
        let parties =
            |texts: &[&str]| texts.iter().map(|text| format!("{text}\0")).collect::<String>().into_bytes();
        let mut columns = [
            ids,
            column(&[0, 0, 0]),
            parties(&["=", "", "=a b"]),
            parties(&["=x", "==", ""]),
            amounts(&[&AMOUNT, &AMOUNT, &AMOUNT]),
        ];
        let (mut found, mut businesses) = (Vec::new(), Vec::new());
        let mut decoded = |columns: &[Vec<u8>; COLUMNS]| {
            let sent = Sent { own: columns.clone(), more: Vec::new() };
            decode::<Texts>(3, &sent, CENTS, "amount_usd", |row, _| {
                found.push(row.invoice_id.to_owned());
                businesses.push([row.issuer_id, row.receiver_id].map(|id| id.map(str::to_owned)));
                Ok(())
            })
        };
        decoded(&columns).unwrap();
        columns[0].pop();
        assert!(decoded(&columns).is_err(), "the last id is cut");
        columns[0] = b"a\0b\0".to_vec();
        let error = decoded(&columns).unwrap_err().to_string();
        assert!(error.starts_with("1 invoices have no id"), "{error}");
        columns[0] = b"a\0b\0\xff\0".to_vec();
        assert!(decoded(&columns).is_err(), "no text");
        assert_eq!(found, texts);
        let texts = |a: Option<&str>, b: Option<&str>| [a, b].map(|text| text.map(str::to_owned));
        let expected = [texts(Some(""), Some("x")), texts(None, Some("=")), texts(Some("a b"), None)];
        assert_eq!(businesses[..3], expected);
    }

    #[test]
    fn further_columns_stay_beside_their_rows() {
        let two = one_row().map(|column| [column.clone(), column].concat());
        let mut found = Vec::new();
        let mut decoded = |more: &[&str]| {
            let more = more.iter().map(|column| column.as_bytes().to_vec()).collect();
            decode::<Vec<i64>>(2, &Sent { own: two.clone(), more }, CENTS, "amount_usd", |_, more| {
                found.push(more.join("|"));
                Ok(())
            })
        };
        decoded(&["=paid\0\0", "=1\0=\0"]).unwrap();
        for cut in ["=paid\0", "=paid\0=x", ""] {
            assert!(decoded(&[cut]).is_err(), "{cut:?}");
        }
        assert_eq!(found, ["=paid|=1", "|="]);
    }

    #[test]
    fn a_bad_amount_names_its_invoice() {
        let mut columns = one_row();
        columns[4] = amounts(&[&[0, 0, 0xC000, 0]]);
        let error = decoded(1, &columns).unwrap_err();
        assert!(error.to_string().starts_with("invoice 7: amount_usd is not a number"), "{error}");
    }

    #[test]
    fn a_missing_value_is_refused_and_never_taken_from_the_next_row() {
        for missing in 0..COLUMNS {
            let mut columns = one_row().map(|column| [column.clone(), column].concat());
            columns[missing] = one_row()[missing].clone();
            let error = decoded(2, &columns).unwrap_err();
            assert!(error.to_string().starts_with("1 invoices have no id, date or amount"), "{error}");
        }
    }

    #[test]
    fn half_a_value_is_never_a_value() {
        for cut in 0..COLUMNS {
            let mut columns = one_row();
            let length = columns[cut].len();
            for short in 1..length {
                columns[cut].truncate(length - short);
                assert!(decoded(1, &columns).is_err(), "column {cut} without {short} bytes");
            }
        }
        let mut columns = one_row();
        columns[4].extend(amounts(&[&AMOUNT]));
        assert!(decoded(1, &columns).is_err());
    }
}
