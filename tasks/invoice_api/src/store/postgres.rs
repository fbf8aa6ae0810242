//! One connection to Postgres with its prepared statements; opened again when it breaks.

use super::{PageOf, Read, Side};
use crate::entry::{Decision, InvoiceView, Party};
use crate::version::Snapshot;
use ::postgres::Client as SyncClient;
use invoices::money::{self, MoneyType};
use invoices::source::args::quote;
use invoices::source::postgres::failed;
use invoices::source::table::PostgresTable;
use invoices::source::url::{NO_HIDDEN_ROWS, PostgresUrl};
use invoices::source::{SelectArgs, SourceArgs};
use invoices::{Error, Result};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Config, Row, Statement};

/// Longest time of one statement, on both sides of the connection.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after a failed connect, so that a server that is down isn't hammered.
const RECONNECT_PAUSE: Duration = Duration::from_millis(300);

/// What is to be read, found out once at the start.
pub struct Plan {
    config: Config,
    url: PostgresUrl,
    money: MoneyType,
    by_ids: String,
    page: String,
    page_one_side: [String; 2],
    name: Option<String>,
    after: String,
    names_after: Option<String>,
    /// Whether the source's database has the stream path's decisions.
    pub has_decisions: bool,
    /// Which cluster was connected to last: its system identifier and timeline.
    cluster: Mutex<Option<String>>,
}

/// Positions and transaction ids mean something within one cluster and timeline alone. Empty where the
/// server doesn't say.
const CLUSTER: &str = "select (select system_identifier::text from pg_control_system()) || '/' || \
                       (select timeline_id::text from pg_control_checkpoint())";

impl Plan {
    /// The cluster that was connected to last, none before the first connection.
    pub fn cluster(&self) -> Option<String> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the table; blocks.
    ///
    /// # Errors
    /// As [`invoices::source::Source::open`].
    pub fn make(url: PostgresUrl, args: &SourceArgs, customers_table: &str) -> Result<Self> {
        let mut client = url.connect()?;
        let table = PostgresTable::describe(&mut client, args, &SelectArgs::default())?;
        table.require_integers("invoice_api")?;
        let exists = |client: &mut SyncClient, name: &str| -> Result<bool> {
            let sql = "select to_regclass($1) is not null and has_table_privilege(to_regclass($1), 'select')";
            let row =
                client.query_one(sql, &[&name]).map_err(|error| failed("cannot look up a table", error))?;
            Ok(row.get::<_, Option<bool>>(0).unwrap_or(false))
        };
        let customers = match exists(&mut client, customers_table)? {
            true => Some(customers_table.split('.').map(quote).collect::<Vec<_>>().join(".")),
            false => None,
        };
        if customers.is_none() {
            tracing::warn!("{customers_table} can't be read; businesses are shown without names");
        }
        let has_decisions = exists(&mut client, "risk.decisions")?;
        let [id, date, issuer, receiver, amount] = table.expressions();
        // Beside what is shown stand the columns as they are, since an index serves no cast of its column.
        let [id_column, _, issuer_column, receiver_column, _] = table.names.in_order().map(quote);
        let source = format!(
            "(select {id} as id, {date} as issue_date, {issuer} as issuer, {receiver} as receiver, \
             {amount}::text as amount, {id_column} as id_column, {issuer_column} as issuer_column, \
             {receiver_column} as receiver_column from {}) i",
            table.relation
        );
        let (names, joined) = match &customers {
            Some(customers) => (
                "a.customer_name, b.customer_name",
                format!(
                    "left join {customers} a on a.customer_id = i.issuer \
                     left join {customers} b on b.customer_id = i.receiver"
                ),
            ),
            None => ("null::text, null::text", String::new()),
        };
        let (decision, decided) = if has_decisions {
            (
                "d.status, d.score, d.lsn, d.rule_set, d.rules::text, d.decided_at",
                "left join lateral (select * from risk.decisions d where d.invoice_id = i.id \
                 order by d.lsn desc, (d.status = 'withdrawn') limit 1) d on true",
            )
        } else {
            ("null::text, null::int2, null::int8, null::text, null::text, null::timestamptz", "")
        };
        let columns = format!("i.id, i.issue_date, i.amount, i.issuer, i.receiver, {names}, {decision}");
        let by_ids = format!(
            "select {columns}, (select pg_current_snapshot()::text) from unnest($1::int8[]) as wanted(id) \
             left join {source} on i.id_column = wanted.id {joined} {decided}"
        );
        let one_side = |column: &str| {
            format!(
                "select * from {source} where i.{column}_column = $1::int8 and i.id_column < $2::int8 \
                 order by i.id_column desc limit $3"
            )
        };
        let joined_page = |rows: &str| {
            format!(
                "select {columns} from (select * from ({rows}) rows order by id desc limit $3) i \
                 {joined} {decided} order by i.id desc"
            )
        };
        let both = format!("({}) union ({})", one_side("issuer"), one_side("receiver"));
        Ok(Self {
            config: asynchronous(url.config()),
            money: table.money,
            by_ids,
            page: joined_page(&both),
            page_one_side: [joined_page(&one_side("issuer")), joined_page(&one_side("receiver"))],
            after: format!(
                "select {columns} from (select * from {source} where i.id_column > $1::int8 \
                 order by i.id_column limit $2) i \
                 {joined} {decided} order by i.id"
            ),
            names_after: customers.as_ref().map(|table| {
                format!(
                    "select customer_id, customer_name from {table} where customer_id > $1 \
                     order by customer_id limit $2"
                )
            }),
            name: customers.map(|table| format!("select customer_name from {table} where customer_id = $1")),
            url,
            has_decisions,
            cluster: Mutex::default(),
        })
    }

    /// For the decisions alone, whether or not the server answers yet; there are no invoices to read.
    pub fn of_decisions(url: PostgresUrl, money: MoneyType) -> Self {
        let nothing = || "select 1".to_owned();
        Self {
            config: asynchronous(url.config()),
            url,
            money,
            by_ids: nothing(),
            page: nothing(),
            page_one_side: [nothing(), nothing()],
            name: None,
            after: nothing(),
            names_after: None,
            has_decisions: true,
            cluster: Mutex::default(),
        }
    }

    pub fn money(&self) -> MoneyType {
        self.money
    }
}

/// The same settings for the asynchronous client.
fn asynchronous(sync: &::postgres::Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = sync.get_user() {
        config.user(user);
    }
    if let Some(password) = sync.get_password() {
        config.password(password);
    }
    if let Some(database) = sync.get_dbname() {
        config.dbname(database);
    }
    if let Some(options) = sync.get_options() {
        config.options(options);
    }
    for host in sync.get_hosts() {
        match host {
            tokio_postgres::config::Host::Tcp(name) => config.host(name),
            tokio_postgres::config::Host::Unix(path) => config.host_path(path),
        };
    }
    for port in sync.get_ports() {
        config.port(*port);
    }
    config.ssl_mode(sync.get_ssl_mode()).connect_timeout(CONNECT_TIMEOUT).application_name("invoice_api");
    config
}

/// See [`Connection::transaction_after_position`].
pub struct Noted {
    pub lsn: u64,
    pub xid: i64,
}

fn first(rows: &[Row]) -> Result<i64> {
    rows.first().map(|row| row.get(0)).ok_or_else(|| Error::bug("a query for one value gave none"))
}

struct Open {
    client: Client,
    by_ids: Statement,
}

/// One connection; reads of one worker go over it one after the other.
pub struct Connection {
    plan: Arc<Plan>,
    open: Option<Open>,
    failed_at: Option<Instant>,
}

impl Connection {
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, open: None, failed_at: None }
    }

    /// The open client, connected again if need be.
    ///
    /// # Errors
    /// Retry when the server can't be reached.
    pub async fn client(&mut self) -> Result<&Client> {
        Ok(&self.opened().await?.client)
    }

    async fn opened(&mut self) -> Result<&Open> {
        let is_open = self.open.as_ref().is_some_and(|open| !open.client.is_closed());
        if !is_open {
            if self.failed_at.is_some_and(|at| at.elapsed() < RECONNECT_PAUSE) {
                return Err(Error::retry("the source can't be reached"));
            }
            self.open = None;
            match self.connect().await {
                Ok(open) => (self.open, self.failed_at) = (Some(open), None),
                Err(error) => {
                    self.failed_at = Some(Instant::now());
                    return Err(error);
                }
            }
        }
        self.open.as_ref().ok_or_else(|| Error::bug("a connection was opened and is gone"))
    }

    async fn connect(&self) -> Result<Open> {
        let doing = "cannot connect to the source";
        let tls = self.plan.url.tls()?;
        let connecting = async {
            let (client, connection) =
                self.plan.config.connect(tls).await.map_err(|error| failed(doing, error))?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!("a connection to the source ended: {error}");
                }
            });
            // A plan that knows no ids is the right one for any: primary key lookups.
            let settings = format!(
                "{NO_HIDDEN_ROWS}; set statement_timeout = {}; set plan_cache_mode = force_generic_plan; \
                 set default_transaction_read_only = on; set timezone = 'UTC'; set jit = off",
                STATEMENT_TIMEOUT.as_millis()
            );
            client.batch_execute(&settings).await.map_err(|error| failed(doing, error))?;
            let cluster = match client.query_one(CLUSTER, &[]).await {
                Ok(row) => row.get(0),
                Err(error) if error.as_db_error().is_none() => return Err(failed(doing, error)),
                Err(error) => {
                    tracing::debug!("the source does not tell its identity: {error}");
                    String::new()
                }
            };
            *self.plan.cluster.lock().unwrap_or_else(PoisonError::into_inner) = Some(cluster);
            let by_ids = client.prepare(&self.plan.by_ids).await.map_err(|error| failed(doing, error))?;
            Ok(Open { client, by_ids })
        };
        tokio::time::timeout(CONNECT_TIMEOUT * 2, connecting)
            .await
            .unwrap_or_else(|_| Err(Error::retry(format!("{doing}: it does not answer"))))
    }

    pub async fn read(&mut self, ids: &[i64]) -> Result<Read> {
        let money = self.plan.money;
        let wanted = ids.to_vec();
        let open = self.opened().await?;
        let rows = open.client.query(&open.by_ids, &[&wanted]).await_in_time().await;
        let rows = self.in_time(rows)?;
        let mut snapshot = Snapshot::unknown();
        let mut by_id = std::collections::HashMap::with_capacity(rows.len());
        for row in &rows {
            if let Some(seen) = Snapshot::parse(row.get(13)) {
                snapshot = seen;
            }
            if let Some(id) = row.get::<_, Option<i64>>(0) {
                by_id.insert(id, view(row, money)?);
            }
        }
        Ok(Read::in_snapshot(snapshot, ids.iter().map(|id| by_id.get(id).cloned()).collect()))
    }

    pub async fn page(&mut self, page: PageOf) -> Result<Vec<(i64, InvoiceView)>> {
        let plan = self.plan.clone();
        let sql = match page.side {
            Side::Issued => &plan.page_one_side[0],
            Side::Received => &plan.page_one_side[1],
            Side::Both => &plan.page,
        };
        let limit = i64::from(page.limit);
        let client = self.client().await?;
        let before = page.before.unwrap_or(i64::MAX);
        let rows = client.query(sql.as_str(), &[&page.business_id, &before, &limit]).await_in_time().await;
        let rows = self.in_time(rows)?;
        rows.iter().map(|row| Ok((row.get(0), view(row, plan.money)?))).collect()
    }

    /// The invoices with the next higher ids, at most so many.
    ///
    /// # Errors
    /// Retry when the source doesn't answer in time, refused for an amount that is not exact.
    pub async fn after(&mut self, id: i64, limit: i64) -> Result<Vec<(i64, InvoiceView)>> {
        let plan = self.plan.clone();
        let rows = self.query(&plan.after, &[&id, &limit]).await?;
        rows.iter().map(|row| Ok((row.get(0), view(row, plan.money)?))).collect()
    }

    /// The businesses with the next higher ids and their names; none where names can't be read.
    ///
    /// # Errors
    /// Retry when the source doesn't answer in time.
    pub async fn names_after(&mut self, id: i64, limit: i64) -> Result<Vec<(i64, String)>> {
        let plan = self.plan.clone();
        let Some(sql) = &plan.names_after else { return Ok(Vec::new()) };
        let rows = self.query(sql, &[&id, &limit]).await?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }

    /// The log's end, and a transaction id that was given out afterwards.
    ///
    /// # Errors
    /// Retry when the source doesn't answer; a standby can't give out ids.
    pub async fn transaction_after_position(&mut self) -> Result<Noted> {
        self.execute("begin read write").await?;
        let position = "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
        let lsn: i64 = first(&self.query(position, &[]).await?)?;
        let xid: i64 = first(&self.query("select pg_current_xact_id()::text::int8", &[]).await?)?;
        self.execute("rollback").await?;
        Ok(Noted { lsn: lsn.unsigned_abs(), xid })
    }

    /// Runs a statement that returns nothing.
    ///
    /// # Errors
    /// Retry when the source doesn't answer.
    pub async fn execute(&mut self, sql: &str) -> Result<()> {
        let done = self.client().await?.batch_execute(sql).await;
        done.map_err(|error| failed("cannot work on the source", error))
    }

    pub async fn business_name(&mut self, business_id: i64) -> Result<Option<String>> {
        let plan = self.plan.clone();
        let Some(sql) = &plan.name else { return Ok(None) };
        let rows = self.client().await?.query(sql.as_str(), &[&business_id]).await_in_time().await;
        Ok(self.in_time(rows)?.first().map(|row| row.get(0)))
    }

    /// Runs any query within the time limit.
    pub async fn query(
        &mut self,
        sql: &str,
        values: &[&(dyn tokio_postgres::types::ToSql + Sync)],
    ) -> Result<Vec<Row>> {
        let rows = self.client().await?.query(sql, values).await_in_time().await;
        self.in_time(rows)
    }

    /// A query that took too long leaves the connection in use: it is given up.
    fn in_time(
        &mut self,
        outcome: Option<std::result::Result<Vec<Row>, tokio_postgres::Error>>,
    ) -> Result<Vec<Row>> {
        match outcome {
            Some(Ok(rows)) => Ok(rows),
            Some(Err(error)) => {
                if error.as_db_error().is_none() {
                    self.open = None;
                }
                Err(failed("cannot read the source", error))
            }
            None => {
                self.open = None;
                Err(Error::retry("the source does not answer in time"))
            }
        }
    }
}

/// Bounds a query's time: none when it took longer.
trait InTime: Future + Sized {
    async fn await_in_time(self) -> Option<Self::Output> {
        tokio::time::timeout(STATEMENT_TIMEOUT + Duration::from_millis(500), self).await.ok()
    }
}

impl<F: Future> InTime for F {}

fn view(row: &Row, money: MoneyType) -> Result<InvoiceView> {
    let id: i64 = row.get(0);
    let amount: Option<&str> = row.get(2);
    let amount = money::parse_amount(amount.unwrap_or_default(), money)
        .map_err(|error| Error::refused(format!("invoice {id}: the amount {error}")))?;
    let status: Option<String> = row.get(7);
    let decision = status.map(|status| {
        Arc::new(Decision {
            status,
            score: row.get(8),
            lsn: row.get(9),
            rule_set: row.get(10),
            rules: row.get(11),
            decided_at_us: row.get::<_, Micros>(12).0,
        })
    });
    Ok(InvoiceView {
        issue_date_us: row
            .get::<_, Option<Micros>>(1)
            .map(|date| date.0)
            .filter(|us| us.abs() < i64::MAX / 2),
        amount,
        issuer: Party::new(row.get(3), row.get(5)),
        receiver: Party::new(row.get(4), row.get(6)),
        decision,
    })
}

/// A timestamp as microseconds since 1970; infinity is beyond every calendar.
pub struct Micros(pub i64);

impl<'a> FromSql<'a> for Micros {
    fn from_sql(
        _: &Type,
        raw: &'a [u8],
    ) -> std::result::Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let since_2000 = i64::from_be_bytes(raw.try_into()?);
        Ok(Self(since_2000.saturating_add(invoices::fingerprint::POSTGRES_EPOCH_US)))
    }

    fn accepts(kind: &Type) -> bool {
        matches!(*kind, Type::TIMESTAMP | Type::TIMESTAMPTZ)
    }
}
