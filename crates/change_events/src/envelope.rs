//! The JSON around a row: envelope or bare row, with or without schema, in one pass.

use super::cell::{Cell, shortened};
use invoices::position::POSITION_LIMIT;
use invoices::source::ColumnNames;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// The cells of the five columns; none for a column that isn't there.
#[derive(Debug, Default)]
pub struct RawRow<'a> {
    pub invoice_id: Option<Cell<'a>>,
    pub issue_date: Option<Cell<'a>>,
    pub issuer_id: Option<Cell<'a>>,
    pub receiver_id: Option<Cell<'a>>,
    pub amount: Option<Cell<'a>>,
}

impl<'a> RawRow<'a> {
    /// Where the cell of a column belongs; none for columns that don't matter.
    fn slot(&mut self, name: &str, columns: &ColumnNames) -> Option<&mut Option<Cell<'a>>> {
        match name {
            _ if name == columns.invoice_id_column => Some(&mut self.invoice_id),
            _ if name == columns.issue_date_column => Some(&mut self.issue_date),
            _ if name == columns.issuer_column => Some(&mut self.issuer_id),
            _ if name == columns.receiver_column => Some(&mut self.receiver_id),
            _ if name == columns.amount_column => Some(&mut self.amount),
            _ => None,
        }
    }
}

/// What a message says, its values still undecoded.
#[derive(Debug)]
pub struct Message<'a> {
    pub op: Option<Cow<'a, str>>,
    pub before: Option<RawRow<'a>>,
    pub after: Option<RawRow<'a>>,
    /// Place in the source's log, or why what the message has is none.
    pub lsn: Result<Option<u64>, String>,
    /// The transaction, as 32 bits at least.
    pub transaction: Option<u64>,
    pub committed_us: Option<i64>,
    pub is_incremental: bool,
}

/// Parses a payload or a whole message; none for JSON null, which is a tombstone.
///
/// # Errors
/// One sentence.
pub fn parse<'a>(text: &'a str, columns: &ColumnNames) -> Result<Option<Message<'a>>, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = ObjectSeed { columns, payload_allowed: true }
        .deserialize(&mut json)
        .and_then(|object| json.end().map(|()| object));
    match parsed {
        Ok(Parsed::Null) => Ok(None),
        Ok(Parsed::Object(object)) => object.into_message(),
        Ok(Parsed::Other) => Err("the message is not a JSON object".to_owned()),
        Err(error) => Err(format!("the message is not valid JSON: {error}")),
    }
}

/// Everything that can stand at the top or in a payload.
#[derive(Debug, Default)]
struct Object<'a> {
    op: Option<Cell<'a>>,
    before: Option<Parsed<'a>>,
    after: Option<Parsed<'a>>,
    source: Option<Source<'a>>,
    /// A bare row's own columns.
    row: RawRow<'a>,
    /// `__op`, `__deleted`, `__lsn`, `__source_ts_ms` of a bare row, added on the way.
    added: Source<'a>,
    deleted: bool,
    payload: Option<Box<Parsed<'a>>>,
}

#[derive(Debug, Default)]
struct Source<'a> {
    op: Option<Cell<'a>>,
    lsn: Option<Cell<'a>>,
    tx_id: Option<Cell<'a>>,
    ts_ms: Option<Cell<'a>>,
    ts_us: Option<Cell<'a>>,
    snapshot: Option<Cell<'a>>,
}

impl Source<'_> {
    fn is_incremental(&self) -> bool {
        matches!(&self.snapshot, Some(Cell::Text(text)) if text == "incremental")
    }

    fn transaction(&self) -> Option<u64> {
        number(&self.tx_id).and_then(|id| u64::try_from(id).ok())
    }

    fn committed_us(&self) -> Option<i64> {
        number(&self.ts_us).or_else(|| number(&self.ts_ms).and_then(|ms| ms.checked_mul(1000)))
    }

    /// The position, as a number, as text, or as Postgres writes it (`16/B374D848`).
    fn lsn(&self) -> Result<Option<u64>, String> {
        let refused = |what: &str| Err(format!("lsn {what} is not a position in a log"));
        match &self.lsn {
            None | Some(Cell::Null) => Ok(None),
            Some(Cell::Integer(lsn)) => match u64::try_from(*lsn) {
                Ok(position) if position < POSITION_LIMIT => Ok(Some(position)),
                _ => refused(&lsn.to_string()),
            },
            Some(Cell::Text(text)) => match parse_lsn(text) {
                Some(lsn) => Ok(Some(lsn)),
                None => refused(&format!("{:?}", shortened(text))),
            },
            Some(other) => refused(other.kind()),
        }
    }
}

fn number(cell: &Option<Cell<'_>>) -> Option<i64> {
    cell.as_ref().and_then(|cell| cell.integer().ok().flatten())
}

fn parse_lsn(text: &str) -> Option<u64> {
    // The bits above are the epoch's.
    let fits = |lsn: u64| (lsn < POSITION_LIMIT).then_some(lsn);
    match text.split_once('/') {
        Some((high, low)) => {
            let part = |digits: &str| u32::from_str_radix(digits, 16).ok().map(u64::from);
            fits(part(high)? << 32 | part(low)?)
        }
        None => text.parse().ok().and_then(fits),
    }
}

impl<'a> Object<'a> {
    fn into_message(mut self) -> Result<Option<Message<'a>>, String> {
        match self.payload.take().map(|payload| *payload) {
            Some(Parsed::Null) => return Ok(None),
            Some(Parsed::Object(object)) => return object.into_message(),
            Some(Parsed::Other) => return Err("the payload is not a JSON object".to_owned()),
            None => {}
        }
        if self.row.invoice_id.is_some() {
            return Ok(Some(self.into_bare_row()));
        }
        let source = self.source.unwrap_or_default();
        Ok(Some(Message {
            op: match self.op {
                None | Some(Cell::Null) => None,
                Some(Cell::Text(op)) => Some(op),
                Some(other) => return Err(format!("op is {}, no letter", other.kind())),
            },
            before: row_of(self.before, "before")?,
            after: row_of(self.after, "after")?,
            lsn: source.lsn(),
            transaction: source.transaction(),
            committed_us: source.committed_us(),
            is_incremental: source.is_incremental(),
        }))
    }

    /// A row without an envelope is a new row, or what its added fields say.
    fn into_bare_row(self) -> Message<'a> {
        let (lsn, transaction) = (self.added.lsn(), self.added.transaction());
        let committed_us = self.added.committed_us();
        let op = match self.added.op {
            Some(Cell::Text(op)) => op,
            _ if self.deleted => Cow::Borrowed("d"),
            _ => Cow::Borrowed("c"),
        };
        let (before, after) = if op == "d" { (Some(self.row), None) } else { (None, Some(self.row)) };
        Message { op: Some(op), before, after, lsn, transaction, committed_us, is_incremental: false }
    }
}

fn row_of<'a>(parsed: Option<Parsed<'a>>, side: &str) -> Result<Option<RawRow<'a>>, String> {
    match parsed {
        None | Some(Parsed::Null) => Ok(None),
        Some(Parsed::Object(object)) => Ok(Some(object.row)),
        Some(Parsed::Other) => Err(format!("{side:?} is not a row")),
    }
}

#[derive(Debug)]
enum Parsed<'a> {
    Null,
    Object(Box<Object<'a>>),
    Other,
}

/// Reads one object; a payload within a payload is not looked for.
#[derive(Clone, Copy)]
struct ObjectSeed<'c> {
    columns: &'c ColumnNames,
    payload_allowed: bool,
}

impl<'de> DeserializeSeed<'de> for ObjectSeed<'_> {
    type Value = Parsed<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Parsed<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ObjectSeed<'_> {
    type Value = Parsed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Parsed<'de>, E> {
        Ok(Parsed::Other)
    }

    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut items: A) -> Result<Parsed<'de>, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Parsed::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Parsed<'de>, A::Error> {
        let mut object = Object::default();
        let inner = Self { payload_allowed: false, ..self };
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            let name = name.as_ref();
            if let Some(slot) = object.row.slot(name, self.columns) {
                if slot.is_some() {
                    return Err(A::Error::custom(format!("column {name} appears twice")));
                }
                *slot = Some(fields.next_value()?);
                continue;
            }
            match name {
                "payload" if self.payload_allowed => {
                    object.payload = Some(Box::new(fields.next_value_seed(inner)?));
                }
                "before" => object.before = Some(fields.next_value_seed(inner)?),
                "after" => object.after = Some(fields.next_value_seed(inner)?),
                "op" => object.op = Some(fields.next_value()?),
                "source" => object.source = fields.next_value_seed(SourceSeed)?,
                "__op" => object.added.op = Some(fields.next_value()?),
                "__source_txId" => object.added.tx_id = Some(fields.next_value()?),
                "__lsn" | "__source_lsn" => object.added.lsn = Some(fields.next_value()?),
                "__source_ts_ms" | "__ts_ms" => object.added.ts_ms = Some(fields.next_value()?),
                "__deleted" => {
                    let value = fields.next_value::<serde_json::Value>()?;
                    object.deleted = value == true || value == "true";
                }
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Parsed::Object(Box::new(object)))
    }
}

/// Reads `source`; anything but an object counts as absent.
struct SourceSeed;

impl<'de> DeserializeSeed<'de> for SourceSeed {
    type Value = Option<Source<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for SourceSeed {
    type Value = Option<Source<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Self::Value, A::Error> {
        let mut source = Source::default();
        while let Some(name) = fields.next_key::<Cow<'de, str>>()? {
            match name.as_ref() {
                "txId" => source.tx_id = Some(fields.next_value()?),
                "lsn" => source.lsn = Some(fields.next_value()?),
                "ts_ms" => source.ts_ms = Some(fields.next_value()?),
                "ts_us" => source.ts_us = Some(fields.next_value()?),
                "snapshot" => source.snapshot = Some(fields.next_value()?),
                _ => drop(fields.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Some(source))
    }
}
