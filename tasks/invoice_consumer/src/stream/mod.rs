//! The service: Kafka in, decisions in Postgres out, each effect exactly once.
//!
//! One thread polls, decodes and decides; another writes the batch before. A partition's state and
//! offset are loaded from the database when its first message arrives, whatever the broker's offset
//! says; a batch moves the offset from where it was loaded, in the transaction of its decisions, so a
//! crash, a rebalance or a second owner can neither lose nor repeat anything.

mod assignment;
mod batching;
mod checkpointer;
pub mod dead_letters;
mod decide;
pub mod kafka;
mod lookout;
mod order;
mod place;
mod service;
mod topics;
mod waiting;
mod watchdog;
mod writer;

use crate::args::Args;
use invoices::Result;
use invoices::task::Task;
use rdkafka::consumer::Consumer;
use serde_json::Value;
use service::Service;
use std::sync::Arc;
use std::time::Duration;

/// Time to write what is decided before partitions are given away.
const BEFORE_REVOKE: Duration = Duration::from_secs(8);
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Runs the service until it is asked to end, or, with `--exit-at-end`, until everything is decided.
///
/// # Errors
/// Configuration at the start, and when topic or source begin anew; retry when a stuck partition can't be
/// healed. A database or a broker that is away is waited for.
pub fn run(args: &Args, brokers: &str, decisions: &str, task: &Task) -> Result<Value> {
    let mut service = Service::open(args, brokers, decisions, task)?;
    let outcome = service.run(task);
    service.end(outcome, task)
}

impl Service<'_> {
    fn run(&mut self, task: &Task) -> Result<()> {
        let consumer = Arc::clone(&self.consumer);
        while task.check_stop().is_ok() {
            self.look_around()?;
            self.refresh_rules()?;
            let messages = self.collect(&consumer)?;
            if self.writer.check_fenced()? {
                self.forget_all()?;
                continue;
            }
            let mut changed = consumer.context().take_changed();
            changed.append(&mut self.doubted);
            if !changed.is_empty() {
                self.flush()?;
            }
            for partition in changed {
                self.forget(partition);
                self.begin(partition)?;
            }
            if !messages.is_empty() {
                self.decide_all(messages)?;
            } else if self.is_finished() && !self.writer.has_open() {
                break;
            }
            self.hand_over()?;
        }
        Ok(())
    }
}
