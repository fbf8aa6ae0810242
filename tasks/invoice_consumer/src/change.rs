//! A change of one invoice, as decoded from the log.

use crate::decision::Op;
use invoices::Invoice;

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Change(Change),
    /// Nothing to decide: a tombstone, a truncation, a message of another kind.
    Nothing(Nothing),
}

/// Messages that are understood and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// The null that follows a deletion, for the log's compaction.
    Tombstone,
    /// `truncate` of the table: decisions stay as the record of what was decided.
    Truncation,
    /// A logical message (`op` m).
    Message,
}

/// One changed row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub invoice_id: i64,
    /// The new row; none for deletions.
    pub after: Option<Row>,
    /// The old row as far as the message has it.
    pub before: Option<Row>,
    /// Place in the source's log; none in bare rows.
    pub lsn: Option<u64>,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub committed_us: Option<i64>,
}

/// The columns that matter. None is a value that the message doesn't have: Debezium sends a
/// placeholder for a large value that did not change, and old rows may have the key alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Row {
    pub issue_date_us: Option<i64>,
    pub issuer_id: Option<Option<i64>>,
    pub receiver_id: Option<Option<i64>>,
    pub amount: Option<i64>,
}

impl Change {
    /// The whole new row, missing values taken from the old row or from what is known.
    ///
    /// # Errors
    /// The name of a column that nothing has a value for.
    pub fn completed(&self, known: Option<&Invoice>) -> Result<Invoice, &'static str> {
        let sources = [self.after, self.before];
        let pick = |get: fn(&Row) -> Option<i64>| sources.iter().flatten().find_map(get);
        let party = |get: fn(&Row) -> Option<Option<i64>>| sources.iter().flatten().find_map(get);
        Ok(Invoice {
            invoice_id: self.invoice_id,
            issue_date_us: pick(|row| row.issue_date_us)
                .or(known.map(|known| known.issue_date_us))
                .ok_or("issue date")?,
            issuer_id: party(|row| row.issuer_id).or(known.map(|known| known.issuer_id)).ok_or("issuer")?,
            receiver_id: party(|row| row.receiver_id)
                .or(known.map(|known| known.receiver_id))
                .ok_or("receiver")?,
            amount: pick(|row| row.amount).or(known.map(|known| known.amount)).ok_or("amount")?,
        })
    }
}
