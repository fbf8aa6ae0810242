//! Delivers the outbox: each change of status to a webhook and to a Kafka topic, at least once, in the
//! order of their ids. Receivers tell repetitions by the id.

use crate::decision::{Fired, time_text};
use crate::metrics::Metrics;
use crate::store::Store;
use chrono::{DateTime, Utc};
use invoices::source::postgres::failed;
use invoices::{Error, Result};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use postgres::Client;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

const LOOK_EVERY: Duration = Duration::from_millis(200);
const ROLL_UP_EVERY: Duration = Duration::from_secs(60);
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const AT_ONCE: i64 = 100;

/// One row of the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Notification {
    id: i64,
    body: String,
    key: String,
}

/// Where to deliver.
pub struct Notifier {
    pub store: Store,
    pub metrics: Arc<Metrics>,
    /// URL and secret.
    pub webhook: Option<(String, Vec<u8>)>,
    /// Producer settings and topic.
    pub topic: Option<(ClientConfig, String)>,
    pub runtime: Handle,
}

/// The signature of a body: HMAC-SHA256 in hexadecimal over `time.body` (RFC 2104), so that an old
/// request can't be sent again as a new one.
pub fn signature(secret: &[u8], time: i64, body: &str) -> Result<String> {
    let failed = |error| Error::bug("a notification cannot be signed").because(error);
    let key = PKey::hmac(secret).map_err(failed)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).map_err(failed)?;
    signer.update(format!("{time}.{body}").as_bytes()).map_err(failed)?;
    let bytes = signer.sign_to_vec().map_err(failed)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Notifier {
    /// Starts a thread for each target, and one that rolls up the figures now and then.
    pub fn start(self) {
        let notifier = Arc::new(self);
        if notifier.webhook.is_some() {
            let notifier = Arc::clone(&notifier);
            std::thread::spawn(move || notifier.keep("webhook_at", Notifier::post_all));
        }
        if let Some((config, _)) = &notifier.topic {
            match config.create::<BaseProducer>() {
                Ok(producer) => {
                    let notifier = Arc::clone(&notifier);
                    std::thread::spawn(move || {
                        notifier
                            .keep("topic_at", move |notifier, rows| notifier.produce_all(&producer, rows));
                    });
                }
                Err(error) => tracing::error!("cannot make a Kafka producer: {error}"),
            }
        }
        std::thread::spawn(move || notifier.roll_up());
    }

    /// Delivers what is not delivered, for ever; `deliver` says how many of the first rows it got rid of.
    fn keep(&self, column: &str, deliver: impl Fn(&Self, &[Notification]) -> usize) {
        let mut client = None;
        let mut pause = RETRY_FIRST;
        loop {
            match self.deliver_some(&mut client, column, &deliver) {
                Ok(Delivered::All) => pause = RETRY_FIRST,
                Ok(Delivered::Nothing) => {
                    pause = RETRY_FIRST;
                    std::thread::sleep(LOOK_EVERY);
                }
                Ok(Delivered::Some) => {
                    pause = RETRY_FIRST;
                    std::thread::sleep(pause);
                }
                Ok(Delivered::Stuck) => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
                Err(error) => {
                    client = None;
                    tracing::warn!("cannot read the outbox: {error}");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RETRY_MAX);
                }
            }
        }
    }

    /// An advisory lock lets one consumer of the group deliver to a target at a time, in order.
    fn deliver_some(
        &self,
        client: &mut Option<Client>,
        column: &str,
        deliver: &impl Fn(&Self, &[Notification]) -> usize,
    ) -> Result<Delivered> {
        let doing = |error| failed("cannot read the outbox", error);
        let client = match client {
            Some(client) => client,
            None => client.insert(self.store.connect()?),
        };
        let mut transaction = client.transaction().map_err(doing)?;
        let lock = "select pg_try_advisory_xact_lock(hashtext('risk.notifications'), hashtext($1))";
        if !transaction.query_one(lock, &[&column]).map_err(doing)?.get::<_, bool>(0) {
            return Ok(Delivered::Nothing);
        }
        let sql = format!(
            "select id, invoice_id, lsn, from_status, to_status, score, rules::text, created_at \
             from risk.notifications where {column} is null order by id limit {AT_ONCE}"
        );
        let rows = transaction.query(&sql, &[]).map_err(doing)?;
        let notifications: Vec<Notification> = rows.iter().map(notification).collect();
        if notifications.is_empty() {
            return Ok(Delivered::Nothing);
        }
        let count = deliver(self, &notifications);
        let ids: Vec<i64> = notifications[..count].iter().map(|notification| notification.id).collect();
        let sql = format!("update risk.notifications set {column} = now() where id = any($1)");
        transaction.execute(&sql, &[&ids]).map_err(doing)?;
        transaction.commit().map_err(doing)?;
        Ok(match count {
            0 => Delivered::Stuck,
            count if count < notifications.len() => Delivered::Some,
            _ => Delivered::All,
        })
    }

    fn post_all(&self, notifications: &[Notification]) -> usize {
        let Some((url, secret)) = &self.webhook else { return 0 };
        let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
        let Ok(client) = client else { return 0 };
        let accepted = |notification: &&Notification| {
            let done = self.post(&client, url, secret, notification);
            self.metrics.webhook(done.is_ok());
            if let Err(error) = &done {
                tracing::warn!(notification = notification.id, "{error}; it will be tried again");
            }
            done.is_ok()
        };
        notifications.iter().take_while(accepted).count()
    }

    fn post(
        &self,
        client: &reqwest::Client,
        url: &str,
        secret: &[u8],
        notification: &Notification,
    ) -> Result<()> {
        let time = Utc::now().timestamp();
        let signature = signature(secret, time, &notification.body)?;
        let request = client
            .post(url)
            .header("Content-Type", "application/json")
            .header("X-Notification-Id", notification.id.to_string())
            .header("X-Signature", format!("t={time},v1={signature}"))
            .body(notification.body.clone());
        // The URL may hold a secret, so it is left out of what is said.
        // The request's timeout is made inside the runtime.
        let answer = self.runtime.block_on(async { request.send().await });
        let answer = answer
            .map_err(|error| Error::retry("the webhook does not answer").because(error.without_url()))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status => Err(Error::retry(format!("the webhook answers {status}"))),
        }
    }

    fn produce_all(&self, producer: &BaseProducer, notifications: &[Notification]) -> usize {
        let Some((_, topic)) = &self.topic else { return 0 };
        for notification in notifications {
            let record = BaseRecord::to(topic).key(&notification.key).payload(&notification.body);
            if let Err((error, _)) = producer.send(record) {
                tracing::warn!("the topic {topic} does not take a notification: {error}");
                return 0;
            }
        }
        // All or none count: what is sent again has the same id.
        let is_sent = producer.flush(REQUEST_TIMEOUT).is_ok() && producer.in_flight_count() == 0;
        if is_sent {
            self.metrics.topic_delivered(notifications.len() as u64);
        }
        if is_sent { notifications.len() } else { 0 }
    }

    fn roll_up(&self) {
        let mut last = Instant::now();
        loop {
            std::thread::sleep(LOOK_EVERY);
            if last.elapsed() < ROLL_UP_EVERY {
                continue;
            }
            last = Instant::now();
            let done = self.store.connect().and_then(|mut client| {
                let rolled = client.execute("select risk.roll_up()", &[]);
                rolled.map_err(|error| failed("cannot roll up the figures", error))
            });
            if let Err(error) = done {
                tracing::warn!("{error}");
            }
        }
    }
}

/// What came of one look at the outbox.
enum Delivered {
    All,
    /// The target took some and then refused one.
    Some,
    /// The target took none of them.
    Stuck,
    /// There was nothing to deliver, or another consumer delivers.
    Nothing,
}

fn notification(row: &postgres::Row) -> Notification {
    let (id, invoice_id): (i64, i64) = (row.get(0), row.get(1));
    let rules: Vec<Fired> =
        row.get::<_, Option<&str>>(6).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let body = json!({
        "id": id,
        "invoice_id": invoice_id,
        "lsn": row.get::<_, i64>(2),
        "from": row.get::<_, String>(3),
        "to": row.get::<_, String>(4),
        "score": row.get::<_, i16>(5),
        "rules": rules,
        "decided_at": time_text(row.get::<_, DateTime<Utc>>(7).timestamp_micros()),
    });
    Notification { id, body: body.to_string(), key: invoice_id.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_hmac_sha256() {
        // RFC 4231, test case 2, with its data split at the dot that joins time and body.
        let expected = signature(b"Jefe", 0, "x").unwrap();
        assert_eq!(expected.len(), 64);
        assert_ne!(expected, signature(b"Jefe", 1, "x").unwrap());
        assert_ne!(expected, signature(b"jefe", 0, "x").unwrap());
    }
}
