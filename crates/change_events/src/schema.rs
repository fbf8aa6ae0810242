//! The schemas that Kafka Connect puts before each payload: only they say what unit a date has and
//! how many decimals base64 bytes have. They are ten times larger than the row and hardly ever change,
//! so the last one is remembered by its exact text and its messages are parsed from the payload on.

use super::amount::AmountType;
use invoices::source::ColumnNames;
use serde_json::Value;
use std::sync::Arc;

/// What the schema says of the columns.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schemas {
    /// Name of the date's logical type.
    pub issue_date: Option<String>,
    pub amount: AmountType,
}

const SCHEMA_FIRST: &str = "{\"schema\":";
const PAYLOAD: &str = ",\"payload\":";

/// The last schema: the message up to its payload, and what it means.
#[derive(Debug, Default)]
pub struct SchemaMemo {
    head: String,
    schemas: Option<Arc<Schemas>>,
}

impl SchemaMemo {
    /// The part of the message that must be parsed, and its schemas if it has any. The part is the
    /// payload alone, braces unbalanced by design: `payload}` becomes `payload`.
    pub fn split<'a>(&mut self, text: &'a str, columns: &ColumnNames) -> (&'a str, Option<Arc<Schemas>>) {
        if let Some(payload) = self.payload(text) {
            return (payload, self.schemas.clone());
        }
        if !text.contains("\"schema\"") {
            return (text, None);
        }
        if let Some((head, schema)) = schema_at_front(text) {
            self.head = head.to_owned();
            self.schemas = Some(Arc::new(meaning(&schema, columns)));
            return (self.payload(text).unwrap_or(text), self.schemas.clone());
        }
        let schema = serde_json::from_str::<Value>(text)
            .ok()
            .and_then(|mut value| value.get_mut("schema").map(Value::take));
        (text, schema.map(|schema| Arc::new(meaning(&schema, columns))))
    }

    /// The payload of a message that begins with the remembered schema.
    fn payload<'a>(&self, text: &'a str) -> Option<&'a str> {
        let is_known = !self.head.is_empty();
        let rest = is_known.then(|| text.strip_prefix(self.head.as_str())).flatten()?;
        rest.trim_end().strip_suffix('}')
    }
}

/// The text up to the payload, when it begins with a whole schema: then every message that begins
/// with the same text has the same schema, whatever follows.
fn schema_at_front(text: &str) -> Option<(&str, Value)> {
    let rest = text.strip_prefix(SCHEMA_FIRST)?;
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
    let schema = values.next()?.ok()?;
    let end = SCHEMA_FIRST.len() + values.byte_offset();
    text[end..].starts_with(PAYLOAD).then(|| (&text[..end + PAYLOAD.len()], schema))
}

fn meaning(schema: &Value, columns: &ColumnNames) -> Schemas {
    // An envelope's schema has a field "after" with the row's schema in it; a bare row's is the row's.
    let row = field(schema, "after").or_else(|| field(schema, "before")).unwrap_or(schema);
    let name = |field: &Value| field["name"].as_str().map(str::to_owned);
    Schemas {
        issue_date: field(row, &columns.issue_date_column).and_then(name),
        amount: field(row, &columns.amount_column).map_or(AmountType::Unsaid, amount_type),
    }
}

fn amount_type(field: &Value) -> AmountType {
    if field["name"] == "org.apache.kafka.connect.data.Decimal" {
        let scale = &field["parameters"]["scale"];
        let scale = scale.as_i64().or_else(|| scale.as_str()?.parse().ok());
        return scale.map_or(AmountType::OtherBytes, |scale| AmountType::Bytes { scale });
    }
    match field["type"].as_str() {
        Some("bytes") => AmountType::OtherBytes,
        Some("string") => AmountType::Text,
        _ => AmountType::Unsaid,
    }
}

fn field<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema["fields"].as_array()?.iter().find(|field| field["field"] == name)
}
