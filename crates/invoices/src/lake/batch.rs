//! Many small objects written together: on a local disk two flushes make them all outlive a loss of power, where
//! one for each object and its folders would take a millisecond each.

use super::{Lake, Object, key};
use crate::error::Result;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Objects on their way. On a local disk they are invisible before [`Batch::publish`], and gone when that is not called.
pub struct Batch {
    lake: Lake,
    /// The lake's folder on a local disk.
    root: Option<PathBuf>,
    /// The same, open from before the first byte, so that it is told of every byte that the disk could not write.
    folder: Option<File>,
    written: Mutex<Vec<Written>>,
}

/// An object whose bytes are written: on S3 it is there, on a local disk it waits for its name.
struct Written {
    place: Path,
    object: Object,
}

impl Batch {
    pub(super) fn start(lake: Lake) -> Result<Self> {
        let root = lake.local_root();
        let folder = root.as_ref().map(File::open).transpose()?;
        Ok(Self { lake, root, folder, written: Mutex::default() })
    }

    /// Writes one object and believes the store's answer: one [`Lake::list`] checks all of a folder together, where
    /// a look at each doubles the requests.
    pub async fn write(&self, path: &str, bytes: Bytes) -> Result<()> {
        let (place, size) = (self.lake.write_path(path), bytes.len() as u64);
        match self.lake.store.put(&place, PutPayload::from(bytes)).await {
            Ok(put) => {
                let etag = put.e_tag.unwrap_or_default().trim_matches('"').to_owned();
                let object = Object { path: path.to_owned(), size, etag };
                self.written.lock().unwrap_or_else(PoisonError::into_inner).push(Written { place, object });
                Ok(())
            }
            Err(error) => {
                self.lake.discard(&place).await;
                Err(self.lake.failed("write", path, error))
            }
        }
    }

    /// Makes all of them visible, each in one atomic step, and returns them in path order. Bytes are on the disk
    /// before any of them has its name, and names when this returns.
    pub async fn publish(&self) -> Result<Vec<Object>> {
        let mut written = std::mem::take(&mut *self.written.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(folder) = &self.folder {
            self.flush(folder, written.iter().map(|written| &written.place))?;
            for Written { place, object } in &written {
                self.lake.rename(place, &object.path).await?;
            }
            let names: Vec<_> = written.iter().map(|written| key(&written.object.path)).collect();
            self.flush(folder, &names)?;
        }
        written.sort_by(|a, b| a.object.path.cmp(&b.object.path));
        Ok(written.into_iter().map(|written| written.object).collect())
    }

    /// Flushes all that the file system holds: Linux has no call for a list of files.
    #[cfg(target_os = "linux")]
    fn flush<'a>(&self, folder: &File, _: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        nix::unistd::syncfs(folder).map_err(std::io::Error::from)?;
        Ok(())
    }

    #[cfg(not(target_os = "linux"))]
    fn flush<'a>(&self, _: &File, files: impl IntoIterator<Item = &'a Path>) -> Result<()> {
        for file in files {
            self.lake.sync_bytes(file)?;
            self.lake.sync_name(file)?;
        }
        Ok(())
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let Some(root) = &self.root else { return };
        for Written { place, .. } in self.written.get_mut().unwrap_or_else(PoisonError::into_inner) {
            // Nothing reads `_tmp/`, so a leftover does no harm.
            let _ = std::fs::remove_file(root.join(place.as_ref()));
        }
    }
}
