//! ConnectorX reads SQLite: one stream, the same months.

use super::router::Router;
use connectorx::prelude::{CXQuery, PartitionParser, Produce, SQLiteSource, Source, SourcePartition};
use connectorx::sources::sqlite::{SQLiteSourceError, SQLiteSourcePartitionParser};
use invoices::source::MonthFingerprints;
use invoices::source::sqlite::{Session, SqliteKeys};
use invoices::source::sqlite_types::without_id;
use invoices::task::{Progress, check_stop};
use invoices::{Error, Result, Texts, Window};

/// Reads the window's rows.
pub fn extract(
    session: &mut Session,
    router: &Router,
    window: Window,
    known: Option<MonthFingerprints>,
) -> Result<MonthFingerprints> {
    let fingerprints = match known {
        Some(fingerprints) => fingerprints,
        None => session.fingerprints(window)?,
    };
    let rows = fingerprints.values().map(|fingerprint| fingerprint.rows).sum();
    if session.keys.are_integers() {
        read::<Vec<i64>>(session, router, window, rows, |parser| parser.produce())?;
    } else {
        read::<Texts>(session, router, window, rows, |parser| parser.produce())?;
    }
    Ok(fingerprints)
}

fn read<Ids: SqliteKeys>(
    session: &Session,
    router: &Router,
    window: Window,
    rows: u64,
    next_key: fn(&mut SQLiteSourcePartitionParser<'_>) -> Result<Ids::Sent, SQLiteSourceError>,
) -> Result<()> {
    let failed = |error: SQLiteSourceError| Error::retry("cannot read the SQLite table").because(error);
    let path = session.path.to_string_lossy();
    let mut source = SQLiteSource::new(&encode(&path), 1).map_err(failed)?;
    source.set_queries(&[CXQuery::Naked(session.rows_sql(Some(window)))]);
    source.fetch_metadata().map_err(failed)?;
    let progress = Progress::new("rows", rows);
    let mut reader = router.reader::<Ids>();
    let mut count = 0_u64;
    for mut partition in source.partition().map_err(failed)? {
        let mut parser = partition.parser().map_err(failed)?;
        while parser.fetch_next().map_err(failed)?.0 > 0 {
            let id = next_key(&mut parser).map_err(failed)?;
            let id = Ids::key(&id).ok_or_else(without_id)?;
            let date: Box<str> = parser.produce().map_err(failed)?;
            let issuer = next_key(&mut parser).map_err(failed)?;
            let receiver = next_key(&mut parser).map_err(failed)?;
            let amount: Box<str> = parser.produce().map_err(failed)?;
            let mut sent: Vec<Box<str>> = Vec::new();
            for _ in &session.more {
                sent.push(parser.produce().map_err(failed)?);
            }
            let more = session.more(id, &sent)?;
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let parties = [&issuer, &receiver].map(Ids::key);
            reader.push(session.invoice(id, &date, parties, &amount)?, &more)?;
            progress.add(1);
            count += 1;
            if count.is_multiple_of(4096) {
                check_stop()?;
            }
        }
    }
    reader.finish()
}

/// ConnectorX decodes percent signs in the path.
fn encode(path: &str) -> String {
    path.replace('%', "%25")
}
