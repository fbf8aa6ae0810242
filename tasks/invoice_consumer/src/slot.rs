//! Watches the source's replication slot: a consumer that is down must not fill the source's disk, and
//! a slot that the source gave up for that reason is a gap that somebody must hear about.

use crate::metrics::{Metrics, SlotFacts};
use invoices::source::SourceUrl;
use invoices::source::postgres::failed;
use invoices::source::url::PostgresUrl;
use invoices::{Error, Result};
use postgres::Client;
use std::sync::Arc;
use std::time::Duration;

const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is watched.
pub struct Slot {
    url: PostgresUrl,
    name: String,
    lag_bytes_max: u64,
}

impl Slot {
    /// # Errors
    /// Configuration for a URL that is not Postgres.
    pub fn new(url: &str, name: &str, lag_bytes_max: u64) -> Result<Self> {
        match url.parse()? {
            SourceUrl::Postgres(url) => Ok(Self { url, name: name.to_owned(), lag_bytes_max }),
            SourceUrl::Sqlite(_) => Err(Error::config("only Postgres has replication slots")),
        }
    }

    /// Looks every few seconds until the process ends; says what changed for the worse.
    pub fn watch(self, metrics: Arc<Metrics>) {
        std::thread::spawn(move || {
            let mut client = None;
            let mut last = SlotFacts::default();
            let mut is_alarmed = false;
            loop {
                match self.look(&mut client) {
                    Ok(facts) => {
                        let lags = facts.lag_bytes.is_some_and(|lag| lag > self.lag_bytes_max);
                        self.report(&facts, &last, lags && !is_alarmed);
                        is_alarmed = lags;
                        metrics.set_slot(facts.clone());
                        last = facts;
                    }
                    Err(error) => {
                        client = None;
                        tracing::warn!("cannot look at the replication slot: {error}");
                    }
                }
                std::thread::sleep(LOOK_EVERY);
            }
        });
    }

    fn look(&self, client: &mut Option<Client>) -> Result<SlotFacts> {
        let client = match client {
            Some(client) => client,
            None => client.insert(self.url.connect()?),
        };
        let sql = "select pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(confirmed_flush_lsn, restart_lsn))::int8, \
            wal_status = 'lost', active from pg_replication_slots where slot_name = $1";
        let row =
            client.query_opt(sql, &[&self.name]).map_err(|error| failed("cannot read the slots", error))?;
        Ok(row.map_or_else(SlotFacts::default, |row| SlotFacts {
            lag_bytes: row.get::<_, Option<i64>>(0).map(|lag| lag.max(0) as u64),
            is_lost: row.get::<_, Option<bool>>(1).unwrap_or(false),
            is_active: row.get(2),
        }))
    }

    fn report(&self, facts: &SlotFacts, last: &SlotFacts, lags: bool) {
        let slot = &self.name;
        if facts.is_lost && !last.is_lost {
            tracing::error!(
                slot,
                "GAP: the replication slot is lost, the source has removed log that was not read yet, and the \
                 connector will not say so; first SNAPSHOT_MODE=when_needed debezium/register.sh, then \
                 select pg_drop_replication_slot('{slot}'): a snapshot decides what is there now, without \
                 notifications (docs/runbook/lost-slot.md)"
            );
        }
        if lags {
            tracing::error!(
                slot,
                lag_bytes = facts.lag_bytes,
                active = facts.is_active,
                "the source keeps too much log for the replication slot; is the connector running?"
            );
        }
    }
}
