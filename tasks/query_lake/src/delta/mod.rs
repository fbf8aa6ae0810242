//! `publish`: the lake's tables as Delta tables over the same Parquet files, so that a reader sees one
//! state of all partitions, and earlier ones for as long as their files are kept.
//!
//! The lake replaces objects under their names; a Delta log names files that never change. So every
//! object that a commit record names gets a second name below `delta/`: a hard link on a disk, a copy
//! within the store on S3. When all are there, one put of a new name makes the version.

mod checkpoint;
mod log;

use crate::args::PublishArgs;
use crate::ddl;
use crate::lake_tables::Committed;
use crate::layout::TABLES;
use chrono::Utc;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::lake::names::Table;
use invoices::lake::{ATTEMPTS, CONCURRENCY, Lake, Object, step_aside};
use invoices::task::check_stop;
use invoices::{Error, Result};
use log::{File, Next, State, Wanted};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use xxhash_rust::xxh3::xxh3_128;

const FOLDER: &str = "delta";
/// Versions between two checkpoints, as Delta's own writers do.
const CHECKPOINT_EVERY: u64 = 10;
const MS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

/// Publishes every table of the lake.
///
/// # Errors
/// Configuration for a lake without tables, refused when a table is cut in different ways or somebody
/// else has written to its log, retry when the lake does not stay as its records say.
pub async fn publish(lake: &Lake, args: &PublishArgs, program: &str) -> Result<Value> {
    let mut tables = Map::new();
    for table in TABLES {
        if let Some(facts) = publish_table(lake, table, args, program).await? {
            tables.insert(table.name().to_owned(), facts);
        }
    }
    if tables.is_empty() {
        let url = lake.url();
        return Err(Error::config(format!("the lake {url} has no table yet; run query_source first")));
    }
    Ok(json!({ "command": "publish", "location": lake.locate(FOLDER), "tables": tables }))
}

async fn publish_table(
    lake: &Lake,
    table: Table,
    args: &PublishArgs,
    program: &str,
) -> Result<Option<Value>> {
    for attempt in 1..=ATTEMPTS {
        step_aside(attempt).await;
        check_stop()?;
        let Some(committed) = Committed::find(lake, table).await? else { return Ok(None) };
        if let Some(facts) = attempt_table(lake, &committed, args, program).await? {
            return Ok(Some(facts));
        }
        tracing::warn!(attempt, "{table} was written meanwhile; reading its commit records again");
    }
    Err(Error::retry(format!(
        "the objects of {table} keep being replaced, or are not what their commit records say; publish when no run writes"
    )))
}

/// None when the lake, or the log, changed meanwhile.
async fn attempt_table(
    lake: &Lake,
    committed: &Committed,
    args: &PublishArgs,
    program: &str,
) -> Result<Option<Value>> {
    let table = committed.table;
    let now_ms = Utc::now().timestamp_millis();
    let state = read_state(lake, table).await?;
    let (wanted, objects) = wanted(lake, committed, now_ms)?;
    let missing: Vec<(&String, &Object)> =
        objects.iter().filter(|(path, _)| !state.files.contains_key(*path)).collect();
    if !keep(lake, table, &missing).await? {
        return Ok(None);
    }
    // Whatever was read one after the other was all true at one moment if it still is.
    let again = Committed::find(lake, table).await?;
    if again.is_none_or(|again| again.records != committed.records) {
        return Ok(None);
    }
    let info = json!({ "timestamp": now_ms, "operation": "WRITE", "operationParameters": { "mode": "Overwrite" },
        "isBlindAppend": false, "engineInfo": program, "txnId": random_id() });
    let next = state.next(&wanted, now_ms, info, &random_id())?;
    if let Some(next) = &next
        && !write(lake, table, next).await?
    {
        return Ok(None);
    }
    let state = next.as_ref().map_or(&state, |next| &next.state);
    let deleted = vacuum(lake, table, state, now_ms - i64::from(args.keep_days) * MS_PER_DAY).await?;
    Ok(Some(json!({
        "version": state.version,
        "is_new": next.is_some(),
        "files": state.files.len(),
        "files_added": next.as_ref().map_or(0, |next| next.files_added),
        "files_removed": next.as_ref().map_or(0, |next| next.files_removed),
        "files_deleted": deleted,
    })))
}

/// The table as its commit records say, and the object behind each of its files.
fn wanted<'a>(
    lake: &Lake,
    committed: &Committed,
    now_ms: i64,
) -> Result<(Wanted<'a>, BTreeMap<String, Object>)> {
    let table = committed.table;
    let definition = ddl::definition(lake, committed)?;
    let mut objects = BTreeMap::new();
    let mut files = BTreeMap::new();
    for record in committed.records.iter().flat_map(|record| &record.objects) {
        let object = Object::from(record);
        let folders = object.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let folders = folders.strip_prefix(table.folder()).unwrap_or(folders).trim_start_matches('/');
        // The name says which object of this place it is, so that it never stands for another.
        let version = xxh3_128(format!("{} {} {}", object.path, object.etag, object.size).as_bytes());
        let path = format!("{folders}/part-{version:032x}.parquet");
        files.insert(path.clone(), File::in_folders(folders, object.size, now_ms));
        objects.insert(path, object);
    }
    let (columns, partition_columns) = (definition.columns, definition.partition_columns);
    Ok((Wanted { name: table.name(), columns, partition_columns, files }, objects))
}

/// Gives objects their lasting names; false when one of them is no longer the recorded one.
async fn keep(lake: &Lake, table: Table, objects: &[(&String, &Object)]) -> Result<bool> {
    let keep = |(path, object): &(&String, &Object)| {
        let path = format!("{FOLDER}/{table}/{path}");
        let object = (*object).clone();
        async move { lake.keep(&object, &path).await }
    };
    let mut kept = stream::iter(objects).map(keep).buffer_unordered(CONCURRENCY);
    while let Some(is_kept) = kept.try_next().await? {
        check_stop()?;
        if !is_kept {
            return Ok(false);
        }
    }
    Ok(true)
}

fn log_folder(table: Table) -> String {
    format!("{FOLDER}/{table}/_delta_log")
}

async fn read_state(lake: &Lake, table: Table) -> Result<State> {
    let folder = log_folder(table);
    let listed = lake.list(&folder).await?;
    let version = |object: &Object| {
        let name = object.path.rsplit('/').next()?.strip_suffix(".json")?;
        (name.len() == 20).then(|| name.parse::<u64>().ok())?
    };
    let commits: Vec<(u64, Object)> =
        listed.into_iter().filter_map(|object| Some((version(&object)?, object))).collect();
    let mut texts = stream::iter(commits)
        .map(|(version, object)| async move { Ok::<_, Error>((version, lake.get(&object.path).await?)) })
        .buffered(CONCURRENCY);
    let mut state = State::default();
    while let Some((version, found)) = texts.try_next().await? {
        let is_next = state.version.map_or(0, |version| version + 1) == version;
        let Some((_, bytes)) = found.filter(|_| is_next) else {
            let place = lake.locate(&folder);
            return Err(Error::refused(format!(
                "commits are missing before version {version} in {place}; delete the table's folder and publish it anew"
            )));
        };
        state.apply(version, &String::from_utf8_lossy(&bytes))?;
    }
    Ok(state)
}

/// Makes the version visible; false when another publisher was first.
async fn write(lake: &Lake, table: Table, next: &Next) -> Result<bool> {
    let folder = log_folder(table);
    let path = format!("{folder}/{:020}.json", next.version);
    if !lake.put_new(&path, next.text.clone().into()).await? {
        return Ok(false);
    }
    if next.version.is_multiple_of(CHECKPOINT_EVERY) && next.version > 0 {
        let (rows, bytes) = checkpoint::encode(&next.state)?;
        lake.put(&format!("{folder}/{:020}.checkpoint.parquet", next.version), bytes.into()).await?;
        let last = json!({ "version": next.version, "size": rows });
        lake.put(&format!("{folder}/_last_checkpoint"), last.to_string().into()).await?;
    }
    Ok(true)
}

/// Deletes files that left the table long ago, and returns how many.
async fn vacuum(lake: &Lake, table: Table, state: &State, before_ms: i64) -> Result<usize> {
    let root = format!("{FOLDER}/{table}");
    let expired: HashSet<String> = state.expired(before_ms).map(|path| format!("{root}/{path}")).collect();
    if expired.is_empty() {
        return Ok(0);
    }
    let listed = lake.list(&root).await?;
    let gone: Vec<Object> = listed.into_iter().filter(|object| expired.contains(&object.path)).collect();
    let deletions = stream::iter(&gone).map(|object| lake.delete(&object.path));
    deletions.buffer_unordered(CONCURRENCY).try_collect::<()>().await?;
    Ok(gone.len())
}

/// A random UUID of version 4.
fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    let (high, low) = (random() & !0xf000 | 0x4000, random() >> 2 | 1 << 63);
    let digits = format!("{high:016x}{low:016x}");
    [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_uuids() {
        let (one, other) = (random_id(), random_id());
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!(['8', '9', 'a', 'b'].contains(&one.chars().nth(19).unwrap()), "{one}");
    }
}
