//! Partitions that this consumer decides: loaded when they are assigned, forgotten when they are not its own any more.

use super::kafka::End;
use super::{BEFORE_REVOKE, Service};
use crate::store::Loaded;
use invoices::Result;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use std::time::{Duration, Instant};

/// A partition that this consumer decides.
pub(super) struct Partition {
    pub(super) loaded: Loaded,
    /// Sought to its own offset once; larger offsets after that are holes in the log.
    pub(super) is_placed: bool,
    /// Where it was when it was looked at last.
    pub(super) looked: Option<(i64, Instant)>,
}

impl Partition {
    /// Whether the log seems to be another one, or to have lost what comes next; the database and the
    /// brokers are asked before anything is concluded.
    pub(super) fn is_doubtful(&self, end: End, topic_id: Option<&str>, is_read: bool) -> bool {
        let noted = self.loaded.topic_id.as_deref();
        if topic_id.is_some_and(|id| noted.is_some_and(|noted| noted != id)) {
            return true;
        }
        // A position that was reached after the broker was asked may well lie behind that end.
        let Some((position, _)) = self.looked.filter(|(_, at)| *at < end.asked) else { return false };
        let stands_still = position == self.loaded.next_offset && !is_read;
        end.offset < position || (end.low > position && stands_still)
    }
}

impl Service<'_> {
    /// Loads a partition that was assigned and goes to its own offset, whatever the broker's says.
    pub(super) fn begin(&mut self, partition: i32) -> Result<()> {
        if !self.consumer.context().assigned().contains(&partition) {
            return Ok(());
        }
        self.load(partition)?;
        if let Some(loaded) = self.partitions.get(&partition) {
            let offset = loaded.loaded.next_offset;
            self.seek(partition, offset);
        }
        Ok(())
    }

    /// Writes what is decided and loads a partition from the database, which asks whose log it is.
    pub(super) fn begin_again(&mut self, partition: i32) -> Result<()> {
        self.flush()?;
        self.forget(partition);
        self.begin(partition)
    }

    pub(super) fn load(&mut self, partition: i32) -> Result<()> {
        let started = Instant::now();
        let checkpoints = self.checkpointer.as_ref().map(|checkpointer| checkpointer.checkpoints.clone());
        let loaded = loop {
            let loaded =
                self.with_database(|store, client| store.load(client, partition, checkpoints.as_ref()))?;
            let Some(loaded) = loaded else { return Ok(()) };
            if self.belongs(partition, &loaded)? {
                break loaded;
            }
        };
        tracing::info!(
            partition,
            next_offset = loaded.next_offset,
            invoices = loaded.ids.len(),
            decisions = loaded.decisions,
            from_checkpoint = loaded.decisions_kept,
            businesses = loaded.engine.state.businesses(),
            seconds = started.elapsed().as_secs_f32(),
            "state loaded"
        );
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.loaded(partition, loaded.decisions_kept);
        }
        self.partitions.insert(partition, Partition { loaded, is_placed: false, looked: None });
        Ok(())
    }

    pub(super) fn seek(&mut self, partition: i32, offset: i64) {
        let done =
            self.consumer.seek(&self.args.topic, partition, Offset::Offset(offset), Duration::from_secs(5));
        self.at_end.remove(&partition);
        if let Err(error) = done {
            // The partition is loaded and sought again with its next message.
            tracing::warn!(partition, offset, "cannot seek: {error}");
            self.partitions.remove(&partition);
        }
    }

    pub(super) fn forget(&mut self, partition: i32) {
        self.partitions.remove(&partition);
        self.letters.forget(partition);
        self.at_end.remove(&partition);
    }

    /// Loads every partition again from the database, offsets included.
    pub(super) fn forget_all(&mut self) -> Result<()> {
        self.writer.discard(BEFORE_REVOKE);
        let numbers: Vec<i32> = self.partitions.keys().copied().collect();
        for partition in numbers {
            self.forget(partition);
        }
        for partition in self.consumer.context().assigned() {
            self.begin(partition)?;
        }
        Ok(())
    }
}
