//! A streamed upload with backpressure: whoever writes waits while too many parts are under way.

use super::{Lake, Object};
use crate::error::Result;
use bytes::Bytes;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload, WriteMultipart};

/// S3 wants parts of at least 5 MiB; all but the last have this size.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Parts of one object under way at once.
const PARTS_IN_FLIGHT: usize = 2;

/// An object being written; nothing is visible before [`Upload::finish`].
pub struct Upload {
    lake: Lake,
    path: String,
    target: Path,
    /// Bytes of an object that may yet fit one part; then one plain put does.
    head: Vec<Bytes>,
    head_bytes: usize,
    multipart: Option<WriteMultipart>,
    size: u64,
}

impl Upload {
    pub(super) async fn start(lake: Lake, path: &str) -> Result<Self> {
        let target = lake.write_path(path);
        let path = path.to_owned();
        Ok(Self { lake, path, target, head: Vec::new(), head_bytes: 0, multipart: None, size: 0 })
    }

    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        if self.multipart.is_none() {
            self.head_bytes += bytes.len();
            self.head.push(bytes);
            if self.head_bytes > PART_BYTES {
                self.go_multipart().await?;
            }
            return Ok(());
        }
        if let Some(multipart) = &mut self.multipart {
            let ready = multipart.wait_for_capacity(PARTS_IN_FLIGHT).await;
            ready.map_err(|error| self.lake.failed("write", &self.path, error))?;
            multipart.put(bytes);
        }
        Ok(())
    }

    async fn go_multipart(&mut self) -> Result<()> {
        let started: Box<dyn MultipartUpload> = self
            .lake
            .store
            .put_multipart(&self.target)
            .await
            .map_err(|error| self.lake.failed("write", &self.path, error))?;
        let mut multipart = WriteMultipart::new_with_chunk_size(started, PART_BYTES);
        for bytes in self.head.drain(..) {
            multipart.put(bytes);
        }
        self.multipart = Some(multipart);
        Ok(())
    }

    /// Makes the object visible, whole, replacing what was there.
    pub async fn finish(mut self) -> Result<Object> {
        let written = match self.multipart.take() {
            Some(multipart) => multipart.finish().await.map(|_| ()),
            None => {
                let payload: PutPayload = self.head.drain(..).collect();
                self.lake.store.put(&self.target, payload).await.map(|_| ())
            }
        };
        if let Err(error) = written {
            self.lake.discard(&self.target).await;
            return Err(self.lake.failed("write", &self.path, error));
        }
        self.lake.publish(&self.target, &self.path, self.size).await
    }

    /// Gives up: parts already sent are removed, nothing becomes visible.
    pub async fn abort(mut self) {
        if let Some(multipart) = self.multipart.take() {
            // The store forgets unfinished uploads by its own lifecycle rule if this fails too.
            let _ = multipart.abort().await;
        }
    }
}
