//! ConnectorX reads Postgres: its source, partitions and parsers, driven by hand so that rows go
//! straight to their months, with backpressure and without its unbounded channels.

use super::blocks::{self, Reading};
use super::router::{Reader, Router, panicked};
use super::wire;
use connectorx::prelude::{CXQuery, PartitionParser, PostgresSource, Produce, Source, SourcePartition};
use connectorx::sources::postgres::{BinaryProtocol, PostgresSourceError};
use invoices::money::MoneyType;
use invoices::source::MonthFingerprints;
use invoices::source::postgres::{Session, failed};
use invoices::source::url::NO_HIDDEN_ROWS;
use invoices::task::{Progress, check_stop};
use invoices::{Error, Month, Result, Window, failpoint};
use postgres_openssl::MakeTlsConnector;
use std::sync::atomic::{AtomicBool, Ordering};

const DOING: &str = "cannot read the invoices";

/// Reads the months on several connections that share the session's snapshot.
pub fn extract<Ids: wire::SentKeys>(
    session: &mut Session,
    router: &Router,
    months: &[Month],
    connections: usize,
    known: Option<MonthFingerprints>,
) -> Result<MonthFingerprints> {
    let reading = blocks::plan(session, months, connections)?;
    let window = Window { first: months[0], last: months[months.len() - 1] };
    let money = session.table.money;
    let amount_column = session.table.names.amount_column.clone();
    let more = session.table.more.len();
    let progress = Progress::new("rows", reading.rows_estimate);
    let partitions = partitions(session, &reading)?;
    let cancelled = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = partitions
            .into_iter()
            .map(|mut partition| {
                let (progress, cancelled, amount_column) = (&progress, &cancelled, &amount_column);
                scope.spawn(move || {
                    let reader = router.reader::<Ids>();
                    let read = read(&mut partition, reader, money, amount_column, more, progress, cancelled);
                    if read.is_err() {
                        cancelled.store(true, Ordering::Relaxed);
                    }
                    read
                })
            })
            .collect();
        // What the source says of the months is added up while the rows are on their way.
        let fingerprints = match known {
            Some(fingerprints) => Ok(fingerprints),
            None => session.fingerprints(window),
        };
        if fingerprints.is_err() {
            cancelled.store(true, Ordering::Relaxed);
        }
        let reads: Vec<Result<()>> =
            readers.into_iter().map(|reader| reader.join().unwrap_or_else(|_| Err(panicked()))).collect();
        let fingerprints = fingerprints?;
        reads.into_iter().collect::<Result<()>>()?;
        Ok(fingerprints)
    })
}

type Partition = <PostgresSource<BinaryProtocol, MakeTlsConnector> as Source>::Partition;

/// One ConnectorX partition for each query, all standing in the session's snapshot.
fn partitions(session: &Session, reading: &Reading) -> Result<Vec<Partition>> {
    if reading.queries.is_empty() {
        return Ok(Vec::new());
    }
    let connections = reading.queries.len();
    let config = session.url.config().clone();
    let mut source =
        PostgresSource::<BinaryProtocol, MakeTlsConnector>::new(config, session.url.tls()?, connections)
            .map_err(connectorx_failed)?;
    let queries: Vec<CXQuery<String>> = reading.queries.iter().cloned().map(CXQuery::Naked).collect();
    source.set_queries(&queries);
    source.set_pre_execution_queries(Some(&[
        "begin isolation level repeatable read read only".to_owned(),
        format!("set transaction snapshot '{}'", session.snapshot.snapshot),
        NO_HIDDEN_ROWS.to_owned(),
    ]));
    source.fetch_metadata().map_err(connectorx_failed)?;
    source.partition().map_err(connectorx_failed)
}

/// Reads one partition to its end, message by message.
fn read<Ids: wire::SentKeys>(
    partition: &mut Partition,
    mut reader: Reader<'_, Ids>,
    money: MoneyType,
    amount_column: &str,
    more: usize,
    progress: &Progress,
    cancelled: &AtomicBool,
) -> Result<()> {
    let mut parser = partition.parser().map_err(connectorx_failed)?;
    loop {
        let (messages, is_last) = parser.fetch_next().map_err(connectorx_failed)?;
        for _ in 0..messages {
            let rows: i64 = parser.produce().map_err(connectorx_failed)?;
            let rows = u64::try_from(rows).unwrap_or_default();
            let sent = wire::Sent::read(more, || {
                let column: Option<Vec<u8>> = parser.produce().map_err(connectorx_failed)?;
                Ok(column.unwrap_or_default())
            })?;
            wire::decode::<Ids>(rows, &sent, money, amount_column, |invoice, more| {
                reader.push(invoice, more)
            })?;
            progress.add(rows);
            failpoint!("query::reading");
            check_stop()?;
            if cancelled.load(Ordering::Relaxed) {
                return Err(Error::retry("reading stopped because another part of it failed"));
            }
        }
        if is_last {
            return reader.finish();
        }
    }
}

fn connectorx_failed(error: PostgresSourceError) -> Error {
    match error {
        PostgresSourceError::PostgresError(error) => failed(DOING, error),
        PostgresSourceError::PostgresPoolError(error) => Error::retry(format!(
            "{DOING}: the source does not give enough connections; lower --connections or try again"
        ))
        .because(error),
        other => Error::retry(DOING).because(other),
    }
}
