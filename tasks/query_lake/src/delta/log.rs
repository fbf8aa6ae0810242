//! Delta's log of a table: what it says now, and the next version of it. Pure.
//!
//! Written here is the part of the protocol that a publisher needs and nothing else: whole files come
//! and go; no deletion vectors, no column mapping, no changes by rows (docs/decisions/0050).

use crate::layout::{Column, ColumnType};
use invoices::lake::names::{NULL_PARTITION, unescaped};
use invoices::{Error, Result};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A file of the table: what an `add` action says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub size: u64,
    /// Values of the partition columns as text; none for NULL.
    pub partition: Vec<(String, Option<String>)>,
    pub added_at_ms: i64,
}

/// The table as of a version.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// None before the first one.
    pub version: Option<u64>,
    pub metadata: Option<Value>,
    /// By path relative to the table.
    pub files: BTreeMap<String, File>,
    /// Files that are no longer part of it, and since when.
    pub removed_at_ms: BTreeMap<String, i64>,
}

/// What the table should be.
pub struct Wanted<'a> {
    pub name: &'a str,
    pub columns: Vec<Column>,
    pub partition_columns: Vec<Column>,
    pub files: BTreeMap<String, File>,
}

/// The next version of a table.
pub struct Next {
    pub version: u64,
    /// The commit's text, an action per line.
    pub text: String,
    pub state: State,
    pub files_added: usize,
    pub files_removed: usize,
}

/// Readers must know timestamps without a time zone, which is what the lake has.
pub fn protocol() -> Value {
    json!({
        "minReaderVersion": 3, "minWriterVersion": 7,
        "readerFeatures": ["timestampNtz"], "writerFeatures": ["timestampNtz"],
    })
}

impl State {
    /// Follows one commit of the log.
    ///
    /// # Errors
    /// Refused for a commit that this program did not write and cannot follow.
    pub fn apply(&mut self, version: u64, text: &str) -> Result<()> {
        let unknown =
            || Error::refused(format!("version {version} of the Delta log is not what this program writes"));
        for line in text.lines().filter(|line| !line.is_empty()) {
            let action: Value = serde_json::from_str(line).map_err(|error| unknown().because(error))?;
            let (kind, body) = action.as_object().and_then(|map| map.iter().next()).ok_or_else(unknown)?;
            let path = || body["path"].as_str().and_then(path_of).ok_or_else(unknown);
            match kind.as_str() {
                "add" => {
                    self.removed_at_ms.remove(&path()?);
                    self.files.insert(path()?, File::of_action(body).ok_or_else(unknown)?);
                }
                "remove" => {
                    self.files.remove(&path()?);
                    let at = body["deletionTimestamp"].as_i64().ok_or_else(unknown)?;
                    self.removed_at_ms.insert(path()?, at);
                }
                "metaData" => self.metadata = Some(body.clone()),
                "commitInfo" => {}
                "protocol" if *body == protocol() => {}
                _ => return Err(unknown()),
            }
        }
        self.version = Some(version);
        Ok(())
    }

    /// The version that makes the table what is wanted; none when it is that already.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub fn next(&self, wanted: &Wanted, now_ms: i64, info: Value, new_id: &str) -> Result<Option<Next>> {
        let mut actions = vec![json!({ "commitInfo": info })];
        if self.version.is_none() {
            actions.push(json!({ "protocol": protocol() }));
        }
        let metadata = self.metadata_of(wanted, now_ms, new_id);
        let is_described = self.metadata.as_ref() == Some(&metadata);
        if !is_described {
            actions.push(json!({ "metaData": metadata }));
        }
        let gone = self.files.iter().filter(|(path, _)| !wanted.files.contains_key(*path));
        let removals: Vec<Value> = gone
            .map(|(path, file)| {
                json!({ "remove": { "path": uri(path), "deletionTimestamp": now_ms, "dataChange": true,
                    "extendedFileMetadata": true, "partitionValues": file.values(), "size": file.size } })
            })
            .collect();
        let new = wanted.files.iter().filter(|(path, _)| !self.files.contains_key(*path));
        let additions: Vec<Value> = new
            .map(|(path, file)| {
                json!({ "add": { "path": uri(path), "partitionValues": file.values(), "size": file.size,
                    "modificationTime": file.added_at_ms, "dataChange": true } })
            })
            .collect();
        if is_described && removals.is_empty() && additions.is_empty() {
            return Ok(None);
        }
        let (files_removed, files_added) = (removals.len(), additions.len());
        actions.extend(removals.into_iter().chain(additions));
        let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
        let version = self.version.map_or(0, |version| version + 1);
        let mut state = self.clone();
        state.apply(version, &text)?;
        Ok(Some(Next { version, text, state, files_added, files_removed }))
    }

    /// Files that left the table before `before_ms`.
    pub fn expired(&self, before_ms: i64) -> impl Iterator<Item = &String> {
        self.removed_at_ms.iter().filter(move |(_, at)| **at < before_ms).map(|(path, _)| path)
    }

    /// Id and time of creation stay as they were.
    fn metadata_of(&self, wanted: &Wanted, now_ms: i64, new_id: &str) -> Value {
        let kept = |key: &str| self.metadata.as_ref().map(|metadata| metadata[key].clone());
        let partition_columns: Vec<&str> =
            wanted.partition_columns.iter().map(|column| column.name.as_str()).collect();
        json!({
            "id": kept("id").unwrap_or_else(|| new_id.into()),
            "name": wanted.name,
            "format": { "provider": "parquet", "options": {} },
            "schemaString": schema(wanted).to_string(),
            "partitionColumns": partition_columns,
            // The log is followed from its beginning, so nobody may cut it.
            "configuration": { "delta.enableExpiredLogCleanup": "false" },
            "createdTime": kept("createdTime").unwrap_or_else(|| now_ms.into()),
        })
    }
}

/// What a path in a Delta log consists of: all else is percent-encoded, as in a URI.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'=');

/// A path as Delta's log names it.
pub fn uri(path: &str) -> String {
    utf8_percent_encode(path, ESCAPED).to_string()
}

fn path_of(uri: &str) -> Option<String> {
    percent_decode_str(uri).decode_utf8().ok().map(Into::into)
}

impl File {
    /// A file in the folders of its partition.
    pub fn in_folders(folders: &str, size: u64, added_at_ms: i64) -> Self {
        let partition = folders
            .split('/')
            .filter_map(|folder| folder.split_once('='))
            .map(|(key, name)| {
                let value = unescaped(name).unwrap_or_else(|| name.to_owned());
                (key.to_owned(), (name != NULL_PARTITION).then_some(value))
            })
            .collect();
        Self { size, partition, added_at_ms }
    }

    fn of_action(body: &Value) -> Option<Self> {
        let values = body["partitionValues"].as_object()?.iter();
        Some(Self {
            size: body["size"].as_u64()?,
            partition: values.map(|(key, value)| (key.clone(), value.as_str().map(str::to_owned))).collect(),
            added_at_ms: body["modificationTime"].as_i64()?,
        })
    }

    fn values(&self) -> Value {
        let values: Map<String, Value> =
            self.partition.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
        values.into()
    }
}

fn schema(wanted: &Wanted) -> Value {
    let columns = wanted.columns.iter().chain(&wanted.partition_columns);
    let fields: Vec<Value> = columns
        .map(|column| {
            json!({ "name": column.name, "type": type_name(column.column_type), "nullable": true, "metadata": {} })
        })
        .collect();
    json!({ "type": "struct", "fields": fields })
}

fn type_name(column_type: ColumnType) -> String {
    match column_type {
        ColumnType::BigInt => "long".to_owned(),
        ColumnType::Int => "integer".to_owned(),
        ColumnType::Timestamp => "timestamp_ntz".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Decimal { precision, scale } => format!("decimal({precision},{scale})"),
        ColumnType::Text => "string".to_owned(),
        ColumnType::Bool => "boolean".to_owned(),
        ColumnType::Double => "double".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(paths: &[&str]) -> Wanted<'static> {
        let column = |name: &str, column_type| Column { name: name.to_owned(), column_type };
        let file = |path: &&str| ((*path).to_owned(), File::in_folders(path, 10, 1));
        Wanted {
            name: "invoices",
            columns: vec![column("amount_usd", ColumnType::Decimal { precision: 12, scale: 2 })],
            partition_columns: vec![column("m", ColumnType::Date), column("b", ColumnType::BigInt)],
            files: paths.iter().map(file).collect(),
        }
    }

    fn next(state: &State, paths: &[&str], now_ms: i64) -> Option<Next> {
        state.next(&wanted(paths), now_ms, json!({}), "id").unwrap()
    }

    #[test]
    fn the_log_followed_from_its_beginning_is_the_state_that_was_wanted() {
        let first = next(&State::default(), &["m=1/b=2/x", "m=2/b=__HIVE_DEFAULT_PARTITION__/y"], 5).unwrap();
        let second = next(&first.state, &["m=1/b=2/x", "m=2/b=3/z"], 7).unwrap();
        assert_eq!((second.version, second.files_added, second.files_removed), (1, 1, 1));
        let mut followed = State::default();
        followed.apply(0, &first.text).unwrap();
        followed.apply(1, &second.text).unwrap();
        assert_eq!(followed, second.state);
        assert_eq!(followed.files.keys().collect::<Vec<_>>(), ["m=1/b=2/x", "m=2/b=3/z"]);
        assert_eq!(followed.files["m=1/b=2/x"].partition[1], ("b".to_owned(), Some("2".to_owned())));
        let null = first.state.files["m=2/b=__HIVE_DEFAULT_PARTITION__/y"].clone();
        assert_eq!(null.partition[1], ("b".to_owned(), None));
    }

    #[test]
    fn what_is_already_so_makes_no_version() {
        let first = next(&State::default(), &["m=1/b=2/x"], 5).unwrap();
        assert!(next(&first.state, &["m=1/b=2/x"], 9).is_none());
    }

    #[test]
    fn a_file_that_came_back_is_not_expired() {
        let first = next(&State::default(), &["m=1/b=2/x"], 5).unwrap();
        let without = next(&first.state, &[], 7).unwrap();
        assert_eq!(without.state.expired(8).count(), 1);
        assert_eq!(without.state.expired(7).count(), 0);
        let back = next(&without.state, &["m=1/b=2/x"], 9).unwrap();
        assert_eq!(back.state.expired(100).count(), 0);
    }

    #[test]
    fn a_log_of_somebody_else_is_refused() {
        let mut state = State::default();
        for line in
            [r#"{"txn":{"appId":"x","version":1}}"#, "no json", r#"{"protocol":{"minReaderVersion":9}}"#]
        {
            assert!(state.apply(0, line).is_err(), "{line}");
        }
    }
}
