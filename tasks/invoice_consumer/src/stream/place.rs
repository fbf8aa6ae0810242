//! Whether a stored offset still means what it meant: the topic may have been made again under the same
//! name, and messages may have been removed before they were read.

use super::Service;
use super::waiting::RETRY;
use crate::store::{Loaded, Place};
use invoices::{Error, Result, position};
use rdkafka::consumer::Consumer;
use std::time::Duration;

const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// What the brokers say of a partition.
#[derive(Debug, Clone)]
struct Log<'a> {
    /// The topic's id; empty where the brokers don't know ids.
    topic_id: &'a str,
    low: i64,
    high: i64,
}

/// What is accepted by flags.
#[derive(Debug, Clone, Copy, Default)]
struct Accepted {
    new_topic: bool,
    gap: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    Right,
    /// It goes on there, and the topic is noted.
    Note {
        next_offset: i64,
        is_new_topic: bool,
    },
    /// The end of a sentence that begins with topic and partition, and the flag that goes on.
    Refuse(String, &'static str),
}

/// Pure: stored topic and offset beside the log that is there.
fn judge(stored: Option<&str>, next: i64, log: &Log<'_>, accepted: Accepted) -> Verdict {
    if stored.is_none() && next == 0 {
        return Verdict::Note { next_offset: log.low, is_new_topic: false };
    }
    let is_other =
        stored.is_some_and(|stored| !stored.is_empty() && !log.topic_id.is_empty() && stored != log.topic_id);
    if is_other || next > log.high {
        if accepted.new_topic {
            return Verdict::Note { next_offset: log.low, is_new_topic: true };
        }
        let what = match stored {
            Some(stored) if is_other => {
                format!(
                    "was made again: its id was {stored} and is {}, so the offset {next} means nothing in it",
                    log.topic_id
                )
            }
            _ => format!(
                "ends at offset {}, before {next}, up to which it was read, so it is another log",
                log.high
            ),
        };
        return Verdict::Refuse(what, "--accept-new-topic");
    }
    if next < log.low {
        if accepted.gap {
            return Verdict::Note { next_offset: log.low, is_new_topic: false };
        }
        let what = format!(
            "has lost the {} messages from offset {next} on, which were removed (retention) before they were decided",
            log.low - next
        );
        return Verdict::Refuse(what, "--accept-gap");
    }
    if stored.is_none_or(|stored| stored != log.topic_id && !log.topic_id.is_empty()) {
        return Verdict::Note { next_offset: next, is_new_topic: false };
    }
    Verdict::Right
}

impl Service<'_> {
    /// Whether the loaded offset belongs to the topic that is there; false when the place was noted anew
    /// and has to be loaded again.
    ///
    /// # Errors
    /// Configuration for a topic that was made again and for a gap, unless they are accepted.
    pub(super) fn belongs(&mut self, partition: i32, loaded: &Loaded) -> Result<bool> {
        let (topic_id, low, high) = self.ask_for_log(partition)?;
        let log = Log { topic_id: &topic_id, low, high };
        let service = &self.args.service;
        let accepted = Accepted { new_topic: service.accept_new_topic, gap: service.accept_gap };
        let topic = &self.args.topic;
        let (next_offset, is_new_topic) = match judge(
            loaded.topic_id.as_deref(),
            loaded.next_offset,
            &log,
            accepted,
        ) {
            Verdict::Right => return Ok(true),
            Verdict::Note { next_offset, is_new_topic } => (next_offset, is_new_topic),
            Verdict::Refuse(what, flag) => {
                return Err(Error::config(format!(
                    "partition {partition} of {topic} {what}; see docs/migrate-source.md, then go on with {flag}"
                )));
            }
        };
        if is_new_topic || next_offset != loaded.next_offset {
            let stored = loaded.next_offset;
            tracing::warn!(
                partition,
                stored,
                next_offset,
                is_new_topic,
                "going on at another place of {topic}"
            );
        }
        let topic_epoch = loaded.epochs.topic;
        let topic_epoch = if is_new_topic { position::next_epoch(topic_epoch)? } else { topic_epoch };
        let place = Place { partition, stored: loaded.next_offset, next_offset, topic_id, topic_epoch };
        self.with_database(|store, client| store.note_place(client, &place))?;
        Ok(false)
    }

    /// Whether messages that are missing from an offset on were never there: transaction markers, compaction.
    /// False when they may have been removed, and when the brokers don't say.
    pub(super) fn is_within_log(&self, partition: i32, from: i64) -> bool {
        let watermarks = self.consumer.fetch_watermarks(&self.args.topic, partition, ASK_TIMEOUT);
        watermarks.is_ok_and(|(low, _)| low <= from)
    }

    /// Asks until the brokers answer.
    fn ask_for_log(&mut self, partition: i32) -> Result<(String, i64, i64)> {
        loop {
            let topic = &self.args.topic;
            let identity = kafka_topic::identity(self.consumer.client(), topic, ASK_TIMEOUT);
            let watermarks = self.consumer.fetch_watermarks(topic, partition, ASK_TIMEOUT);
            match (identity, watermarks) {
                (Ok(identity), Ok((low, high))) => return Ok((identity.as_text().to_owned(), low, high)),
                (Err(why), _) => tracing::warn!("cannot ask for the topic {topic}: {why}; trying again"),
                (_, Err(error)) => tracing::warn!("cannot ask for the topic {topic}: {error}; trying again"),
            }
            std::thread::sleep(RETRY);
            self.stay_in_group()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Log<'_> = Log { topic_id: "B", low: 10, high: 20 };
    const NOTHING: Accepted = Accepted { new_topic: false, gap: false };
    const ALL: Accepted = Accepted { new_topic: true, gap: true };

    fn note(next_offset: i64, is_new_topic: bool) -> Verdict {
        Verdict::Note { next_offset, is_new_topic }
    }

    #[test]
    fn an_offset_within_the_log_of_its_topic_is_right() {
        for next in 10..=20 {
            assert_eq!(judge(Some("B"), next, &LOG, ALL), Verdict::Right);
            // Noted by an earlier version, or by a broker that did not know ids.
            assert_eq!(judge(None, next, &LOG, NOTHING), note(next, false));
            assert_eq!(judge(Some(""), next, &LOG, NOTHING), note(next, false));
        }
        assert_eq!(judge(Some(""), 15, &Log { topic_id: "", ..LOG }, NOTHING), Verdict::Right);
    }

    #[test]
    fn who_never_read_begins_where_the_log_begins() {
        assert_eq!(judge(None, 0, &LOG, NOTHING), note(10, false));
        assert_eq!(judge(None, 0, &Log { low: 0, high: 0, ..LOG }, NOTHING), note(0, false));
    }

    #[test]
    fn another_topic_is_refused_whatever_its_offsets_and_begins_at_its_beginning_when_accepted() {
        for next in [0, 5, 15, 25] {
            let Verdict::Refuse(why, flag) = judge(Some("A"), next, &LOG, NOTHING) else { panic!() };
            assert!(why.contains("was made again: its id was A and is B"), "{why}");
            assert_eq!(flag, "--accept-new-topic");
            assert_eq!(judge(Some("A"), next, &LOG, ALL), note(10, true));
        }
    }

    #[test]
    fn a_log_that_ends_too_early_or_begins_too_late_is_refused() {
        for stored in [None, Some(""), Some("B")] {
            assert!(matches!(judge(stored, 21, &LOG, NOTHING), Verdict::Refuse(_, "--accept-new-topic")));
            assert_eq!(judge(stored, 21, &LOG, ALL), note(10, true));
            assert!(matches!(judge(stored, 9, &LOG, NOTHING), Verdict::Refuse(_, "--accept-gap")));
            assert_eq!(judge(stored, 9, &LOG, ALL), note(10, false));
        }
    }
}
