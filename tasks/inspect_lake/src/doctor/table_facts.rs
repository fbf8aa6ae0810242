//! What Postgres' catalog says of the invoice table and of the tables that hold its rows.

use super::index::{DateIndex, Heap};
use invoices::Result;
use invoices::source::postgres::failed;
use invoices::source::table::PostgresTable;
use postgres::Client;

/// A row per table that holds rows: size, statistics of the date column, an index that begins with it.
/// A btree comes before a BRIN where both exist, for it serves every order of rows.
const HEAPS: &str = "\
    select h.name, c.reltuples::float8, pg_total_relation_size(c.oid), s.attname is not null, \
      s.correlation::float8, bounds.names[1], bounds.names[array_upper(bounds.names, 1)], x.name, x.method \
    from unnest($1::text[]) h(name) \
    join pg_class c on c.oid = to_regclass(h.name) \
    join pg_namespace n on n.oid = c.relnamespace \
    left join pg_stats s on s.schemaname = n.nspname and s.tablename = c.relname and s.attname = $2 and not s.inherited \
    left join lateral (select s.histogram_bounds::text::text[] as names) bounds on true \
    left join lateral ( \
      select i.indexrelid::regclass::text as name, m.amname::text as method from pg_index i \
      join pg_class k on k.oid = i.indexrelid join pg_am m on m.oid = k.relam \
      join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] \
      where i.indrelid = c.oid and a.attname = $2 and i.indisvalid and i.indpred is null \
        and m.amname in ('btree', 'brin') order by m.amname desc limit 1) x on true";

/// The fewest columns of a unique index that has the id: 1 is a key, more is not quite one.
const ID_KEY: &str = "\
    select min(i.indnkeyatts)::int4 from pg_index i \
    join pg_attribute a on a.attrelid = i.indrelid and a.attnum = any(i.indkey::int2[]) \
    where i.indrelid = to_regclass($1) and a.attname = $2 and i.indisunique and i.indisvalid and i.indpred is null";

const PARTITIONED_BY: &str = "\
    select exists (select from pg_partitioned_table p \
      join pg_attribute a on a.attrelid = p.partrelid and a.attnum = p.partattrs[0] \
      where p.partrelid = to_regclass($1) and a.attname = $2)";

const TYPES: &str = "\
    select string_agg(a.attname || ' ' || format_type(a.atttypid, a.atttypmod), ', ' order by array_position($2, a.attname::text)) \
    from pg_attribute a where a.attrelid = to_regclass($1) and a.attname::text = any($2) and not a.attisdropped";

/// Facts about the table.
#[derive(Debug, Clone)]
pub struct TableFacts {
    /// Column names with types, as people read them.
    pub columns: String,
    pub heaps: Vec<Heap>,
    pub id_key_columns: Option<i32>,
    pub is_partitioned_by_date: bool,
}

impl TableFacts {
    pub fn ask(client: &mut Client, table: &PostgresTable) -> Result<Self> {
        let doing = "cannot look at the table";
        let names: Vec<&str> = table.names.in_order().to_vec();
        let (relation, id, date) = (&table.relation, names[0], names[1]);
        let types = client.query_one(TYPES, &[relation, &names]).map_err(|error| failed(doing, error))?;
        let key = client.query_one(ID_KEY, &[relation, &id]).map_err(|error| failed(doing, error))?;
        let by =
            client.query_one(PARTITIONED_BY, &[relation, &date]).map_err(|error| failed(doing, error))?;
        let heaps = client.query(HEAPS, &[&table.heaps, &date]).map_err(|error| failed(doing, error))?;
        Ok(Self {
            columns: types.get::<_, Option<String>>(0).unwrap_or_default(),
            heaps: heaps.iter().map(heap).collect(),
            id_key_columns: key.get(0),
            is_partitioned_by_date: by.get(0),
        })
    }
}

fn heap(row: &postgres::Row) -> Heap {
    let method: Option<String> = row.get(8);
    Heap {
        name: row.get(0),
        rows_estimate: Some(row.get::<_, f64>(1)).filter(|rows| *rows >= 0.0).map(|rows| rows as u64),
        bytes: row.get::<_, i64>(2) as u64,
        is_analyzed: row.get(3),
        correlation: row.get(4),
        dates: row.get::<_, Option<String>>(5).zip(row.get(6)),
        date_index: row
            .get::<_, Option<String>>(7)
            .map(|name| DateIndex { name, is_brin: method.as_deref() == Some("brin") }),
    }
}
