//! Checkpoints while decisions go on: a thread rebuilds a partition's state from the checkpoint before and the
//! decisions that were written since, and writes that. The deciding thread gives nothing away and waits for nothing,
//! and no checkpoint holds what is not committed.

use super::assignment::Partition;
use crate::checkpoint::Checkpoints;
use crate::store::{Loaded, Store};
use invoices::Result;
use postgres::Client;
use std::collections::HashMap;
use std::sync::mpsc::{SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};

/// Time for the checkpoints at the end, within the contract's ten seconds.
const AT_END: Duration = Duration::from_secs(3);

/// Asks the thread for checkpoints.
pub struct Checkpointer {
    pub checkpoints: Checkpoints,
    store: Store,
    every: u64,
    sender: SyncSender<i32>,
    /// Decisions of each partition at its last checkpoint.
    kept: HashMap<i32, u64>,
}

impl Checkpointer {
    pub fn start(store: Store, checkpoints: Checkpoints, every: u64) -> Self {
        // Without a buffer, so that a partition is taken only by a thread that has nothing to do.
        let (sender, receiver) = sync_channel(0);
        let (store_of_thread, checkpoints_of_thread) = (store.clone(), checkpoints.clone());
        std::thread::spawn(move || {
            for partition in receiver {
                let written = rebuild_and_keep(&store_of_thread, &checkpoints_of_thread, partition);
                say_failure(partition, written);
            }
        });
        Self { checkpoints, store, every, sender, kept: HashMap::new() }
    }

    /// Takes note of what a partition was loaded with.
    pub fn loaded(&mut self, partition: i32, decisions_kept: u64) {
        self.kept.insert(partition, decisions_kept);
    }

    /// Asks for a checkpoint of each partition that has decided enough since its last one.
    pub fn look(&mut self, partitions: &HashMap<i32, Partition>) {
        for (number, partition) in partitions {
            let decisions = partition.loaded.decisions;
            let kept = self.kept.entry(*number).or_default();
            if decisions.saturating_sub(*kept) >= self.every && self.sender.try_send(*number).is_ok() {
                *kept = decisions;
            }
        }
    }

    /// Writes the states as they are, all decisions written and none by another consumer; what takes too long is left.
    pub fn keep_at_end(self, partitions: HashMap<i32, Partition>) {
        let (done, all_done) = channel();
        std::thread::spawn(move || {
            let outcome = self.store.connect().and_then(|mut client| {
                for (number, partition) in &partitions {
                    keep(&self.store, &mut client, &self.checkpoints, *number, &partition.loaded)?;
                }
                Ok(())
            });
            let _ = done.send(outcome);
        });
        match all_done.recv_timeout(AT_END) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("no checkpoint was written at the end: {error}"),
            Err(_) => tracing::warn!("not all checkpoints were written within {} s", AT_END.as_secs()),
        }
    }
}

fn rebuild_and_keep(store: &Store, checkpoints: &Checkpoints, partition: i32) -> Result<()> {
    let mut client = store.connect()?;
    let loaded = store.load(&mut client, partition, Some(checkpoints))?;
    keep(store, &mut client, checkpoints, partition, &loaded)
}

/// Writes the checkpoint of a state whose decisions are committed, if there are any since the one it came from.
fn keep(
    store: &Store,
    client: &mut Client,
    checkpoints: &Checkpoints,
    partition: i32,
    loaded: &Loaded,
) -> Result<()> {
    let started = Instant::now();
    if loaded.decisions == loaded.decisions_kept {
        return Ok(());
    }
    let Some(head) = store.head_of(client, partition, loaded)? else { return Ok(()) };
    let bytes = checkpoints.write(&head, &loaded.engine, &loaded.ids)?;
    let (place, decisions, seconds) = (head.place, head.decisions, started.elapsed().as_secs_f32());
    tracing::info!(partition, place, decisions, bytes, seconds, "checkpoint written");
    Ok(())
}

fn say_failure(partition: i32, written: Result<()>) {
    if let Err(error) = written {
        tracing::warn!(
            partition,
            "the checkpoint was not written: {error}; a start reads more decisions meanwhile"
        );
    }
}
