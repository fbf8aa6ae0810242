//! The thread that writes batches, one after the other, while the next one is decided. It tries until
//! the database answers; what it can't write is not lost, because offsets move with the decisions.

use super::kafka::SharedConsumer;
use crate::metrics::Metrics;
use crate::store::{Sealed, Store, Written};
use invoices::{Error, Kind, Result};
use postgres::Client;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Batches between decision and commit.
const QUEUED_MAX: usize = 2;

/// Hands batches to the writing thread.
pub struct Writer {
    sender: SyncSender<(u64, Box<Sealed>)>,
    progress: Arc<Progress>,
    /// Batches of an older generation were decided on a state that another consumer has overtaken.
    generation: u64,
}

/// How far the writing thread is.
#[derive(Default)]
pub struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    pending: usize,
    fenced_generation: Option<u64>,
    failure: Option<Error>,
}

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until everything handed over is written or discarded; false when it takes longer.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        let mut state = self.state();
        while state.pending > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.failure.is_some() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Writer {
    pub fn start(store: Store, consumer: SharedConsumer, metrics: Arc<Metrics>) -> Self {
        let (sender, receiver) = sync_channel(QUEUED_MAX);
        let progress = Arc::new(Progress::default());
        let thread = Thread { store, consumer, metrics, progress: Arc::clone(&progress), client: None };
        std::thread::spawn(move || thread.run(&receiver));
        Self { sender, progress, generation: 0 }
    }

    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Hands a batch over, or back when the queue is full.
    pub fn try_send(&self, batch: Box<Sealed>) -> std::result::Result<(), Box<Sealed>> {
        self.progress.state().pending += 1;
        match self.sender.try_send((self.generation, batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full((_, batch)) | TrySendError::Disconnected((_, batch))) => {
                self.progress.state().pending -= 1;
                Err(batch)
            }
        }
    }

    /// Whether another consumer owns a partition; then all state must be loaded again.
    ///
    /// # Errors
    /// What ended the writing thread.
    pub fn check_fenced(&mut self) -> Result<bool> {
        let mut state = self.progress.state();
        if let Some(failure) = state.failure.take() {
            return Err(failure);
        }
        let fenced = state.fenced_generation == Some(self.generation);
        if fenced {
            self.generation += 1;
        }
        Ok(fenced)
    }
}

struct Thread {
    store: Store,
    consumer: SharedConsumer,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    client: Option<Client>,
}

impl Thread {
    fn run(mut self, batches: &Receiver<(u64, Box<Sealed>)>) {
        while let Ok((generation, batch)) = batches.recv() {
            let is_overtaken =
                self.progress.state().fenced_generation.is_some_and(|fenced| generation <= fenced);
            let written = if is_overtaken { Ok(Written::Fenced) } else { self.write(&batch) };
            let mut state = self.progress.state();
            match written {
                Ok(Written::Done) => {}
                Ok(Written::Fenced) => state.fenced_generation = Some(generation),
                Err(error) => state.failure = Some(error),
            }
            state.pending -= 1;
            drop(state);
            self.progress.changed.notify_all();
        }
    }

    /// Tries until the database says yes or no.
    fn write(&mut self, batch: &Sealed) -> Result<Written> {
        let mut pause = RETRY_FIRST;
        loop {
            match self.try_once(batch) {
                Ok(Written::Done) => {
                    self.metrics.written(batch);
                    self.metrics.set_database_up(true);
                    self.hint_offsets(batch);
                    return Ok(Written::Done);
                }
                Ok(Written::Fenced) => {
                    tracing::warn!("another consumer has moved a partition; loading it again");
                    return Ok(Written::Fenced);
                }
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; trying again in {} ms", pause.as_millis());
                    self.metrics.set_database_up(false);
                    self.client = None;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_once(&mut self, batch: &Sealed) -> Result<Written> {
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(self.store.connect()?),
        };
        self.store.write(client, batch)
    }

    /// Tells the broker where the group is, for people and tools that look there.
    fn hint_offsets(&self, batch: &Sealed) {
        let mut offsets = TopicPartitionList::new();
        for (partition, step) in &batch.steps {
            let _ = offsets.add_partition_offset(&self.store.topic, *partition, Offset::Offset(step.to));
        }
        let _ = self.consumer.commit(&offsets, CommitMode::Async);
    }
}
