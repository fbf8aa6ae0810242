//! Which invoices a message is about, for those who read the rows themselves.

use super::UNAVAILABLE;
use super::cell::Cell;
use super::envelope::{self, Message, RawRow};
use invoices::source::ColumnNames;

/// What a message says of whole invoices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys {
    pub touched: Touched,
    /// Place in the source's log; none when the message has none that can be read.
    pub lsn: Option<u64>,
    /// The transaction, as 32 bits at least; none in rows of a snapshot, which no transaction has changed.
    pub transaction: Option<u64>,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub committed_us: Option<i64>,
}

/// The invoices that a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touched {
    /// One invoice, or two when a change gave the row another id; none when the message is no change of a row
    /// (tombstone, heartbeat).
    Rows(Vec<i64>),
    /// The table was truncated: every invoice.
    All,
}

impl Keys {
    /// Reads the value of one message; none is a tombstone.
    ///
    /// # Errors
    /// A sentence, when the message should be a change and can't be understood.
    pub fn decode(value: Option<&[u8]>, columns: &ColumnNames) -> Result<Self, String> {
        let nothing =
            Self { touched: Touched::Rows(Vec::new()), lsn: None, transaction: None, committed_us: None };
        let Some(value) = value.filter(|value| !value.is_empty()) else { return Ok(nothing) };
        let text = std::str::from_utf8(value).map_err(|_| "the message is not UTF-8 text".to_owned())?;
        let Some(message) = envelope::parse(text, columns)? else { return Ok(nothing) };
        let (lsn, committed_us) = (message.lsn.clone().unwrap_or_default(), message.committed_us);
        let (touched, transaction) = match message.op.as_deref() {
            Some("t") => (Touched::All, message.transaction),
            Some("r") => (Touched::Rows(ids(&message, columns)?), None),
            Some("c" | "u" | "d") => (Touched::Rows(ids(&message, columns)?), message.transaction),
            _ => return Ok(nothing),
        };
        Ok(Self { touched, lsn, transaction, committed_us })
    }
}

fn ids(message: &Message<'_>, columns: &ColumnNames) -> Result<Vec<i64>, String> {
    let id_column = &columns.invoice_id_column;
    let id = |row: &Option<RawRow<'_>>| match row.as_ref().and_then(|row| row.invoice_id.as_ref()) {
        // The id of an old row is null when it is no part of the replica identity.
        None | Some(Cell::Null) => Ok(None),
        Some(Cell::Text(text)) if text == UNAVAILABLE => Ok(None),
        Some(cell) => cell.integer().map_err(|why| format!("{id_column} {why}")),
    };
    let read = [id(&message.after), id(&message.before)];
    let mut ids: Vec<i64> = read.iter().flatten().flatten().copied().collect();
    ids.dedup();
    if !ids.is_empty() {
        // What the other row is called can't be read: this one has changed all the same.
        return Ok(ids);
    }
    let unreadable = read.into_iter().find_map(std::result::Result::err);
    Err(unreadable.unwrap_or_else(|| format!("neither before nor after has a number in {id_column:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = r#"{"op":"u","before":{"invoice_id":7},"after":{"invoice_id":7,"amount_usd":"1.00"},
        "source":{"lsn":4711,"txId":"99","ts_ms":1700000000000}}"#;

    fn decoded(text: &str) -> Result<Keys, String> {
        Keys::decode(Some(text.as_bytes()), &crate::tests::columns())
    }

    fn rows(text: &str) -> Vec<i64> {
        match decoded(text).unwrap().touched {
            Touched::Rows(ids) => ids,
            Touched::All => panic!("all invoices"),
        }
    }

    #[test]
    fn an_event_is_the_same_with_and_without_its_schema() {
        let bare = decoded(UPDATE).unwrap();
        let (lsn, transaction) = (Some(4711), Some(99));
        let committed_us = Some(1_700_000_000_000_000);
        assert_eq!(bare, Keys { touched: Touched::Rows(vec![7]), lsn, transaction, committed_us });
        assert_eq!(decoded(&format!(r#"{{"schema":{{}},"payload":{UPDATE}}}"#)).unwrap(), bare);
    }

    #[test]
    fn a_deletion_and_a_changed_id_name_the_row_that_was() {
        let deletion = r#"{"op":"d","before":{"invoice_id":7},"after":null,"source":{"lsn":1,"txId":2}}"#;
        assert_eq!(rows(deletion), [7]);
        assert_eq!(
            rows(r#"{"op":"u","before":{"invoice_id":7},"after":{"invoice_id":8},"source":{}}"#),
            [8, 7]
        );
        assert_eq!(rows(r#"{"op":"u","before":{"invoice_id":null},"after":{"invoice_id":8}}"#), [8]);
        assert_eq!(rows(r#"{"op":"u","before":{"invoice_id":"x"},"after":{"invoice_id":8}}"#), [8]);
        assert_eq!(rows(r#"{"op":"u","before":{"invoice_id":7},"after":{"invoice_id":"x"}}"#), [7]);
    }

    #[test]
    fn a_bare_row_is_a_change_of_its_invoice() {
        assert_eq!(rows(r#"{"invoice_id":7,"amount_usd":"1.00","__deleted":"false"}"#), [7]);
        assert_eq!(rows(r#"{"invoice_id":"7","__deleted":"true"}"#), [7]);
    }

    #[test]
    fn no_transaction_has_changed_a_row_that_a_snapshot_read() {
        let read = decoded(r#"{"op":"r","after":{"invoice_id":7},"source":{"lsn":9,"txId":4}}"#).unwrap();
        assert_eq!((read.lsn, read.transaction), (Some(9), None));
    }

    #[test]
    fn a_position_that_cannot_be_read_leaves_the_invoice_announced() {
        let odd = decoded(r#"{"op":"u","after":{"invoice_id":7},"source":{"lsn":"here","txId":4}}"#).unwrap();
        assert_eq!((odd.touched, odd.lsn), (Touched::Rows(vec![7]), None));
    }

    #[test]
    fn a_truncation_is_a_change_of_everything() {
        let emptied =
            decoded(r#"{"op":"t","before":null,"after":null,"source":{"lsn":9,"txId":4}}"#).unwrap();
        assert_eq!((emptied.touched, emptied.lsn, emptied.transaction), (Touched::All, Some(9), Some(4)));
    }

    #[test]
    fn tombstones_and_heartbeats_are_no_changes_and_garbage_is_an_error() {
        assert_eq!(Keys::decode(None, &crate::tests::columns()).unwrap().touched, Touched::Rows(vec![]));
        assert_eq!(rows(r#"{"beat_at":1}"#), [0_i64; 0]);
        assert_eq!(rows(r#"{"op":"m","message":{}}"#), [0_i64; 0]);
        for wrong in [
            "garbage",
            "[1]",
            r#"{"op":"c","after":{"other":1}}"#,
            r#"{"op":"c","after":{"invoice_id":"x"}}"#,
        ] {
            assert!(decoded(wrong).is_err(), "{wrong}");
        }
    }
}
