//! The checks of a SQLite source. The file is small enough to be read in full.

use super::check::{Checks, Finding};
use super::content;
use crate::text;
use chrono::Datelike;
use invoices::money::{self, MoneyType};
use invoices::source::args::quote;
use invoices::source::sqlite::{Session, failed};
use invoices::source::{AmountUnit, MonthFingerprints, SelectArgs, SourceArgs};
use invoices::{Error, Fingerprint, Month, Result, Window};
use rusqlite::{Connection, OpenFlags};
use std::path::Path;

pub fn check(path: &Path, args: &SourceArgs, select: &SelectArgs, checks: &mut Checks) {
    let Some(mut session) = checks.value_or_fail("open", Session::open(path, args, select)) else { return };
    let bytes = path.metadata().map_or(0, |file| file.len());
    checks.add(
        "open",
        Finding::ok(format!("{} ({}), table {}", path.display(), text::size(bytes), args.table)),
    );
    checks.attempt("index", date_index(path, args));
    if let Some(months) = checks.value_or_fail("invoices", months(&mut session)) {
        checks.add("invoices", invoices(&months, session.money));
        checks.add("dates", sentinel_dates(&months, &args.columns.issue_date_column));
        if select.amount_unit == AmountUnit::Dollars {
            checks.attempt("amounts", amounts(path, args, session.money));
        }
    }
}

/// Reads every row, as the tasks would, and so finds every date and amount that they would refuse.
fn months(session: &mut Session) -> Result<MonthFingerprints> {
    let always = Window { first: month("0001-01-01")?, last: month("9999-12-01")? };
    session.fingerprints(always)
}

fn invoices(months: &MonthFingerprints, money: MoneyType) -> Finding {
    let mut total = Fingerprint::default();
    months.values().for_each(|month| total.merge(*month));
    let (Some(first), Some(last)) = (months.keys().next(), months.keys().next_back()) else {
        return Finding::warn(
            "the table is empty",
            "load invoices into it, for example with populate_tables",
        );
    };
    Finding::ok(format!(
        "{} invoices in {}, {first} to {last}, {} in all; every date and amount is exact",
        text::grouped(total.rows),
        text::count(months.len(), "month"),
        text::grouped(money::format(total.amount, money.scale)),
    ))
}

fn sentinel_dates(months: &MonthFingerprints, column: &str) -> Finding {
    let rows = |is_odd: fn(i32) -> bool| -> u64 {
        let odd = months.iter().filter(|(month, _)| is_odd(month.first_day().year()));
        odd.map(|(_, found)| found.rows).sum()
    };
    content::sentinel_dates(
        rows(|year| year < content::YEAR_MIN),
        rows(|year| year > content::YEAR_MAX),
        column,
    )
}

/// SQLite's columns declare nothing, so an amount has decimals when it is written with them.
fn amounts(path: &Path, args: &SourceArgs, money: MoneyType) -> Result<Finding> {
    let (_, table) = args.table_parts()?;
    let column = &args.columns.amount_column;
    let sql = format!(
        "select count(*), count(*) filter (where {0} not like '%.%') from {1}",
        quote(column),
        quote(table)
    );
    let counts = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .and_then(|connection| connection.query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?))));
    let (rows, whole): (i64, i64) = counts.map_err(|error| failed("cannot look at the amounts", error))?;
    Ok(content::whole_amounts(rows.unsigned_abs(), whole.unsigned_abs(), column, money))
}

fn month(text: &str) -> Result<Month> {
    text.parse().map_err(|error| Error::bug("a constant is not a month").because(error))
}

fn date_index(path: &Path, args: &SourceArgs) -> Result<Finding> {
    let column = &args.columns.issue_date_column;
    let (_, table) = args.table_parts()?;
    let sql = "select l.name from pragma_index_list(?1) l join pragma_index_info(l.name) i \
         where i.seqno = 0 and l.partial = 0 and i.name = ?2 collate nocase limit 1";
    let names = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).and_then(|connection| {
        let mut statement = connection.prepare(sql)?;
        let names = statement.query_map([table, column], |row| row.get::<_, String>(0))?;
        names.collect::<Result<Vec<String>, _>>()
    });
    let names = names.map_err(|error| failed("cannot look up the indexes", error))?;
    Ok(match names.first() {
        Some(name) => Finding::ok(name.as_str()),
        None => Finding::warn(
            format!("no index on {column}: every run reads the whole table"),
            format!(
                "create index on it: create index {} on {} ({})",
                quote(&format!("{table}_{column}")),
                quote(table),
                quote(column)
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::{failure, tally};
    use crate::testing::Demo;

    fn check_demo(demo: &Demo) -> Vec<crate::doctor::check::Check> {
        let mut checks = Checks::new("source");
        check(&demo.database, &demo.source_args(), &SelectArgs::default(), &mut checks);
        checks.into_inner()
    }

    #[test]
    fn a_good_file_lacks_only_the_index_and_then_nothing() {
        let demo = Demo::new();
        assert_eq!(tally(&check_demo(&demo)), [4, 1, 0]);
        demo.execute("create index by_date on invoices (issue_date)");
        assert_eq!(tally(&check_demo(&demo)), [5, 0, 0]);
    }

    #[test]
    fn a_float_amount_and_a_missing_date_are_found_before_a_run() {
        for statement in [
            "update invoices set amount_usd = 0.5 where invoice_id = 2",
            "update invoices set issue_date = null where invoice_id = 3",
        ] {
            let demo = Demo::new();
            demo.execute(statement);
            assert_eq!(failure(&check_demo(&demo)).unwrap().kind(), invoices::Kind::Config);
        }
    }

    #[test]
    fn dates_that_stand_for_unknown_and_amounts_that_may_be_cents_are_pointed_out() {
        let demo = Demo::new();
        demo.execute("update invoices set issue_date = '1899-12-31' where invoice_id = 2");
        demo.execute("update invoices set issue_date = '2101-01-01 00:00:00' where invoice_id = 3");
        assert_eq!(tally(&check_demo(&demo)), [3, 2, 0]);
        demo.execute("update invoices set amount_usd = invoice_id");
        assert_eq!(tally(&check_demo(&demo)), [2, 3, 0]);
    }

    #[test]
    fn a_missing_file_is_one_failure() {
        let demo = Demo::new();
        std::fs::remove_file(&demo.database).unwrap();
        assert_eq!(tally(&check_demo(&demo)), [0, 0, 1]);
    }
}
