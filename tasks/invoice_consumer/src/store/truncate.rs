//! A truncation of the source's table: every invoice that was there is withdrawn, by one statement inside
//! the database, so that its memory is bounded whatever the table's size.

use super::write::store_rules;
use super::{Epochs, Store};
use crate::model::Version;
use crate::rules::RuleSet;
use chrono::DateTime;
use invoices::source::postgres::failed;
use invoices::{Result, failpoint};
use postgres::Client;

const DOING: &str = "cannot withdraw the invoices of a truncated table";

/// The message that says so.
pub struct Emptied<'a> {
    pub partition: i32,
    /// The offset that is stored now; if another consumer has moved it, nothing is withdrawn.
    pub from: i64,
    pub offset: i64,
    /// The offset with the topic's epoch.
    pub place: i64,
    /// Position of the truncation; invoices that were written later stay.
    pub lsn: u64,
    pub committed_us: Option<i64>,
    pub received_us: i64,
    pub epochs: Epochs,
    pub rules: &'a RuleSet,
    pub model: &'a Version,
}

/// The figures that each withdrawn invoice takes back are those of `store::kpi`.
const WITHDRAW: &str = "\
with latest as (
    select distinct on (invoice_id) * from risk.decisions where partition = $1
    order by invoice_id, lsn desc, (status = 'withdrawn')
), decided as (
    insert into risk.decisions (
        partition, log_offset, step, invoice_id, lsn, op, status, score, features, model, rule_set, issue_date,
        filed_at, issuer_id, receiver_id, amount_cents, previous_status, previous_issue_date, previous_filed_at,
        previous_issuer_id, previous_receiver_id, previous_amount_cents, previous_lsn, committed_at, received_at,
        decided_at)
    select $1, $2, (row_number() over (order by invoice_id) - 1)::int4, invoice_id, $3, 't', 'withdrawn', 0,
           array_fill(0::int8, array[$4::int4]), $5, $6, issue_date,
           filed_at, issuer_id, receiver_id, amount_cents, status, issue_date, filed_at,
           issuer_id, receiver_id, amount_cents, lsn, $7, $8, now()
    from latest where status <> 'withdrawn' and lsn < $3
    returning invoice_id, issue_date::date as day, issuer_id, receiver_id, amount_cents, previous_status
), told as (
    insert into risk.notifications (invoice_id, lsn, from_status, to_status, score)
    select invoice_id, $3, previous_status, 'withdrawn', 0 from decided order by invoice_id
), sides as (
    select issuer_id as business_id, day, 1 as issued, 0 as received, amount_cents,
           (previous_status in ('review', 'block'))::int4 as flagged
    from decided where issuer_id is not null
    union all
    select receiver_id, day, 0, 1, amount_cents,
           (previous_status in ('review', 'block') and issuer_id is distinct from receiver_id)::int4
    from decided where receiver_id is not null
), figures as (
    insert into risk.business_day_changes
    select business_id, day, -sum(issued), -sum(issued * amount_cents), -sum(received),
           -sum(received * amount_cents), -sum(flagged)
    from sides group by business_id, day
)
select count(*) from decided";

const IS_UNPLACED: &str = "\
select exists (
    select from (
        select distinct on (invoice_id) lsn, status from risk.decisions where partition = $1
        order by invoice_id, lsn desc, (status = 'withdrawn')
    ) latest where status <> 'withdrawn' and lsn > $2
) and not exists (select from risk.decisions where partition = $1 and lsn = $2 and op = 't')";

/// Whether invoices were decided behind a truncation that was not decided itself.
///
/// # Errors
/// Retry when the database doesn't answer.
pub fn is_unplaced(client: &mut Client, partition: i32, lsn: u64) -> Result<bool> {
    let row = client.query_one(IS_UNPLACED, &[&partition, &(lsn as i64)]);
    row.map(|row| row.get(0)).map_err(|error| failed(DOING, error))
}

impl Store {
    /// Withdraws all invoices of the partition that are older than the truncation and moves the offset;
    /// how many, or none when another consumer has moved it.
    ///
    /// # Errors
    /// Retry when the database doesn't answer.
    pub fn empty(&self, client: &mut Client, emptied: &Emptied<'_>) -> Result<Option<u64>> {
        let doing = |error| failed(DOING, error);
        let mut transaction = client.transaction().map_err(doing)?;
        let step = "update risk.stream_offsets set next_offset = $6, source_epoch = $4, updated_at = now() \
            where topic = $1 and partition = $2 and next_offset = $3 and topic_epoch = $5";
        let (topic, source) = (emptied.epochs.topic as i32, emptied.epochs.source as i32);
        let next = emptied.offset + 1;
        let values: [&(dyn postgres::types::ToSql + Sync); 6] =
            [&self.topic, &emptied.partition, &emptied.from, &source, &topic, &next];
        if transaction.execute(step, &values).map_err(doing)? == 0 {
            return Ok(None);
        }
        store_rules(&mut transaction, emptied.rules, emptied.model)?;
        let features = emptied.model.meanings().len() as i32;
        let (lsn, committed) =
            (emptied.lsn as i64, emptied.committed_us.and_then(DateTime::from_timestamp_micros));
        let received = DateTime::from_timestamp_micros(emptied.received_us);
        let values: [&(dyn postgres::types::ToSql + Sync); 8] = [
            &emptied.partition,
            &emptied.place,
            &lsn,
            &features,
            &emptied.model.id(),
            &emptied.rules.id,
            &committed,
            &received,
        ];
        let row = transaction.query_one(WITHDRAW, &values).map_err(doing)?;
        failpoint!("risk::before_commit");
        transaction.commit().map_err(doing)?;
        Ok(Some(row.get::<_, i64>(0) as u64))
    }
}
