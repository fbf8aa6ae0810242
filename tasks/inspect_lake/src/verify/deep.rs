//! `--deep`: every invoice of a month compared with its source by a way of its own. What the tasks and
//! `verify` share, a wrong cast in their SQL or a wrong reading of Parquet, both sides of a proof would
//! agree on. So this shares nothing with them: the source writes its values as text and finds the month
//! by the parts of the date, the object is read row by row through Parquet's record interface, ids are
//! compared as a set and everything else as text.

use super::deep_text::{Id, as_text, in_dollars, instant, lake_row, uncopied, unquoted};
use bytes::Bytes;
use invoices::source::args::quote;
use invoices::source::postgres::failed;
use invoices::source::url::SourceUrl;
use invoices::source::{AmountUnit, SelectArgs, SourceArgs, sqlite};
use invoices::task::check_stop;
use invoices::{Error, Month, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::BufRead;

/// Invoices that a problem names.
const NAMED_MAX: usize = 10;

/// How often an id is in the lake more than in the source, and the difference of what stands beside it.
/// Ids that are the same on both sides leave nothing behind.
#[derive(Default)]
pub struct Difference {
    by_id: HashMap<Id, (i64, u64)>,
    /// Whether the lake's ids of invoices are integers, so that the source's must be too.
    has_integers: bool,
    /// Whether the lake's ids of businesses are texts.
    has_text_businesses: bool,
    /// Sentences for rows of the source whose id is no whole number at all.
    unreadable: Vec<String>,
}

impl Difference {
    fn count(&mut self, id: Id, rest: &[String; 4], sign: i64) {
        let mut hasher = DefaultHasher::new();
        rest.hash(&mut hasher);
        let sum = (sign, hasher.finish().wrapping_mul(sign as u64));
        match self.by_id.entry(id) {
            Entry::Vacant(entry) => {
                entry.insert(sum);
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                *known = (known.0 + sum.0, known.1.wrapping_add(sum.1));
                if *known == (0, 0) {
                    entry.remove();
                }
            }
        }
    }

    /// Adds the rows of an object of the lake.
    ///
    /// # Errors
    /// Refused when it is no Parquet file with the five columns.
    pub fn add_object(&mut self, object: Bytes) -> Result<()> {
        let reader = SerializedFileReader::new(object)?;
        for row in reader.get_row_iter(None)? {
            let (id, rest, has_texts) = lake_row(row?)?;
            self.has_integers |= matches!(id, Id::Integer(_));
            self.has_text_businesses |= has_texts;
            self.count(id, &rest, 1);
        }
        Ok(())
    }

    /// Takes away a row of the source: id, date, issuer, receiver, amount as text, none for NULL.
    fn take_source_row(&mut self, cells: [Option<&str>; 5], unit: AmountUnit) {
        let [id, date, _, _, money] = cells.map(|cell| cell.unwrap_or("null"));
        let business = |cell: Option<&str>| match cell {
            Some(text) if self.has_text_businesses => as_text(text),
            number_or_null => number_or_null.unwrap_or("null").to_owned(),
        };
        let (issuer, receiver) = (business(cells[2]), business(cells[3]));
        // `007` and `12abc` are not how a number is written.
        let number = id.parse::<i64>().ok().filter(|number| number.to_string() == id).map(Id::Integer);
        let found = if self.has_integers { number } else { Some(Id::Text(id.into())) };
        match found {
            Some(id) => {
                let rest = [instant(date), issuer, receiver, in_dollars(money, unit)];
                self.count(id, &rest, -1);
            }
            None if self.unreadable.len() < NAMED_MAX => {
                self.unreadable.push(format!("the source's id {id} is not a whole number"));
            }
            None => {}
        }
    }

    /// What differs, in one sentence that names up to ten invoices; none when nothing does.
    pub fn sentence(mut self) -> Option<String> {
        let mut ids: Vec<(Id, (i64, u64))> = self.by_id.into_iter().collect();
        ids.sort_unstable();
        let named = ids.len().min(NAMED_MAX - self.unreadable.len());
        let others = ids.len() - named;
        for (id, (surplus, _)) in ids.into_iter().take(named) {
            let what = match surplus {
                1.. => "is in the lake and not in the source",
                0 => "differs",
                _ => "is in the source and not in the lake",
            };
            self.unreadable.push(format!("invoice {id} {what}"));
        }
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        (!self.unreadable.is_empty()).then(|| format!("{}{more}", self.unreadable.join(", ")))
    }
}

/// Takes the month's rows of the source away from the lake's, as they are in an exported snapshot if one is
/// given, otherwise as they are now.
///
/// # Errors
/// As the source's client says.
pub fn take_source(
    difference: &mut Difference,
    args: &SourceArgs,
    select: &SelectArgs,
    snapshot: Option<&str>,
    month: Month,
) -> Result<()> {
    match args.url()? {
        SourceUrl::Postgres(url) => {
            let mut client = url.connect()?;
            let doing = "cannot read the source's invoices as text";
            let mut begin = "begin isolation level repeatable read read only".to_owned();
            if let Some(snapshot) = snapshot {
                begin.push_str(&format!("; set transaction snapshot '{snapshot}'"));
            }
            let zone = select.time_zone.as_deref().unwrap_or("UTC");
            begin.push_str(&format!("; set local timezone = '{}'", zone.replace('\'', "''")));
            client.batch_execute(&begin).map_err(|error| failed(doing, error))?;
            let rows =
                client.copy_out(&postgres_sql(args, select, month)?).map_err(|error| failed(doing, error))?;
            for line in std::io::BufReader::new(rows).lines() {
                let line = line?;
                let mut cells = line.split('\t').map(|cell| (cell != "\\N").then(|| uncopied(cell)));
                let row = [(); 5].map(|()| cells.next().flatten());
                difference.take_source_row(row.each_ref().map(Option::as_deref), select.amount_unit);
            }
            check_stop()
        }
        SourceUrl::Sqlite(path) => {
            let doing = "cannot read the source's invoices as text";
            let read = || -> rusqlite::Result<()> {
                let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                let (_, table) = args.table_parts().map_err(|_| rusqlite::Error::InvalidQuery)?;
                let columns =
                    args.columns.in_order().map(|name| format!("quote({})", quote(name))).join(", ");
                let date = quote(&args.columns.issue_date_column);
                let sql = format!(
                    "select {columns} from {} where substr({date}, 1, 7) = ?1{}",
                    quote(table),
                    and_condition(select)
                );
                let mut statement = connection.prepare(&sql)?;
                let mut rows = statement.query([month.first_day().format("%Y-%m").to_string()])?;
                while let Some(row) = rows.next()? {
                    let mut cells = [const { String::new() }; 5];
                    for (index, cell) in cells.iter_mut().enumerate() {
                        *cell = row.get(index)?;
                    }
                    // Where a number belongs a text keeps its quotes, and differs.
                    let is_text = [
                        !difference.has_integers,
                        true,
                        difference.has_text_businesses,
                        difference.has_text_businesses,
                        true,
                    ];
                    let cell = |(cell, is_text): (String, bool)| {
                        (cell != "NULL").then(|| if is_text { unquoted(&cell) } else { cell })
                    };
                    let mut cells = cells.into_iter().zip(is_text).map(cell);
                    let row = [(); 5].map(|()| cells.next().flatten());
                    difference.take_source_row(row.each_ref().map(Option::as_deref), select.amount_unit);
                }
                Ok(())
            };
            read().map_err(|error| sqlite::failed(doing, error))
        }
    }
}

/// As it was written: what the tasks make of it is not looked at.
fn and_condition(select: &SelectArgs) -> String {
    select.condition.as_ref().map_or(String::new(), |condition| format!(" and ({condition}\n)"))
}

/// The month by the date's parts: no index, no range and no cast of the tasks' takes part.
fn postgres_sql(args: &SourceArgs, select: &SelectArgs, month: Month) -> Result<String> {
    let [id, date, issuer, receiver, amount] = args.columns.in_order().map(quote);
    let table = match args.table_parts()? {
        (Some(schema), table) => format!("{}.{}", quote(schema), quote(table)),
        (None, table) => quote(table),
    };
    let amount = match select.round_floats {
        Some(digits) => format!("round({amount}::text::numeric, {digits})"),
        None => format!("{amount}::numeric"),
    };
    let (day, and) = (month.first_day(), and_condition(select));
    // As the database shows it: a cast would take the spaces at the end of char(n).
    let shown = |key: &str| format!("case when {key} is not null then concat({key}) end");
    Ok(format!(
        "copy (select {}, to_char({date}, 'YYYY-MM-DD HH24:MI:SS.US'), {}, {}, \
         {amount}::text from {table} where extract(year from {date}) = {} and extract(month from {date}) = {}{and}) to stdout",
        shown(&id),
        shown(&issuer),
        shown(&receiver),
        day.format("%-Y"),
        day.format("%-m")
    ))
}

/// The month's difference.
///
/// # Errors
/// As [`take_source`] and [`Difference::add_object`].
pub fn compare(
    objects: Vec<Bytes>,
    args: &SourceArgs,
    select: &SelectArgs,
    snapshot: Option<&str>,
    month: Month,
) -> Result<Option<String>> {
    let mut difference = Difference::default();
    for object in objects {
        difference
            .add_object(object)
            .map_err(|error| Error::refused("not read row by row").because(error))?;
    }
    take_source(&mut difference, args, select, snapshot, month)?;
    Ok(difference.sentence())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Demo;

    const MONTH: &str = "2026-01-01";

    fn compared(demo: &Demo) -> Option<String> {
        let object = demo.get("invoices/issue_date_yearmonth=2026-01-01/part-0.parquet");
        compare(vec![object], &demo.source_args(), &SelectArgs::default(), None, MONTH.parse().unwrap())
            .unwrap()
    }

    #[test]
    fn equal_sides_leave_nothing() {
        assert_eq!(compared(&Demo::published()), None);
    }

    #[test]
    fn invoices_that_differ_are_named_with_the_side_that_has_them() {
        let demo = Demo::published();
        demo.execute("update invoices set amount_usd = '7.01' where invoice_id = 105");
        demo.execute("delete from invoices where invoice_id = 107");
        demo.execute("insert into invoices values (999, '2026-01-09', null, 1, '1')");
        let found = compared(&demo).unwrap();
        let expected = "invoice 105 differs, invoice 107 is in the lake and not in the source, \
             invoice 999 is in the source and not in the lake";
        assert_eq!(found, expected);
    }

    #[test]
    fn no_more_than_ten_are_named() {
        let demo = Demo::published();
        demo.execute("update invoices set issuer_id = 77 where issue_date >= '2026'");
        let found = compared(&demo).unwrap();
        assert_eq!(found.matches("differs").count(), 10, "{found}");
        assert!(found.ends_with(" and 10 more"), "{found}");
    }

    /// What an older program did: INV-7, 12abc and 3.7 became 0, 12 and 3 in the rows and in their proof.
    #[test]
    fn ids_that_were_cast_on_both_sides_of_the_proof_are_found() {
        let demo = Demo::published();
        demo.execute("create table other as select * from invoices");
        demo.execute("drop table invoices; create table invoices (invoice_id text, issue_date text, issuer_id integer, receiver_id integer, amount_usd text)");
        demo.execute("insert into invoices select invoice_id || 'abc', issue_date, issuer_id, receiver_id, amount_usd from other");
        let found = compared(&demo).unwrap();
        assert!(found.starts_with("the source's id '100abc' is not a whole number"), "{found}");
    }
}
