//! A change of one invoice, as decoded from the log.

use invoices::Invoice;

/// The kind of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    Create,
    Update,
    Delete,
    /// Read by a snapshot: warms the state and notifies nobody.
    Read,
    /// The table was emptied: each of its invoices is withdrawn.
    Truncate,
}

impl Op {
    pub fn letter(self) -> &'static str {
        match self {
            Self::Create => "c",
            Self::Update => "u",
            Self::Delete => "d",
            Self::Read => "r",
            Self::Truncate => "t",
        }
    }

    pub fn parse(letter: &str) -> Option<Self> {
        let all = [Self::Create, Self::Update, Self::Delete, Self::Read, Self::Truncate];
        all.into_iter().find(|op| op.letter() == letter)
    }

    /// Whether the invoice is gone.
    pub fn withdraws(self) -> bool {
        matches!(self, Self::Delete | Self::Truncate)
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Change(Change),
    /// `truncate` of the table: all invoices are gone.
    Truncation(Truncation),
    /// Nothing to decide: a tombstone, a message of another kind.
    Nothing(Nothing),
}

/// Messages that are understood and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nothing {
    /// The null that follows a deletion, for the log's compaction.
    Tombstone,
    /// A logical message (`op` m).
    Message,
}

/// The table was emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// Place in the source's log.
    pub lsn: Option<u64>,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub committed_us: Option<i64>,
}

impl Truncation {
    /// The deletion of one invoice.
    pub fn of(self, invoice_id: i64) -> Change {
        Change {
            op: Op::Truncate,
            invoice_id,
            renamed_from: None,
            after: None,
            before: None,
            lsn: self.lsn,
            committed_us: self.committed_us,
            is_incremental: false,
        }
    }
}

/// One changed row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    pub op: Op,
    pub invoice_id: i64,
    /// The id that the row had before, when this update changed it.
    pub renamed_from: Option<i64>,
    /// The new row; none for deletions.
    pub after: Option<Row>,
    /// The old row as far as the message has it.
    pub before: Option<Row>,
    /// Place in the source's log; none in bare rows.
    pub lsn: Option<u64>,
    /// Commit time, microseconds since 1970-01-01 UTC.
    pub committed_us: Option<i64>,
    /// Read by an incremental snapshot, whose rows have the position of whatever was sent before them.
    pub is_incremental: bool,
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

impl From<&Invoice> for Row {
    fn from(invoice: &Invoice) -> Self {
        Self {
            issue_date_us: Some(invoice.issue_date_us),
            issuer_id: Some(invoice.issuer_id),
            receiver_id: Some(invoice.receiver_id),
            amount: Some(invoice.amount),
        }
    }
}

impl Change {
    /// What is to be decided one after the other: a row that got another id is a deletion under the old
    /// one and a change under the new one.
    pub fn parts(&self) -> impl Iterator<Item = Self> {
        let deletion =
            self.renamed_from.map(|old| Self { op: Op::Delete, invoice_id: old, after: None, ..*self });
        deletion.map(|part| Self { renamed_from: None, ..part }).into_iter().chain([*self])
    }

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
