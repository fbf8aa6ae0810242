//! Where checkpoints are: `_checkpoints/TOPIC/PARTITION/PLACE` in an object store or a folder, each put in one step.

use super::bytes::{decode, encode};
use super::{Checkpoint, Head};
use crate::engine::Engine;
use invoices::lake::{Lake, Object};
use invoices::{Error, Result, failpoint};
use roaring::RoaringTreemap;
use tokio::runtime::Handle;

/// The newest, and one to go on from when it can't be used.
const KEPT: usize = 2;

/// The checkpoints of one topic.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    lake: Lake,
    topic: String,
    runtime: Handle,
}

impl Checkpoints {
    /// Opens `s3://bucket/prefix` or `file:///folder`.
    ///
    /// # Errors
    /// Configuration for a URL that is neither, and a folder that can't be made.
    pub fn open(url: &str, topic: &str, runtime: Handle) -> Result<Self> {
        if !["s3://", "s3a://", "file:///"].iter().any(|scheme| url.starts_with(scheme)) {
            let advice = "use s3://bucket/prefix or file:///absolute/folder";
            return Err(Error::config(format!(
                "--checkpoints {url:?} is not a place for checkpoints; {advice}"
            )));
        }
        let lake = Lake::open(url)?;
        Ok(Self { lake, topic: topic.to_owned(), runtime })
    }

    fn folder(&self, partition: i32) -> String {
        format!("_checkpoints/{}/{partition}", self.topic)
    }

    fn path(&self, partition: i32, place: i64) -> String {
        format!("{}/{place:020}", self.folder(partition))
    }

    /// The newest checkpoint that is whole and fits the decisions below `place`, which `fits` asks; what is not used
    /// is said. A store that doesn't answer is said too: it is a cache.
    ///
    /// # Errors
    /// Those of `fits`.
    pub fn newest(
        &self,
        partition: i32,
        place: i64,
        mut fits: impl FnMut(&Head) -> Result<bool>,
    ) -> Result<Option<Checkpoint>> {
        for (found, object) in self.listed(partition).into_iter().rev() {
            let refusal = if found > place {
                "it lies behind the last decision of this database".to_owned()
            } else {
                match self.read(partition, &object) {
                    Ok(checkpoint) if fits(&checkpoint.head)? => return Ok(Some(checkpoint)),
                    Ok(_) => "this database holds other decisions than those it was made of".to_owned(),
                    Err(refusal) => refusal,
                }
            };
            tracing::warn!(
                partition,
                "the checkpoint {} is not used: {refusal}; going on from the one before it, or from the decisions",
                self.lake.locate(&object.path)
            );
        }
        Ok(None)
    }

    fn read(&self, partition: i32, object: &Object) -> std::result::Result<Checkpoint, String> {
        failpoint!("checkpoint::before_read");
        match self.runtime.block_on(self.lake.get(&object.path)) {
            Ok(Some((_, bytes))) => decode(&bytes, &self.topic, partition),
            Ok(None) => Err("it is gone".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Places and objects, oldest first; none, and a sentence, when the store doesn't answer.
    fn listed(&self, partition: i32) -> Vec<(i64, Object)> {
        match self.list(partition) {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(partition, "no checkpoint is used: {error}; going on from the decisions");
                Vec::new()
            }
        }
    }

    fn list(&self, partition: i32) -> Result<Vec<(i64, Object)>> {
        let objects = self.runtime.block_on(self.lake.list(&self.folder(partition)))?;
        let place = |object: &Object| object.path.rsplit('/').next()?.parse().ok();
        Ok(objects.into_iter().filter_map(|object| Some((place(&object)?, object))).collect())
    }

    /// Writes a checkpoint in one step and deletes all but the last two up to it; its size in bytes.
    ///
    /// # Errors
    /// Those of the store; the checkpoints before stay.
    pub fn write(&self, head: &Head, engine: &Engine, ids: &RoaringTreemap) -> Result<u64> {
        let bytes = encode(head, engine, ids)
            .map_err(|error| Error::bug("cannot compress a checkpoint").because(error))?;
        failpoint!("checkpoint::before_put");
        let path = self.path(head.partition, head.place);
        let object = self.runtime.block_on(self.lake.put(&path, bytes.into()))?;
        failpoint!("checkpoint::before_delete");
        let listed = self.list(head.partition)?;
        let up_to_it = listed.iter().filter(|(place, _)| *place <= head.place);
        for (_, older) in up_to_it.rev().skip(KEPT) {
            self.runtime.block_on(self.lake.delete(&older.path))?;
        }
        failpoint!("checkpoint::after_delete");
        Ok(object.size)
    }
}
