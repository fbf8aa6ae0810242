//! ConnectorX reads SQLite: one stream, the same months.

use super::router::Router;
use connectorx::prelude::{CXQuery, PartitionParser, Produce, SQLiteSource, Source, SourcePartition};
use invoices::source::MonthFingerprints;
use invoices::source::sqlite::{Session, row_to_invoice};
use invoices::task::{Progress, check_stop};
use invoices::{Error, Result, Window};

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
    read(session, router, window, rows)?;
    Ok(fingerprints)
}

fn read(session: &Session, router: &Router, window: Window, rows: u64) -> Result<()> {
    let failed = |error: connectorx::sources::sqlite::SQLiteSourceError| {
        Error::retry("cannot read the SQLite table").because(error)
    };
    let path = session.path.to_string_lossy();
    let mut source = SQLiteSource::new(&encode(&path), 1).map_err(failed)?;
    source.set_queries(&[CXQuery::Naked(session.rows_sql(Some(window)))]);
    source.fetch_metadata().map_err(failed)?;
    let progress = Progress::new("rows", rows);
    let mut reader = router.reader();
    for mut partition in source.partition().map_err(failed)? {
        let mut parser = partition.parser().map_err(failed)?;
        while parser.fetch_next().map_err(failed)?.0 > 0 {
            let id: i64 = parser.produce().map_err(failed)?;
            let date: Box<str> = parser.produce().map_err(failed)?;
            let issuer: i64 = parser.produce().map_err(failed)?;
            let receiver: i64 = parser.produce().map_err(failed)?;
            let amount: Box<str> = parser.produce().map_err(failed)?;
            let names = session.names();
            reader.push(row_to_invoice(
                session.money,
                session.unit,
                names,
                id,
                &date,
                issuer,
                receiver,
                &amount,
            )?)?;
            progress.add(1);
            if id % 4096 == 0 {
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
