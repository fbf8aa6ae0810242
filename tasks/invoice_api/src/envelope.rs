//! What a change event says to a cache: which invoice, which change. Pure.

use crate::version::Change;
use serde::Deserialize;
use serde_json::Value;

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

#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    op: Option<&'a str>,
    before: Option<Value>,
    after: Option<Value>,
    source: Option<Value>,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    payload: Option<Payload<'a>>,
}

/// What one message says.
///
/// # Errors
/// A sentence, when it should be a change and can't be understood.
pub fn decode(message: Option<&[u8]>, id_column: &str) -> Result<Message, String> {
    let Some(bytes) = message.filter(|bytes| !bytes.is_empty()) else {
        return Ok(Message::Rows(Vec::new()));
    };
    let wrapped: Wrapped<'_> = serde_json::from_slice(bytes)
        .map_err(|error| format!("the message is not JSON of an event: {error}"))?;
    let payload = match wrapped.payload {
        Some(payload) => payload,
        None => {
            serde_json::from_slice(bytes).map_err(|error| format!("the message is not an event: {error}"))?
        }
    };
    if !matches!(payload.op, Some("c" | "u" | "d" | "r" | "t")) {
        return Ok(Message::Rows(Vec::new()));
    }
    let source = payload.source.unwrap_or_default();
    // A snapshot's rows (op r) were not changed by a transaction that anybody could wait for; the row
    // is announced as changed by an unknown one.
    let is_row_of_snapshot = payload.op == Some("r");
    let xid = if is_row_of_snapshot { 0 } else { number(&source["txId"]).unwrap_or(0) };
    let change = Change::of_row(number(&source["lsn"]).unwrap_or(0) as u64, xid as u64);
    if payload.op == Some("t") {
        return Ok(Message::Emptied(change));
    }
    let id_of = |row: &Option<Value>| row.as_ref().and_then(|row| number(&row[id_column]));
    let mut ids: Vec<i64> = [id_of(&payload.after), id_of(&payload.before)].into_iter().flatten().collect();
    ids.dedup();
    if ids.is_empty() {
        return Err(format!("neither before nor after has a number in {id_column:?}"));
    }
    let committed_ms = number(&source["ts_ms"]);
    Ok(Message::Rows(ids.into_iter().map(|id| Event { id, change, committed_ms }).collect()))
}

/// Connectors write some numbers as texts.
fn number(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPDATE: &str = r#"{"op":"u","before":{"invoice_id":7},"after":{"invoice_id":7,"amount_usd":"1.00"},
        "source":{"lsn":4711,"txId":"99","ts_ms":1700000000000}}"#;

    fn decoded(text: &str) -> Result<Vec<Event>, String> {
        match decode(Some(text.as_bytes()), "invoice_id")? {
            Message::Rows(events) => Ok(events),
            Message::Emptied(_) => Err("emptied".into()),
        }
    }

    #[test]
    fn an_event_is_the_same_with_and_without_its_schema() {
        let bare = decoded(UPDATE).unwrap();
        let change = Change::of_row(4711, 99);
        assert_eq!(bare, [Event { id: 7, change, committed_ms: Some(1_700_000_000_000) }]);
        assert_eq!(decoded(&format!(r#"{{"schema":{{}},"payload":{UPDATE}}}"#)).unwrap(), bare);
    }

    #[test]
    fn a_deletion_and_a_changed_id_name_the_row_that_was() {
        let deletion = r#"{"op":"d","before":{"invoice_id":7},"after":null,"source":{"lsn":1,"txId":2}}"#;
        assert_eq!(decoded(deletion).unwrap()[0].id, 7);
        let renamed = r#"{"op":"u","before":{"invoice_id":7},"after":{"invoice_id":8},"source":{}}"#;
        let ids: Vec<i64> = decoded(renamed).unwrap().iter().map(|event| event.id).collect();
        assert_eq!(ids, [8, 7]);
    }

    #[test]
    fn a_truncation_is_a_change_of_everything() {
        let text = r#"{"op":"t","before":null,"after":null,"source":{"lsn":9,"txId":4}}"#;
        let emptied = decode(Some(text.as_bytes()), "invoice_id");
        assert_eq!(emptied, Ok(Message::Emptied(Change::of_row(9, 4))));
    }

    #[test]
    fn tombstones_and_heartbeats_are_no_changes_and_garbage_is_an_error() {
        assert_eq!(decode(None, "invoice_id"), Ok(Message::Rows(vec![])));
        assert_eq!(decoded(r#"{"beat_at":1}"#), Ok(vec![]));
        assert!(decoded("garbage").is_err());
        assert!(decoded(r#"{"op":"c","after":{"other":1}}"#).is_err());
    }
}
