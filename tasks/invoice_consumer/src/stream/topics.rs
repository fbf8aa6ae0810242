//! The dead-letter topic is made when it is missing, with room for the largest message.

use super::kafka::MESSAGE_BYTES_MAX;
use invoices::task::Task;
use invoices::{Error, Result};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::types::RDKafkaErrorCode;
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the topic unless it exists. Who may not make topics has one made by somebody else.
///
/// # Errors
/// Retry when the broker doesn't answer.
pub fn make_dead_letter_topic(config: &ClientConfig, name: &str, task: &Task) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> =
        config.create().map_err(|error| Error::config("cannot make a Kafka client").because(error))?;
    let size = MESSAGE_BYTES_MAX.to_string();
    let topic = NewTopic::new(name, 1, TopicReplication::Fixed(-1))
        .set("max.message.bytes", &size)
        .set("retention.ms", "-1");
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT));
    let made = task.block_on(admin.create_topics([&topic], &options));
    let made = made.map_err(|error| Error::retry("the brokers do not answer").because(error))?;
    for result in made {
        match result {
            Ok(name) => tracing::info!("made the topic {name}"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => tracing::warn!("cannot make the topic {name}: {code}"),
        }
    }
    Ok(())
}
