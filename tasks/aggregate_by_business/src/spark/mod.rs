//! A month's grouping on a Spark cluster through Spark Connect: one statement there, one row per business back.
//!
//! The cluster only reads. What it answers is checked, staged and recorded here, so the commit rule of the
//! lake holds, which Spark's own writers cannot keep.
//!
//! # Layout
//! * [`statement`]: the SQL; [`columns`]: the answer as a Polars frame; [`failure`]: what errors mean (no I/O).

mod columns;
mod failure;
mod statement;

use crate::args::EngineArgs;
use arrow::ipc::reader::StreamReader;
use arrow::record_batch::RecordBatch;
use invoices::money::MoneyType;
use invoices::task::check_stop;
use invoices::{Error, KeyKind, Result};
use polars::prelude::DataFrame;
use spark_connect_core::channel::PARAM_USER_AGENT;
use spark_connect_core::{ChannelBuilder, RetryPolicy, SparkConnectClient, SparkError};
use spark_connect_proto as proto;
use std::time::Duration;

/// How often a running query looks for a signal, and how often it asks whether the server is still there.
const STOP_EVERY: Duration = Duration::from_millis(200);
const PING_EVERY: Duration = Duration::from_secs(15);
/// A server that says nothing for so long is lost. It may be busy, or collecting garbage.
const PING_TIMEOUT: Duration = Duration::from_secs(60);
/// Time for saying goodbye; the server forgets a session by itself as well.
const GOODBYE: Duration = Duration::from_secs(2);

/// A session on a cluster; the first month opens the connection.
pub struct Spark {
    client: Box<SparkConnectClient>,
    failures: failure::Failures,
    /// The lake as the cluster calls it.
    lake: String,
}

impl Spark {
    /// Prepares a session. Nothing is sent: a run that finds nothing to do needs no cluster.
    ///
    /// # Errors
    /// Usage when there is no remote or it is not one of Spark Connect.
    pub async fn open(args: &EngineArgs, lake_url: &str) -> Result<Self> {
        let url = args.spark_remote.as_deref().filter(|url| !url.is_empty());
        let url = url.ok_or_else(|| {
            Error::usage(
                "--engine spark needs a cluster; give it with --spark-remote sc://host:port or SPARK_REMOTE",
            )
        })?;
        // The client's own message could repeat the URL, token included.
        let unusable = |_| {
            Error::usage(
                "the URL of --spark-remote or SPARK_REMOTE is not one of Spark Connect; use sc://host:port, or sc://host:port/;use_ssl=true;token=… in the environment",
            )
        };
        let mut remote = ChannelBuilder::parse(url).map_err(unusable)?;
        if remote.get(PARAM_USER_AGENT).is_none() {
            remote.set(PARAM_USER_AGENT, env!("CARGO_PKG_NAME"));
        }
        let mut client = SparkConnectClient::connect(&remote).await.map_err(unusable)?;
        // Airflow tries again; the client's own policy would keep a dead server's task for an hour.
        client.set_retry_policy(RetryPolicy::no_retries());
        let lake = args.spark_lake.as_deref().filter(|url| !url.is_empty()).unwrap_or(lake_url);
        let lake = statement::lake_of_spark(lake);
        let client = Box::new(client);
        Ok(Self { client, failures: failure::Failures { remote: remote.endpoint() }, lake })
    }

    /// Statistics per business of a month's object of the lake.
    ///
    /// # Errors
    /// Retry when the server is away, configuration when it cannot read the object.
    pub async fn month(&self, path: &str, money: MoneyType, business: KeyKind) -> Result<DataFrame> {
        let place = format!("{}/{path}", self.lake);
        let statement = statement::month(&place, money);
        let batches = tokio::select! {
            answer = self.answer(statement) => answer.map_err(|error| self.failures.of_query(&error, &place))?,
            stopped = self.until_stopped() => return Err(stopped),
            lost = self.until_lost() => return Err(lost),
        };
        columns::frame(&batches, money, business)
    }

    /// All batches of an answer.
    ///
    /// The execution is not a reattachable one: those are cut by the server after two minutes and taken up again,
    /// and a cut that nobody notices is an answer that lacks its end.
    async fn answer(&self, statement: String) -> Result<Vec<RecordBatch>, SparkError> {
        let mut responses = self.client.execute_plan(self.request(statement)).await?;
        let mut batches = Vec::new();
        while let Some(response) = responses.message().await.map_err(SparkError::from_grpc_status)? {
            let Some(proto::execute_plan_response::ResponseType::ArrowBatch(batch)) = response.response_type
            else {
                continue;
            };
            let unreadable = |error| SparkError::connect_msg(format!("its answer cannot be read: {error}"));
            let reader = StreamReader::try_new(batch.data.as_ref(), None).map_err(unreadable)?;
            for decoded in reader {
                batches.push(decoded.map_err(unreadable)?);
            }
        }
        Ok(batches)
    }

    fn request(&self, query: String) -> proto::ExecutePlanRequest {
        let sql = proto::relation::RelType::Sql(proto::Sql { query, ..Default::default() });
        let relation = proto::Relation { rel_type: Some(sql), ..Default::default() };
        proto::ExecutePlanRequest {
            session_id: self.client.session_id().to_owned(),
            user_context: Some(self.user()),
            plan: Some(proto::Plan { op_type: Some(proto::plan::OpType::Root(relation)) }),
            ..Default::default()
        }
    }

    fn user(&self) -> proto::UserContext {
        let user_id = self.client.user_id().unwrap_or_default().to_owned();
        proto::UserContext { user_id, ..Default::default() }
    }

    /// Comes back when a signal has arrived, after telling the cluster to stop.
    async fn until_stopped(&self) -> Error {
        loop {
            tokio::time::sleep(STOP_EVERY).await;
            if let Err(stopped) = check_stop() {
                // The session's end stops them too, if this was not heard.
                let _ = tokio::time::timeout(GOODBYE, self.client.interrupt_all()).await;
                return stopped;
            }
        }
    }

    /// Comes back when the server does not: a broken network closes no connection.
    async fn until_lost(&self) -> Error {
        loop {
            tokio::time::sleep(PING_EVERY).await;
            let version = proto::analyze_plan_request::Analyze::SparkVersion(Default::default());
            let ping = self.client.analyze_plan(proto::AnalyzePlanRequest {
                session_id: self.client.session_id().to_owned(),
                user_context: Some(self.user()),
                analyze: Some(version),
                ..Default::default()
            });
            match tokio::time::timeout(PING_TIMEOUT, ping).await {
                Ok(Err(error)) if failure::is_lost(&error) => return self.failures.lost(&error.message()),
                // Whatever else it says, it is there.
                Ok(_) => {}
                Err(_) => return self.failures.lost("it has not answered for a minute"),
            }
        }
    }

    /// Ends the session, and with it whatever still runs in it.
    pub async fn close(self) {
        let _ = tokio::time::timeout(GOODBYE, self.client.release_session()).await;
    }
}
