//! The dead-letter topic. A letter is sent before its offset is committed, in a Kafka transaction whose
//! id is the partition's: a consumer that takes the partition over fences off the one before, looks
//! which letters are there already, and sends only those that are not. So each is there once.

use super::kafka::MESSAGE_BYTES_MAX;
use invoices::{Error, Result, failpoint};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

pub const TOPIC_HEADER: &str = "topic";
pub const PARTITION_HEADER: &str = "partition";
pub const OFFSET_HEADER: &str = "offset";
pub const REASON_HEADER: &str = "reason";
/// On a message that was put back into its topic: the letter that it was.
pub const PUT_BACK_HEADER: &str = "dead-letter";
/// Present when the message was too large for the topic and has to be fetched from its origin.
pub const OMITTED_HEADER: &str = "payload-omitted";

/// Sends letters, each once.
pub struct DeadLetters {
    config: ClientConfig,
    group: String,
    pub topic: String,
    desks: HashMap<i32, Desk>,
}

/// A partition's producer, and the letters of it that were in the topic before.
struct Desk {
    producer: BaseProducer,
    present: HashSet<String>,
}

/// A message that can't be decoded.
pub struct Letter<'a> {
    pub topic: &'a str,
    pub partition: i32,
    pub offset: i64,
    /// The offset with the topic's epoch: a topic that was made again has letters of its own.
    pub place: i64,
    pub key: Option<&'a [u8]>,
    pub payload: Option<&'a [u8]>,
    pub reason: &'a str,
}

impl Letter<'_> {
    fn id(&self) -> String {
        format!("{}/{}/{}", self.topic, self.partition, self.place)
    }
}

impl DeadLetters {
    pub fn new(config: ClientConfig, group: &str, topic: String) -> Self {
        Self { config, group: group.to_owned(), topic, desks: HashMap::new() }
    }

    /// Forgets a partition that another consumer may own now.
    pub fn forget(&mut self, partition: i32) {
        self.desks.remove(&partition);
    }

    /// Puts a letter into the topic unless it is there.
    ///
    /// # Errors
    /// Retry when the topic doesn't take it; the same call may be made again.
    pub fn send(&mut self, letter: &Letter<'_>) -> Result<()> {
        if !self.desks.contains_key(&letter.partition) {
            let desk = self.open(letter.topic, letter.partition)?;
            self.desks.insert(letter.partition, desk);
        }
        let Some(desk) = self.desks.get_mut(&letter.partition) else { return Ok(()) };
        if desk.present.contains(&letter.id()) {
            return Ok(());
        }
        let topic = self.topic.clone();
        let sent = match desk.send(&topic, letter, letter.payload, false) {
            Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge)) => {
                desk.send(&topic, letter, None, true)
            }
            other => other,
        };
        failpoint!("risk::after_dead_letter");
        sent.map_err(|error| {
            // Whether it arrived is unknown: a new producer finds out.
            self.desks.remove(&letter.partition);
            Error::retry(format!("the dead-letter topic {topic} does not take a letter")).because(error)
        })
    }

    fn open(&self, topic: &str, partition: i32) -> Result<Desk> {
        let failed = |error| {
            Error::retry(format!("the dead-letter topic {} is not available", self.topic)).because(error)
        };
        let mut config = self.config.clone();
        config
            .set("transactional.id", format!("{}/{topic}/{partition}/dead-letters", self.group))
            .set("transaction.timeout.ms", "10000")
            .set("message.timeout.ms", "5000")
            .set("linger.ms", "0");
        let producer: BaseProducer = config.create().map_err(failed)?;
        producer.init_transactions(TIMEOUT).map_err(failed)?;
        let ours = format!("{topic}/{partition}/");
        let mut present = HashSet::new();
        read_all(&self.config, &self.topic, |message| {
            let key = message.key().and_then(|key| std::str::from_utf8(key).ok());
            if let Some(key) = key.filter(|key| key.starts_with(&ours)) {
                present.insert(key.to_owned());
            }
            Ok(())
        })?;
        Ok(Desk { producer, present })
    }
}

impl Desk {
    fn send(
        &mut self,
        topic: &str,
        letter: &Letter<'_>,
        payload: Option<&[u8]>,
        omitted: bool,
    ) -> std::result::Result<(), KafkaError> {
        self.producer.begin_transaction()?;
        let done = self.send_in_transaction(topic, letter, payload, omitted);
        if let Err(error) = done {
            let _ = self.producer.abort_transaction(TIMEOUT);
            return Err(error);
        }
        Ok(())
    }

    fn send_in_transaction(
        &mut self,
        topic: &str,
        letter: &Letter<'_>,
        payload: Option<&[u8]>,
        omitted: bool,
    ) -> std::result::Result<(), KafkaError> {
        let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
        let mut headers = OwnedHeaders::new()
            .insert(Header { key: TOPIC_HEADER, value: Some(letter.topic) })
            .insert(Header { key: PARTITION_HEADER, value: Some(&partition) })
            .insert(Header { key: OFFSET_HEADER, value: Some(&offset) })
            .insert(Header { key: REASON_HEADER, value: Some(letter.reason) });
        if let Some(key) = letter.key {
            headers = headers.insert(Header { key: "key", value: Some(key) });
        }
        if omitted {
            headers = headers.insert(Header { key: OMITTED_HEADER, value: Some("true") });
        }
        let id = letter.id();
        let mut record = BaseRecord::to(topic).key(id.as_bytes()).headers(headers);
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        self.producer.send(record).map_err(|(error, _)| error)?;
        self.producer.commit_transaction(TIMEOUT)
    }
}

/// Shows every message that is in a topic now; a topic that doesn't exist is empty.
///
/// # Errors
/// Retry when the broker doesn't answer, and what `see` says.
pub fn read_all(
    config: &ClientConfig,
    topic: &str,
    mut see: impl FnMut(&rdkafka::message::BorrowedMessage<'_>) -> Result<()>,
) -> Result<()> {
    let failed = |error| Error::retry(format!("cannot read the topic {topic}")).because(error);
    let mut config = config.clone();
    config
        .set("group.id", "invoice_consumer-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("receive.message.max.bytes", (MESSAGE_BYTES_MAX + 1024 * 1024).to_string())
        .set("allow.auto.create.topics", "false");
    let consumer: BaseConsumer = config.create().map_err(failed)?;
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let partitions: Vec<i32> = metadata
        .topics()
        .iter()
        .flat_map(|topic| topic.partitions())
        .map(|partition| partition.id())
        .collect();
    let mut list = TopicPartitionList::new();
    for partition in &partitions {
        list.add_partition_offset(topic, *partition, Offset::Beginning).map_err(failed)?;
    }
    consumer.assign(&list).map_err(failed)?;
    let mut open: HashSet<i32> = partitions.into_iter().collect();
    while !open.is_empty() {
        invoices::task::check_stop()?;
        match consumer.poll(TIMEOUT) {
            Some(Ok(message)) => see(&message)?,
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
            Some(Err(error)) => return Err(failed(error)),
            None => {
                return Err(Error::retry(format!(
                    "cannot read the topic {topic}: the broker does not answer"
                )));
            }
        }
    }
    Ok(())
}

/// A header of a letter as text.
pub fn header<M: Message>(message: &M, name: &str) -> Option<String> {
    let headers = message.headers()?;
    let found = headers.iter().find(|header| header.key == name)?;
    Some(String::from_utf8_lossy(found.value?).into_owned())
}

/// The bytes of a header.
pub fn header_bytes<M: Message>(message: &M, name: &str) -> Option<Vec<u8>> {
    let headers = message.headers()?;
    headers.iter().find(|header| header.key == name)?.value.map(<[u8]>::to_vec)
}
