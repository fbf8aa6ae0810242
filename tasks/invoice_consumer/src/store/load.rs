//! Decisions read back: a partition's state, what is known of single invoices, all of it for a replay.

use super::{Epochs, Store};
use crate::checkpoint::{Checkpoint, Checkpoints, FORMAT, Head, LastDecision};
use crate::decision::{Fired, Known, Status};
use crate::engine::Engine;
use crate::model::features::{EXACT_MODEL, FEATURE_COUNT};
use crate::model::{Features, Version};
use change_events::Op;
use chrono::{DateTime, NaiveDateTime, Utc};
use invoices::source::postgres::failed;
use invoices::{Error, Invoice, Result, failpoint, position};
use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, GenericClient, Row};
use roaring::RoaringTreemap;
use std::collections::HashMap;

const LOADING: &str = "cannot load the decisions";

/// What a partition needs to go on.
#[derive(Debug, Default)]
pub struct Loaded {
    pub engine: Engine,
    /// Invoices with a decision in this partition.
    pub ids: RoaringTreemap,
    /// Decisions that the state is made of.
    pub decisions: u64,
    /// How many of them a checkpoint gave.
    pub decisions_kept: u64,
    pub next_offset: i64,
    /// The topic that the offset belongs to; none where nothing was read yet, or before it was noted.
    pub topic_id: Option<String>,
    pub epochs: Epochs,
}

impl Loaded {
    /// An offset of this partition with its topic's epoch.
    pub fn place(&self, offset: i64) -> i64 {
        position::stored(self.epochs.topic, offset as u64) as i64
    }
}

/// Columns of the latest decision on an invoice.
const KNOWN: &str = "invoice_id, issue_date, filed_at, issuer_id, receiver_id, amount_cents, lsn, status, \
    op = 'r' or coalesce(previous_lsn = lsn - 1, false)";

impl Store {
    /// Rebuilds a partition in one snapshot: from the newest checkpoint that fits, if there is one, and the decisions
    /// after it. A partition that is new begins at the start of its log.
    ///
    /// # Errors
    /// Retry when the database doesn't answer.
    pub fn load(
        &self,
        client: &mut Client,
        partition: i32,
        checkpoints: Option<&Checkpoints>,
    ) -> Result<Loaded> {
        let doing = |error| failed(LOADING, error);
        let start = "insert into risk.stream_offsets (topic, partition, next_offset) values ($1, $2, 0) \
            on conflict do nothing";
        client.execute(start, &[&self.topic, &partition]).map_err(doing)?;
        let mut transaction = client
            .build_transaction()
            .isolation_level(postgres::IsolationLevel::RepeatableRead)
            .read_only(true)
            .start()
            .map_err(doing)?;
        let sql = "select next_offset, topic_id, topic_epoch, source_epoch from risk.stream_offsets \
            where topic = $1 and partition = $2";
        let row = transaction.query_one(sql, &[&self.topic, &partition]).map_err(doing)?;
        let epochs = Epochs { topic: row.get::<_, i32>(2) as u32, source: row.get::<_, i32>(3) as u32 };
        let mut loaded =
            Loaded { next_offset: row.get(0), topic_id: row.get(1), epochs, ..Loaded::default() };
        let place = loaded.place(loaded.next_offset);
        let base = match checkpoints {
            Some(checkpoints) => checkpoints.newest(partition, place, |head| {
                let last = last_below(&mut transaction, partition, head.place)?;
                Ok(last.as_ref() == Some(&head.last))
            })?,
            None => None,
        };
        let mut first = i64::MIN;
        if let Some(Checkpoint { head, engine, ids }) = base {
            tracing::info!(
                partition,
                place = head.place,
                decisions = head.decisions,
                "going on from a checkpoint"
            );
            first = head.place;
            loaded =
                Loaded { engine, ids, decisions: head.decisions, decisions_kept: head.decisions, ..loaded };
            failpoint!("checkpoint::read");
        }
        let sql = format!(
            "select {KNOWN}, previous_filed_at, previous_issuer_id, previous_receiver_id, previous_amount_cents, \
             previous_status from risk.decisions where partition = $1 and log_offset >= $2 \
             order by log_offset, step"
        );
        let values: [&(dyn postgres::types::ToSql + Sync); 2] = [&partition, &first];
        let mut rows = transaction.query_raw(&sql, values).map_err(doing)?;
        while let Some(row) = rows.next().map_err(doing)? {
            let known = known(&row)?;
            let before = row.get::<_, Option<&str>>(13).filter(|status| *status != Status::Withdrawn.name());
            let before = before.map(|_| Invoice {
                invoice_id: known.filed.invoice_id,
                issue_date_us: row.get::<_, Option<NaiveDateTime>>(9).map(micros).unwrap_or_default(),
                issuer_id: row.get(10),
                receiver_id: row.get(11),
                amount: row.get::<_, Option<i64>>(12).unwrap_or_default(),
            });
            loaded.engine.remember(&known.filed, known.status, before.as_ref());
            loaded.ids.insert(known.filed.invoice_id as u64);
            loaded.decisions += 1;
        }
        Ok(loaded)
    }

    /// What a checkpoint of a state says of itself; none where there is nothing to keep, or where the database is not
    /// where the state is: then another consumer has moved the partition.
    ///
    /// # Errors
    /// Retry when the database doesn't answer.
    pub fn head_of(&self, client: &mut Client, partition: i32, loaded: &Loaded) -> Result<Option<Head>> {
        let sql = "select from risk.stream_offsets \
            where topic = $1 and partition = $2 and next_offset >= $3 and topic_epoch = $4";
        let epoch = loaded.epochs.topic as i32;
        let values: [&(dyn postgres::types::ToSql + Sync); 4] =
            [&self.topic, &partition, &loaded.next_offset, &epoch];
        let is_there = client.query_opt(sql, &values).map_err(|error| failed(LOADING, error))?.is_some();
        let place = loaded.place(loaded.next_offset);
        let last = if is_there { last_below(client, partition, place)? } else { None };
        Ok(last.map(|last| Head {
            format: FORMAT,
            model: EXACT_MODEL.to_owned(),
            topic: self.topic.clone(),
            partition,
            place,
            decisions: loaded.decisions,
            last,
        }))
    }
}

/// The last decision below a place.
fn last_below(client: &mut impl GenericClient, partition: i32, place: i64) -> Result<Option<LastDecision>> {
    let sql = "select log_offset, step, invoice_id, lsn, decided_at from risk.decisions \
        where partition = $1 and log_offset < $2 order by log_offset desc, step desc limit 1";
    let row = client.query_opt(sql, &[&partition, &place]).map_err(|error| failed(LOADING, error))?;
    Ok(row.map(|row| LastDecision {
        log_offset: row.get(0),
        step: row.get(1),
        invoice_id: row.get(2),
        lsn: row.get(3),
        decided_us: row.get::<_, DateTime<Utc>>(4).timestamp_micros(),
    }))
}

/// The latest decisions on some invoices within a partition.
///
/// # Errors
/// Retry when the database doesn't answer.
pub fn known_of(client: &mut Client, partition: i32, ids: &[i64]) -> Result<HashMap<i64, Known>> {
    let sql = format!(
        "select distinct on (invoice_id) {KNOWN} from risk.decisions \
         where invoice_id = any($1) and partition = $2 order by invoice_id, lsn desc, (status = 'withdrawn')"
    );
    let rows = client.query(&sql, &[&ids, &partition]).map_err(|error| failed(LOADING, error))?;
    rows.iter().map(|row| known(row).map(|known| (known.filed.invoice_id, known))).collect()
}

/// The latest decisions at certain positions or below: pairs of invoice and position.
///
/// # Errors
/// Retry when the database doesn't answer.
pub fn known_as_of(client: &mut Client, partition: i32, wanted: &[(i64, u64)]) -> Result<Vec<Known>> {
    let ids: Vec<i64> = wanted.iter().map(|(id, _)| *id).collect();
    let positions: Vec<i64> = wanted.iter().map(|(_, lsn)| *lsn as i64).collect();
    let sql = format!(
        "select d.* from unnest($1::int8[], $2::int8[]) as wanted(id, position) cross join lateral ( \
         select {KNOWN} from risk.decisions where invoice_id = wanted.id and partition = $3 \
         and lsn <= wanted.position order by lsn desc, (status = 'withdrawn') limit 1) d"
    );
    let rows = client.query(&sql, &[&ids, &positions, &partition]).map_err(|error| failed(LOADING, error))?;
    rows.iter().map(known).collect()
}

fn known(row: &Row) -> Result<Known> {
    let status = row.get::<_, &str>(7);
    Ok(Known {
        filed: Invoice {
            invoice_id: row.get(0),
            issue_date_us: micros(row.get(2)),
            issuer_id: row.get(3),
            receiver_id: row.get(4),
            amount: row.get(5),
        },
        issue_date_us: micros(row.get(1)),
        lsn: row.get::<_, i64>(6) as u64,
        status: Status::parse(status)
            .ok_or_else(|| Error::bug(format!("a decision has the status {status:?}")))?,
        is_loose: row.get(8),
    })
}

fn micros(time: NaiveDateTime) -> i64 {
    time.and_utc().timestamp_micros()
}

/// A decision as it is stored.
#[derive(Debug, Clone)]
pub struct StoredDecision {
    pub partition: i32,
    pub log_offset: i64,
    pub op: Op,
    pub known: Known,
    pub score: u8,
    pub fired: Vec<Fired>,
    pub features: Features,
    pub model: Version,
    pub rule_set: String,
    pub committed_us: Option<i64>,
}

/// Feeds stored decisions to `see`, each partition in the order of its log; all of them, or those on
/// one invoice.
///
/// # Errors
/// Retry when the database doesn't answer, and what `see` says.
pub fn stored_decisions(
    client: &mut Client,
    invoice: Option<i64>,
    mut see: impl FnMut(StoredDecision) -> Result<()>,
) -> Result<()> {
    let doing = |error| failed(LOADING, error);
    let sql = format!(
        "select {KNOWN}, partition, log_offset, op, score, rules::text, features, model, rule_set, committed_at \
         from risk.decisions where invoice_id = $1 or $1 is null order by partition, log_offset, step"
    );
    let mut rows = client.query_raw(&sql, [&invoice]).map_err(doing)?;
    while let Some(row) = rows.next().map_err(doing)? {
        let model = Version::stored(row.get(15));
        let stored: Vec<i64> = row.get(14);
        let rules: Option<&str> = row.get(13);
        let op: &str = row.get(11);
        let wrong =
            |what: &str| Error::bug(format!("a stored decision has {what} that this version can't read"));
        if stored.len() != model.meanings().len() {
            return Err(wrong("features"));
        }
        let mut features = [0; FEATURE_COUNT];
        features[..stored.len()].copy_from_slice(&stored);
        see(StoredDecision {
            known: known(&row)?,
            partition: row.get(9),
            log_offset: row.get(10),
            op: Op::parse(op).ok_or_else(|| wrong("an op"))?,
            score: row.get::<_, i16>(12) as u8,
            fired: rules.map_or(Ok(Vec::new()), serde_json::from_str).map_err(|_| wrong("rules"))?,
            features,
            model,
            rule_set: row.get(16),
            committed_us: row.get::<_, Option<DateTime<Utc>>>(17).map(|time| time.timestamp_micros()),
        })?;
    }
    Ok(())
}
