//! The connector that tells the stream of changes: its settings, as Kafka Connect has them, and the source's side of
//! it. What a setting means is judged without any service.

use super::check::{Checks, Finding};
use crate::args::ConnectArgs;
use invoices::source::postgres::failed;
use invoices::source::table::PostgresTable;
use invoices::source::{SelectArgs, SourceArgs, SourceUrl};
use invoices::{Error, Result};
use postgres::Client;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::runtime::Runtime;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

type Settings = BTreeMap<String, String>;

/// What the source says of the table that the connector reads.
struct Table {
    /// `schema.table`, as the connector names it.
    name: String,
    issuer: String,
    /// As the catalog writes it, such as `timestamp without time zone`.
    date_type: String,
    /// `pg_class.relreplident`.
    replica_identity: String,
}

pub fn check(args: &ConnectArgs, url: &str, source: &SourceArgs, runtime: &Runtime) -> Checks {
    let mut checks = Checks::new("connector");
    let name = &args.connector;
    let settings = runtime.block_on(get::<Settings>(url, name, "config"));
    let Some(settings) = checks.value_or_fail("connect", settings) else { return checks };
    let status = runtime.block_on(get::<Status>(url, name, "status"));
    checks.attempt("connect", status.map(|status| running(name, &status)));

    let table = open(source);
    let Some(found) = checks.value_or_fail("table", table) else { return checks };
    let Some((mut client, table)) = found else {
        checks.add(
            "table",
            Finding::warn(
                "the source is a file, which no connector reads",
                "name its database with --source",
            ),
        );
        return checks;
    };
    for (check, finding) in judge(&settings, &table) {
        checks.add(check, finding);
    }
    let publication = setting(&settings, "publication.name").unwrap_or("dbz_publication");
    checks.attempt("publication", published(&mut client, publication, &table));
    checks.add("replica identity", replica_identity(&table));
    checks
}

#[derive(Deserialize)]
struct Status {
    connector: State,
    tasks: Vec<State>,
}

#[derive(Deserialize)]
struct State {
    state: String,
}

async fn get<T: for<'a> Deserialize<'a>>(url: &str, connector: &str, what: &str) -> Result<T> {
    let doing = "cannot ask Kafka Connect";
    let mut address = ::url::Url::parse(url)
        .map_err(|_| Error::config("the URL of Kafka Connect can't be parsed; use http://host:8083"))?;
    match address.path_segments_mut() {
        Ok(mut path) => {
            path.pop_if_empty().extend(["connectors", connector, what]);
        }
        Err(()) => return Err(Error::config("the URL of Kafka Connect can't be used; use http://host:8083")),
    };
    let client = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
    let client = client.map_err(|error| Error::bug(doing).because(error))?;
    // The URL may hold a password, so it is left out of what is said.
    let answer = client.get(address).send().await;
    let answer = answer.map_err(|error| Error::retry(doing).because(error.without_url()))?;
    match answer.status().as_u16() {
        200 => {}
        404 => {
            return Err(Error::config(format!(
                "{doing}: there is no connector {connector:?}; check --connector"
            )));
        }
        401 | 403 => return Err(Error::config(format!("{doing}: it answers {}", answer.status()))),
        _ => return Err(Error::retry(format!("{doing}: it answers {}", answer.status()))),
    }
    let body = answer.bytes().await;
    let body = body.map_err(|error| Error::retry(doing).because(error.without_url()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Error::config(format!("{doing}: what answers is not Kafka Connect; check --connect")).because(error)
    })
}

fn running(name: &str, status: &Status) -> Finding {
    let states: Vec<&str> = status.tasks.iter().map(|task| task.state.as_str()).collect();
    let detail = format!("{name} is {}, its tasks are {states:?}", status.connector.state);
    if status.connector.state == "RUNNING"
        && !states.is_empty()
        && states.iter().all(|state| *state == "RUNNING")
    {
        Finding::ok(detail)
    } else {
        Finding::fail(detail, "see the worker's log for the reason, and restart the connector")
    }
}

fn setting<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    settings.get(name).map(|value| value.trim())
}

/// What the settings mean. A setting that is absent has the connector's default.
fn judge(settings: &Settings, table: &Table) -> Vec<(&'static str, Finding)> {
    let of = |name: &str| setting(settings, name);
    vec![
        ("table", included(of("table.include.list"), table)),
        ("amounts", amounts(of("decimal.handling.mode"), of("value.converter.schemas.enable"))),
        ("dates", dates(of("time.precision.mode"), &table.date_type)),
        ("keys", keys(of("message.key.columns"), table)),
        ("operations", operations(of("skipped.operations"))),
        ("slot", slot(of("slot.drop.on.stop"))),
    ]
}

fn included(list: Option<&str>, table: &Table) -> Finding {
    let Some(list) = list else { return Finding::ok("all tables") };
    // The list holds regular expressions; a point is mostly written as it is.
    if list.split(',').any(|name| name.trim().replace("\\.", ".") == table.name) {
        return Finding::ok(table.name.as_str());
    }
    Finding::warn(
        format!("table.include.list does not name {}", table.name),
        "see that one of its regular expressions matches the table",
    )
}

fn amounts(mode: Option<&str>, schemas: Option<&str>) -> Finding {
    let advice = "set decimal.handling.mode=string";
    match mode.unwrap_or("precise") {
        "string" => Finding::ok("decimal texts, exact"),
        "precise" if schemas == Some("true") => {
            Finding::ok("bytes, with their scale in each message's schema")
        }
        "precise" => Finding::fail("amounts are base64 of bytes, and no message says their scale", advice),
        other => {
            Finding::fail(format!("decimal.handling.mode={other}: amounts are rounded to floats"), advice)
        }
    }
}

fn dates(mode: Option<&str>, date_type: &str) -> Finding {
    let mode = mode.unwrap_or("adaptive");
    let is_coarse = (0..=3).any(|digits| date_type.contains(&format!("({digits})")));
    let unit = match (mode, date_type) {
        ("isostring", _) => return Finding::ok("ISO texts, exact"),
        (_, date_type) if date_type.ends_with(" with time zone") => {
            return Finding::ok(format!("{date_type} arrives as ISO texts"));
        }
        ("connect", _) => {
            return Finding::warn(
                "time.precision.mode=connect: microseconds are cut off, so that a date is not what the source has",
                "set time.precision.mode=adaptive",
            );
        }
        (_, "date") => "days",
        ("nanoseconds", _) => "ns",
        ("microseconds", _) => "us",
        _ if is_coarse => "ms",
        _ => "us",
    };
    let detail = format!("time.precision.mode={mode}: {date_type} arrives in {unit}");
    match unit {
        "us" => Finding::ok(detail),
        _ => Finding::warn(detail, format!("run invoice_consumer with --date-unit {unit}")),
    }
}

fn keys(list: Option<&str>, table: &Table) -> Finding {
    let wanted = format!("{}:{}", table.name, table.issuer);
    if list.is_some_and(|list| list.split(';').any(|entry| entry.trim().replace("\\.", ".") == wanted)) {
        return Finding::ok(format!("messages have the key {}", table.issuer));
    }
    Finding::warn(
        format!(
            "messages don't have the key {}: in a topic of several partitions a business's invoices are apart",
            table.issuer
        ),
        format!("set message.key.columns={wanted}"),
    )
}

fn operations(skipped: Option<&str>) -> Finding {
    let skipped: Vec<&str> = skipped.unwrap_or("t").split(',').map(str::trim).collect();
    let hidden = |operation: &str| skipped.contains(&operation);
    let advice = "set skipped.operations=none";
    if ["c", "u", "d"].into_iter().any(hidden) {
        return Finding::fail(
            format!("skipped.operations={}: changes are left out", skipped.join(",")),
            advice,
        );
    }
    if hidden("t") {
        return Finding::warn("a truncation is left out: its invoices would stay decided", advice);
    }
    Finding::ok("none is left out")
}

fn slot(drop_on_stop: Option<&str>) -> Finding {
    match drop_on_stop {
        Some("true") => Finding::fail(
            "slot.drop.on.stop=true: whatever changes while the connector is stopped is lost",
            "set slot.drop.on.stop=false",
        ),
        _ => Finding::ok("is kept while the connector is stopped"),
    }
}

/// The source and its table; none for a file.
fn open(args: &SourceArgs) -> Result<Option<(Client, Table)>> {
    let SourceUrl::Postgres(url) = args.url()? else { return Ok(None) };
    let mut client = url.connect()?;
    let relation = PostgresTable::describe(&mut client, args, &SelectArgs::default())?.relation;
    let sql = "select n.nspname || '.' || c.relname, c.relreplident::text, format_type(a.atttypid, a.atttypmod) \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         join pg_attribute a on a.attrelid = c.oid and a.attname = $2 where c.oid = to_regclass($1)";
    let row = client.query_one(sql, &[&relation, &args.columns.issue_date_column]);
    let row = row.map_err(|error| failed("cannot look at the table", error))?;
    let issuer = args.columns.issuer_column.clone();
    let table = Table { name: row.get(0), replica_identity: row.get(1), date_type: row.get(2), issuer };
    Ok(Some((client, table)))
}

fn published(client: &mut Client, publication: &str, table: &Table) -> Result<Finding> {
    let sql = "select p.pubinsert and p.pubupdate and p.pubdelete, p.pubtruncate, \
           exists (select from pg_publication_tables t where t.pubname = p.pubname \
             and t.schemaname || '.' || t.tablename = $2) \
         from pg_publication p where p.pubname = $1";
    let row = client.query_opt(sql, &[&publication, &table.name]);
    let row = row.map_err(|error| failed("cannot look up the publication", error))?;
    let name = &table.name;
    Ok(match row.map(|row| (row.get::<_, bool>(0), row.get::<_, bool>(1), row.get::<_, bool>(2))) {
        None => Finding::fail(
            format!("there is no publication {publication}"),
            format!(
                "create publication {publication} for table {name} (postgres-scripts/sql/04_publication.sql)"
            ),
        ),
        Some((_, _, false)) => Finding::fail(
            format!("{publication} does not have {name}"),
            format!(
                "alter publication {publication} add table {name}; for a table of partitions also set \
                 (publish_via_partition_root = true)"
            ),
        ),
        Some((true, true, true)) => Finding::ok(format!("{publication} has {name}, with all its changes")),
        Some(_) => Finding::fail(
            format!("{publication} leaves out some changes of {name}"),
            format!("alter publication {publication} set (publish = 'insert, update, delete, truncate')"),
        ),
    })
}

fn replica_identity(table: &Table) -> Finding {
    let advice = format!("alter table {} replica identity full", table.name);
    match table.replica_identity.as_str() {
        "f" => Finding::ok("full: a change tells what was before"),
        "n" => Finding::fail("nothing: Postgres refuses updates and deletions of a published table", advice),
        _ => Finding::warn("a change tells the key alone of what was before", advice),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Outcome;

    fn table() -> Table {
        Table {
            name: "public.invoices".into(),
            issuer: "issuer_id".into(),
            date_type: "timestamp without time zone".into(),
            replica_identity: "f".into(),
        }
    }

    fn outcomes(settings: &Settings) -> Vec<(&'static str, Outcome)> {
        judge(settings, &table()).into_iter().map(|(check, finding)| (check, finding.outcome)).collect()
    }

    fn shipped() -> Settings {
        serde_json::from_str(include_str!("../../../../debezium/connector.json")).unwrap()
    }

    #[test]
    fn what_is_shipped_is_as_it_should_be() {
        for (check, outcome) in outcomes(&shipped()) {
            assert_eq!(outcome, Outcome::Ok, "{check}");
        }
        assert_eq!(replica_identity(&table()).outcome, Outcome::Ok);
    }

    #[test]
    fn defaults_and_wrong_settings_are_named_with_what_to_set() {
        let cases = [
            ("decimal.handling.mode", None, "amounts", Outcome::Fail),
            ("decimal.handling.mode", Some("double"), "amounts", Outcome::Fail),
            ("time.precision.mode", Some("connect"), "dates", Outcome::Warn),
            ("time.precision.mode", Some("nanoseconds"), "dates", Outcome::Warn),
            ("time.precision.mode", None, "dates", Outcome::Ok),
            ("skipped.operations", None, "operations", Outcome::Warn),
            ("skipped.operations", Some("u,t"), "operations", Outcome::Fail),
            ("message.key.columns", None, "keys", Outcome::Warn),
            ("slot.drop.on.stop", Some("true"), "slot", Outcome::Fail),
            ("table.include.list", Some("shop\\.bills"), "table", Outcome::Warn),
            ("table.include.list", Some("x.y, public\\.invoices"), "table", Outcome::Ok),
        ];
        for (name, value, check, expected) in cases {
            let mut settings = shipped();
            match value {
                Some(value) => settings.insert(name.to_owned(), value.to_owned()),
                None => settings.remove(name),
            };
            let found = outcomes(&settings).into_iter().find(|(name, _)| *name == check);
            assert_eq!(found.unwrap().1, expected, "{name} {value:?}");
        }
    }

    #[test]
    fn units_of_dates_follow_the_columns_type() {
        let advice = |date_type: &str| dates(None, date_type).advice.unwrap_or_default();
        assert!(advice("date").ends_with("--date-unit days"));
        assert!(advice("timestamp(3) without time zone").ends_with("--date-unit ms"));
        assert_eq!(advice("timestamp(6) without time zone"), "");
        assert_eq!(dates(None, "timestamp(3) with time zone").outcome, Outcome::Ok);
    }

    #[test]
    fn a_task_that_failed_is_a_failure() {
        let status = |task: &str| Status {
            connector: State { state: "RUNNING".into() },
            tasks: vec![State { state: task.into() }],
        };
        assert_eq!(running("invoices", &status("RUNNING")).outcome, Outcome::Ok);
        assert_eq!(running("invoices", &status("FAILED")).outcome, Outcome::Fail);
    }
}
