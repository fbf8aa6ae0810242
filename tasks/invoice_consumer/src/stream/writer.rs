//! From decisions to transactions. What is decided gathers in an open batch while the batch before it
//! is written by a thread; so a busy database makes batches larger instead of making messages wait.
//! The thread tries until the database answers; what it can't write is not lost, because offsets move
//! with the decisions.

use super::kafka::SharedConsumer;
use crate::metrics::Metrics;
use crate::store::{Batch, Sealed, Session, Store, Written};
use invoices::{Error, Kind, Result};
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Batches between decision and commit.
const QUEUED_MAX: usize = 2;
/// Shortest time between two transactions while there is little to write: a transaction for every
/// message would cost more than the decisions.
const PACE: Duration = Duration::from_millis(5);
/// How often the broker hears where the group is.
const HINT_EVERY: Duration = Duration::from_secs(1);

/// Gathers batches and hands them to the writing thread.
pub struct Writer {
    sender: SyncSender<(u64, Box<Sealed>)>,
    progress: Arc<Progress>,
    open: Mutex<Open>,
    /// Batches of an older generation were decided on a state that another consumer has overtaken.
    generation: AtomicU64,
}

/// What is decided and not handed over yet.
struct Open {
    batch: Option<Batch>,
    handed_over: Instant,
}

/// How far the writing thread is.
#[derive(Default)]
struct Progress {
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

    /// Waits until no more than `pending` batches are unwritten; false when it takes longer.
    fn wait(&self, pending: usize, deadline: Instant) -> bool {
        let mut state = self.state();
        while state.pending > pending {
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
        let (sender, receiver) = sync_channel(QUEUED_MAX + 1);
        let progress = Arc::new(Progress::default());
        let thread = Thread {
            store,
            consumer,
            metrics,
            progress: Arc::clone(&progress),
            session: None,
            hints: BTreeMap::new(),
            hinted: Instant::now(),
        };
        std::thread::spawn(move || thread.run(&receiver));
        let open = Mutex::new(Open { batch: None, handed_over: Instant::now() });
        Self { sender, progress, open, generation: AtomicU64::new(0) }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the open batch to add to it.
    pub fn take_open(&self) -> Option<Batch> {
        self.open().batch.take()
    }

    pub fn put_open(&self, batch: Batch) {
        self.open().batch = Some(batch);
    }

    pub fn has_open(&self) -> bool {
        self.open().batch.is_some()
    }

    /// How long to wait for further messages of the open batch, whole milliseconds; none without one.
    pub fn due_in(&self) -> Option<Duration> {
        let open = self.open();
        open.batch.as_ref()?;
        let left = PACE.saturating_sub(open.handed_over.elapsed());
        let is_busy = self.progress.state().pending > 0;
        if left.is_zero() && !is_busy {
            return Some(Duration::ZERO);
        }
        // When a busy thread will be free is not known.
        Some(Duration::from_millis(left.as_millis() as u64 + 1))
    }

    /// Hands the open batch over when the thread waits for one, or when it has `messages_max`. False
    /// when a full one finds no room in the queue.
    pub fn hand_over(&self, messages_max: u64) -> bool {
        let is_full = self.open().batch.as_ref().is_some_and(|batch| batch.messages >= messages_max);
        if is_full || self.due_in() == Some(Duration::ZERO) { self.send() || !is_full } else { true }
    }

    /// False when the queue is full; the batch stays open then.
    fn send(&self) -> bool {
        let mut open = self.open();
        let mut state = self.progress.state();
        if state.pending > QUEUED_MAX {
            return false;
        }
        let Some(batch) = open.batch.take() else { return true };
        state.pending += 1;
        drop(state);
        open.handed_over = Instant::now();
        // The queue has room for all that can be pending.
        if self.sender.try_send((self.generation.load(Ordering::Relaxed), batch.seal())).is_err() {
            self.progress.state().failure = Some(Error::bug("the writing thread has ended"));
        }
        true
    }

    /// Waits for room in the queue; false when it takes longer.
    pub fn wait_for_room(&self, timeout: Duration) -> bool {
        self.progress.wait(QUEUED_MAX, Instant::now() + timeout)
    }

    /// Writes everything that is decided; false when it takes longer.
    pub fn flush(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while !self.send() {
            if !self.progress.wait(QUEUED_MAX, deadline) {
                return false;
            }
        }
        self.progress.wait(0, deadline)
    }

    /// Forgets what is decided and not handed over, and waits for the rest.
    pub fn discard(&self, timeout: Duration) {
        drop(self.take_open());
        self.progress.wait(0, Instant::now() + timeout);
    }

    /// # Errors
    /// What made writing impossible.
    pub fn check(&self) -> Result<()> {
        self.progress.state().failure.take().map_or(Ok(()), Err)
    }

    /// Whether another consumer owns a partition; then all state must be loaded again.
    ///
    /// # Errors
    /// What made writing impossible.
    pub fn check_fenced(&self) -> Result<bool> {
        self.check()?;
        let state = self.progress.state();
        let generation = self.generation.load(Ordering::Relaxed);
        let is_fenced = state.fenced_generation == Some(generation);
        if is_fenced {
            self.generation.store(generation + 1, Ordering::Relaxed);
        }
        Ok(is_fenced)
    }
}

struct Thread {
    store: Store,
    consumer: SharedConsumer,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    session: Option<Session>,
    hints: BTreeMap<i32, i64>,
    hinted: Instant,
}

impl Thread {
    fn run(mut self, batches: &Receiver<(u64, Box<Sealed>)>) {
        loop {
            match batches.recv_timeout(HINT_EVERY) {
                Ok((generation, batch)) => self.deal_with(generation, &batch),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.hinted.elapsed() >= HINT_EVERY {
                self.hint_offsets();
            }
        }
        self.hint_offsets();
    }

    fn deal_with(&mut self, generation: u64, batch: &Sealed) {
        let is_overtaken = self.progress.state().fenced_generation.is_some_and(|fenced| generation <= fenced);
        let written = if is_overtaken { Ok(Written::Fenced) } else { self.write(batch) };
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

    /// Tries until the database says yes or no.
    fn write(&mut self, batch: &Sealed) -> Result<Written> {
        let mut pause = RETRY_FIRST;
        loop {
            let started = Instant::now();
            match self.try_once(batch) {
                Ok(Written::Done) => {
                    self.metrics.transaction(started.elapsed());
                    self.metrics.written(batch);
                    self.metrics.set_database_up(true);
                    self.hints.extend(batch.steps.iter().map(|(partition, step)| (*partition, step.to)));
                    return Ok(Written::Done);
                }
                Ok(Written::Fenced) => {
                    tracing::warn!("another consumer has moved a partition; loading it again");
                    return Ok(Written::Fenced);
                }
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; trying again in {} ms", pause.as_millis());
                    self.metrics.set_database_up(false);
                    self.session = None;
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn try_once(&mut self, batch: &Sealed) -> Result<Written> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(self.store.session()?),
        };
        self.store.write(session, batch)
    }

    /// Tells the broker where the group is, for people and tools that look there.
    fn hint_offsets(&mut self) {
        self.hinted = Instant::now();
        if self.hints.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in std::mem::take(&mut self.hints) {
            let _ = offsets.add_partition_offset(&self.store.topic, partition, Offset::Offset(next));
        }
        let _ = self.consumer.commit(&offsets, CommitMode::Async);
    }
}
