//! The tables that a role can read, with their columns.

use invoices::source::SourceUrl;
use invoices::source::postgres::failed;
use invoices::source::sqlite;
use invoices::{Error, Result};
use postgres::Client;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

const LOOKING: &str = "cannot look at the source's tables";
/// Rows of a SQLite table that are looked at for common values.
const SAMPLE_ROWS: u32 = 10_000;

/// What a column's type can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Integer,
    /// `numeric` and the like, and SQLite's amounts in text.
    Decimal,
    Money,
    Float,
    /// A date, or a date with its time.
    Date,
    Text,
    Uuid,
    Bool,
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub kind: Kind,
    /// The type as the database calls it.
    pub type_name: String,
    /// The table's only primary key column, or unique by itself.
    pub is_key: bool,
    /// The table that its values are keys of.
    pub refers_to: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation {
    /// None in SQLite.
    pub schema: Option<String>,
    pub table: String,
    /// As the planner's statistics have it; 0 when unknown.
    pub rows: i64,
    pub columns: Vec<Column>,
}

impl Relation {
    /// As `--table` takes it.
    pub fn name(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.table),
            None => self.table.clone(),
        }
    }

    /// Whether somebody who writes this means it.
    pub fn is(&self, name: &str) -> bool {
        name == self.name() || name == self.table
    }
}

/// A source whose tables are looked at.
pub enum Catalog {
    Postgres(Box<Client>),
    Sqlite(Connection),
}

impl Catalog {
    /// # Errors
    /// Configuration for a file that doesn't exist or rights that are missing, retry when the database doesn't answer.
    pub fn open(source: SourceUrl) -> Result<Self> {
        match source {
            SourceUrl::Postgres(url) => {
                let mut client = url.connect()?;
                client
                    .batch_execute("set default_transaction_read_only = on; set statement_timeout = '30s'")
                    .map_err(|error| failed(LOOKING, error))?;
                Ok(Self::Postgres(Box::new(client)))
            }
            SourceUrl::Sqlite(path) => open_sqlite(&path).map(Self::Sqlite),
        }
    }

    /// All tables and views that can be read, without those of the database itself.
    ///
    /// # Errors
    /// When the catalog can't be read.
    pub fn relations(&mut self) -> Result<Vec<Relation>> {
        match self {
            Self::Postgres(client) => postgres_relations(client),
            Self::Sqlite(connection) => {
                sqlite_relations(connection).map_err(|error| sqlite::failed(LOOKING, error))
            }
        }
    }

    /// Frequent values of a column of texts: in Postgres those of the planner's statistics, which cost nothing.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn common_values(&mut self, relation: &Relation, column: &Column) -> Result<Vec<String>> {
        match self {
            Self::Postgres(client) => {
                // A partitioned table has statistics of its own only after an ANALYZE of it; its partitions have theirs.
                let sql = "select distinct v from pg_stats s join pg_namespace n on n.nspname = s.schemaname \
                    join pg_class c on c.relnamespace = n.oid and c.relname = s.tablename \
                    cross join lateral unnest(s.most_common_vals::text::text[]) as v \
                    where s.attname = $3 and c.oid in ( \
                    select to_regclass(format('%I.%I', $1::text, $2::text)) \
                    union all select relid from pg_partition_tree(to_regclass(format('%I.%I', $1::text, $2::text)))) \
                    order by v";
                let schema = relation.schema.clone().unwrap_or_default();
                let rows = client
                    .query(sql, &[&schema, &relation.table, &column.name])
                    .map_err(|error| failed(LOOKING, error))?;
                Ok(rows.iter().map(|row| row.get(0)).collect())
            }
            Self::Sqlite(connection) => sqlite_values(connection, relation, column)
                .map_err(|error| sqlite::failed("cannot look at the table's values", error)),
        }
    }
}

fn postgres_relations(client: &mut Client) -> Result<Vec<Relation>> {
    let sql = "select n.nspname, c.relname, \
        case when c.relkind = 'p' \
             then (select coalesce(sum(greatest(leaf.reltuples, 0)), 0) from pg_partition_tree(c.oid) tree \
                   join pg_class leaf on leaf.oid = tree.relid where tree.isleaf) \
             else greatest(c.reltuples, 0) end::int8, \
        a.attname, base.typname::text, base.typcategory::text, a.atttypmod, \
        exists (select from pg_index i where i.indrelid = c.oid and i.indisunique and i.indpred is null \
                and i.indnkeyatts = 1 and i.indkey[0] = a.attnum), \
        (select r.relname::text from pg_constraint f join pg_class r on r.oid = f.confrelid \
         where f.conrelid = c.oid and f.contype = 'f' and f.conkey = array[a.attnum] limit 1) \
        from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped \
        join pg_type t on t.oid = a.atttypid \
        join pg_type base on base.oid = case when t.typtype = 'd' then t.typbasetype else t.oid end \
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and not c.relispartition \
        and n.nspname <> 'information_schema' and n.nspname !~ '^pg_' \
        and has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') \
        order by n.nspname, c.relname, a.attnum";
    let rows = client.query(sql, &[]).map_err(|error| failed(LOOKING, error))?;
    let mut relations: Vec<Relation> = Vec::new();
    for row in &rows {
        let (schema, table): (String, String) = (row.get(0), row.get(1));
        let is_new =
            relations.last().is_none_or(|last| last.schema.as_ref() != Some(&schema) || last.table != table);
        if is_new {
            relations.push(Relation { schema: Some(schema), table, rows: row.get(2), columns: Vec::new() });
        }
        let type_name: String = row.get(4);
        let column = Column {
            name: row.get(3),
            kind: postgres_kind(&type_name, row.get(5)),
            type_name,
            is_key: row.get(7),
            refers_to: row.get(8),
        };
        if let Some(relation) = relations.last_mut() {
            relation.columns.push(column);
        }
    }
    Ok(relations)
}

fn postgres_kind(name: &str, category: &str) -> Kind {
    match name {
        "int2" | "int4" | "int8" => Kind::Integer,
        "numeric" => Kind::Decimal,
        "money" => Kind::Money,
        "float4" | "float8" => Kind::Float,
        "date" | "timestamp" | "timestamptz" => Kind::Date,
        "uuid" => Kind::Uuid,
        "bool" => Kind::Bool,
        // Strings and enums.
        _ if matches!(category, "S" | "E") => Kind::Text,
        _ => Kind::Other,
    }
}

fn open_sqlite(path: &Path) -> Result<Connection> {
    if !path.exists() {
        let sentence = format!("the SQLite file {} does not exist; check the source URL", path.display());
        return Err(Error::config(sentence));
    }
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|error| sqlite::failed(LOOKING, error))
}

fn sqlite_relations(connection: &Connection) -> rusqlite::Result<Vec<Relation>> {
    let mut tables = connection.prepare(
        "select name from sqlite_schema where type in ('table', 'view') and name not like 'sqlite_%'",
    )?;
    let names: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    names.into_iter().map(|table| sqlite_relation(connection, table)).collect()
}

fn sqlite_relation(connection: &Connection, table: String) -> rusqlite::Result<Relation> {
    let mut statement = connection.prepare(
        "select name, type, pk, (select count(*) from pragma_table_info(?1) where pk > 0) \
            from pragma_table_info(?1)",
    )?;
    let mut columns: Vec<Column> = statement
        .query_map([&table], |row| {
            let (type_name, position, keys): (String, i64, i64) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(Column {
                name: row.get(0)?,
                kind: sqlite_kind(&type_name),
                type_name,
                is_key: position == 1 && keys == 1,
                refers_to: None,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut references = connection.prepare("select \"from\", \"table\" from pragma_foreign_key_list(?1)")?;
    let references: Vec<(String, String)> = references
        .query_map([&table], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for column in &mut columns {
        let mut found = references.iter().filter(|(from, _)| *from == column.name);
        column.refers_to = found.next().map(|(_, table)| table.clone());
    }
    Ok(Relation { schema: None, table, rows: 0, columns })
}

/// SQLite's types are what somebody wrote; dates and amounts are mostly texts.
fn sqlite_kind(declared: &str) -> Kind {
    let declared = declared.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    if says(&["bool"]) {
        Kind::Bool
    } else if says(&["date", "time"]) {
        Kind::Date
    } else if says(&["int"]) {
        Kind::Integer
    } else if says(&["dec", "num", "money"]) {
        Kind::Decimal
    } else if says(&["real", "floa", "doub"]) {
        Kind::Float
    } else if says(&["uuid"]) {
        Kind::Uuid
    } else if says(&["char", "text", "clob"]) || declared.is_empty() {
        Kind::Text
    } else {
        Kind::Other
    }
}

fn sqlite_values(
    connection: &Connection,
    relation: &Relation,
    column: &Column,
) -> rusqlite::Result<Vec<String>> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (table, column) = (quote(&relation.table), quote(&column.name));
    let sql = format!(
        "select value from (select cast({column} as text) as value from {table} limit {SAMPLE_ROWS}) \
         where value is not null group by value order by count(*) desc limit 50"
    );
    let mut statement = connection.prepare(&sql)?;
    let mut values: Vec<String> =
        statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    values.sort();
    Ok(values)
}
