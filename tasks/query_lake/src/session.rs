//! One query after the other: what it names is opened, Polars runs it, the answer is published.
//!
//! A query reads what the commit records said when it began. When one of their objects is replaced
//! before it was read, the query begins again with the records of now; nothing was printed yet.

use crate::args::Format;
use crate::errors::{self, Known};
use crate::functions::Functions;
use crate::lake_tables::Committed;
use crate::layout::TABLES;
use crate::memory::held_bytes;
use crate::nested;
use crate::output::{Destination, Writer};
use crate::pinned::Pinned;
use crate::sources::{Loading, Source};
use invoices::lake::{ATTEMPTS, Lake, step_aside};
use invoices::task::{check_stop, grouped};
use invoices::{Error, Result};
use polars::prelude::*;
use polars::sql::{SQLContext, extract_table_identifiers};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::num::NonZeroUsize;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

/// How often a running query is looked after: signals, memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Rows of one batch of the answer, and of a row group of a Parquet answer.
const BATCH_ROWS: usize = 128 * 1024;

pub struct Session {
    pub lake: Option<Lake>,
    pub sources: Vec<Source>,
    pub null_texts: Vec<String>,
    pub memory_budget: u64,
    pub max_rows: usize,
    pub runtime: Handle,
}

/// The form and the place of an answer.
pub struct Output {
    pub format: Format,
    pub destination: Destination,
    /// Of the terminal, for tables.
    pub width: Option<u16>,
}

impl Session {
    /// Answers a query and returns the facts for the result line.
    ///
    /// # Errors
    /// Usage for a query that cannot be run, refused for data that cannot be read, configuration for
    /// what is missing or does not fit in memory, retry when the lake keeps changing.
    pub fn answer(&self, sql: &str, output: &Output) -> Result<Value> {
        for attempt in 1..=ATTEMPTS {
            self.runtime.block_on(step_aside(attempt));
            check_stop()?;
            let pinned = Pinned::start();
            let scratch = output.destination.scratch()?;
            match self.run(sql, output, &pinned, scratch.reopen()?) {
                Ok((rows, columns)) => {
                    output.destination.publish(scratch, &self.runtime)?;
                    return Ok(facts(output, &pinned, rows, columns, attempt));
                }
                Err(error) => match (pinned.changed(), pinned.failure()) {
                    (Some(object), _) => {
                        tracing::warn!(attempt, object, "replaced meanwhile; reading the new state")
                    }
                    (None, Some(failure)) => return Err(failure),
                    (None, None) => return Err(error),
                },
            }
        }
        Err(Error::retry(
            "the lake's objects keep being replaced, or are not what their commit records say; run again when no other run writes, or let write_partitioned_parquet finish",
        ))
    }

    /// The names that a query can use.
    pub fn table_names(&self) -> Vec<String> {
        let lake = TABLES.iter().filter(|_| self.lake.is_some()).map(|table| table.name().to_owned());
        lake.chain(self.sources.iter().map(|source| source.name.clone())).collect()
    }

    /// Columns and types of a table, as lines for people.
    pub fn describe(&self, table: &str) -> Result<Vec<String>> {
        let pinned = Pinned::start();
        let mut frame = self.open(table, &pinned)?.ok_or_else(|| {
            let known = Known { tables: self.table_names(), columns: Vec::new() };
            errors::unknown_table(table, &known)
        })?;
        let schema = frame.collect_schema().map_err(|error| self.explained(&error, &[]))?;
        Ok(schema.iter().map(|(name, data_type)| format!("{name}  {data_type}")).collect())
    }

    fn run(&self, sql: &str, output: &Output, pinned: &Arc<Pinned>, file: File) -> Result<(u64, usize)> {
        let named =
            extract_table_identifiers(sql, false, true).map_err(|error| self.explained(&error, &[]))?;
        let mut context = SQLContext::new().with_function_registry(Arc::new(Functions));
        let mut schemas = Vec::new();
        for name in &named {
            if let Some(mut frame) = self.open(name, pinned)? {
                schemas.push(frame.collect_schema().map_err(|error| self.explained(&error, &schemas))?);
                context.register(name, frame);
            }
        }
        let opened = nested::lift(&mut context, sql).and_then(|sql| context.execute(&sql));
        let mut frame = opened.map_err(|error| self.explained(&error, &schemas))?;
        let schema = frame.collect_schema().map_err(|error| self.explained(&error, &schemas))?;
        let writer = Writer::new(output.format, file, &schema, self.max_rows, output.width)?;
        let rows = self.stream(frame, writer, &schemas)?;
        Ok((rows, schema.len()))
    }

    /// A table of the lake or a source; none when nobody knows the name, which may be the query's own.
    fn open(&self, name: &str, pinned: &Pinned) -> Result<Option<LazyFrame>> {
        if let Some(table) = TABLES.into_iter().find(|table| table.name() == name) {
            let lake = self.lake.as_ref().ok_or_else(|| {
                Error::usage(format!("{name} is a table of the lake, and --lake or LAKE_URL is missing"))
            })?;
            let committed = self.runtime.block_on(Committed::read(lake, table))?;
            return committed.scan(lake, pinned).map(Some);
        }
        let Some(source) = self.sources.iter().find(|source| source.name == name) else { return Ok(None) };
        let loading = Loading {
            pinned,
            runtime: &self.runtime,
            null_texts: &self.null_texts,
            bytes_max: self.memory_budget,
        };
        source.load(&loading).map(Some)
    }

    /// Runs the query on threads of its own and looks after it.
    fn stream(&self, frame: LazyFrame, writer: Writer, schemas: &[SchemaRef]) -> Result<u64> {
        let shared = Arc::new(Mutex::new((Some(writer), None::<Error>)));
        let sink = shared.clone();
        let write = move |batch: DataFrame| -> PolarsResult<bool> {
            let mut state = sink.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = state.0.as_mut().map(|writer| writer.write(&batch));
            if let Some(Err(error)) = outcome {
                state.1 = Some(error);
                polars_bail!(ComputeError: "the answer cannot be written");
            }
            Ok(false)
        };
        let (send, receive) = channel();
        // What Polars cannot run it may end by a panic; the sentence below says more than its text.
        std::panic::set_hook(Box::new(|panic| tracing::debug!("{panic}")));
        std::thread::spawn(move || {
            let sunk = frame.sink_batches(PlanCallback::new(write), true, NonZeroUsize::new(BATCH_ROWS));
            let outcome = sunk.and_then(|query| query.collect_with_engine(Engine::Streaming).map(|_| ()));
            // Nobody listens any more after a signal.
            let _ = send.send(outcome);
        });
        let outcome = loop {
            match receive.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::usage(
                        "Polars has no way to run this query; join on equal columns, and compare otherwise by a difference in WHERE, as in a.x - b.x < 0",
                    ));
                }
                Err(RecvTimeoutError::Timeout) => {
                    check_stop()?;
                    self.check_memory()?;
                }
            }
        };
        let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.1.take() {
            return Err(error);
        }
        outcome.map_err(|error| self.explained(&error, schemas))?;
        state.0.take().ok_or_else(|| Error::bug("the answer was written twice"))?.finish()
    }

    fn check_memory(&self) -> Result<()> {
        match held_bytes() {
            Some(held) if held > self.memory_budget => {
                let (held, budget) = (grouped(held >> 20), grouped(self.memory_budget >> 20));
                Err(Error::config(format!(
                    "the query holds {held} MiB and --memory-budget is {budget} MiB; raise it, select fewer columns, or group and filter earlier"
                )))
            }
            _ => Ok(()),
        }
    }

    fn explained(&self, error: &PolarsError, schemas: &[SchemaRef]) -> Error {
        let names = schemas.iter().flat_map(|schema| schema.iter_names()).map(ToString::to_string);
        errors::of_polars(error, &Known { tables: self.table_names(), columns: names.collect() })
    }
}

fn facts(output: &Output, pinned: &Pinned, rows: u64, columns: usize, attempts: u32) -> Value {
    let (mut files_read, mut bytes_read) = (0, 0);
    let mut tables = Map::new();
    for (name, (read, total)) in pinned.usage() {
        files_read += read.files;
        bytes_read += read.bytes;
        let line = json!({ "files_read": read.files, "files": total.files, "bytes_read": read.bytes, "bytes": total.bytes });
        tables.insert(name, line);
    }
    json!({
        "rows": rows,
        "columns": columns,
        "format": output.format.name(),
        "files_read": files_read,
        "bytes_read": bytes_read,
        "tables": tables,
        "attempts": attempts,
    })
}
