//! Invoice ids that are there more than once. Where a key keeps them unique nothing is looked for.

use super::args::quote;
use super::{Source, postgres, sqlite};
use crate::error::{Error, Result};
use crate::month::{Month, Window, runs};
use ::postgres::Client;
use rusqlite::Connection;

/// Ids that a sentence names.
const NAMED_MAX: usize = 10;
const DOING: &str = "cannot look for ids that are there twice";

impl Source {
    /// The sentence for ids that are there more than once in the window, one of them at least in the months that are
    /// read; none when there are none, or when a unique index on the id's column says so.
    ///
    /// # Errors
    /// When the source can't be read.
    pub fn repeated_ids(&mut self, window: Window, read: &[Month]) -> Result<Option<Error>> {
        let runs = runs(read);
        let is_all = runs == [(window.first, window.last)];
        let (ids, column) = match self {
            Self::Postgres(session) => (session.repeated_ids(window, &runs, is_all)?, &session.table.names),
            Self::Sqlite(session) => (session.repeated_ids(window, &runs, is_all)?, session.names()),
        };
        let column = &column.invoice_id_column;
        Ok((!ids.is_empty()).then(|| {
            let more = if ids.len() == NAMED_MAX { " …" } else { "" };
            Error::refused(format!(
                "column {column} has the same id in several rows ({}{more}), and each would count; correct them in the \
                 source, leave the wrong ones out with --where, or take every row for an invoice of its own with \
                 --allow-repeated-ids",
                ids.join(", ")
            ))
        }))
    }
}

impl postgres::Session {
    fn repeated_ids(&mut self, window: Window, runs: &[(Month, Month)], is_all: bool) -> Result<Vec<String>> {
        let table = &self.table;
        if table.is_unique || runs.is_empty() {
            return Ok(Vec::new());
        }
        let within = |runs: &[(Month, Month)]| {
            runs.iter().map(|(first, last)| table.within(*first, *last)).collect::<Vec<_>>().join(" or ")
        };
        let sql = repeated_sql(
            &quote(&table.names.invoice_id_column),
            &table.rows(),
            &within(&[(window.first, window.last)]),
            (!is_all).then(|| within(runs)).as_deref(),
        );
        let rows = self.client.query(sql.as_str(), &[]).map_err(|error| postgres::failed(DOING, error))?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}

impl sqlite::Session {
    fn repeated_ids(&self, window: Window, runs: &[(Month, Month)], is_all: bool) -> Result<Vec<String>> {
        if runs.is_empty() || self.is_unique()? {
            return Ok(Vec::new());
        }
        let within = |runs: &[(Month, Month)]| {
            let of = |(first, last): &(Month, Month)| self.within_sql(Window { first: *first, last: *last });
            runs.iter().map(of).collect::<Vec<_>>().join(" or ")
        };
        let sql = repeated_sql(
            &quote(&self.names().invoice_id_column),
            self.table(),
            &within(&[(window.first, window.last)]),
            (!is_all).then(|| within(runs)).as_deref(),
        );
        let failed = |error| sqlite::failed(DOING, error);
        let mut statement = self.connection().prepare(&sql).map_err(failed)?;
        let ids = statement.query_map([], |row| row.get(0)).map_err(failed)?;
        ids.collect::<rusqlite::Result<_>>().map_err(failed)
    }
}

/// `read` is the condition of the months that are read, where they are not the whole window.
fn repeated_sql(id: &str, rows: &str, window: &str, read: Option<&str>) -> String {
    let among =
        read.map_or(String::new(), |read| format!(" and {id} in (select {id} from {rows} where {read})"));
    format!(
        "select cast({id} as text) from {rows} where {id} is not null and ({window}){among} \
         group by {id} having count(*) > 1 order by {id} limit {NAMED_MAX}"
    )
}

/// Whether a unique index on the column alone says that its values are there once. Of a table that others inherit
/// from, or of a partitioned one, an index says nothing of all rows unless it belongs to all.
pub fn is_unique_in_postgres(client: &mut Client, oid: u32, column: &str) -> Result<bool> {
    let sql = "select exists (select from pg_index i join pg_attribute a on a.attrelid = i.indrelid \
        where i.indrelid = $1 and a.attname = $2 and i.indisunique and i.indisvalid and i.indpred is null \
        and i.indnkeyatts = 1 and i.indkey[0] = a.attnum) \
        and not exists (select from pg_inherits h join pg_class c on c.oid = h.inhparent \
                        where h.inhparent = $1 and c.relkind <> 'p')";
    let row = client.query_one(sql, &[&oid, &column]).map_err(|error| postgres::failed(DOING, error))?;
    Ok(row.get(0))
}

/// The same in SQLite; `table` is a name, of a view or none of a table the answer is no.
pub fn is_unique_in_sqlite(connection: &Connection, table: &str, column: &str) -> rusqlite::Result<bool> {
    let sql = "select exists (select 1 from pragma_table_info(?1) where pk = 1 and name = ?2 collate nocase \
            and (select count(*) from pragma_table_info(?1) where pk > 0) = 1) \
        or exists (select 1 from pragma_index_list(?1) as list where list.\"unique\" = 1 and list.partial = 0 \
            and (select count(*) from pragma_index_info(list.name)) = 1 \
            and (select name from pragma_index_info(list.name)) = ?2 collate nocase)";
    connection.query_row(sql, [table, column], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sqlite_says_what_is_unique() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "create table keyed (id integer primary key, n); create table indexed (id, n);
                 create unique index i on indexed (id); create table pairs (id, n, primary key (id, n));
                 create table partly (id, n); create unique index p on partly (id) where n = 1;
                 create view seen as select * from keyed;",
            )
            .unwrap();
        let unique = |table| is_unique_in_sqlite(&connection, table, "ID").unwrap();
        assert!(unique("keyed") && unique("indexed"));
        assert!(!unique("pairs") && !unique("partly") && !unique("seen") && !unique("nowhere"));
    }

    #[test]
    fn only_ids_of_the_months_that_are_read_are_looked_for() {
        assert_eq!(
            repeated_sql("id", "t", "d > 1", None),
            "select cast(id as text) from t where id is not null and (d > 1) group by id having count(*) > 1 order by id limit 10"
        );
        assert!(
            repeated_sql("id", "t", "d > 1", Some("d > 2"))
                .contains("and id in (select id from t where d > 2)")
        );
    }
}
