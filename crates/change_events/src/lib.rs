//! Debezium's messages, in every form that its converters and modes give them: the one place that reads change
//! events. Pure: no Kafka, no clock. [`Decoder`] gives the whole change, [`Keys`] the invoices it is about.
//!
//! A message is an envelope (`op`, `before`, `after`, `source`) or a bare row, with or without its
//! schema around it. What can't be decoded is described in one sentence, for the dead-letter topic.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

mod amount;
mod cell;
mod change;
mod envelope;
mod keys;
mod schema;
mod time;

use cell::{Cell, shortened};
use envelope::{Message, RawRow};
use invoices::money::MoneyType;
use invoices::source::ColumnNames;
use schema::{SchemaMemo, Schemas};

pub use amount::DecimalMode;
pub use change::{Change, Event, Nothing, Op, Row, Truncation};
pub use keys::{Keys, Touched};
pub use time::DateUnit;

/// Amounts are cents of at most 15 digits, so that sums and squares of millions of them are exact.
pub const CENTS: MoneyType = MoneyType { precision: 15, scale: 2 };
/// Larger messages are no change of an invoice; they aren't even parsed.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// Stands for a large value that an update did not change.
const UNAVAILABLE: &str = "__debezium_unavailable_value";

/// How to read what the message itself leaves open.
#[derive(Debug, Clone)]
pub struct Options {
    pub columns: ColumnNames,
    /// Accept amounts that are JSON numbers (`decimal.handling.mode=double`), by their shortest
    /// decimal form.
    pub allow_number_amounts: bool,
    /// What an amount's text is in messages without a schema.
    pub decimal_mode: DecimalMode,
    /// Unit of date numbers in messages without a schema.
    pub date_unit: DateUnit,
}

/// Decodes messages; remembers the last schema, which hardly ever changes.
#[derive(Debug)]
pub struct Decoder {
    options: Options,
    memo: SchemaMemo,
}

impl Decoder {
    pub fn new(options: Options) -> Self {
        Self { options, memo: SchemaMemo::default() }
    }

    /// Decodes the value of one message; none is a tombstone.
    ///
    /// # Errors
    /// One sentence that says why the message can't be decoded.
    pub fn decode(&mut self, value: Option<&[u8]>) -> Result<Event, String> {
        let Some(value) = value.filter(|value| !value.is_empty()) else {
            return Ok(Event::Nothing(Nothing::Tombstone));
        };
        if value.len() > MESSAGE_BYTES_MAX {
            return Err(format!(
                "the message has {} bytes, more than the {MESSAGE_BYTES_MAX} that a change can have",
                value.len()
            ));
        }
        let text = std::str::from_utf8(value).map_err(|_| "the message is not UTF-8 text".to_owned())?;
        let (payload, schemas) = self.memo.split(text, &self.options.columns);
        let message = envelope::parse(payload, &self.options.columns)?;
        match message {
            Some(message) => self.event(message, schemas.as_deref()),
            None => Ok(Event::Nothing(Nothing::Tombstone)),
        }
    }

    fn event(&self, message: Message<'_>, schemas: Option<&Schemas>) -> Result<Event, String> {
        let op = match message.op.as_deref() {
            Some("t") => {
                let (lsn, committed_us) = (message.lsn?, message.committed_us);
                return Ok(Event::Truncation(Truncation { lsn, committed_us }));
            }
            Some("m") => return Ok(Event::Nothing(Nothing::Message)),
            Some(letter) => Op::parse(letter).ok_or_else(|| {
                format!("op {:?} is unknown; c, u, d, r, t and m are known", shortened(letter))
            })?,
            None => return Err("the message is neither a change envelope nor a row of invoices".to_owned()),
        };
        let needed = if op == Op::Delete { message.before.as_ref() } else { message.after.as_ref() };
        let Some(row) = needed else {
            let side = if op == Op::Delete { "before" } else { "after" };
            return Err(format!("op {:?} has no row in {side:?}", op.letter()));
        };
        let invoice_id = self.id(row)?;
        let renamed_from = self.renamed_from(op, invoice_id, &message)?;
        let before = message.before.as_ref();
        // Old rows may hold the key alone; nothing depends on the rest of them.
        let before = before.map(|row| self.row(row, schemas).unwrap_or_default());
        let after = match &message.after {
            Some(row) if op != Op::Delete => Some(self.complete_row(row, schemas, op == Op::Update)?),
            _ => None,
        };
        Ok(Event::Change(Change {
            op,
            invoice_id,
            renamed_from,
            after,
            before,
            lsn: message.lsn?,
            committed_us: message.committed_us,
            is_incremental: message.is_incremental,
        }))
    }

    /// The id that an update has taken from the row.
    fn renamed_from(&self, op: Op, invoice_id: i64, message: &Message<'_>) -> Result<Option<i64>, String> {
        match &message.before {
            // The id of an old row is null when it is no part of the replica identity.
            Some(old) if op == Op::Update && !matches!(old.invoice_id, None | Some(Cell::Null)) => {
                let old_id = self.id(old).map_err(|why| format!("in \"before\" {why}"))?;
                Ok((old_id != invoice_id).then_some(old_id))
            }
            _ => Ok(None),
        }
    }

    fn id(&self, row: &RawRow<'_>) -> Result<i64, String> {
        let column = &self.options.columns.invoice_id_column;
        match &row.invoice_id {
            Some(cell) => {
                cell.integer().map_err(|why| format!("{column} {why}"))?.ok_or(format!("{column} is null"))
            }
            None => Err(format!("column {column} is missing")),
        }
    }

    /// A new row; a column that an update left out of it may be taken from the old one.
    fn complete_row(
        &self,
        raw: &RawRow<'_>,
        schemas: Option<&Schemas>,
        is_update: bool,
    ) -> Result<Row, String> {
        let row = self.row(raw, schemas)?;
        let names = &self.options.columns;
        let present = [
            (&raw.issue_date, &names.issue_date_column),
            (&raw.issuer_id, &names.issuer_column),
            (&raw.receiver_id, &names.receiver_column),
            (&raw.amount, &names.amount_column),
        ];
        for (cell, column) in present {
            match cell {
                None => return Err(format!("column {column} is missing")),
                Some(cell) if cell.is_unavailable() && !is_update => {
                    return Err(format!("{column} is a placeholder for an unchanged value in a new row"));
                }
                Some(_) => {}
            }
        }
        Ok(row)
    }

    fn row(&self, raw: &RawRow<'_>, schemas: Option<&Schemas>) -> Result<Row, String> {
        let names = &self.options.columns;
        let available = |cell: &Option<Cell<'_>>| cell.as_ref().is_some_and(|cell| !cell.is_unavailable());
        let mut row = Row::default();
        if let Some(cell) = raw.issue_date.as_ref().filter(|_| available(&raw.issue_date)) {
            let logical = schemas.and_then(|schemas| schemas.issue_date.as_deref());
            let date = time::timestamp_us(cell, logical, self.options.date_unit);
            row.issue_date_us = Some(date.map_err(|why| format!("{} {why}", names.issue_date_column))?);
        }
        for (cell, column, target) in [
            (&raw.issuer_id, &names.issuer_column, &mut row.issuer_id),
            (&raw.receiver_id, &names.receiver_column, &mut row.receiver_id),
        ] {
            if let Some(cell) = cell.as_ref().filter(|_| available(cell)) {
                *target = Some(cell.integer().map_err(|why| format!("{column} {why}"))?);
            }
        }
        if let Some(cell) = raw.amount.as_ref().filter(|_| available(&raw.amount)) {
            let schema = schemas.map(|schemas| schemas.amount).unwrap_or_default();
            let options = &self.options;
            let amount = amount::cents(cell, schema, options.decimal_mode, options.allow_number_amounts);
            row.amount = Some(amount.map_err(|why| format!("{} {why}", names.amount_column))?);
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests;
