//! The checks of a Postgres source, in the order in which one needs another.

use super::check::{Checks, Finding};
use super::server::Server;
use super::table_facts::TableFacts;
use super::{check::Outcome, content, index};
use crate::text;
use invoices::source::args::quote;
use invoices::source::postgres::{ADVICE_ON_POLICIES, Session, failed, query_one};
use invoices::source::table::PostgresTable;
use invoices::source::url::PostgresUrl;
use invoices::source::{SelectArgs, SourceArgs};
use invoices::{KeyKinds, Kind, Result};
use postgres::Client;

/// A doctor must not load a production database: longer looks are given up.
const LOOK_SECONDS_MAX: u32 = 30;
/// How the catalog writes an amount, the last of the columns, without precision and scale.
const PLAIN_NUMERIC: &str = " numeric";
/// Amounts that are looked at for decimals.
const AMOUNTS_MAX: u32 = 10_000;

pub fn check(url: &PostgresUrl, args: &SourceArgs, select: &SelectArgs, checks: &mut Checks) {
    let Some(mut client) = checks.value_or_fail("connect", url.connect()) else { return };
    let Some(server) = checks.value_or_fail("connect", Server::ask(&mut client)) else { return };
    checks.add("connect", server.connected(url));
    checks.add("encryption", server.encryption(url));
    checks.add("role", server.role());
    checks.add("connections", server.connections());
    checks.add("statement timeout", server.statement_timeout());
    if let Some(replay) = server.replay() {
        checks.add("replay", replay);
    }
    let careful =
        format!("set statement_timeout = '{LOOK_SECONDS_MAX}s'; set default_transaction_read_only = on");
    let set = client.batch_execute(&careful).map_err(|error| failed("cannot limit this session", error));
    if checks.value_or_fail("session", set).is_none() {
        return;
    }
    let Some(table) = checks.value_or_fail("table", PostgresTable::describe(&mut client, args, select))
    else {
        return;
    };
    check_table(&mut client, &table, checks);
    checks.attempt("snapshot", snapshot(url, args, select));
}

fn check_table(client: &mut Client, table: &PostgresTable, checks: &mut Checks) {
    let facts = TableFacts::ask(client, table);
    let Some(facts) = checks.value_or_fail("table", facts) else { return };
    checks.add("table", described(table, &facts.columns));
    let privileges = privileges(client, table);
    let is_hidden = privileges.as_ref().is_err_and(|error| error.to_string().contains(ADVICE_ON_POLICIES));
    let check = if is_hidden { "row security" } else { "privileges" };
    let Some(privileges) = checks.value_or_fail(check, privileges) else { return };
    checks.add("privileges", privileges);
    checks.attempt("row security", row_security(client, table));
    checks.add("ids", ids(table.keys));
    checks.add("not null", not_null(&table.relation, &table.nullable));
    if facts.heaps.is_empty() {
        let advice = "name the table itself with --table to have keys, index and statistics checked";
        checks.add("index", Finding::warn("a view: its tables can't be looked into from here", advice));
    } else {
        let names = &table.names;
        checks.add("id", id_key(&table.relation, &names.invoice_id_column, facts.id_key_columns));
        checks.add(
            "index",
            index::date_index(&facts.heaps, facts.is_partitioned_by_date, &names.issue_date_column),
        );
        checks.add("statistics", index::statistics(&facts.heaps));
        checks.add("extent", index::extent(&facts.heaps));
    }
    match odd_dates(client, table) {
        Ok([months, dates]) => {
            checks.add("months", months);
            checks.add("dates", dates);
        }
        Err(error) => checks.attempt("months", Err(error)),
    }
    let declares_decimals = table.money.scale > 0 && !facts.columns.ends_with(PLAIN_NUMERIC);
    if !declares_decimals {
        checks.attempt("amounts", amounts(client, table));
    }
}

fn described(table: &PostgresTable, columns: &str) -> Finding {
    let detail = format!("{}: {columns}; amounts are {}", table.relation, table.money);
    if columns.ends_with(PLAIN_NUMERIC) {
        let advice = "declare it numeric(precision, scale), or see that --amount-scale is right";
        return Finding::warn(format!("{detail}, because the column declares no scale"), advice);
    }
    Finding::ok(detail)
}

/// Says who takes ids of these kinds.
fn ids(keys: KeyKinds) -> Finding {
    let kinds = format!("invoices have {}, businesses {}", keys.invoice, keys.business);
    Finding::ok(match keys.are_integers() {
        true => kinds,
        false => {
            format!("{kinds}: the lake keeps them as they are; the API and the stream take integers alone")
        }
    })
}

/// Reads one row of the five columns, and asks whether the role could change any.
fn privileges(client: &mut Client, table: &PostgresTable) -> Result<Finding> {
    let columns = table.expressions().join(", ");
    let one = format!("select {columns} from {} limit 1", table.relation);
    client.query(one.as_str(), &[]).map_err(|error| failed("cannot read the table", error))?;
    let sql = "select has_table_privilege(current_user, $1, 'INSERT, UPDATE, DELETE, TRUNCATE')";
    let row = client
        .query_one(sql, &[&table.relation])
        .map_err(|error| failed("cannot look up privileges", error))?;
    Ok(if row.get(0) {
        Finding::warn(
            "the role can change the table, and the tasks only read",
            "use a role with nothing but SELECT on it (postgres-scripts/sql/03_roles.sql)",
        )
    } else {
        Finding::ok("may read the table and can't change it")
    })
}

fn not_null(relation: &str, nullable: &[String]) -> Finding {
    if nullable.is_empty() {
        return Finding::ok("id, date and amount are never null");
    }
    let list = nullable.join(", ");
    let statements: Vec<String> =
        nullable.iter().map(|column| format!("alter column {} set not null", quote(column))).collect();
    Finding::warn(
        format!("{list} may be null; an invoice without one is refused, and each run must look for it"),
        format!("alter table {relation} {}", statements.join(", ")),
    )
}

fn id_key(relation: &str, id: &str, columns: Option<i32>) -> Finding {
    match columns {
        Some(1) => Finding::ok(format!("{id} is unique")),
        Some(_) => Finding::warn(
            format!("{id} is unique only together with other columns"),
            "query_source looks for ids that are there twice whenever it reads months, a pass over the window, and refuses them",
        ),
        None => Finding::warn(
            format!(
                "no key on {id}: query_source must look for ids that are there twice, and reading one by its id is slow"
            ),
            format!("create unique index concurrently on {relation} ({})", quote(id)),
        ),
    }
}

/// Every session of ours makes Postgres refuse a read from which a policy hides rows, so one that
/// succeeded has seen them all.
fn row_security(client: &mut Client, table: &PostgresTable) -> Result<Finding> {
    let sql = "select relrowsecurity from pg_class where oid = to_regclass($1)";
    let row = client.query_one(sql, &[&table.relation]);
    let is_on: bool = row.map_err(|error| failed("cannot look up row-level security", error))?.get(0);
    Ok(Finding::ok(if is_on {
        "the table has it, and this role is exempt: it sees every row"
    } else {
        "no policy hides rows from this role"
    }))
}

/// Counts invoices that no month can hold, and those whose dates may stand for something else, in one look;
/// an index on the date makes it quick.
fn odd_dates(client: &mut Client, table: &PostgresTable) -> Result<[Finding; 2]> {
    let column = &table.names.issue_date_column;
    let date = quote(column);
    let is_null = if table.nullable.contains(column) { format!(" or {date} is null") } else { String::new() };
    let outside = table.outside_any_month();
    let early = format!("{date} < {}", table.date_literal(&format!("{}-01-01", content::YEAR_MIN)));
    let late = format!("{date} >= {}", table.date_literal(&format!("{}-01-01", content::YEAR_MAX + 1)));
    let sql = format!(
        "select count(*) filter (where {outside}{is_null}), count(*) filter (where {early} and not ({outside})), \
         count(*) filter (where {late} and not ({outside})) from {} where {early} or {late}{is_null}",
        table.relation
    );
    match query_one(client, &sql, "cannot count the invoices with odd dates") {
        Ok(row) => {
            let [outside, early, late] = [0_usize, 1, 2].map(|index| row.get::<_, i64>(index));
            let sentinels = content::sentinel_dates(early.unsigned_abs(), late.unsigned_abs(), column);
            Ok([outside_any_month(outside, column), sentinels])
        }
        Err(error) if error.kind() == Kind::Retry => {
            let not_counted = |which: &str| {
                Finding::warn(
                    format!("invoices {which} were not counted within {LOOK_SECONDS_MAX} seconds"),
                    format!("an index on {column} and NOT NULL make this quick"),
                )
            };
            let years = format!("before {} and after {}", content::YEAR_MIN, content::YEAR_MAX);
            Ok([not_counted("outside any month"), not_counted(&years)])
        }
        Err(error) => Err(error),
    }
}

/// Looks for decimals in amounts whose column declares none.
fn amounts(client: &mut Client, table: &PostgresTable) -> Result<Finding> {
    let column = &table.names.amount_column;
    let [.., amount] = table.expressions();
    let sql = format!(
        "select count(*), count(*) filter (where amount = trunc(amount)) from \
         (select {amount} as amount from {} where {} is not null limit {AMOUNTS_MAX}) as looked_at",
        table.rows(),
        quote(column)
    );
    let row = query_one(client, &sql, "cannot look at the amounts")?;
    let [looked_at, whole] = [0_usize, 1].map(|index| row.get::<_, i64>(index).unsigned_abs());
    Ok(content::whole_amounts(looked_at, whole, column, table.money))
}

fn outside_any_month(count: i64, column: &str) -> Finding {
    if count == 0 {
        return Finding::ok("every invoice lies in a month");
    }
    let count = text::grouped(count);
    Finding::fail(
        format!(
            "invoices that lie in no month: {count}, whose {column} is NULL, infinite, or outside years 1 to 9999"
        ),
        "correct them in the source; until then every run is refused",
    )
}

/// Opens the session as query_source does.
fn snapshot(url: &PostgresUrl, args: &SourceArgs, select: &SelectArgs) -> Result<Finding> {
    let session = Session::open(url.clone(), args, select)?;
    let snapshot = &session.snapshot;
    let detail = format!("exports snapshot {} at {}", snapshot.snapshot, text::lsn(snapshot.lsn));
    Ok(Finding { outcome: Outcome::Ok, detail, advice: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_composite_key_is_not_a_key_on_the_id() {
        assert_eq!(id_key("invoices", "invoice_id", Some(1)).outcome, Outcome::Ok);
        assert_eq!(id_key("invoices", "invoice_id", Some(2)).outcome, Outcome::Warn);
        assert_eq!(id_key("invoices", "invoice_id", None).outcome, Outcome::Warn);
    }

    #[test]
    fn nullable_columns_come_with_the_statement() {
        let found = not_null("invoices", &["issue_date".to_owned(), "amount_usd".to_owned()]);
        assert!(
            found
                .advice
                .unwrap()
                .contains("alter column \"issue_date\" set not null, alter column \"amount_usd\"")
        );
    }
}
