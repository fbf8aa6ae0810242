//! What is looked at once a second: figures for the metrics, logs that seem to be others, partitions that stand still.

use super::watchdog::Remedy;
use super::{LOOK_EVERY, Service};
use invoices::{Error, Result};
use rdkafka::consumer::Consumer;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The end of a log is asked for every second, so it is known a little later than it is reached.
const LOOK_SLACK: Duration = Duration::from_secs(2);

impl Service<'_> {
    /// Once a second: metrics, and partitions that stand still.
    pub(super) fn look_around(&mut self) -> Result<()> {
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.looked = Instant::now();
        let context = self.consumer.context();
        let (assigned, ends) = (context.assigned(), context.ends());
        let businesses =
            self.partitions.values().map(|partition| partition.loaded.engine.state.businesses()).sum();
        self.metrics.turned(context.rebalances(), assigned.len(), businesses);
        self.metrics.rules(self.rules.reloads_failed, self.rules.differences);
        if let Some(checkpointer) = &mut self.checkpointer {
            checkpointer.look(&self.partitions);
        }
        let mut lag = BTreeMap::new();
        let mut heal = Vec::new();
        let topic_id = context.topic_id().filter(|id| !id.is_empty());
        for number in assigned {
            let (Some(end), Some(partition)) = (ends.get(&number), self.partitions.get_mut(&number)) else {
                continue;
            };
            let position = partition.loaded.next_offset;
            let is_read = self.at_end.contains_key(&number);
            if partition.is_doubtful(*end, topic_id.as_deref(), is_read) {
                self.doubted.insert(number);
            }
            partition.looked = Some((position, self.looked));
            lag.insert(number, (end.offset - position).max(0));
            // Read to the end that is known; what lies between is transaction markers.
            let is_at_end = self.at_end.get(&number).is_some_and(|at| *at + LOOK_SLACK >= end.since);
            let end = if is_at_end { position } else { end.offset };
            match self.watchdog.look(self.looked, number, position, end) {
                Some(Remedy::Seek) => heal.push((number, position)),
                Some(Remedy::GiveUp) => {
                    return Err(Error::retry(format!(
                        "partition {number} stands still at offset {position}"
                    )));
                }
                None => {}
            }
        }
        self.metrics.set_lag(lag);
        for (partition, offset) in heal {
            tracing::error!(partition, offset, "the partition stands still; fetching it again");
            self.metrics.healed();
            if let Ok(assignment) = self.consumer.assignment() {
                let _ = self.consumer.resume(&assignment);
            }
            self.seek(partition, offset);
        }
        if !self.partitions.is_empty()
            && invoices::task::is_failpoint_set("risk::stall")
            && let Ok(assignment) = self.consumer.assignment()
        {
            let _ = self.consumer.pause(&assignment);
        }
        Ok(())
    }
}
