//! `dlq list` and `dlq replay`: what could not be decoded, shown or put back into its topic.

use crate::args::DlqTopicArgs;
use crate::stream::dead_letters::{
    OFFSET_HEADER, OMITTED_HEADER, PARTITION_HEADER, PUT_BACK_HEADER, REASON_HEADER, TOPIC_HEADER, header,
    header_bytes, read_all,
};
use crate::stream::kafka;
use invoices::task::print;
use invoices::{Error, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value, json};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Prints every letter as a line of JSON.
///
/// # Errors
/// Retry when the broker doesn't answer.
pub fn list(args: &DlqTopicArgs) -> Result<Value> {
    let config = kafka::config(&args.brokers, args.kafka_config.as_deref())?;
    let mut letters = 0;
    read_all(&config, &args.dead_letter_topic, |message| {
        letters += 1;
        print(&describe(message).to_string())?;
        Ok(())
    })?;
    Ok(json!({ "letters": letters }))
}

fn describe(message: &BorrowedMessage<'_>) -> Value {
    json!({
        "topic": header(message, TOPIC_HEADER),
        "partition": header(message, PARTITION_HEADER).and_then(|text| text.parse::<i32>().ok()),
        "offset": header(message, OFFSET_HEADER).and_then(|text| text.parse::<i64>().ok()),
        "reason": header(message, REASON_HEADER),
        "bytes": message.payload().map_or(0, <[u8]>::len),
    })
}

/// Puts letters back where they came from. What was put back and the position in the dead-letter
/// topic are one Kafka transaction, so a second run puts back nothing again.
///
/// # Errors
/// Retry when the broker doesn't answer.
pub fn replay(args: &DlqTopicArgs) -> Result<Value> {
    let failed = |error| Error::retry("cannot put dead letters back").because(error);
    let config = kafka::config(&args.brokers, args.kafka_config.as_deref())?;
    let group = format!("{}-dlq-replay", args.group);
    let mut reading = config.clone();
    reading
        .set("group.id", &group)
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("fetch.max.bytes", kafka::MESSAGE_BYTES_MAX.to_string())
        .set("receive.message.max.bytes", (kafka::MESSAGE_BYTES_MAX + 1024 * 1024).to_string());
    let consumer: BaseConsumer = reading.create().map_err(failed)?;
    let mut writing = config;
    writing.set("transactional.id", &group).set("transaction.timeout.ms", "30000");
    let producer: BaseProducer = writing.create().map_err(failed)?;
    producer.init_transactions(TIMEOUT).map_err(failed)?;

    let topic = args.dead_letter_topic.as_str();
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(failed)?;
    let partitions =
        metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id());
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition(topic, partition);
    }
    let committed = consumer.committed_offsets(list, TIMEOUT).map_err(failed)?;
    let mut start = TopicPartitionList::new();
    for element in committed.elements() {
        let offset = if element.offset() == Offset::Invalid { Offset::Beginning } else { element.offset() };
        start.add_partition_offset(topic, element.partition(), offset).map_err(failed)?;
    }
    consumer.assign(&start).map_err(failed)?;

    let (mut put_back, mut omitted, mut open) = (0, 0, start.count());
    while open > 0 {
        invoices::task::check_stop()?;
        match consumer.poll(TIMEOUT) {
            Some(Ok(letter)) => {
                if put_one_back(&consumer, &producer, topic, &letter)? {
                    put_back += 1
                } else {
                    omitted += 1
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(Error::retry("cannot put dead letters back: the broker does not answer")),
        }
    }
    Ok(json!({ "put_back": put_back, "without_payload": omitted }))
}

/// False when the letter has no payload to put back.
fn put_one_back(
    consumer: &BaseConsumer,
    producer: &BaseProducer,
    topic: &str,
    letter: &BorrowedMessage<'_>,
) -> Result<bool> {
    let failed = |error| Error::retry("cannot put a dead letter back").because(error);
    let origin = header(letter, TOPIC_HEADER)
        .zip(header(letter, PARTITION_HEADER))
        .and_then(|(topic, partition)| Some((topic, partition.parse::<i32>().ok()?)));
    let origin = origin.filter(|_| header(letter, OMITTED_HEADER).is_none());
    producer.begin_transaction().map_err(failed)?;
    if let Some((origin_topic, partition)) = &origin {
        let place = format!("{topic}/{}/{}", letter.partition(), letter.offset());
        let headers = OwnedHeaders::new().insert(Header { key: PUT_BACK_HEADER, value: Some(&place) });
        let key = header_bytes(letter, "key");
        let mut record: BaseRecord<'_, [u8], [u8]> =
            BaseRecord::to(origin_topic).partition(*partition).headers(headers);
        if let Some(key) = &key {
            record = record.key(key);
        }
        if let Some(payload) = letter.payload() {
            record = record.payload(payload);
        }
        producer.send(record).map_err(|(error, _)| failed(error))?;
    } else {
        tracing::warn!("a letter has no payload: {}", describe(letter));
    }
    let mut next = TopicPartitionList::new();
    next.add_partition_offset(topic, letter.partition(), Offset::Offset(letter.offset() + 1))
        .map_err(failed)?;
    let group = consumer.group_metadata().ok_or_else(|| Error::bug("the consumer has no group"))?;
    producer.send_offsets_to_transaction(&next, &group, TIMEOUT).map_err(failed)?;
    producer.commit_transaction(TIMEOUT).map_err(failed)?;
    Ok(origin.is_some())
}
