//! Which physical blocks of the table to read, and the queries that read them.
//!
//! Disjoint block ranges (`ctid`) cover the table exactly once in one snapshot, whatever ids and
//! dates look like. When few months are wanted, the blocks between their first and last row are
//! enough: where dates follow ids, that is a small part of the table.

use super::wire;
use invoices::month::runs;
use invoices::more::MoreKind;
use invoices::source::postgres::{Session, failed, query_one};
use invoices::source::table::PostgresTable;
use invoices::{Month, Result};

/// Blocks of one message. A block holds at most some 130 rows of these five columns, so a message is
/// at most about 1 MiB, whatever the planner believes of the table.
const CHUNK_BLOCKS: u64 = 184;
/// Bytes of a message at which fewer blocks make one; ConnectorX holds 32 messages.
const MESSAGE_BYTES: u64 = 1 << 20;
/// How much longer texts may be than what is stored of them.
const COMPRESSION: u64 = 3;
/// Below this share of the table's rows, finding the months' blocks first pays.
const NARROW_BELOW: f64 = 0.5;
/// TID range scans came with Postgres 14; before, a range of blocks would scan the whole table.
const TID_RANGE_SCAN_VERSION: i32 = 140_000;

/// Blocks `first..end` of one physical table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRange {
    pub heap: String,
    pub first: u64,
    pub end: u64,
}

/// How the rows will be read.
pub struct Reading {
    /// One query per connection; each row is a message of [`wire`].
    pub queries: Vec<String>,
    /// The planner's estimate, for progress.
    pub rows_estimate: u64,
}

/// Plans the reading of `months` on up to `connections` connections.
pub fn plan(session: &mut Session, months: &[Month], connections: usize) -> Result<Reading> {
    let runs = runs(months);
    let condition = condition(&session.table, &runs);
    let (rows_estimate, rows_all) = session.estimate(&condition)?;
    let version: i32 = query_one(
        &mut session.client,
        "select current_setting('server_version_num')::int4",
        "cannot ask for the version",
    )?
    .get(0);
    if session.table.heaps.is_empty() || version < TID_RANGE_SCAN_VERSION {
        let query = rows_one_by_one(&session.table, &condition);
        return Ok(Reading { queries: vec![query], rows_estimate });
    }
    let narrow = (rows_estimate as f64) < NARROW_BELOW * rows_all as f64;
    let ranges = if narrow { narrow_ranges(session, &runs)? } else { whole_ranges(session)? };
    let shares = share(&ranges, connections);
    let step = chunk_blocks(session)?;
    let queries = shares.iter().map(|share| chunked(&session.table, share, step, &condition)).collect();
    Ok(Reading { queries, rows_estimate })
}

/// Blocks of one message: fewer where further columns are texts, which may be longer than their rows and lie out of line.
fn chunk_blocks(session: &mut Session) -> Result<u64> {
    let table = &session.table;
    if !table.more.iter().any(|(column, _)| column.kind == MoreKind::Text) {
        return Ok(CHUNK_BLOCKS);
    }
    let sql = "select current_setting('block_size')::int8, coalesce(sum(pg_relation_size(c.oid)), 0)::int8, \
        coalesce(sum(pg_relation_size(nullif(c.reltoastrelid, 0)::regclass)), 0)::int8 \
        from unnest($1::text[]) as heap(name) join pg_class c on c.oid = heap.name::regclass";
    let row = session.client.query_one(sql, &[&table.heaps]);
    let row = row.map_err(|error| failed("cannot measure the table", error))?;
    let [block, inline, out_of_line] = [0_usize, 1, 2].map(|index| row.get::<_, i64>(index).unsigned_abs());
    Ok(blocks_of_a_message(block, inline, out_of_line))
}

fn blocks_of_a_message(block: u64, inline: u64, out_of_line: u64) -> u64 {
    let blocks = (inline / block.max(1)).max(1);
    let bytes_of_a_block = (block + out_of_line / blocks).saturating_mul(COMPRESSION).max(1);
    (MESSAGE_BYTES / bytes_of_a_block).clamp(1, CHUNK_BLOCKS)
}

fn condition(table: &PostgresTable, runs: &[(Month, Month)]) -> String {
    let parts: Vec<String> = runs.iter().map(|&(first, last)| table.within(first, last)).collect();
    format!("({}){}", parts.join(" or "), table.and_condition())
}

/// All blocks that existed when the snapshot was taken, and perhaps a few newer ones.
fn whole_ranges(session: &mut Session) -> Result<Vec<BlockRange>> {
    let mut ranges = Vec::new();
    for heap in session.table.heaps.clone() {
        let sql = "select pg_relation_size($1::text::regclass) / current_setting('block_size')::int8";
        let row = session
            .client
            .query_one(sql, &[&heap])
            .map_err(|error| failed("cannot measure the table", error))?;
        let blocks: i64 = row.get(0);
        ranges.push(BlockRange { heap, first: 0, end: blocks as u64 });
    }
    Ok(ranges)
}

/// For each run of months the blocks from its first to its last row, merged where they overlap.
fn narrow_ranges(session: &mut Session, runs: &[(Month, Month)]) -> Result<Vec<BlockRange>> {
    let mut ranges = Vec::new();
    for heap in session.table.heaps.clone() {
        let mut of_heap = Vec::new();
        for &(first, last) in runs {
            let within = session.table.within(first, last);
            let sql = format!("select min(ctid)::text, max(ctid)::text from only {heap} where {within}");
            let row = query_one(&mut session.client, &sql, "cannot find the months' rows")?;
            let block = |index: usize| row.get::<_, Option<String>>(index).and_then(|tid| block_of(&tid));
            if let (Some(low), Some(high)) = (block(0), block(1)) {
                of_heap.push((low, high + 1));
            }
        }
        let merged = merge(of_heap).into_iter();
        ranges.extend(merged.map(|(first, end)| BlockRange { heap: heap.clone(), first, end }));
    }
    Ok(ranges)
}

/// Block number of a tid's text, `(block,row)`.
fn block_of(tid: &str) -> Option<u64> {
    tid.strip_prefix('(')?.split_once(',')?.0.parse().ok()
}

fn merge(mut ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, end) in ranges {
        match merged.last_mut() {
            Some((_, last_end)) if first <= *last_end => *last_end = end.max(*last_end),
            _ => merged.push((first, end)),
        }
    }
    merged
}

/// Cuts the ranges into at most `parts` shares of as many blocks each.
fn share(ranges: &[BlockRange], parts: usize) -> Vec<Vec<BlockRange>> {
    let total: u64 = ranges.iter().map(|range| range.end - range.first).sum();
    let per_share = total.div_ceil(parts.max(1) as u64).max(1);
    let mut shares: Vec<Vec<BlockRange>> = vec![Vec::new()];
    let mut room = per_share;
    for range in ranges {
        let mut first = range.first;
        while first < range.end {
            if room == 0 {
                shares.push(Vec::new());
                room = per_share;
            }
            let end = range.end.min(first + room);
            if let Some(share) = shares.last_mut() {
                share.push(BlockRange { heap: range.heap.clone(), first, end });
            }
            room -= end - first;
            first = end;
        }
    }
    shares.retain(|share| !share.is_empty());
    shares
}

/// One query over a share: chunk by chunk, each one message of many rows.
fn chunked(table: &PostgresTable, share: &[BlockRange], step: u64, condition: &str) -> String {
    let columns = wire::columns_sql(table).into_iter();
    let columns: Vec<String> = columns.map(|column| format!("string_agg({column}, ''::bytea)")).collect();
    let columns = columns.join(", ");
    let parts: Vec<String> = share
        .iter()
        .map(|BlockRange { heap, first, end }| {
            format!(
                "select chunk.* from generate_series({first}::int8, {last}, {step}) as block(first), \
                 lateral (select count(*)::int8 as rows, {columns} from only {heap} \
                 where ctid >= format('(%s,0)', block.first)::tid \
                 and ctid < format('(%s,0)', least(block.first + {step}, {end}))::tid and {condition}) as chunk \
                 where chunk.rows > 0",
                last = end - 1,
            )
        })
        .collect();
    parts.join(" union all ")
}

/// For views, foreign tables and old servers: a message per row, in one stream.
fn rows_one_by_one(table: &PostgresTable, condition: &str) -> String {
    let columns = wire::columns_sql(table).join(", ");
    format!("select 1::int8, {columns} from {} where {condition}", table.relation)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_stay_small_whatever_lies_out_of_line() {
        assert_eq!(blocks_of_a_message(8192, 100 << 20, 0), 42);
        assert_eq!(blocks_of_a_message(8192, 8192, 1 << 40), 1);
        assert_eq!(blocks_of_a_message(0, 0, 0), CHUNK_BLOCKS);
    }

    #[test]
    fn overlapping_ranges_are_read_once() {
        assert_eq!(merge(vec![(5, 9), (0, 3), (8, 12), (3, 4)]), [(0, 4), (5, 12)]);
        assert_eq!(block_of("(1234,56)"), Some(1234));
    }

    proptest! {
        #[test]
        fn shares_cover_every_block_once(sizes in prop::collection::vec(0_u64..50, 1..5), parts in 1_usize..9) {
            let ranges: Vec<BlockRange> = sizes.iter().enumerate()
                .map(|(i, &size)| BlockRange { heap: format!("t{i}"), first: 3, end: 3 + size }).collect();
            let shares = share(&ranges, parts);
            prop_assert!(shares.len() <= parts);
            let mut seen: Vec<(String, u64)> = shares.iter().flatten()
                .flat_map(|r| (r.first..r.end).map(|block| (r.heap.clone(), block))).collect();
            let all: Vec<(String, u64)> = ranges.iter()
                .flat_map(|r| (r.first..r.end).map(|block| (r.heap.clone(), block))).collect();
            seen.sort();
            prop_assert_eq!(seen, all);
        }
    }
}
