//! Waiting for what is away, the database or the dead-letter topic, while the group hears that this consumer lives.

use super::dead_letters::Letter;
use super::{LOOK_EVERY, Service};
use crate::store::Store;
use invoices::{Kind, Result};
use postgres::Client;
use rdkafka::consumer::Consumer;
use rdkafka::message::{BorrowedMessage, Message};
use std::time::Duration;

pub(super) const RETRY: Duration = Duration::from_millis(500);

impl Service<'_> {
    /// Asks the database until it answers; none when the process is to end.
    pub(super) fn with_database<T>(
        &mut self,
        ask: impl Fn(&Store, &mut Client) -> Result<T>,
    ) -> Result<Option<T>> {
        loop {
            let client = match self.client.take() {
                Some(client) => Ok(client),
                None => self.store.connect(),
            };
            let answer = client.and_then(|mut client| {
                let answer = ask(&self.store, &mut client)?;
                self.client = Some(client);
                Ok(answer)
            });
            match answer {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; trying again");
                    self.metrics.set_database_up(false);
                    std::thread::sleep(RETRY);
                    self.stay_in_group()?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a letter until the topic takes it; false when the partition was taken away meanwhile.
    pub(super) fn send_letter(
        &mut self,
        message: &BorrowedMessage<'_>,
        place: i64,
        reason: &str,
    ) -> Result<bool> {
        let letter = Letter {
            topic: message.topic(),
            partition: message.partition(),
            offset: message.offset(),
            place,
            key: message.key(),
            payload: message.payload(),
            reason,
        };
        loop {
            match self.letters.send(&letter) {
                Ok(()) => {
                    let (partition, offset) = (letter.partition, letter.offset);
                    tracing::warn!(partition, offset, "dead letter: {reason}");
                    return Ok(true);
                }
                Err(error) if error.kind() == Kind::Retry => {
                    tracing::warn!("{error}; nothing past it is committed; trying again");
                    std::thread::sleep(RETRY);
                    self.stay_in_group()?;
                }
                Err(error) => return Err(error),
            }
            if !self.consumer.context().assigned().contains(&letter.partition) {
                return Ok(false);
            }
        }
    }

    /// Serves the group without taking messages.
    ///
    /// # Errors
    /// Retry when the process is to end: what is not written will be decided again.
    pub(super) fn stay_in_group(&mut self) -> Result<()> {
        invoices::task::check_stop()?;
        self.watchdog.reset();
        if self.looked.elapsed() < LOOK_EVERY {
            return Ok(());
        }
        self.look_around()?;
        let Ok(assignment) = self.consumer.assignment() else { return Ok(()) };
        let _ = self.consumer.pause(&assignment);
        if let Some(Ok(message)) = self.consumer.poll(Duration::ZERO) {
            // Taken by accident: it comes again.
            let (partition, offset) = (message.partition(), message.offset());
            drop(message);
            self.seek(partition, offset);
        }
        let _ = self.consumer.resume(&assignment);
        Ok(())
    }
}
