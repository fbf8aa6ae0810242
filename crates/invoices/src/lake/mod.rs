//! The lake: an object store below one URL, where one partition is one object and one atomic put.
//!
//! A reader that globs never sees half an object: S3 shows an object when its upload is complete,
//! and on a local disk every object is written under `_tmp/` and renamed into place.

mod batch;
pub mod commit;
mod footer;
pub mod names;
pub mod strangers;
mod upload;

use crate::error::{Error, Kind, Result};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    RetryConfig,
};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use batch::Batch;
pub use upload::Upload;

/// Requests under way at once, for many small objects.
pub const CONCURRENCY: usize = 32;

/// The end of an object's path that its temporary file shows.
const TMP_NAME_CHARS: usize = 40;

/// Longest time that one request is tried again before the task gives up with exit code 75.
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_RETRIES: usize = 8;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Pauses before a read is tried again.
const READ_PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_millis(500)];

/// Times that a run tries to write what other runs write too.
pub const ATTEMPTS: u32 = 5;

/// Before every attempt but the first: waits a random while, up to 4 seconds before the last one, so
/// that runs that met don't meet again.
pub async fn step_aside(attempt: u32) {
    if attempt > 1 {
        let longest_ms = 125 << attempt;
        let random = RandomState::new().build_hasher().finish();
        tokio::time::sleep(Duration::from_millis(random % longest_ms)).await;
    }
}

/// A listed or written object; `path` is relative to the lake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    pub path: String,
    pub size: u64,
    /// Changes whenever the object's content is replaced.
    pub etag: String,
}

/// An object store seen from the lake's root.
#[derive(Clone, Debug)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    url: String,
    is_local: bool,
}

impl Lake {
    /// Opens `s3://bucket/prefix` (AWS_* environment variables) or `file:///folder`.
    ///
    /// # Errors
    /// Configuration errors for an unknown scheme, a query or fragment, a missing region or an unusable folder.
    pub fn open(url: &str) -> Result<Self> {
        let parsed = url::Url::parse(url).map_err(|error| {
            let advice = "use s3://bucket/prefix or file:///absolute/folder";
            Error::config(format!("LAKE_URL {url:?} is not a URL; {advice}")).because(error)
        })?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            let advice = "write a ? of its name as %3F and a # as %23";
            return Err(Error::config(format!("LAKE_URL {url:?} goes on after a ? or #; {advice}")));
        }
        match parsed.scheme() {
            "file" => Self::open_folder(url, &parsed),
            "s3" | "s3a" => Self::open_bucket(url, &parsed),
            scheme => Err(Error::config(format!(
                "LAKE_URL has scheme {scheme:?}; use s3://bucket/prefix or file:///absolute/folder"
            ))),
        }
    }

    fn open_folder(url: &str, parsed: &url::Url) -> Result<Self> {
        let folder = parsed
            .to_file_path()
            .map_err(|()| Error::config(format!("{url:?} is not an absolute local folder")))?;
        std::fs::create_dir_all(&folder)
            .map_err(|error| Error::config(format!("cannot make the lake folder {url}")).because(error))?;
        let store = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| Error::config(format!("cannot open the lake folder {url}")).because(error))?
            .with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), url: url.trim_end_matches('/').into(), is_local: true })
    }

    fn open_bucket(url: &str, parsed: &url::Url) -> Result<Self> {
        let bucket = parsed
            .host_str()
            .filter(|bucket| !bucket.is_empty())
            .ok_or_else(|| Error::config(format!("{url:?} names no bucket; use s3://bucket/prefix")))?;
        let client = ClientOptions::new()
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(seconds_from_env("AWS_TIMEOUT_SECONDS").unwrap_or(REQUEST_TIMEOUT))
            .with_allow_http(std::env::var("AWS_ALLOW_HTTP").is_ok_and(|v| v == "true" || v == "1"));
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: MAX_RETRIES,
            retry_timeout: retry_timeout(),
        };
        let store = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_client_options(client)
            .with_retry(retry)
            .build()
            .map_err(|error| {
                let advice = "check AWS_REGION, AWS_ENDPOINT_URL and the credentials";
                Error::config(format!("cannot use the lake {url}; {advice}")).because(error)
            })?;
        let prefix = Path::from(parsed.path().trim_matches('/'));
        let store: Arc<dyn ObjectStore> = if prefix.as_ref().is_empty() {
            Arc::new(store)
        } else {
            Arc::new(PrefixStore::new(store, prefix))
        };
        Ok(Self { store, url: url.trim_end_matches('/').into(), is_local: false })
    }

    /// The URL it was opened with; it holds no secret.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where a person finds an object.
    pub fn locate(&self, path: &str) -> String {
        format!("{}/{path}", self.url)
    }

    /// Writes of small objects worth having under way at once: on a local disk, more than one a core spin in the kernel
    /// until the folder is free.
    pub fn concurrent_writes(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        if self.is_local { cores.min(CONCURRENCY) } else { CONCURRENCY }
    }

    /// Reads a whole object with its ETag; none when there is none.
    pub async fn get(&self, path: &str) -> Result<Option<(Object, Bytes)>> {
        retried(|| self.get_once(path)).await
    }

    async fn get_once(&self, path: &str) -> Result<Option<(Object, Bytes)>> {
        let result = match self.store.get_opts(&key(path), GetOptions::default()).await {
            Err(object_store::Error::NotFound { .. }) => return self.absent_or_no_bucket(path).await,
            other => other.map_err(|error| self.failed("read", path, error))?,
        };
        let object = described(path, &result.meta);
        let bytes = result.bytes().await.map_err(|error| self.failed("read", path, error))?;
        if bytes.len() as u64 != object.size {
            return Err(Error::retry(format!("{} was cut short while reading", self.locate(path))));
        }
        Ok(Some((object, bytes)))
    }

    /// Reads some bytes of an object as it was listed or recorded; none when it is gone or was replaced.
    pub async fn read_range(&self, object: &Object, range: Range<u64>) -> Result<Option<Bytes>> {
        retried(|| self.read_range_once(object, range.clone())).await
    }

    async fn read_range_once(&self, object: &Object, range: Range<u64>) -> Result<Option<Bytes>> {
        // S3 wants entity tags in quotes; a local store compares them as they are kept.
        let etag = if self.is_local { object.etag.clone() } else { format!("\"{}\"", object.etag) };
        let options = GetOptions::new().with_range(Some(range.clone())).with_if_match(Some(etag));
        let path = &object.path;
        let result = match self.store.get_opts(&key(path), options).await {
            Err(object_store::Error::NotFound { .. } | object_store::Error::Precondition { .. }) => {
                return Ok(None);
            }
            other => other.map_err(|error| self.failed("read", path, error))?,
        };
        let bytes = result.bytes().await.map_err(|error| self.failed("read", path, error))?;
        if bytes.len() as u64 != range.end - range.start {
            return Err(Error::retry(format!("{} was cut short while reading", self.locate(path))));
        }
        Ok(Some(bytes))
    }

    /// A missing object is an answer, a missing bucket is an error: list to tell them apart.
    async fn absent_or_no_bucket<T>(&self, path: &str) -> Result<Option<T>> {
        let listed = self.store.list_with_delimiter(Some(&Path::from("_commits"))).await;
        listed.map(|_| None).map_err(|error| self.failed("read", path, error))
    }

    /// Size and ETag of an object; none when there is none.
    pub async fn head(&self, path: &str) -> Result<Option<Object>> {
        match self.store.head(&key(path)).await {
            Ok(meta) => Ok(Some(described(path, &meta))),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.failed("look up", path, error)),
        }
    }

    /// All objects below a folder, in name order.
    pub async fn list(&self, folder: &str) -> Result<Vec<Object>> {
        retried(|| self.list_once(folder)).await
    }

    async fn list_once(&self, folder: &str) -> Result<Vec<Object>> {
        let metas: Vec<_> = self
            .store
            .list(Some(&key(folder)))
            .try_collect()
            .await
            .map_err(|error| self.failed("list", folder, error))?;
        let mut objects: Vec<_> = metas.iter().map(|meta| described(meta.location.as_ref(), meta)).collect();
        objects.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(objects)
    }

    /// Replaces an object in one atomic step and checks what the store then holds.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<Object> {
        let size = bytes.len() as u64;
        let target = self.write_path(path);
        if let Err(error) = self.store.put(&target, PutPayload::from(bytes)).await {
            self.discard(&target).await;
            return Err(self.failed("write", path, error));
        }
        self.publish(&target, path, size).await
    }

    /// Starts writing many small objects together.
    pub fn batch(&self) -> Result<Batch> {
        Batch::start(self.clone())
    }

    /// Writes an object that is not there yet; false when there is one of this name with other content.
    pub async fn put_new(&self, path: &str, bytes: Bytes) -> Result<bool> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.store.put_opts(&key(path), bytes.clone().into(), options).await;
        match put {
            Ok(_) if self.is_local => {
                self.sync_bytes(&key(path))?;
                self.sync_name(&key(path))?;
                Ok(true)
            }
            Ok(_) => Ok(true),
            // A put that landed and whose answer was lost is tried again, and meets itself.
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(self.get(path).await?.is_some_and(|(_, found)| found == bytes))
            }
            Err(error) => Err(self.failed("write", path, error)),
        }
    }

    /// Gives a recorded object a second name, under which it stays when the first is given to another:
    /// a hard link on a disk, a copy within the store on S3. False when it is not the recorded one any
    /// more, and then the second name may be of another.
    pub async fn keep(&self, object: &Object, name: &str) -> Result<bool> {
        match self.store.copy(&key(&object.path), &key(name)).await {
            Err(object_store::Error::NotFound { .. }) => return Ok(false),
            other => other.map_err(|error| self.failed("write", name, error))?,
        }
        self.sync_name(&key(name))?;
        Ok(self.head(&object.path).await?.as_ref() == Some(object))
    }

    /// Starts a streamed upload of an object of unknown size.
    pub async fn upload(&self, path: &str) -> Result<Upload> {
        Upload::start(self.clone(), path).await
    }

    /// Deletes an object; an absent one is fine.
    pub async fn delete(&self, path: &str) -> Result<()> {
        match self.store.delete(&key(path)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.failed("delete", path, error)),
        }
    }

    /// Where the bytes of `path` go first: the object itself, or `_tmp/` on a local disk.
    fn write_path(&self, path: &str) -> Path {
        static SEQUENCE: AtomicU64 = AtomicU64::new(0);
        if !self.is_local {
            return key(path);
        }
        let sequence = SEQUENCE.fetch_add(1, Ordering::Relaxed);
        // For who looks into the folder: a name may not be longer than 255 bytes.
        let name = path.replace('/', "--");
        let last = name.char_indices().rev().nth(TMP_NAME_CHARS - 1).map_or(0, |(at, _)| at);
        let name = &name[last..];
        Path::from(format!("_tmp/{}-{sequence}-{name}", std::process::id()))
    }

    /// Makes written bytes visible under their name and checks that they are what was written; on S3 they are
    /// visible already.
    async fn publish(&self, written: &Path, path: &str, size: u64) -> Result<Object> {
        if self.is_local {
            self.sync_bytes(written)?;
            self.rename(written, path).await?;
            self.sync_name(&key(path))?;
        }
        self.checked(path, size).await
    }

    /// Moves bytes that were written beside their name to it.
    async fn rename(&self, written: &Path, path: &str) -> Result<()> {
        let renamed = self.store.rename(written, &key(path)).await;
        if let Err(error) = renamed {
            self.discard(written).await;
            return Err(self.failed("write", path, error));
        }
        Ok(())
    }

    /// Makes the bytes of a local file outlive a loss of power, which object_store does from 0.14 on.
    fn sync_bytes(&self, path: &Path) -> Result<()> {
        let Some(root) = self.local_root() else { return Ok(()) };
        std::fs::File::open(root.join(path.as_ref())).and_then(|file| file.sync_all())?;
        Ok(())
    }

    /// The same for a local file's name: the folder that holds it, and those above it, which may be new.
    fn sync_name(&self, path: &Path) -> Result<()> {
        let Some(root) = self.local_root() else { return Ok(()) };
        let file = root.join(path.as_ref());
        for folder in file.ancestors().skip(1).take_while(|folder| folder.starts_with(&root)) {
            match std::fs::File::open(folder).and_then(|folder| folder.sync_all()) {
                // Another task's cleaning took the folder that it found empty, and with it the name.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                done => done?,
            }
        }
        Ok(())
    }

    /// The folder of a lake on this machine.
    fn local_root(&self) -> Option<std::path::PathBuf> {
        let url = self.is_local.then(|| url::Url::parse(&self.url))?;
        url.ok()?.to_file_path().ok()
    }

    /// The object that was just written, if the store holds it.
    async fn checked(&self, path: &str, size: u64) -> Result<Object> {
        let stored = self.head(path).await?;
        stored.filter(|object| object.size == size).ok_or_else(|| {
            let place = self.locate(path);
            Error::retry(format!("{place} is not what was just written ({size} bytes); run again"))
        })
    }

    async fn discard(&self, written: &Path) {
        if self.is_local {
            // Nothing reads `_tmp/`, so a leftover does no harm.
            let _ = self.store.delete(written).await;
        }
    }

    /// One sentence and a kind for a store's error.
    fn failed(&self, verb: &str, path: &str, error: object_store::Error) -> Error {
        use object_store::Error as Store;
        let place = self.locate(path);
        let text = format!("{error:?}");
        let sentence = format!("cannot {verb} {place}");
        match &error {
            _ if text.contains("NoSuchBucket") => Error::config(format!(
                "the bucket of {} does not exist; create it or correct LAKE_URL",
                self.url
            )),
            Store::NotFound { .. } => Error::retry(format!("{sentence}: it is gone")),
            _ if lacks_credentials(&text) => Error::config(format!(
                "{sentence}: there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )),
            _ if is_denied(&error, &text) => Error::config(format!(
                "{sentence}: access denied; check the AWS_* credentials and the bucket's policy"
            )),
            Store::InvalidPath { .. } => Error::bug(sentence).because(error),
            _ if text.contains("StorageFull") || text.contains("os error 28") => {
                Error::retry(format!("{sentence}: no space left on the device; free some and run again"))
            }
            _ if text.contains("PermissionDenied") || text.contains("os error 13") => {
                Error::config(format!("{sentence}: permission denied")).because(error)
            }
            _ => Error::retry(sentence).because(error),
        }
    }
}

/// Reads again what was cut short: the client retries requests, not broken bodies.
async fn retried<T, F: Future<Output = Result<T>>>(read: impl Fn() -> F) -> Result<T> {
    for pause in READ_PAUSES {
        match read().await {
            Err(error) if error.kind() == Kind::Retry => tokio::time::sleep(pause).await,
            outcome => return outcome,
        }
    }
    read().await
}

/// Listing errors come as generic ones; their text has the status.
fn is_denied(error: &object_store::Error, text: &str) -> bool {
    use object_store::Error as Store;
    matches!(error, Store::PermissionDenied { .. } | Store::Unauthenticated { .. })
        || ["403 Forbidden", "401 Unauthorized"].iter().any(|status| text.contains(status))
        || ["AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId"]
            .iter()
            .any(|code| text.contains(code))
}

/// Without credentials in the environment the client asks the machine's own metadata service, which
/// only exists in the cloud.
pub(crate) fn lacks_credentials(text: &str) -> bool {
    text.contains("169.254.169.254") || text.contains("InstanceMetadata")
}

/// The store's name of an object, letter by letter: `a%2Fb` and `a#b` are no other names than they are.
fn key(path: &str) -> Path {
    Path::parse(path).unwrap_or_else(|_| Path::from(path))
}

fn described(path: &str, meta: &object_store::ObjectMeta) -> Object {
    let etag = meta.e_tag.clone().unwrap_or_default();
    Object { path: path.to_owned(), size: meta.size, etag: etag.trim_matches('"').to_owned() }
}

/// How long one request to Amazon is tried again: AWS_RETRY_SECONDS, or half a minute.
pub fn retry_timeout() -> Duration {
    seconds_from_env("AWS_RETRY_SECONDS").unwrap_or(RETRY_TIMEOUT)
}

fn seconds_from_env(name: &str) -> Option<Duration> {
    std::env::var(name).ok()?.parse().ok().map(Duration::from_secs)
}
