//! Values as text, written alike whichever side they come from. Pure, and on purpose without
//! `invoices::money` and `invoices::parquet`.

use invoices::source::AmountUnit;
use invoices::{Error, Result};
use parquet::record::{Field, Row};

/// An id as it is compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    Integer(i64),
    Text(Box<str>),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

/// A value of COPY's text format, in which a backslash hides what would end a value or a line.
pub fn uncopied(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut characters = cell.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next().unwrap_or('\\') {
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'v' => '\u{b}',
                itself => itself,
            },
            plain => plain,
        });
    }
    text
}

/// What `quote` of SQLite made of a value, without its quotes; a number stays as it is.
pub fn unquoted(cell: &str) -> String {
    let inside = cell.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\''));
    inside.map_or_else(|| cell.to_owned(), |inside| inside.replace("''", "'"))
}

/// A business whose id is text, so that none is taken for a missing one or a number.
pub fn as_text(business: &str) -> String {
    format!("'{business}")
}

/// Id, and date, issuer, receiver and amount as text; and whether a business is one.
///
/// # Errors
/// Refused for a column that is missing or of another type.
pub fn lake_row(row: Row) -> Result<(Id, [String; 4], bool)> {
    let (mut id, mut has_texts) = (None, false);
    let mut rest = [const { None }; 4];
    for (name, field) in row.into_columns() {
        match (name.as_str(), field) {
            ("invoice_id", Field::Long(number)) => id = Some(Id::Integer(number)),
            ("invoice_id", Field::Str(text)) => id = Some(Id::Text(text.into())),
            ("invoice_id", Field::Decimal(decimal)) => {
                let text = decimal_text(decimal.data(), decimal.scale());
                id = Some(Id::Text(text.trim_end_matches('.').into()));
            }
            ("issue_date", Field::TimestampMicros(us)) => rest[0] = Some(micros(us)),
            ("issuer_id", Field::Long(number)) => rest[1] = Some(number.to_string()),
            ("receiver_id", Field::Long(number)) => rest[2] = Some(number.to_string()),
            ("issuer_id", Field::Str(text)) => (rest[1], has_texts) = (Some(as_text(&text)), true),
            ("receiver_id", Field::Str(text)) => (rest[2], has_texts) = (Some(as_text(&text)), true),
            ("issuer_id", Field::Null) => rest[1] = Some("null".to_owned()),
            ("receiver_id", Field::Null) => rest[2] = Some("null".to_owned()),
            ("amount_usd", Field::Decimal(decimal)) => {
                rest[3] = Some(amount(&decimal_text(decimal.data(), decimal.scale())));
            }
            _ => {}
        }
    }
    match (id, rest) {
        (Some(id), [Some(date), Some(issuer), Some(receiver), Some(amount)]) => {
            Ok((id, [date, issuer, receiver, amount], has_texts))
        }
        _ => Err(Error::refused("a column is missing or has another type than the table's")),
    }
}

fn micros(us: i64) -> String {
    chrono::DateTime::from_timestamp_micros(us)
        .map_or_else(|| us.to_string(), |time| time.format("%Y-%m-%d %H:%M:%S%.6f").to_string())
}

/// A big-endian two's complement number with a point `scale` digits from its end.
fn decimal_text(bytes: &[u8], scale: i32) -> String {
    let negative = bytes.first().is_some_and(|byte| byte & 0x80 != 0);
    let fill = if negative { 0xFF } else { 0 };
    let mut wide = [fill; 16];
    let kept = bytes.len().min(16);
    wide[16 - kept..].copy_from_slice(&bytes[bytes.len() - kept..]);
    let number = i128::from_be_bytes(wide);
    let digits = number.unsigned_abs().to_string();
    let scale = usize::try_from(scale).unwrap_or_default();
    let padded = format!("{}{digits}", "0".repeat((scale + 1).saturating_sub(digits.len())));
    let (whole, fraction) = padded.split_at(padded.len() - scale);
    format!("{}{whole}.{fraction}", if negative { "-" } else { "" })
}

/// What the source says in its unit, as [`amount`] writes it.
pub fn in_dollars(text: &str, unit: AmountUnit) -> String {
    let plain = amount(text);
    match unit {
        AmountUnit::Dollars => plain,
        // Whatever is no whole number stays as it is, and so differs.
        AmountUnit::Cents if plain.contains('.') => plain,
        AmountUnit::Cents => {
            let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |digits| ("-", digits));
            let padded = format!("{digits:0>3}");
            let (whole, cents) = padded.split_at(padded.len() - 2);
            amount(&format!("{sign}{whole}.{cents}"))
        }
    }
}

/// The shortest way to write a decimal: no zeros that don't count, no plus, no sign of zero.
pub fn amount(text: &str) -> String {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (whole, fraction) = (whole.trim_start_matches('0'), fraction.trim_end_matches('0'));
    match (whole, fraction) {
        ("", "") => "0".to_owned(),
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

/// `2026-01-05`, `2026-01-05T10:00:00Z` and the like with a space and six digits of a second.
pub fn instant(text: &str) -> String {
    let text = text.strip_suffix('Z').unwrap_or(text).replacen('T', " ", 1);
    let text = if text.len() == 10 { format!("{text} 00:00:00") } else { text };
    let (seconds, fraction) = text.split_once('.').unwrap_or((&text, ""));
    format!("{seconds}.{:0<6}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_databases_hide_of_a_text_comes_back() {
        assert_eq!(uncopied(r"a\\b\tc\nd"), "a\\b\tc\nd");
        assert_eq!(unquoted("'O''Neill '"), "O'Neill ");
        assert_eq!(unquoted("''"), "");
        assert_eq!(unquoted("7"), "7");
    }

    #[test]
    fn cents_are_dollars_with_a_point() {
        for (text, dollars) in [("1999", "19.99"), ("-5", "-.05"), ("100", "1"), ("0", "0"), ("1.5", "1.5")] {
            assert_eq!(in_dollars(text, AmountUnit::Cents), dollars);
        }
        assert_eq!(in_dollars("1999", AmountUnit::Dollars), "1999");
    }

    #[test]
    fn one_amount_is_written_one_way() {
        for (text, short) in [
            ("10.00", "10"),
            ("-0.50", "-.5"),
            ("0.00", "0"),
            ("-0", "0"),
            ("7", "7"),
            (" +07.10 ", "7.1"),
            ("NaN", "NaN"),
        ] {
            assert_eq!(amount(text), short, "{text}");
        }
        assert_eq!(decimal_text(&1234_i64.to_be_bytes(), 2), "12.34");
        assert_eq!(decimal_text(&(-5_i32).to_be_bytes(), 2), "-0.05");
        assert_eq!(decimal_text(&[0xFF], 0), "-1.");
    }

    #[test]
    fn one_instant_is_written_one_way() {
        for text in ["2026-01-05", "2026-01-05 00:00:00", "2026-01-05T00:00:00.000Z"] {
            assert_eq!(instant(text), "2026-01-05 00:00:00.000000");
        }
        assert_eq!(instant("2026-01-05 10:00:00.25"), micros(1_767_607_200_250_000));
    }
}
