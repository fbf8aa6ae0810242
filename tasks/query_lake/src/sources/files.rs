//! Where files are: one, a folder or a pattern, on a disk or in a bucket.

use super::{Loading, Source, csv, hive, in_memory, json_rows, text};
use crate::objects::{Group, Objects, Part};
use arrow::datatypes::{Field, Schema};
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::csv::Delimiter;
use invoices::lake::{CONCURRENCY, Lake, Object};
use invoices::{Error, Kind, Result};
use regex::Regex;
use std::sync::Arc;

/// What a file is, by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Parquet,
    Csv(Delimiter),
    Json,
    Lines,
    Mail,
}

const FORMS: &str = ".parquet, .csv, .tsv, .json, .jsonl, .ndjson, .txt, .log, .md and .eml";

impl Form {
    fn of(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next().unwrap_or(path).to_ascii_lowercase();
        match name.rsplit_once('.')?.1 {
            "parquet" => Some(Form::Parquet),
            "csv" => Some(Form::Csv(Delimiter::COMMA)),
            "tsv" => Some(Form::Csv(Delimiter::TAB)),
            "json" | "jsonl" | "ndjson" => Some(Form::Json),
            "txt" | "log" | "md" => Some(Form::Lines),
            "eml" => Some(Form::Mail),
            _ => None,
        }
    }
}

/// The files of a source, in name order.
struct Found {
    store: Lake,
    objects: Vec<Object>,
}

pub fn load(source: &Source, loading: &Loading) -> Result<Arc<dyn TableProvider>> {
    let found = loading.runtime.block_on(find(source))?;
    let form = form_of(source, &found)?;
    if form == Form::Parquet {
        return parquet(source, &found, loading);
    }
    let files = loading.runtime.block_on(read_all(source, &found, loading))?;
    let columns = match form {
        Form::Csv(delimiter) => csv::read(&files, delimiter, loading.null_texts)?,
        Form::Json => json_rows::read(&files)?,
        Form::Lines => text::lines(&files),
        Form::Mail => text::mails(&files)?,
        Form::Parquet => Vec::new(),
    };
    in_memory(columns)
}

/// The one form of all files.
fn form_of(source: &Source, found: &Found) -> Result<Form> {
    let mut common: Option<(Form, &Object)> = None;
    for object in &found.objects {
        let place = found.store.locate(&object.path);
        let form = Form::of(&object.path)
            .ok_or_else(|| Error::refused(format!("{place} is not a supported file; use {FORMS}")))?;
        match common {
            Some((known, first)) if known != form => {
                let (name, first) = (&source.name, found.store.locate(&first.path));
                return Err(Error::refused(format!(
                    "--with {name} names files of different forms, {first} and {place}; use a pattern such as *.csv"
                )));
            }
            _ => common = Some((form, object)),
        }
    }
    common.map(|(form, _)| form).ok_or_else(|| nothing(source))
}

fn nothing(source: &Source) -> Error {
    Error::config(format!("--with {}: there is no file at {}", source.name, source.location))
}

async fn find(source: &Source) -> Result<Found> {
    let (root, path) = split(source)?;
    let store = Lake::open(&root).map_err(|error| named(source, &error))?;
    let objects = if let Some(at) = path.find(['*', '?']) {
        let folder = path[..at].rsplit_once('/').map_or("", |(folder, _)| folder);
        let pattern = pattern(&path);
        let listed = store.list(folder).await.map_err(|error| named(source, &error))?;
        listed
            .into_iter()
            .filter(|object| pattern.as_ref().is_some_and(|p| p.is_match(&object.path)))
            .collect()
    } else {
        let one = if path.is_empty() || path.ends_with('/') {
            None
        } else {
            store.head(&path).await.map_err(|error| named(source, &error))?
        };
        match one {
            Some(object) => vec![object],
            None => store.list(path.trim_end_matches('/')).await.map_err(|error| named(source, &error))?,
        }
    };
    let is_visible = |object: &Object| {
        // As query engines do: `_commits`, `.crc` and the like are nobody's data.
        !object.path.split('/').any(|part| part.starts_with(['_', '.'])) && object.size > 0
    };
    let objects: Vec<Object> = objects.into_iter().filter(is_visible).collect();
    if objects.is_empty() {
        return Err(nothing(source));
    }
    Ok(Found { store, objects })
}

/// The store to open, and the path in it.
fn split(source: &Source) -> Result<(String, String)> {
    let location = &source.location;
    if let Some(rest) = location.strip_prefix("s3://").or_else(|| location.strip_prefix("s3a://")) {
        let (bucket, path) = rest.split_once('/').unwrap_or((rest, ""));
        return Ok((format!("s3://{bucket}"), path.to_owned()));
    }
    let path = match location.strip_prefix("file://") {
        Some(path) => path.to_owned(),
        None if location.contains("://") => {
            let scheme = location.split_once("://").map_or("", |(scheme, _)| scheme);
            return Err(Error::config(format!(
                "--with {}: {scheme}:// is not supported; use file://, s3://, postgres:// or sqlite:",
                source.name
            )));
        }
        None => {
            std::path::absolute(location).map_err(|_| nothing(source))?.to_string_lossy().into_owned()
                + if location.ends_with('/') { "/" } else { "" }
        }
    };
    // The folder must be there: opening a store makes it.
    let before_pattern = &path[..path.find(['*', '?']).unwrap_or(path.len())];
    let existing = before_pattern.trim_end_matches('/');
    let folder = if std::path::Path::new(existing).is_dir() {
        existing
    } else {
        existing.rsplit_once('/').map_or("", |(folder, _)| folder)
    };
    if !path.starts_with('/') || !std::path::Path::new(if folder.is_empty() { "/" } else { folder }).is_dir()
    {
        return Err(nothing(source));
    }
    let rest = path[folder.len()..].trim_start_matches('/').to_owned();
    let root = url::Url::from_file_path(if folder.is_empty() { "/" } else { folder });
    Ok((root.map_err(|()| nothing(source))?.into(), rest))
}

/// Errors of the store, which speaks of the lake.
fn named(source: &Source, error: &Error) -> Error {
    let text = error.to_string().replace("LAKE_URL", &format!("--with {}", source.name));
    Error::new(error.kind(), text.replace("the lake ", ""))
}

/// `*` and `?` stay within a folder, `**` does not.
fn pattern(path: &str) -> Option<Regex> {
    let mut text = String::from("^");
    let mut rest = path;
    while let Some(next) = rest.chars().next() {
        let (matched, meaning) = if rest.starts_with("**/") {
            ("**/", "(?:.*/)?".to_owned())
        } else if rest.starts_with("**") {
            ("**", ".*".to_owned())
        } else if next == '*' {
            ("*", "[^/]*".to_owned())
        } else if next == '?' {
            ("?", "[^/]".to_owned())
        } else {
            let one = &rest[..next.len_utf8()];
            (one, regex::escape(one))
        };
        text.push_str(&meaning);
        rest = &rest[matched.len()..];
    }
    Regex::new(&(text + "$")).ok()
}

async fn read_all(source: &Source, found: &Found, loading: &Loading<'_>) -> Result<Vec<(String, Bytes)>> {
    let size: u64 = found.objects.iter().map(|object| object.size).sum();
    // Text becomes columns of about its own size, beside it.
    if size > loading.bytes_max / 2 {
        return Err(Error::config(format!(
            "--with {} has {size} bytes, which do not fit --memory-budget {}; raise it, or convert the files to Parquet",
            source.name, loading.bytes_max
        )));
    }
    let read = |object: &Object| {
        let (store, object) = (found.store.clone(), object.clone());
        let pinned = loading.pinned;
        let name = source.name.clone();
        async move {
            let found = store.get(&object.path).await?;
            let (object, bytes) = found.ok_or_else(|| {
                Error::new(Kind::Retry, format!("{} vanished while it was read", store.locate(&object.path)))
            })?;
            pinned.count(&name, &store, &object);
            Ok((object.path.rsplit('/').next().unwrap_or_default().to_owned(), bytes))
        }
    };
    stream::iter(&found.objects).map(read).buffered(CONCURRENCY).try_collect().await
}

fn parquet(source: &Source, found: &Found, loading: &Loading) -> Result<Arc<dyn TableProvider>> {
    let metas: Vec<_> =
        found.objects.iter().map(|object| loading.pinned.add(&source.name, &found.store, object)).collect();
    let schema_of = |(object, meta): (&Object, object_store::ObjectMeta)| {
        let (pinned, place) = (loading.pinned.clone(), found.store.locate(&object.path));
        async move {
            let hint = crate::pinned::tail_bytes(meta.size) as usize;
            let reading = DFParquetMetadata::new(&*pinned, &meta).with_metadata_size_hint(Some(hint));
            let schema = reading.fetch_schema().await;
            schema.map_err(|error| Error::refused(format!("{place} is not Parquet")).because(error))
        }
    };
    let reading = stream::iter(found.objects.iter().zip(metas.clone())).map(schema_of).buffered(CONCURRENCY);
    let schemas: Vec<Schema> = loading.runtime.block_on(reading.try_collect())?;
    let merged = Schema::try_merge(schemas).map_err(|error| {
        Error::refused(format!("--with {}: the files' columns differ in their types", source.name))
            .because(error)
    })?;
    let paths: Vec<&str> = found.objects.iter().map(|object| object.path.as_str()).collect();
    let keys = hive::keys(&paths);
    let is_key = |field: &&Arc<Field>| keys.iter().any(|key| key.name == *field.name());
    let mut fields: Vec<Field> = merged
        .fields()
        .iter()
        .filter(|field| !is_key(field))
        .map(|field| field.as_ref().clone().with_nullable(true))
        .collect();
    fields.extend(keys.iter().map(|key| Field::new(&key.name, key.data_type(), true)));
    let parts = metas
        .into_iter()
        .enumerate()
        .map(|(row, meta)| Part { meta, values: keys.iter().map(|key| key.values[row].clone()).collect() });
    let group =
        Group { keys: keys.iter().map(|key| key.name.clone()).collect(), parts: parts.collect(), rows: None };
    let schema = Arc::new(Schema::new(fields));
    Ok(Arc::new(Objects { schema, groups: vec![group], pinned: loading.pinned.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_names_within_a_folder() {
        let matches = |text: &str, path: &str| pattern(text).unwrap().is_match(path);
        assert!(matches("a/*.csv", "a/x.csv"));
        assert!(!matches("a/*.csv", "a/b/x.csv"));
        assert!(!matches("a/*.csv", "a/xcsv"));
        assert!(matches("a/**/*.csv", "a/x.csv"));
        assert!(matches("a/**/x?.csv", "a/b/c/x1.csv"));
    }

    #[test]
    fn a_file_in_a_folder_that_exists_is_split_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x=1/y.csv");
        let source = Source { name: "x".to_owned(), location: path.to_string_lossy().into_owned() };
        assert!(split(&source).is_err());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(split(&source).unwrap().1, "y.csv");
    }
}
