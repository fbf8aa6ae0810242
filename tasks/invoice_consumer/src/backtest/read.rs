//! The standing decisions: of each invoice the latest one, unless the invoice was withdrawn.

use super::tally::Tally;
use crate::args::BacktestArgs;
use crate::decision::Status;
use crate::model::features::FEATURE_COUNT;
use crate::model::{Features, Version};
use crate::store::Store;
use chrono::NaiveDateTime;
use invoices::source::postgres::failed;
use invoices::task::{Progress, check_stop};
use invoices::{Error, Result};
use postgres::Client;
use postgres::binary_copy::{BinaryCopyOutIter, BinaryCopyOutRow};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{FromSql, Type};
use std::error::Error as StdError;

const READING: &str = "cannot read the decisions";
/// Rows after which progress and signals are looked at.
const STEP: u64 = 10_000;
const TYPES: [Type; 8] = [
    Type::INT8,
    Type::TIMESTAMP,
    Type::INT8,
    Type::TEXT,
    Type::INT2,
    Type::TEXT,
    Type::INT8_ARRAY,
    Type::TEXT,
];

/// One standing decision.
#[derive(Debug)]
pub struct Standing<'a> {
    pub invoice_id: i64,
    /// Microseconds since 1970-01-01 UTC.
    pub issue_date_us: i64,
    pub amount_cents: i64,
    pub status: Status,
    pub score: u8,
    /// The rules that fired, as JSON; none when none did.
    pub rules: Option<&'a str>,
    pub features: Features,
    pub model: Version,
}

/// Feeds every standing decision to `see`, from several connections at a time, each with a tally of its own.
///
/// # Errors
/// Retry when the database doesn't answer, and what `see` says.
pub fn each(
    store: &Store,
    args: &BacktestArgs,
    see: impl Fn(&Standing<'_>, &mut Tally) -> Result<()> + Sync,
) -> Result<Vec<Tally>> {
    let doing = |error| failed(READING, error);
    let mut first = store.connect()?;
    first.batch_execute("begin isolation level repeatable read read only").map_err(doing)?;
    let sql = "select pg_export_snapshot(), \
        pg_relation_size('risk.decisions') / current_setting('block_size')::int8, \
        greatest((select reltuples from pg_class where oid = 'risk.decisions'::regclass), 0)::int8";
    let row = first.query_one(sql, &[]).map_err(doing)?;
    let (snapshot, blocks, rows): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
    let parts = i64::from(args.connections);
    let progress = Progress::new("decisions", rows as u64);
    let (progress, see) = (&progress, &see);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..parts)
            .map(|part| {
                // The last part is open above: the table may have grown since its size was taken.
                let from = format!("ctid >= '({},0)'", blocks * part / parts);
                let to = format!(" and ctid < '({},0)'", blocks * (part + 1) / parts);
                let range = if part + 1 < parts { from + &to } else { from };
                let (sql, snapshot) = (sql_of(args, &range), snapshot.as_str());
                scope.spawn(move || {
                    let mut client = store.connect()?;
                    let begin = format!(
                        "begin isolation level repeatable read read only; set transaction snapshot '{snapshot}'"
                    );
                    client.batch_execute(&begin).map_err(doing)?;
                    read(&mut client, &sql, progress, see)
                })
            })
            .collect();
        let joined = readers.into_iter().map(|reader| reader.join());
        joined.map(|tally| tally.map_err(|_| Error::bug("a reading thread panicked"))?).collect()
    })
}

/// A later decision of the same position withdraws what another key took over, so only higher positions supersede.
fn sql_of(args: &BacktestArgs, range: &str) -> String {
    let mut dates = String::new();
    if let Some(from) = args.from {
        dates.push_str(&format!(" and issue_date >= '{from}'"));
    }
    if let Some(to) = args.to {
        dates.push_str(&format!(" and issue_date < '{}'", to.plus(1)));
    }
    format!(
        "copy (select invoice_id, issue_date, amount_cents, status, score, rules::text, features, model \
         from risk.decisions d where {range} and status <> 'withdrawn'{dates} and not exists ( \
         select from risk.decisions later where later.invoice_id = d.invoice_id and later.lsn > d.lsn)) \
         to stdout (format binary)"
    )
}

fn read(
    client: &mut Client,
    sql: &str,
    progress: &Progress,
    see: &impl Fn(&Standing<'_>, &mut Tally) -> Result<()>,
) -> Result<Tally> {
    let doing = |error| failed(READING, error);
    let mut rows = BinaryCopyOutIter::new(client.copy_out(sql).map_err(doing)?, &TYPES);
    let mut tally = Tally::default();
    let mut seen = 0;
    while let Some(row) = rows.next().map_err(doing)? {
        see(&standing(&row)?, &mut tally)?;
        seen += 1;
        if seen % STEP == 0 {
            progress.add(STEP);
            check_stop()?;
        }
    }
    Ok(tally)
}

fn standing(row: &BinaryCopyOutRow) -> Result<Standing<'_>> {
    let wrong = |what: &str| Error::bug(format!("a stored decision has {what} that this version can't read"));
    let model = Version::stored(row.get(7));
    let Stored { features, count } = row.get(6);
    if model.is_exact_part_current() && count != model.meanings().len() {
        return Err(wrong("features"));
    }
    Ok(Standing {
        invoice_id: row.get(0),
        issue_date_us: row.get::<NaiveDateTime>(1).and_utc().timestamp_micros(),
        amount_cents: row.get(2),
        status: Status::parse(row.get(3)).ok_or_else(|| wrong("a status"))?,
        score: row.get::<i16>(4) as u8,
        rules: row.get(5),
        features,
        model,
    })
}

/// An array of features, without a list in between.
struct Stored {
    features: Features,
    count: usize,
}

impl<'a> FromSql<'a> for Stored {
    /// `int8[]` in Postgres' binary form: dimensions, NULLs, type, length, lower bound; then length and bytes of each.
    fn from_sql(_: &Type, raw: &'a [u8]) -> std::result::Result<Self, Box<dyn StdError + Sync + Send>> {
        const HEADER: usize = 20;
        const ELEMENT: usize = 12;
        let elements = raw.get(HEADER..).unwrap_or_default().chunks_exact(ELEMENT);
        let mut features = [0; FEATURE_COUNT];
        let count = elements.len();
        for (feature, element) in features.iter_mut().zip(elements) {
            let bytes: [u8; 8] = element[4..].try_into()?;
            *feature = i64::from_be_bytes(bytes);
        }
        Ok(Self { features, count })
    }

    fn accepts(kind: &Type) -> bool {
        *kind == Type::INT8_ARRAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::int8_array_bytes;

    #[test]
    fn features_come_back_as_they_were_stored() {
        let bytes = int8_array_bytes(&[5, -7, i64::MAX]);
        let stored = Stored::from_sql(&Type::INT8_ARRAY, &bytes).unwrap();
        assert_eq!((stored.count, &stored.features[..3]), (3, [5, -7, i64::MAX].as_slice()));
        assert_eq!(Stored::from_sql(&Type::INT8_ARRAY, &[]).unwrap().count, 0);
    }
}
