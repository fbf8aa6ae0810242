//! The object store that Polars reads through: objects exactly as they were recorded or listed.
//!
//! Every read names the ETag that the commit record names, so a query sees what was committed or
//! nothing. Bytes are counted here, because here is where they come from. An object's end is read first
//! and kept: it has the footer, which is all of most objects of one business.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use invoices::Error;
use invoices::lake::{Lake, Object};
use polars::io::cloud::{CloudOptions, ExtObjectStoreBuilder, register_object_store_builder};
use polars::polars_utils::pl_path::PlRefPath;
use polars::prelude::PolarsResult;
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
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};

/// The one scheme for stores that are not its own that Polars allows. It never leaves this process.
const SCHEME: &str = "hdfs";
const STORE: &str = "query_lake";

/// What Polars asks for first, at an object's end. It takes the footer from the end of whatever it is given, and
/// asks again for one that is longer.
const FOOTER_BYTES_ASKED: u64 = 64 << 10;

/// The lake's footers are less than a 256th of their objects, or than 4 KiB.
fn tail_bytes(object_bytes: u64) -> u64 {
    (object_bytes / 256).clamp(4 << 10, FOOTER_BYTES_ASKED)
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
    /// What a read of this range is answered with: less for the first one when it is for the footer.
    fn answered(&self, range: Range<u64>) -> Range<u64> {
        let is_first = !self.is_read.swap(true, Ordering::Relaxed);
        let is_at_end = range.end == self.object.size && range.end - range.start <= FOOTER_BYTES_ASKED;
        let is_footer = is_first && is_at_end;
        let tail = self.object.size.saturating_sub(tail_bytes(self.object.size));
        if is_footer { range.start.max(tail)..range.end } else { range }
    }

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

/// The objects of the query that runs. One per process, as Polars has one registry of stores.
static CURRENT: LazyLock<Mutex<(u64, Arc<Pinned>)>> = LazyLock::new(Default::default);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pinned {
    /// Starts with no objects; what was pinned before is forgotten.
    pub fn start() -> Arc<Self> {
        let pinned = Arc::new(Self::default());
        let mut current = locked(&CURRENT);
        *current = (current.0 + 1, pinned.clone());
        pinned
    }

    /// Pins an object for Polars and returns the path to scan; folders of the name stay, as Hive
    /// partitions are read from them.
    pub fn add(&self, table: &str, lake: &Lake, object: &Object) -> PlRefPath {
        let key = format!("{table}/{}", object.path);
        let entry = Entry {
            lake: lake.clone(),
            object: object.clone(),
            table: table.to_owned(),
            bytes_read: AtomicU64::new(0),
            is_read: false.into(),
            tail: OnceLock::new(),
        };
        locked(&self.entries).insert(key.clone(), Arc::new(entry));
        PlRefPath::new(format!("{SCHEME}://{STORE}/{key}"))
    }

    /// Counts bytes that were read without Polars.
    pub fn count(&self, table: &str, lake: &Lake, object: &Object) {
        self.add(table, lake, object);
        let key = format!("{table}/{}", object.path);
        if let Some(entry) = locked(&self.entries).get(&key) {
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

    /// The store's own error, which says more than what Polars makes of it.
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

/// Makes Polars read [`Pinned`] objects; once per process.
pub fn register() -> PolarsResult<()> {
    register_object_store_builder(SCHEME, Arc::new(Builder))
}

struct Builder;

impl ExtObjectStoreBuilder for Builder {
    fn build(
        &self,
        _url: &PlRefPath,
        _options: Option<&CloudOptions>,
    ) -> PolarsResult<Arc<dyn ObjectStore + Send + Sync>> {
        Ok(locked(&CURRENT).1.clone())
    }

    /// Polars keeps stores; another query must not be given the objects of the one before.
    fn stable_cache_key(&self, _url: &PlRefPath, _options: Option<&CloudOptions>) -> Option<Vec<u8>> {
        Some(locked(&CURRENT).0.to_le_bytes().to_vec())
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
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: chrono::DateTime::UNIX_EPOCH,
            size: entry.object.size,
            e_tag: Some(entry.object.etag.clone()),
            version: None,
        };
        let mut range = bounds(options.range, meta.size);
        let mut bytes = Bytes::new();
        if !options.head && !range.is_empty() {
            range = entry.answered(range);
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
    use invoices::lake::Lake;
    use object_store::ObjectStoreExt;

    /// An object of as many bytes, each of another value than its neighbours.
    async fn pinned(folder: &tempfile::TempDir, size: usize) -> (Arc<Pinned>, Path, Vec<u8>) {
        let lake = Lake::open(&format!("file://{}", folder.path().display())).unwrap();
        let content: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
        let object = lake.put("t/x.parquet", content.clone().into()).await.unwrap();
        let pinned = Arc::new(Pinned::default());
        pinned.add("t", &lake, &object);
        (pinned, Path::from("t/t/x.parquet"), content)
    }

    fn bytes_read(pinned: &Pinned) -> u64 {
        pinned.usage()["t"].0.bytes
    }

    #[tokio::test]
    async fn an_object_is_read_from_its_end_and_no_byte_twice() {
        let folder = tempfile::tempdir().unwrap();
        let (pinned, path, content) = pinned(&folder, 100_000).await;
        // The footer, of which Polars would take more; then data before, across and in it.
        let footer = pinned.get_range(&path, 34_464..100_000).await.unwrap();
        assert_eq!(footer, content[100_000 - 4_096..]);
        for range in [4..50_000, 95_000..97_000, 99_000..99_500] {
            let found = pinned.get_range(&path, range.clone()).await.unwrap();
            assert_eq!(found, content[range.start as usize..range.end as usize], "{range:?}");
        }
        assert_eq!(bytes_read(&pinned), 4_096 + 49_996 + (100_000 - 4_096 - 95_000));
        // A footer that is longer than what was given is asked for again, and given whole.
        let whole = pinned.get_range(&path, 34_464..100_000).await.unwrap();
        assert_eq!(whole, content[34_464..]);
    }

    #[tokio::test]
    async fn a_first_read_of_the_whole_object_is_given_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (pinned, path, content) = pinned(&folder, 100_000).await;
        assert_eq!(pinned.get_range(&path, 0..100_000).await.unwrap(), content);
    }

    #[tokio::test]
    async fn a_small_object_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let (pinned, path, content) = pinned(&folder, 2_500).await;
        for range in [0..2_500, 4..900, 1_000..2_000] {
            let found = pinned.get_range(&path, range.clone()).await.unwrap();
            assert_eq!(found, content[range.start as usize..range.end as usize], "{range:?}");
        }
        assert_eq!(bytes_read(&pinned), 2_500);
    }
}
