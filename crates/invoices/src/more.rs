//! Columns beside the five that the tasks need, such as a status or a due date: carried into the lake's invoices, and
//! part of every proof.
//!
//! On the way a value is a text with a sign in front, NULL is the empty text, and both sides of a proof hash this. What
//! has no text that all agree on (floats, dates, times) is the hexadecimal form of Postgres' own binary one.

use crate::error::{Error, Result};
use crate::fingerprint::POSTGRES_EPOCH_US;
use crate::key::{Keys, Texts};
use crate::money;
use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, Schema, TimeUnit, TimestampMicrosecondType,
};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// In front of every value.
pub const SIGN: char = '=';
/// In front of what SQLite has in a column and its type does not hold.
pub const STRANGE: char = '!';
/// Columns that every row has.
const OWN: [&str; 5] = ["invoice_id", "issue_date", "issuer_id", "receiver_id", "amount_usd"];
/// Days from 1970-01-01 to 2000-01-01, Postgres' epoch.
const POSTGRES_EPOCH_DAYS: i32 = 10_957;
const MAX_DIGITS: u8 = 38;
const OPTION: &str = "column=";

/// Which column of the source, and what the lake calls it: `status`, or `due_date=due_on`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreName {
    pub name: String,
    pub source: String,
}

impl FromStr for MoreName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, source) = text.split_once('=').unwrap_or((text, text));
        let fits = |(at, sign): (usize, char)| {
            sign.is_ascii_lowercase() || sign == '_' || (at > 0 && sign.is_ascii_digit())
        };
        if name.is_empty() || !name.chars().enumerate().all(fits) || source.is_empty() {
            return Err(Error::usage(format!(
                "{text:?} is not a column; use a name of lower-case letters, digits and underscores, with the source's \
                 name behind it where that is another one: due_date=DueOn"
            )));
        }
        if OWN.contains(&name) || name == crate::lake::names::MONTH_COLUMN {
            return Err(Error::usage(format!(
                "the lake's invoices have a column {name} already; give yours another name: {name}_2={source}"
            )));
        }
        Ok(Self { name: name.to_owned(), source: source.to_owned() })
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoreKind {
    Bool,
    Integer,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Double,
    Date,
    /// Without a zone, in microseconds.
    Timestamp,
    Text,
}

/// A column of the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoreColumn {
    pub name: String,
    pub kind: MoreKind,
}

impl MoreColumn {
    /// What the options of a commit record say of columns.
    pub fn options(columns: &[Self]) -> String {
        columns.iter().map(|column| format!(" {OPTION}{}:{}", column.name, column.kind)).collect()
    }

    /// The columns that the options of a commit record say.
    pub fn of_options(options: &str) -> Vec<Self> {
        let own = options.split_once(" where=").map_or(options, |(own, _)| own);
        let column = |option: &str| {
            let (name, kind) = option.strip_prefix(OPTION)?.split_once(':')?;
            Some(Self { name: name.to_owned(), kind: kind.parse().ok()? })
        };
        own.split(' ').filter_map(column).collect()
    }

    /// The columns of an object of the table `invoices`; what no task writes is passed over.
    pub fn of_schema(schema: &Schema) -> Vec<Self> {
        let fields = schema.fields().iter().filter(|field| !OWN.contains(&field.name().as_str()));
        let column = |field: &Arc<arrow::datatypes::Field>| {
            Some(Self { name: field.name().clone(), kind: MoreKind::of_data_type(field.data_type())? })
        };
        fields.filter_map(column).collect()
    }

    /// Values on their way as a column of the lake; `invoice` is the id of a row's invoice.
    ///
    /// # Errors
    /// Refused, with the invoice's id, for a value that the column's type can't hold.
    pub fn array(&self, sent: &Texts, invoice: impl Fn(usize) -> String) -> Result<ArrayRef> {
        let values = || (0..sent.len()).map(|row| sent.get(row).strip_prefix(SIGN));
        let wrong = |row: usize, text: &str| {
            let (invoice, name, kind) = (invoice(row), &self.name, self.kind);
            // Those travel in a form that nobody reads.
            let is_coded = matches!(kind, MoreKind::Date | MoreKind::Timestamp | MoreKind::Double);
            let value = if is_coded { "infinity or what lies beyond all dates" } else { text };
            Error::refused(format!(
                "invoice {invoice}: column {name} holds {value}, which can't be kept as {kind}; correct it in the source, \
                 or leave the row out with --where"
            ))
        };
        macro_rules! parsed {
            ($array:ty, $parse:expr) => {{
                let parse = $parse;
                let value = |(row, text): (usize, Option<&str>)| {
                    text.map(|text| parse(text).ok_or_else(|| wrong(row, text))).transpose()
                };
                values().enumerate().map(value).collect::<Result<$array>>()?
            }};
        }
        Ok(match self.kind {
            MoreKind::Bool => Arc::new(parsed!(BooleanArray, |text: &str| text.parse::<bool>().ok())),
            MoreKind::Integer => Arc::new(parsed!(Int64Array, |text: &str| text.parse::<i64>().ok())),
            MoreKind::Decimal { precision, scale } => {
                let limit = 10_i128.pow(u32::from(precision));
                let fits = move |text: &str| {
                    money::parse(text, scale)
                        .ok()
                        .filter(|number| number.unsigned_abs() < limit.unsigned_abs())
                };
                let numbers = parsed!(Decimal128Array, fits);
                Arc::new(numbers.with_precision_and_scale(precision, scale.cast_signed())?)
            }
            MoreKind::Double => Arc::new(parsed!(Float64Array, |text: &str| {
                u64::from_str_radix(text, 16).ok().map(f64::from_bits)
            })),
            MoreKind::Date => Arc::new(parsed!(Date32Array, date_of)),
            MoreKind::Timestamp => Arc::new(parsed!(TimestampMicrosecondArray, timestamp_of)),
            MoreKind::Text => Arc::new(values().collect::<StringArray>()),
        })
    }
}

impl MoreKind {
    pub fn data_type(self) -> DataType {
        match self {
            Self::Bool => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Decimal { precision, scale } => DataType::Decimal128(precision, scale.cast_signed()),
            Self::Double => DataType::Float64,
            Self::Date => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::Text => DataType::Utf8,
        }
    }

    pub fn of_data_type(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Bool,
            DataType::Int64 => Self::Integer,
            DataType::Decimal128(precision, scale) => {
                Self::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? }
            }
            DataType::Float64 => Self::Double,
            DataType::Date32 => Self::Date,
            DataType::Timestamp(TimeUnit::Microsecond, None) => Self::Timestamp,
            DataType::Utf8 => Self::Text,
            _ => return None,
        })
    }
}

impl fmt::Display for MoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Integer => f.write_str("integer"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Double => f.write_str("double"),
            Self::Date => f.write_str("date"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Text => f.write_str("text"),
        }
    }
}

impl FromStr for MoreKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = |text: &str| -> Option<Self> {
            let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
            Some(Self::Decimal { precision: precision.parse().ok()?, scale: scale.parse().ok()? })
        };
        Ok(match text {
            "bool" => Self::Bool,
            "integer" => Self::Integer,
            "double" => Self::Double,
            "date" => Self::Date,
            "timestamp" => Self::Timestamp,
            "text" => Self::Text,
            other => {
                digits(other).ok_or_else(|| Error::refused(format!("{other:?} is no kind of a column")))?
            }
        })
    }
}

/// What Postgres' types are here, and SQL of a column's values on their way; `zone` is that of times with one.
pub fn of_postgres(
    type_name: &str,
    precision_and_scale: Option<(i32, i32)>,
    column: &str,
    zone: &str,
) -> (MoreKind, String) {
    let decimal = precision_and_scale.and_then(|(precision, scale)| {
        let (precision, scale) = (u8::try_from(precision).ok()?, u8::try_from(scale).ok()?);
        (precision <= MAX_DIGITS && scale <= precision).then_some(MoreKind::Decimal { precision, scale })
    });
    let hex = |send: &str, value: &str| format!("encode({send}({value}), 'hex')");
    let (kind, text) = match (type_name, decimal) {
        ("bool", _) => (MoreKind::Bool, format!("{column}::text")),
        ("int2" | "int4" | "int8", _) => (MoreKind::Integer, format!("{column}::text")),
        ("numeric", Some(decimal)) => (decimal, format!("{column}::text")),
        ("money", _) => {
            (MoreKind::Decimal { precision: 19, scale: 2 }, format!("{column}::numeric(19, 2)::text"))
        }
        ("float4" | "float8", _) => (MoreKind::Double, hex("float8send", &format!("{column}::float8"))),
        ("date", _) => (MoreKind::Date, hex("date_send", column)),
        ("timestamp", _) => (MoreKind::Timestamp, hex("timestamp_send", column)),
        ("timestamptz", _) => {
            (MoreKind::Timestamp, hex("timestamp_send", &format!("({column} at time zone '{zone}')")))
        }
        // A cast would take the spaces at its end.
        ("bpchar", _) => {
            (MoreKind::Text, format!("case when {column} is not null then concat({column}) end"))
        }
        ("bytea", _) => (MoreKind::Text, format!("encode({column}, 'hex')")),
        (array, _) if array.starts_with('_') => (MoreKind::Text, format!("to_json({column})::text")),
        _ => (MoreKind::Text, format!("{column}::text")),
    };
    (kind, format!("coalesce('{SIGN}' || ({text}), '')"))
}

/// The same of a column of SQLite, by what it declares.
pub fn of_sqlite(declared: &str, column: &str) -> (MoreKind, String) {
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    let shown = format!("cast({column} as text)");
    let text = format!("when 'blob' then '{STRANGE}' || hex({column}) else '{SIGN}' || {shown}");
    // SQLite's own rules of affinity, in their order.
    let (kind, cases) = match () {
        () if has(&["INT"]) => (MoreKind::Integer, text),
        () if has(&["CHAR", "CLOB", "TEXT"]) => (MoreKind::Text, text),
        () if has(&["REAL", "FLOA", "DOUB"]) => {
            // Seventeen digits tell any two floats apart; far from 1 SQLite's own conversion is wrong in the last one.
            let exact = format!("{column} = 0 or abs({column}) between 1e-15 and 1e15");
            let digits = format!("case when {exact} then '{SIGN}' || printf('%!.17g', {column})");
            (
                MoreKind::Double,
                format!(
                    "when 'real' then {digits} else '{STRANGE}' || {shown} end else '{STRANGE}' || {shown}"
                ),
            )
        }
        () => (MoreKind::Text, text),
    };
    (kind, format!("case typeof({column}) when 'null' then '' {cases} end"))
}

/// A value that SQLite has sent, as Postgres would have; none when it is of another type.
pub fn from_sqlite(kind: MoreKind, sent: &str) -> Option<String> {
    let Some(text) = sent.strip_prefix(SIGN) else { return sent.is_empty().then(String::new) };
    match kind {
        MoreKind::Double => {
            let number = text.parse::<f64>().ok()?;
            Some(format!("{SIGN}{:016x}", number.to_bits()))
        }
        MoreKind::Integer => {
            text.parse::<i64>().ok().filter(|number| number.to_string() == text).map(|_| sent.into())
        }
        _ => Some(sent.to_owned()),
    }
}

/// A column of the lake as values on their way; none when it is of a type that none of these has.
pub fn sent(array: &dyn Array) -> Option<Texts> {
    let mut texts = Texts::default();
    macro_rules! each {
        ($values:expr, $text:expr) => {{
            let text = $text;
            for value in $values.iter() {
                match value {
                    Some(value) => texts.push(&format!("{SIGN}{}", text(value))),
                    None => texts.push(""),
                }
            }
        }};
    }
    match MoreKind::of_data_type(array.data_type())? {
        MoreKind::Bool => each!(array.as_boolean(), |value: bool| value.to_string()),
        MoreKind::Integer => each!(array.as_primitive::<Int64Type>(), |value: i64| value.to_string()),
        MoreKind::Decimal { scale, .. } => {
            each!(array.as_primitive::<Decimal128Type>(), |value: i128| money::format(value, scale));
        }
        MoreKind::Double => {
            each!(array.as_primitive::<Float64Type>(), |value: f64| format!("{:016x}", value.to_bits()));
        }
        MoreKind::Date => each!(array.as_primitive::<Date32Type>(), |days: i32| {
            format!("{:08x}", days.wrapping_sub(POSTGRES_EPOCH_DAYS))
        }),
        MoreKind::Timestamp => each!(array.as_primitive::<TimestampMicrosecondType>(), |us: i64| {
            format!("{:016x}", us.wrapping_sub(POSTGRES_EPOCH_US))
        }),
        MoreKind::Text => each!(array.as_string::<i32>(), |value: &str| value.to_owned()),
    }
    Some(texts)
}

/// The ends of Postgres' range stand for infinity.
fn date_of(hex: &str) -> Option<i32> {
    let days = u32::from_str_radix(hex, 16).ok()?.cast_signed();
    if days == i32::MAX || days == i32::MIN { None } else { days.checked_add(POSTGRES_EPOCH_DAYS) }
}

fn timestamp_of(hex: &str) -> Option<i64> {
    let us = u64::from_str_radix(hex, 16).ok()?.cast_signed();
    if us == i64::MAX || us == i64::MIN { None } else { us.checked_add(POSTGRES_EPOCH_US) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sent: &[&str]) -> Texts {
        let mut texts = Texts::default();
        sent.iter().for_each(|text| texts.push(text));
        texts
    }

    fn column(kind: MoreKind) -> MoreColumn {
        MoreColumn { name: "c".to_owned(), kind }
    }

    #[test]
    fn values_of_every_kind_come_back_as_they_were_sent() {
        let decimal = MoreKind::Decimal { precision: 12, scale: 2 };
        for (kind, values) in [
            (MoreKind::Bool, ["=true", "", "=false"]),
            (MoreKind::Integer, ["=-9223372036854775808", "", "=7"]),
            (decimal, ["=-0.05", "", "=9999999999.99"]),
            (MoreKind::Double, ["=3ff8000000000000", "", "=7ff8000000000000"]),
            (MoreKind::Date, ["=00000000", "", "=ffffffff"]),
            (MoreKind::Timestamp, ["=0000000000000001", "", "=ffffffffffffffff"]),
            (MoreKind::Text, ["=", "", "== ñ'\\\""]),
        ] {
            let sent_texts = texts(&values);
            let array = column(kind).array(&sent_texts, |row| row.to_string()).unwrap();
            assert_eq!((array.data_type(), array.null_count()), (&kind.data_type(), 1));
            assert_eq!(sent(&array), Some(sent_texts), "{kind}");
            assert_eq!(kind.to_string().parse::<MoreKind>().unwrap(), kind);
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_refused_with_the_value() {
        let decimal = MoreKind::Decimal { precision: 4, scale: 2 };
        for (kind, value, shown) in [
            (MoreKind::Integer, "12abc", "12abc"),
            (decimal, "NaN", "NaN"),
            (decimal, "100.00", "100.00"),
            (MoreKind::Date, "7fffffff", "infinity"),
            (MoreKind::Timestamp, "8000000000000000", "infinity"),
        ] {
            let sent = texts(&["", &format!("={value}")]);
            let error = column(kind).array(&sent, |row| format!("A-{row}")).unwrap_err().to_string();
            assert!(error.starts_with("invoice A-1: column c holds") && error.contains(shown), "{error}");
        }
    }

    #[test]
    fn names_are_what_every_engine_takes() {
        let parsed = "due_date=Due On".parse::<MoreName>().unwrap();
        assert_eq!((parsed.name.as_str(), parsed.source.as_str()), ("due_date", "Due On"));
        for wrong in ["", "Status", "a b", "1x", "x=", "invoice_id", "issue_date_yearmonth=x", "amount_usd=y"]
        {
            assert!(wrong.parse::<MoreName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_options_of_a_record_say_the_columns() {
        let columns = vec![
            column(MoreKind::Text),
            MoreColumn { name: "fee".to_owned(), kind: MoreKind::Decimal { precision: 10, scale: 3 } },
        ];
        let options = format!("layout=1{} where=\"a = ' column=x:text'\"", MoreColumn::options(&columns));
        assert_eq!(MoreColumn::of_options(&options), columns);
    }

    #[test]
    fn floats_of_sqlite_are_as_postgres_sends_them() {
        assert_eq!(from_sqlite(MoreKind::Double, "=1.5").as_deref(), Some("=3ff8000000000000"));
        assert_eq!(from_sqlite(MoreKind::Double, "").as_deref(), Some(""));
        assert_eq!(from_sqlite(MoreKind::Integer, "=1.5"), None);
        assert_eq!(from_sqlite(MoreKind::Text, "!00"), None);
    }
}
