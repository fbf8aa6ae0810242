//! Messages as they come next in their partitions: what is taken at once, what was decided already, what is missing.

use super::Service;
use super::kafka::SharedConsumer;
use invoices::Result;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// How long one poll waits for a first message.
pub(super) const IDLE: Duration = Duration::from_millis(100);
/// Most bytes of one batch; a single message may be larger.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

impl Service<'_> {
    /// Takes what is there, up to the batch's limits; waits only for the first message, and no longer
    /// than the open batch does.
    pub(super) fn collect<'m>(&mut self, consumer: &'m SharedConsumer) -> Result<Vec<BorrowedMessage<'m>>> {
        let mut messages = Vec::new();
        let mut bytes = 0;
        let mut wait = self.writer.due_in().unwrap_or(IDLE);
        while messages.len() < self.args.service.batch_max as usize && bytes < BATCH_BYTES_MAX {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    wait = Duration::ZERO;
                    bytes += message.payload_len();
                    self.at_end.remove(&message.partition());
                    messages.push(message);
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.at_end.insert(partition, Instant::now());
                    wait = Duration::ZERO;
                }
                Some(Err(error)) => {
                    if error.rdkafka_error_code()
                        == Some(rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition)
                    {
                        tracing::warn!("the topic {} does not exist yet", self.args.topic);
                    } else {
                        tracing::warn!("Kafka: {error}");
                    }
                    break;
                }
                None => break,
            }
        }
        Ok(messages)
    }

    /// The messages that come next in their partitions; partitions that are new are loaded and placed.
    pub(super) fn in_order<'m>(
        &mut self,
        messages: Vec<BorrowedMessage<'m>>,
    ) -> Result<Vec<BorrowedMessage<'m>>> {
        let assigned = self.consumer.context().assigned();
        let mut next: HashMap<i32, i64> = HashMap::new();
        let mut seek: BTreeMap<i32, i64> = BTreeMap::new();
        let mut holes: BTreeMap<i32, i64> = BTreeMap::new();
        let mut kept = Vec::with_capacity(messages.len());
        for message in messages {
            let (number, offset) = (message.partition(), message.offset());
            if seek.contains_key(&number) || !assigned.contains(&number) {
                continue;
            }
            if !self.partitions.contains_key(&number) {
                self.load(number)?;
            }
            let Some(partition) = self.partitions.get_mut(&number) else { continue };
            let wanted = *next.get(&number).unwrap_or(&partition.loaded.next_offset);
            if !partition.is_placed {
                partition.is_placed = true;
                if offset != wanted {
                    seek.insert(number, wanted);
                    continue;
                }
            }
            if offset < wanted {
                continue;
            }
            if offset > wanted {
                tracing::info!(partition = number, from = wanted, to = offset, "offsets are not in the log");
                holes.entry(number).or_insert(wanted);
            }
            next.insert(number, offset + 1);
            kept.push(message);
        }
        for (partition, offset) in seek {
            self.seek(partition, offset);
        }
        for (partition, from) in holes {
            if !self.is_within_log(partition, from) {
                kept.retain(|message| message.partition() != partition);
                self.begin_again(partition)?;
            }
        }
        Ok(kept)
    }

    pub(super) fn is_finished(&self) -> bool {
        let assigned = self.consumer.context().assigned();
        self.args.service.exit_at_end
            && !assigned.is_empty()
            && assigned.iter().all(|partition| self.at_end.contains_key(partition))
    }
}
