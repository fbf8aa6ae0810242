//! Which invoices a month's difference comes from: what the source says of each row, and what arrives of it, are read
//! once more and compared. Ids are compared in groups first, so that memory doesn't follow the month.

use super::wire::{self, SentKeys};
use invoices::fingerprint::row_hash;
use invoices::source::postgres::{Session, each_row};
use invoices::{Key, Month, Result, Texts};
use std::collections::BTreeMap;

/// The bits of an id's hash that tell its group.
const GROUP: i64 = 4095;
/// Invoices that a refusal names, and groups that are looked into for them.
const NAMED_MAX: usize = 10;
const DOING: &str = "cannot look for the difference";

/// Up to ten ids whose rows differ; none when both sides agree now.
///
/// # Errors
/// When the source can't be read, and for a row that can't be decoded.
pub fn differing(session: &mut Session, month: Month) -> Result<Vec<String>> {
    if session.table.keys.are_integers() {
        keyed::<Vec<i64>>(session, month)
    } else {
        keyed::<Texts>(session, month)
    }
}

fn keyed<Ids: SentKeys>(session: &mut Session, month: Month) -> Result<Vec<String>> {
    let table = &session.table;
    let group = format!("({} & {GROUP})", table.key_hash_sql());
    let [id, ..] = table.expressions();
    let groups = differing_keys::<Ids>(
        session,
        month,
        &group,
        |id| (id.hash(0).cast_signed() & GROUP).to_string(),
        "",
    )?;
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let within = format!(" and {group} in ({})", groups[..groups.len().min(NAMED_MAX)].join(", "));
    let mut ids = differing_keys::<Ids>(session, month, &id, |id| id.to_string(), &within)?;
    ids.sort_by_key(|id| (id.parse::<i128>().unwrap_or_default(), id.clone()));
    ids.truncate(NAMED_MAX);
    Ok(ids)
}

/// The keys under which the two sides have other rows, in order. `said` is the key in SQL, `key` in Rust.
fn differing_keys<Ids: SentKeys>(
    session: &mut Session,
    month: Month,
    said: &str,
    key: impl Fn(Ids::Key<'_>) -> String,
    condition: &str,
) -> Result<Vec<String>> {
    let table = &session.table;
    let rows = format!("from {} where {}{condition}", table.rows(), table.within(month, month));
    let said = format!("select coalesce(({said})::text, ''), {} {rows}", table.row_hash_sql());
    let sent = format!("select {} {rows}", wire::columns_sql(table).join(", "));
    let (money, amount_column) = (table.money, table.names.amount_column.clone());

    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut count = |key: String, hash: i64, sign: i64| {
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + sign, sum.1.wrapping_add(hash.wrapping_mul(sign)));
    };
    each_row(&mut session.client, &said, DOING, |row| {
        let hash: Option<i64> = row.get(1);
        count(row.get(0), hash.unwrap_or_default(), 1);
        Ok(())
    })?;
    each_row(&mut session.client, &sent, DOING, |row| {
        let mut columns = 0..row.len();
        let sent = wire::Sent::read(row.len() - wire::COLUMNS, || {
            Ok(columns.next().and_then(|index| row.get::<_, Option<Vec<u8>>>(index)).unwrap_or_default())
        })?;
        wire::decode::<Ids>(1, &sent, money, &amount_column, |invoice, more| {
            count(key(invoice.invoice_id), row_hash(invoice, more.iter().copied(), money), -1);
            Ok(())
        })
    })?;
    Ok(sums.into_iter().filter(|(_, sum)| *sum != (0, 0)).map(|(key, _)| key).collect())
}
