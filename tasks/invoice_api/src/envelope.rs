//! What a change event says to a cache: which invoice, which change. Pure.

use crate::version::Change;
use change_events::{Keys, Touched};
use invoices::source::ColumnNames;

/// A decoded event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: i64,
    pub change: Change,
    /// When it was committed, milliseconds since 1970; none when the event doesn't say.
    pub committed_ms: Option<i64>,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// One invoice has changed, or two when a change gave the row another id; none when the message is no
    /// change of a row (tombstone, heartbeat).
    Rows(Vec<Event>),
    /// The table was truncated: every invoice has changed.
    Emptied(Change),
}

/// What one message says.
///
/// # Errors
/// A sentence, when it should be a change and can't be understood.
pub fn decode(message: Option<&[u8]>, columns: &ColumnNames) -> Result<Message, String> {
    let keys = Keys::decode(message, columns)?;
    // What is not known is 0: the row is announced as changed by whoever it was.
    let change = Change::of_row(keys.lsn.unwrap_or(0), keys.transaction.unwrap_or(0));
    let committed_ms = keys.committed_us.map(|us| us.div_euclid(1000));
    Ok(match keys.touched {
        Touched::All => Message::Emptied(change),
        Touched::Rows(ids) => {
            Message::Rows(ids.into_iter().map(|id| Event { id, change, committed_ms }).collect())
        }
    })
}
