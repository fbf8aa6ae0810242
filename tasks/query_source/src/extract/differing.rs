//! Which invoices a month's difference comes from: what the source says of each row, and what arrives of it, are read
//! once more and compared. Ids are compared in groups first, so that memory doesn't follow the month.

use super::wire;
use invoices::fingerprint::{row_hash, row_hash_sql};
use invoices::source::postgres::{Session, each_row};
use invoices::{Month, Result};
use std::collections::BTreeMap;

/// The bits of an id that tell its group.
const GROUP: i64 = 4095;
/// Invoices that a refusal names, and groups that are looked into for them.
const NAMED_MAX: usize = 10;
const DOING: &str = "cannot look for the difference";

/// Up to ten ids whose rows differ; none when both sides agree now.
///
/// # Errors
/// When the source can't be read, and for a row that can't be decoded.
pub fn differing(session: &mut Session, month: Month) -> Result<Vec<i64>> {
    let groups = differing_keys(session, month, |id| id & GROUP, "")?;
    if groups.is_empty() {
        return Ok(groups);
    }
    let groups: Vec<String> = groups.iter().take(NAMED_MAX).map(i64::to_string).collect();
    let [id, ..] = session.table.expressions();
    let within = format!(" and ({id} & {GROUP}) in ({})", groups.join(", "));
    let mut ids = differing_keys(session, month, |id| id, &within)?;
    ids.truncate(NAMED_MAX);
    Ok(ids)
}

/// The keys under which the two sides have other rows, in order.
fn differing_keys(
    session: &mut Session,
    month: Month,
    key: fn(i64) -> i64,
    condition: &str,
) -> Result<Vec<i64>> {
    let table = &session.table;
    let [id, date, issuer, receiver, amount] = table.expressions();
    let hash = row_hash_sql(&id, &date, &issuer, &receiver, &amount);
    let rows = format!("from {} where {}{condition}", table.rows(), table.within(month, month));
    let said = format!("select {id}, {hash} {rows}");
    let sent = format!("select {} {rows}", wire::columns_sql(table).join(", "));
    let (money, amount_column) = (table.money, table.names.amount_column.clone());

    let mut sums: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut count = |id: i64, hash: i64, sign: i64| {
        let sum = sums.entry(key(id)).or_default();
        *sum = (sum.0 + sign, sum.1.wrapping_add(hash.wrapping_mul(sign)));
    };
    each_row(&mut session.client, &said, DOING, |row| {
        let id: Option<i64> = row.get(0);
        let hash: Option<i64> = row.get(1);
        count(id.unwrap_or_default(), hash.unwrap_or_default(), 1);
        Ok(())
    })?;
    each_row(&mut session.client, &sent, DOING, |row| {
        let columns = std::array::from_fn(|index| row.get::<_, Option<Vec<u8>>>(index).unwrap_or_default());
        wire::decode(1, &columns, money, &amount_column, |invoice| {
            count(invoice.invoice_id, row_hash(invoice, money), -1);
            Ok(())
        })
    })?;
    Ok(sums.into_iter().filter(|(_, sum)| *sum != (0, 0)).map(|(key, _)| key).collect())
}
