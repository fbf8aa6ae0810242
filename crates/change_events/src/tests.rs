use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

#[path = "../fuzz/promises.rs"]
mod promises;
pub(crate) use promises::columns;

/// 2026-01-31 09:15:00 UTC
const DATE_US: i64 = 1_769_850_900_000_000;

fn decoder() -> Decoder {
    Decoder::new(Options {
        columns: columns(),
        allow_number_amounts: false,
        decimal_mode: DecimalMode::String,
        date_unit: DateUnit::Us,
    })
}

fn decode(value: &Value) -> Result<Event, String> {
    decoder().decode(Some(value.to_string().as_bytes()))
}

fn row() -> Value {
    json!({"invoice_id": 7, "issue_date": DATE_US, "issuer_id": 1, "receiver_id": 2, "amount_usd": "999.90"})
}

fn envelope(op: &str, before: Value, after: Value) -> Value {
    json!({"op": op, "before": before, "after": after, "ts_ms": 5,
           "source": {"lsn": 33, "ts_ms": 1000, "ts_us": 1_000_001, "sequence": "[\"1\",\"2\"]"}})
}

fn expected_row() -> Row {
    Row {
        issue_date_us: Some(DATE_US),
        issuer_id: Some(Some(1)),
        receiver_id: Some(Some(2)),
        amount: Some(99_990),
    }
}

fn change(value: &Value) -> Change {
    match decode(value) {
        Ok(Event::Change(change)) => change,
        other => panic!("{other:?}"),
    }
}

fn refusal(value: &Value) -> String {
    decode(value).unwrap_err()
}

fn with_schema(payload: Value) -> Value {
    json!({"schema": {"type": "struct", "fields": [
        {"field": "after", "type": "struct", "fields": [
            {"field": "issue_date", "type": "int64", "name": "io.debezium.time.Timestamp"},
            {"field": "amount_usd", "type": "bytes", "name": "org.apache.kafka.connect.data.Decimal",
             "parameters": {"scale": "2", "connect.decimal.precision": "12"}}]}]}, "payload": payload})
}

#[test]
fn an_envelope_is_decoded_with_position_and_commit_time() {
    for op in ["c", "r"] {
        let change = change(&envelope(op, Value::Null, row()));
        assert_eq!(change.after, Some(expected_row()));
        assert_eq!((change.lsn, change.committed_us, change.invoice_id), (Some(33), Some(1_000_001), 7));
    }
    let mut text = envelope("c", Value::Null, row());
    text["source"] = json!({"lsn": "0/21", "ts_ms": "1000"});
    assert_eq!((change(&text).lsn, change(&text).committed_us), (Some(33), Some(1_000_000)));
}

#[test]
fn schema_and_payload_are_unwrapped_and_the_schema_decides_units_and_scales() {
    let mut row = row();
    row["issue_date"] = json!(DATE_US / 1000);
    row["amount_usd"] = json!("AYaW");
    let wrapped = with_schema(envelope("c", Value::Null, row));
    assert_eq!(change(&wrapped).after, Some(expected_row()));
    // Once more with the schema remembered, and with the payload first.
    let mut decoder = decoder();
    let payload_first = format!("{{\"payload\":{},\"schema\":{}}}", wrapped["payload"], wrapped["schema"]);
    let schema_first = format!("{{\"schema\":{},\"payload\":{}}}", wrapped["schema"], wrapped["payload"]);
    for text in [&schema_first, &schema_first, &payload_first, &schema_first] {
        match decoder.decode(Some(text.as_bytes())) {
            Ok(Event::Change(change)) => assert_eq!(change.after, Some(expected_row())),
            other => panic!("{other:?}"),
        }
    }
    let cut = &schema_first[..schema_first.len() - 1];
    assert!(decoder.decode(Some(cut.as_bytes())).is_err());
    assert!(decoder.decode(Some(format!("{schema_first}]").as_bytes())).is_err());
}

#[test]
fn bare_rows_are_new_rows_or_what_their_added_fields_say() {
    assert_eq!(change(&row()).op, Op::Create);
    assert_eq!(change(&row()).lsn, None);
    let mut deleted = row();
    deleted["__deleted"] = json!("true");
    assert_eq!(change(&deleted).op, Op::Delete);
    let mut updated = row();
    updated["__op"] = json!("u");
    updated["__lsn"] = json!(9);
    assert_eq!((change(&updated).op, change(&updated).lsn), (Op::Update, Some(9)));
    assert_eq!(change(&json!({"schema": null, "payload": row()})).after, Some(expected_row()));
}

#[test]
fn tombstones_and_messages_decide_nothing_and_truncations_are_told() {
    assert_eq!(decoder().decode(None), Ok(Event::Nothing(Nothing::Tombstone)));
    assert_eq!(decoder().decode(Some(b"")), Ok(Event::Nothing(Nothing::Tombstone)));
    assert_eq!(decode(&Value::Null), Ok(Event::Nothing(Nothing::Tombstone)));
    assert_eq!(decode(&json!({"payload": null})), Ok(Event::Nothing(Nothing::Tombstone)));
    let truncation = Truncation { lsn: Some(33), committed_us: Some(1_000_000) };
    let message = json!({"op": "t", "source": {"lsn": 33, "ts_ms": 1000}, "before": null, "after": null});
    assert_eq!(decode(&message), Ok(Event::Truncation(truncation)));
    assert_eq!(decode(&json!({"op": "m", "message": {}})), Ok(Event::Nothing(Nothing::Message)));
}

#[test]
fn deletions_need_the_key_of_the_old_row_alone() {
    let full = change(&envelope("d", row(), Value::Null));
    assert_eq!((full.op, full.before), (Op::Delete, Some(expected_row())));
    let key = json!({"invoice_id": 7, "issue_date": 0, "issuer_id": 0, "receiver_id": 0, "amount_usd": null});
    assert_eq!(change(&envelope("d", key, Value::Null)).invoice_id, 7);
}

#[test]
fn an_update_that_changes_the_id_names_the_old_one() {
    let mut old = row();
    old["invoice_id"] = json!(6);
    assert_eq!(change(&envelope("u", old.clone(), row())).renamed_from, Some(6));
    assert_eq!(change(&envelope("u", row(), row())).renamed_from, None);
    assert_eq!(change(&envelope("u", Value::Null, row())).renamed_from, None);
    old["invoice_id"] = Value::Null;
    assert_eq!(change(&envelope("u", old.clone(), row())).renamed_from, None);
    old["invoice_id"] = json!("x");
    assert!(refusal(&envelope("u", old, row())).contains("\"before\" invoice_id is the text"));
}

#[test]
fn rows_of_an_incremental_snapshot_are_told() {
    let mut read = envelope("r", Value::Null, row());
    for (snapshot, expected) in
        [(json!("incremental"), true), (json!("true"), false), (json!(true), false), (json!("last"), false)]
    {
        read["source"]["snapshot"] = snapshot;
        assert_eq!(change(&read).is_incremental, expected);
    }
}

#[test]
fn positions_of_no_log_are_refused() {
    let mut strange = envelope("c", Value::Null, row());
    for lsn in [json!(1_u64 << 54), json!(-1), json!("FFFFFFFF/0"), json!(i64::MAX)] {
        strange["source"]["lsn"] = lsn;
        assert!(refusal(&strange).contains("not a position in a log"));
    }
}

#[test]
fn an_unchanged_large_value_is_left_open() {
    let mut after = row();
    after["amount_usd"] = json!("__debezium_unavailable_value");
    let updated = change(&envelope("u", Value::Null, after.clone()));
    assert_eq!(updated.after, Some(Row { amount: None, ..expected_row() }));
    assert!(refusal(&envelope("c", Value::Null, after)).contains("placeholder"));
}

#[test]
fn unknown_businesses_are_null_and_missing_columns_are_not() {
    let mut cash = row();
    cash["receiver_id"] = Value::Null;
    assert_eq!(change(&cash).after.unwrap().receiver_id, Some(None));
    for column in ["issue_date", "issuer_id", "receiver_id", "amount_usd"] {
        let mut without = row();
        without.as_object_mut().unwrap().remove(column);
        assert_eq!(refusal(&envelope("c", Value::Null, without)), format!("column {column} is missing"));
    }
}

#[test]
fn added_and_reordered_columns_change_nothing() {
    let text = r#"{"op":"c","after":{"notes":{"deep":[1,{"x":null}]},"amount_usd":"999.90","receiver_id":2,
        "issuer_id":1,"invoice_id":7,"issue_date":1769850900000000,"tags":["a"]},"before":null}"#;
    match decoder().decode(Some(text.as_bytes())) {
        Ok(Event::Change(change)) => assert_eq!(change.after, Some(expected_row())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn retyped_columns_are_read_when_exact_and_refused_with_a_sentence_otherwise() {
    let mut text_ids = row();
    text_ids["invoice_id"] = json!("7");
    text_ids["issuer_id"] = json!("1");
    text_ids["issue_date"] = json!("2026-01-31T09:15:00Z");
    assert_eq!(change(&text_ids).after, Some(expected_row()));
    for (column, value, part) in [
        ("invoice_id", json!("b3f1"), "not a 64-bit integer"),
        ("invoice_id", json!(null), "invoice_id is null"),
        ("invoice_id", json!(1.5), "not a 64-bit integer"),
        ("issuer_id", json!([1]), "an array"),
        ("issue_date", json!(true), "no time"),
        ("amount_usd", json!(999.9), "JSON number"),
        ("amount_usd", json!({"a": 1}), "an object"),
        ("amount_usd", json!(null), "null"),
    ] {
        let mut bad = row();
        bad[column] = value;
        assert!(refusal(&bad).contains(part), "{}", refusal(&bad));
    }
}

#[test]
fn what_is_no_change_is_refused_with_a_sentence() {
    for (text, part) in [
        ("not json", "not valid JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "neither a change envelope nor a row"),
        (r#"{"op":"x"}"#, "op \"x\" is unknown"),
        (r#"{"op":5}"#, "no letter"),
        (r#"{"op":"c"}"#, "has no row in \"after\""),
        (r#"{"op":"d","before":null}"#, "has no row in \"before\""),
        (r#"{"op":"c","after":5}"#, "not a row"),
        (r#"{"payload":5}"#, "payload is not a JSON object"),
        (r#"{"op":"c","after":{"invoice_id":1,"invoice_id":2}}"#, "twice"),
        ("{} {}", "not valid JSON"),
    ] {
        let error = decoder().decode(Some(text.as_bytes())).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
    assert!(decoder().decode(Some(&[0xff, 0xfe])).unwrap_err().contains("UTF-8"));
    assert!(decoder().decode(Some(&vec![b' '; MESSAGE_BYTES_MAX + 1])).unwrap_err().contains("bytes"));
}

#[test]
fn deep_nesting_is_refused_or_skipped_but_never_overflows_the_stack() {
    let deep = "[".repeat(200_000) + &"]".repeat(200_000);
    let skipped = format!(r#"{{"x":{deep},"op":"t"}}"#);
    assert!(decoder().decode(Some(skipped.as_bytes())).is_ok());
    for text in [
        format!(r#"{{"op":{deep}}}"#),
        format!(r#"{{"after":{deep}}}"#),
        format!(r#"{{"__deleted":{deep}}}"#),
        format!(r#"{{"schema":{deep},"payload":null}}"#),
        deep,
    ] {
        let _ = decoder().decode(Some(text.as_bytes()));
    }
}

#[test]
fn every_message_of_the_fuzzers_corpus_keeps_the_promises() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/decode");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().collect();
    assert!(files.len() > 10);
    for file in files {
        promises::keep(&std::fs::read(file.unwrap().path()).unwrap());
    }
}

#[test]
fn a_reason_is_short_whatever_the_message_says() {
    let long = "\u{1}".repeat(500_000);
    for value in [json!({"op": long}), json!({"invoice_id": long}), json!({"invoice_id": 1, "__op": long})] {
        assert!(refusal(&value).len() < 1000);
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(Value::from("999.90")),
        Just(Value::from(UNAVAILABLE)),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(KEYS.to_vec()), inner), 0..8)
                .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

const KEYS: &[&str] = &[
    "schema",
    "payload",
    "op",
    "before",
    "after",
    "source",
    "lsn",
    "ts_ms",
    "invoice_id",
    "issue_date",
    "issuer_id",
    "receiver_id",
    "amount_usd",
    "scale",
    "value",
    "__op",
    "__deleted",
    "fields",
    "field",
    "name",
    "parameters",
];

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decoder().decode(Some(&bytes));
    }

    #[test]
    fn arbitrary_json_of_the_right_words_never_panics(value in json_value(), head in "\\PC{0,5}") {
        let mut decoder = decoder();
        let _ = decoder.decode(Some(value.to_string().as_bytes()));
        let _ = decoder.decode(Some(format!("{head}{value}").as_bytes()));
    }

    /// Whatever the form, the same row comes out: the message is the carrier, not the content.
    #[test]
    fn all_forms_of_a_row_decode_alike(
        id: i64, issuer: Option<i64>, receiver: Option<i64>, cents in -999_999_999_999_999_i64..=999_999_999_999_999,
        date_ms in 200_000_000_000_i64..4_000_000_000_000, wrapped: bool, base64: bool, iso: bool, bare: bool,
    ) {
        let amount = if base64 && wrapped {
            openssl::base64::encode_block(&cents.to_be_bytes())
        } else if base64 {
            String::new()
        } else {
            invoices::money::format(cents.into(), 2)
        };
        let amount = if base64 && !wrapped {
            json!({"scale": 2, "value": openssl::base64::encode_block(&cents.to_be_bytes())})
        } else {
            json!(amount)
        };
        let date = if iso {
            json!(chrono::DateTime::from_timestamp_millis(date_ms).unwrap().to_rfc3339())
        } else {
            json!(if wrapped { date_ms } else { date_ms * 1000 })
        };
        let row = json!({"amount_usd": amount, "issuer_id": issuer, "invoice_id": id, "receiver_id": receiver, "issue_date": date});
        let payload = if bare { row } else { envelope("c", Value::Null, row) };
        let mut value = if wrapped { with_schema(payload) } else { payload };
        if wrapped && !base64 {
            value["schema"]["fields"][0]["fields"][1] = json!({"field": "amount_usd", "type": "string"});
        }
        if wrapped && bare {
            value["schema"] = value["schema"]["fields"][0].take();
        }
        let expected = Row {
            issue_date_us: Some(date_ms * 1000), issuer_id: Some(issuer), receiver_id: Some(receiver), amount: Some(cents),
        };
        prop_assert_eq!(change(&value).after, Some(expected));
    }
}
