//! The later home of the table: DynamoDB, kept equal to Postgres until it takes over (docs/howto/dynamodb.md).
//!
//! * [`client`]: requests; [`item`]: an invoice as an item; [`tables`]: what there must be.
//! * [`writer`]: conditional updates, the only way in.
//! * [`origin`]: which source and which topic the positions belong to.
//! * [`load`]: what is there already; [`sink`]: what changes; [`names`]: businesses; [`compare`]: are they equal?

pub mod args;
pub mod client;
mod compare;
pub mod item;
mod load;
mod names;
pub mod origin;
mod sink;
pub mod tables;
mod writer;

use crate::store::dynamodb::Items;
use crate::store::postgres::{Connection, Plan};
use args::{Action, DynamodbCommand, WithSource};
use client::Client;
use invoices::source::SourceUrl;
use invoices::task::Task;
use invoices::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tables::Tables;
use writer::Writer;

/// How long commands wait for a DynamoDB that is busy or away.
const PATIENCE: Duration = Duration::from_secs(30);

/// # Errors
/// As the commands.
pub fn run(command: &DynamodbCommand, task: &Task) -> Result<Value> {
    let store = command.store();
    let client = Client::new(store.dynamodb_endpoint.as_deref(), &store.region, PATIENCE)?;
    let tables = Tables::named(&store.dynamodb_table);
    match &command.action {
        Action::Create(_) => {
            let made = task.block_on(tables.create(&client))?;
            Ok(json!({ "command": "dynamodb create", "created": made }))
        }
        Action::Load(args) => load::run(args, &Both::open(&args.both, client, tables)?, task),
        Action::Sink(args) => sink::run(args, &Both::open(&args.both, client, tables)?, task),
        Action::Compare(args) => compare::run(args, &Both::open(&args.both, client, tables)?, task),
    }
}

/// Both homes of the invoices.
pub struct Both {
    pub plan: Arc<Plan>,
    pub writer: Writer,
    pub items: Items,
}

impl Both {
    fn open(args: &WithSource, client: Client, tables: Tables) -> Result<Self> {
        let SourceUrl::Postgres(url) = args.source.url()? else {
            return Err(Error::usage("only Postgres is copied to DynamoDB; use --source postgres://…"));
        };
        let plan = Arc::new(Plan::make(url, &args.source, &args.customers_table)?);
        let items = Items::new(client.clone(), tables.clone(), plan.money());
        let concurrency = usize::from(args.concurrency);
        let writer = Writer { client, tables, scale: plan.money().scale, concurrency };
        Ok(Self { plan, writer, items })
    }

    pub fn connection(&self) -> Connection {
        Connection::new(self.plan.clone())
    }
}
