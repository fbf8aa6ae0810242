//! The object store that DataFusion reads through: objects exactly as they were recorded or listed.
//!
//! Every read names the ETag that the commit record names, so a query sees what was committed or
//! nothing. Bytes are counted here, because here is where they come from. An object's end is read first
//! and kept: it has the footer, which is all of most objects of one business.

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::execution::object_store::ObjectStoreUrl;
use futures::stream::{self, BoxStream, StreamExt};
use invoices::Error;
use invoices::lake::{Lake, Object};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, Error as StoreError, GetOptions, GetRange, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, Result,
};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

const STORE: &str = "query_lake";

/// The store's address within this process.
pub fn store_url() -> datafusion::common::Result<ObjectStoreUrl> {
    ObjectStoreUrl::parse("pinned://query_lake")
}

/// How much of an object's end is read first. The lake's footers are less than a 256th of their objects, or than 4 KiB.
pub fn tail_bytes(object_bytes: u64) -> u64 {
    (object_bytes / 256).clamp(4 << 10, 64 << 10).min(object_bytes)
}

/// What was read of one table or source.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    pub files: u64,
    pub bytes: u64,
}

struct Entry {
    lake: Lake,
    object: Object,
    table: String,
    bytes_read: AtomicU64,
    is_read: AtomicBool,
    /// The object's last bytes, once they were read.
    tail: OnceLock<Bytes>,
}

impl Entry {
    /// The part of the range that the tail has.
    fn kept(&self, range: &Range<u64>) -> Bytes {
        let Some(tail) = self.tail.get() else { return Bytes::new() };
        let first = self.object.size - tail.len() as u64;
        if range.end <= first {
            return Bytes::new();
        }
        let start = range.start.max(first) - first;
        tail.slice(start as usize..(range.end - first) as usize)
    }
}

/// Objects by the path that Polars knows them by.
#[derive(Default)]
pub struct Pinned {
    entries: Mutex<HashMap<String, Arc<Entry>>>,
    changed: Mutex<Option<String>>,
    failure: Mutex<Option<Error>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pinned {
    /// Pins an object and returns what DataFusion is told of it.
    pub fn add(&self, table: &str, lake: &Lake, object: &Object) -> ObjectMeta {
        let entry = Entry {
            lake: lake.clone(),
            object: object.clone(),
            table: table.to_owned(),
            bytes_read: AtomicU64::new(0),
            is_read: false.into(),
            tail: OnceLock::new(),
        };
        let mut entries = locked(&self.entries);
        // Names say nothing here: a path would have to be encoded and decoded again.
        let key = format!("{table}/{}.parquet", entries.len());
        let meta = meta(&key, object);
        entries.insert(key, Arc::new(entry));
        meta
    }

    /// Counts bytes that were read without DataFusion.
    pub fn count(&self, table: &str, lake: &Lake, object: &Object) {
        let meta = self.add(table, lake, object);
        if let Some(entry) = locked(&self.entries).get(meta.location.as_ref()) {
            entry.bytes_read.fetch_add(object.size, Ordering::Relaxed);
            entry.is_read.store(true, Ordering::Relaxed);
        }
    }

    /// What was read, and what there was, by table.
    pub fn usage(&self) -> BTreeMap<String, (Usage, Usage)> {
        let mut usage: BTreeMap<String, (Usage, Usage)> = BTreeMap::new();
        for entry in locked(&self.entries).values() {
            let (read, total) = usage.entry(entry.table.clone()).or_default();
            read.files += u64::from(entry.is_read.load(Ordering::Relaxed));
            read.bytes += entry.bytes_read.load(Ordering::Relaxed);
            total.files += 1;
            total.bytes += entry.object.size;
        }
        usage
    }

    /// An object that was no longer the pinned one when it was read.
    pub fn changed(&self) -> Option<String> {
        locked(&self.changed).clone()
    }

    /// The store's own error, which says more than what becomes of it.
    pub fn failure(&self) -> Option<Error> {
        locked(&self.failure).take()
    }

    fn entry(&self, path: &Path) -> Result<Arc<Entry>> {
        let found = locked(&self.entries).get(path.as_ref()).cloned();
        found.ok_or_else(|| StoreError::NotFound {
            path: path.to_string(),
            source: "it is not part of this query".into(),
        })
    }

    /// Reads what is not known yet of the range.
    async fn read(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        let kept = entry.kept(&range);
        let missing = range.start..range.end - kept.len() as u64;
        if missing.is_empty() {
            return Ok(kept);
        }
        let bytes = self.fetch(entry, missing).await?;
        if range.end == entry.object.size {
            // The first one stays; a longer one is a footer that is read once.
            let _ = entry.tail.set(bytes.clone());
        }
        Ok(if kept.is_empty() { bytes } else { [bytes, kept].concat().into() })
    }

    async fn fetch(&self, entry: &Entry, range: Range<u64>) -> Result<Bytes> {
        let path = entry.lake.locate(&entry.object.path);
        match entry.lake.read_range(&entry.object, range).await {
            Ok(Some(bytes)) => {
                entry.bytes_read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Ok(bytes)
            }
            Ok(None) => {
                *locked(&self.changed) = Some(path.clone());
                let source = "it was replaced while the query ran".into();
                Err(StoreError::Precondition { path, source })
            }
            Err(error) => {
                let source = error.to_string().into();
                *locked(&self.failure) = Some(error);
                Err(StoreError::Generic { store: STORE, source })
            }
        }
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pinned")
    }
}

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the objects of this query")
    }
}

fn meta(key: &str, object: &Object) -> ObjectMeta {
    ObjectMeta {
        location: Path::from(key),
        last_modified: chrono::DateTime::UNIX_EPOCH,
        size: object.size,
        e_tag: Some(object.etag.clone()),
        version: None,
    }
}

fn bounds(range: Option<GetRange>, size: u64) -> Range<u64> {
    match range {
        None => 0..size,
        Some(GetRange::Bounded(range)) => range.start.min(size)..range.end.min(size),
        Some(GetRange::Offset(first)) => first.min(size)..size,
        Some(GetRange::Suffix(count)) => size.saturating_sub(count)..size,
    }
}

fn read_only<T>() -> Result<T> {
    Err(StoreError::NotImplemented { operation: "write".into(), implementer: STORE.into() })
}

#[async_trait]
impl ObjectStore for Pinned {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let entry = self.entry(location)?;
        let meta = meta(location.as_ref(), &entry.object);
        let range = bounds(options.range, meta.size);
        let mut bytes = Bytes::new();
        if !options.head && !range.is_empty() {
            entry.is_read.store(true, Ordering::Relaxed);
            bytes = self.read(&entry, range.clone()).await?;
        }
        let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::empty().boxed()
    }

    async fn list_with_delimiter(&self, _prefix: Option<&Path>) -> Result<ListResult> {
        Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new() })
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        read_only()
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        read_only()
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { read_only() }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        read_only()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    #[tokio::test]
    async fn an_object_is_read_from_its_end_and_no_byte_twice() {
        let folder = tempfile::tempdir().unwrap();
        let lake = Lake::open(&format!("file://{}", folder.path().display())).unwrap();
        let content: Vec<u8> = (0..100_000).map(|n| (n % 251) as u8).collect();
        let object = lake.put("t/x.parquet", content.clone().into()).await.unwrap();
        let pinned = Pinned::default();
        let path = pinned.add("t", &lake, &object).location;
        for range in [95_904..100_000, 4..50_000, 95_000..97_000, 99_000..99_500] {
            let found = pinned.get_range(&path, range.clone()).await.unwrap();
            assert_eq!(found, content[range.start as usize..range.end as usize], "{range:?}");
        }
        assert_eq!(pinned.usage()["t"].0.bytes, 4_096 + 49_996 + (100_000 - 4_096 - 95_000));
    }
}
