//! One query after the other: what it names is opened, DataFusion runs it, the answer is published.
//!
//! A query reads what the commit records said when it began. When one of their objects is replaced
//! before it was read, the query begins again with the records of now; nothing was printed yet.

use crate::args::Format;
use crate::errors::{self, Known};
use crate::lake_tables::Committed;
use crate::layout::TABLES;
use crate::memory::held_bytes;
use crate::output::{Destination, Writer};
use crate::pinned::{self, Pinned};
use crate::running::Running;
use crate::sources::{Loading, Source};
use crate::{functions, headers, strict, sum};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, TableReference};
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{DataFrame, SessionConfig, SessionContext};
use futures::StreamExt;
use invoices::lake::{ATTEMPTS, Lake, step_aside};
use invoices::task::{check_stop, grouped, take_interrupt};
use invoices::{Error, Result};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// How often a running query is looked after: signals, memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What questions are asked of, and within which limits.
pub struct Session {
    pub lake: Option<Lake>,
    pub sources: Vec<Source>,
    pub null_texts: Vec<String>,
    pub memory_budget: u64,
    pub spill_folder: Option<PathBuf>,
    pub timeout: Option<Duration>,
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
        let started = Instant::now();
        for attempt in 1..=ATTEMPTS {
            self.runtime.block_on(step_aside(attempt));
            self.check_on(started)?;
            let pinned = Arc::new(Pinned::default());
            let scratch = output.destination.scratch()?;
            match self.run(sql, output, &pinned, scratch.reopen()?, started) {
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
        let schema = self.schema(table)?;
        Ok(schema.fields().iter().map(|field| format!("{}  {}", field.name(), field.data_type())).collect())
    }

    pub fn column_names(&self, table: &str) -> Result<Vec<String>> {
        Ok(self.schema(table)?.fields().iter().map(|field| field.name().clone()).collect())
    }

    fn schema(&self, table: &str) -> Result<SchemaRef> {
        let pinned = Arc::new(Pinned::default());
        Ok(self.open(self.spelled(table).unwrap_or(table), &pinned)?.schema())
    }

    fn run(
        &self,
        sql: &str,
        output: &Output,
        pinned: &Arc<Pinned>,
        file: File,
        started: Instant,
    ) -> Result<(u64, usize)> {
        let context = self.context(pinned).map_err(|error| self.explained(&error, &[]))?;
        let statement =
            context.state().sql_to_statement(sql, &context.state().config_options().sql_parser.dialect);
        let statement = statement.map_err(|error| self.explained(&error, &[]))?;
        let names = strict::check_statement(&statement)
            .and_then(|()| context.state().resolve_table_references(&statement));
        let mut columns = Vec::new();
        for name in names.map_err(|error| self.explained(&error, &[]))? {
            let Some(spelled) = self.spelled(name.table()) else { continue };
            let table = self.open(spelled, pinned)?;
            self.check_on(started)?;
            columns.extend(table.schema().fields().iter().map(|field| field.name().clone()));
            // `plan` may look for the name as it was typed.
            for name in BTreeSet::from([name.table(), spelled]) {
                let registered = context.register_table(TableReference::bare(name), table.clone());
                registered.map_err(|error| self.explained(&error, &columns))?;
            }
        }
        let plan =
            self.runtime.block_on(plan(&context, sql)).map_err(|error| self.explained(&error, &columns))?;
        let frame = DataFrame::new(context.state(), plan);
        let schema = headers::named(&statement, frame.schema().as_arrow());
        let writer = Writer::new(output.format, file, &schema, self.max_rows, output.width)?;
        let rows = self.stream(frame, writer, &schema, &columns, pinned, started)?;
        Ok((rows, schema.fields().len()))
    }

    /// A session of one query: its settings, limits, functions and the store of its objects.
    fn context(&self, pinned: &Arc<Pinned>) -> std::result::Result<SessionContext, DataFusionError> {
        let mut config = SessionConfig::new().with_information_schema(false);
        let options = config.options_mut();
        // An amount that was typed is exact.
        options.sql_parser.parse_float_as_decimal = true;
        options.execution.collect_statistics = false;
        let pool_bytes = usize::try_from(self.memory_budget / 2).unwrap_or(usize::MAX);
        let mut runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(FairSpillPool::new(pool_bytes)));
        if let Some(folder) = &self.spill_folder {
            runtime = runtime.with_temp_file_path(folder);
        }
        let state = SessionStateBuilder::new()
            .with_config(config)
            .with_runtime_env(runtime.build_arc()?)
            .with_default_features()
            .with_analyzer_rules(strict::rules())
            .build();
        let context = SessionContext::new_with_state(state);
        context.register_object_store(pinned::store_url()?.as_ref(), pinned.clone());
        functions::all().into_iter().for_each(|function| context.register_udf(function));
        context.register_udaf(sum::checked());
        Ok(context)
    }

    /// A known table's name in its own letters; none when nobody knows it, and it may be the query's own.
    fn spelled(&self, name: &str) -> Option<&str> {
        let lake = TABLES.iter().map(|table| table.name());
        let names: Vec<&str> = lake.chain(self.sources.iter().map(|source| source.name.as_str())).collect();
        let same = names.iter().find(|known| **known == name);
        same.or_else(|| names.iter().find(|known| known.eq_ignore_ascii_case(name))).copied()
    }

    /// A table of the lake or a source.
    fn open(&self, name: &str, pinned: &Arc<Pinned>) -> Result<Arc<dyn TableProvider>> {
        let Some(source) = self.sources.iter().find(|source| source.name == name) else {
            let known = || errors::unknown_table(name, &self.known(&[]));
            let table = TABLES.into_iter().find(|table| table.name() == name).ok_or_else(known)?;
            let lake = self.lake.as_ref().ok_or_else(|| {
                Error::usage(format!("{name} is a table of the lake, and --lake or LAKE_URL is missing"))
            })?;
            let committed = self.runtime.block_on(Committed::read(lake, table))?;
            return Ok(Arc::new(committed.scan(lake, pinned)?));
        };
        let loading = Loading {
            pinned,
            runtime: &self.runtime,
            null_texts: &self.null_texts,
            bytes_max: self.memory_budget,
        };
        source.load(&loading)
    }

    /// Runs the query beside this thread, which looks after it.
    fn stream(
        &self,
        frame: DataFrame,
        mut writer: Writer,
        schema: &SchemaRef,
        columns: &[String],
        pinned: &Pinned,
        started: Instant,
    ) -> Result<u64> {
        let running = Running::new();
        let (send, receive) = channel();
        let schema = schema.clone();
        let task = self.runtime.spawn(async move {
            let outcome = async {
                let mut batches = frame.execute_stream().await.map_err(Failure::Query)?;
                while let Some(batch) = batches.next().await {
                    let batch = headers::renamed(&batch.map_err(Failure::Query)?, &schema);
                    let batch = batch.map_err(|error| Failure::Query(error.into()))?;
                    writer.write(&batch).map_err(Failure::Answer)?;
                }
                writer.finish().map_err(Failure::Answer)
            };
            // Nobody listens any more after a signal.
            let _ = send.send(outcome.await);
        });
        let outcome = loop {
            let looked_after = match receive.recv_timeout(LOOK_EVERY) {
                Ok(outcome) => break outcome,
                Err(RecvTimeoutError::Disconnected) => Err(Error::bug("the query ended without an answer")),
                Err(RecvTimeoutError::Timeout) => {
                    running.show(started, pinned);
                    self.check_on(started)
                }
            };
            if let Err(error) = looked_after {
                task.abort();
                return Err(error);
            }
        };
        outcome.map_err(|failure| match failure {
            Failure::Query(error) => self.explained(&error, columns),
            Failure::Answer(error) => error,
        })
    }

    /// Whether the query may go on: signals, time and memory.
    fn check_on(&self, started: Instant) -> Result<()> {
        check_stop()?;
        if take_interrupt() {
            return Err(Error::retry("the query was interrupted"));
        }
        if let Some(most) = self.timeout.filter(|most| started.elapsed() > *most) {
            return Err(Error::config(format!(
                "the query took longer than --timeout of {} s; raise it, or group and filter earlier",
                most.as_secs()
            )));
        }
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

    fn known(&self, columns: &[String]) -> Known {
        Known { tables: self.table_names(), columns: columns.to_vec() }
    }

    fn explained(&self, error: &DataFusionError, columns: &[String]) -> Error {
        errors::of_datafusion(error, &self.known(columns))
    }
}

enum Failure {
    Query(DataFusionError),
    Answer(Error),
}

/// Names without quotes are lower case, as in Postgres, unless only their own spelling is known.
async fn plan(context: &SessionContext, sql: &str) -> std::result::Result<LogicalPlan, DataFusionError> {
    let planned = context.state().create_logical_plan(sql).await;
    let plan = match planned {
        Ok(plan) => plan,
        Err(error) => {
            let mut as_written = context.state();
            as_written.config_mut().options_mut().sql_parser.enable_ident_normalization = false;
            as_written.create_logical_plan(sql).await.map_err(|_| error)?
        }
    };
    let only_queries =
        SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
    only_queries.verify_plan(&plan)?;
    Ok(plan)
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
