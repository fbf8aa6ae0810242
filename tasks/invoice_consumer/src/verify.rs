//! `verify`: what the source has, what is decided of it and the figures made of the decisions, compared month by
//! month. Each side is added up by its own database; nothing that the consumer remembers is believed.

use crate::args::VerifyArgs;
use crate::store::Store;
use invoices::fingerprint::{Fingerprint, row_hash_sql};
use invoices::money;
use invoices::source::postgres::{Session, each_row, failed};
use invoices::source::{SelectArgs, SourceUrl};
use invoices::task::check_stop;
use invoices::{Error, Month, Result, Window};
use postgres::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// Amounts of decisions are cents.
const CENTS_SCALE: u8 = 2;
/// The bits of an id that tell its group: months that differ are compared by group, and groups by id.
const GROUP: i64 = 4095;
/// Invoices and businesses that are named, and groups that are looked into for them.
const NAMED_MAX: usize = 10;
/// Pause before what differs is looked at again.
const PAUSE: Duration = Duration::from_secs(1);
const SOURCE: &str = "cannot read the source";
const DECISIONS: &str = "cannot read the decisions";

/// What one month has on both sides.
#[derive(Debug, Default)]
struct MonthState {
    source: Fingerprint,
    decided: Fingerprint,
    invoices: Invoices,
    /// Businesses and days whose figures are not those of the decisions: how many, and some of the businesses.
    figures: (i64, Vec<i64>),
}

/// Ids of invoices that differ, at most ten of each kind.
#[derive(Debug, Default)]
struct Invoices {
    /// In the source and not decided.
    undecided: Vec<i64>,
    /// Decided and not in the source's month.
    gone: Vec<i64>,
    /// Decided with other values.
    other: Vec<i64>,
}

/// Compares the window's months. What differs is looked at again until it agrees or `--wait` has passed, because a
/// change is in the source a moment before it is decided.
///
/// # Errors
/// Refused when anything differs; configuration for a source that is not Postgres; retry as the contract says.
pub fn run(args: &VerifyArgs) -> Result<Value> {
    let window = args.window.window()?;
    let store = Store::new(&args.decisions, "")?;
    let deadline = Instant::now() + Duration::from_secs(args.wait);
    let (mut months, scale) = look(args, &store, window)?;
    loop {
        check_stop()?;
        let differing: Vec<Month> =
            months.iter().filter(|(_, state)| state.differs()).map(|(month, _)| *month).collect();
        let (Some(first), Some(last)) = (differing.first(), differing.last()) else { break };
        if Instant::now() >= deadline {
            break;
        }
        std::thread::sleep(PAUSE);
        months.extend(look(args, &store, Window { first: *first, last: *last })?.0);
    }
    result(&months, scale)
}

/// Adds up both sides, the source first, and names what differs. Returns the scale of the source's amounts too.
fn look(args: &VerifyArgs, store: &Store, window: Window) -> Result<(BTreeMap<Month, MonthState>, u8)> {
    let SourceUrl::Postgres(url) = args.source.url()? else {
        return Err(Error::config(
            "change events come from Postgres alone; name it with --source postgres://…",
        ));
    };
    let mut session = Session::open(url, &args.source, &SelectArgs::default())?;
    session.table.require_integers("invoice_consumer verify")?;
    let scale = session.table.money.scale;
    let source = session.fingerprints(window)?;
    let mut client = store.connect()?;
    // One snapshot of decisions and figures, behind the source's.
    client
        .batch_execute("begin isolation level repeatable read read only")
        .map_err(|error| failed(DECISIONS, error))?;
    let decided = decided(&mut client, window, scale)?;
    let mut figures = figures(&mut client, window)?;
    let mut months = BTreeMap::new();
    for month in window.months() {
        let mut state = MonthState {
            source: source.get(&month).copied().unwrap_or_default(),
            decided: decided.get(&month).copied().unwrap_or_default(),
            figures: figures.remove(&month).unwrap_or_default(),
            invoices: Invoices::default(),
        };
        if state.source != state.decided {
            state.invoices = invoices(&mut session, &mut client, month)?;
        }
        months.insert(month, state);
    }
    Ok((months, scale))
}

/// The hash of a decided invoice, equal to that of its row in the source.
fn decided_hash() -> String {
    let columns = ["invoice_id", "issue_date", "issuer_id", "receiver_id", "(amount_cents::numeric / 100)"];
    row_hash_sql(true, &columns.map(str::to_owned), &[])
}

/// The decisions that stand, as a FROM clause with a condition: those on invoices of a part of the calendar.
fn standing(first: Month, last: Month) -> String {
    format!(
        "from risk.current_decisions where status <> 'withdrawn' and issue_date >= '{first}' and issue_date < '{}'",
        last.plus(1)
    )
}

/// What the decided invoices of each month add up to, in the source's scale.
fn decided(client: &mut Client, window: Window, scale: u8) -> Result<BTreeMap<Month, Fingerprint>> {
    let sql = format!(
        "select date_trunc('month', issue_date)::date, count(*), sum(amount_cents)::text, sum({})::text {} group by 1",
        decided_hash(),
        standing(window.first, window.last)
    );
    let rows = client.query(sql.as_str(), &[]).map_err(|error| failed(DECISIONS, error))?;
    let mut months = BTreeMap::new();
    for row in rows {
        let number = |index: usize| row.get::<_, String>(index).parse::<i128>().unwrap_or_default();
        let rows = row.get::<_, i64>(1) as u64;
        let fingerprint = Fingerprint { rows, amount: in_scale(number(2), scale), hash: number(3) };
        months.insert(Month::of_date(row.get(0)), fingerprint);
    }
    Ok(months)
}

/// Cents in another scale. Where that has fewer digits, cents that it can't hold are cut: the hash tells them.
fn in_scale(cents: i128, scale: u8) -> i128 {
    if scale >= CENTS_SCALE {
        cents * 10_i128.pow(u32::from(scale - CENTS_SCALE))
    } else {
        cents / 10_i128.pow(u32::from(CENTS_SCALE - scale))
    }
}

/// Where the figures per business and day are not what the standing decisions add up to.
fn figures(client: &mut Client, window: Window) -> Result<BTreeMap<Month, (i64, Vec<i64>)>> {
    let (first, end) = (window.first, window.last.plus(1));
    let sql = format!(
        "with standing as (select *, (status in ('review', 'block'))::int as flagged {standing}), \
         parts (business_id, day, issued, issued_cents, received, received_cents, flagged) as ( \
             select issuer_id, issue_date::date, 1, amount_cents, 0, 0::int8, flagged \
             from standing where issuer_id is not null \
             union all \
             select receiver_id, issue_date::date, 0, 0::int8, 1, amount_cents, \
                    case when receiver_id is distinct from issuer_id then flagged else 0 end \
             from standing where receiver_id is not null), \
         decided as ( \
             select business_id, day, sum(issued) as a, sum(issued_cents) as b, sum(received) as c, \
                    sum(received_cents) as d, sum(flagged) as e \
             from parts group by 1, 2), \
         kept as ( \
             select business_id, day, sum(issued_count) as a, sum(issued_cents) as b, sum(received_count) as c, \
                    sum(received_cents) as d, sum(flagged_count) as e \
             from (select * from risk.business_day_totals union all select * from risk.business_day_changes) as kept \
             where day >= '{first}' and day < '{end}' group by 1, 2) \
         select date_trunc('month', day)::date, count(*), \
                (array_agg(distinct business_id order by business_id))[1:{NAMED_MAX}] \
         from decided full join kept using (business_id, day) \
         where (coalesce(decided.a, 0), coalesce(decided.b, 0), coalesce(decided.c, 0), coalesce(decided.d, 0), \
                coalesce(decided.e, 0)) <> \
               (coalesce(kept.a, 0), coalesce(kept.b, 0), coalesce(kept.c, 0), coalesce(kept.d, 0), \
                coalesce(kept.e, 0)) \
         group by 1",
        standing = standing(window.first, window.last),
    );
    let rows = client.query(sql.as_str(), &[]).map_err(|error| failed("cannot read the figures", error))?;
    Ok(rows.iter().map(|row| (Month::of_date(row.get(0)), (row.get(1), row.get(2)))).collect())
}

/// Names the invoices of a month that differ.
fn invoices(session: &mut Session, client: &mut Client, month: Month) -> Result<Invoices> {
    let table = &session.table;
    let [id, ..] = table.expressions();
    let hash = table.row_hash_sql();
    let source = format!("from {} where {}", table.rows(), table.within(month, month));
    let (decided_hash, decided) = (decided_hash(), standing(month, month));

    let group = |key: &str, hash: &str, rows: &str| {
        format!(
            "select {key} & {GROUP}, count(*), (sum({hash}) % 9000000000000000000)::int8 {rows} group by 1"
        )
    };
    let mut groups: BTreeMap<i64, [(i64, i64); 2]> = BTreeMap::new();
    let mut add = |side: usize, row: &postgres::Row| {
        groups.entry(row.get(0)).or_default()[side] = (row.get(1), row.get(2));
        Ok(())
    };
    each_row(&mut session.client, &group(&id, &hash, &source), SOURCE, |row| add(0, row))?;
    each_row(client, &group("invoice_id", &decided_hash, &decided), DECISIONS, |row| add(1, row))?;
    let differing = groups.iter().filter(|(_, [source, decided])| source != decided);
    let list: Vec<String> = differing.take(NAMED_MAX).map(|(group, _)| group.to_string()).collect();
    if list.is_empty() {
        return Ok(Invoices::default());
    }

    let row = |key: &str, hash: &str, rows: &str| {
        format!("select {key}, {hash} {rows} and ({key} & {GROUP}) in ({})", list.join(", "))
    };
    let mut ids: BTreeMap<i64, [Option<i64>; 2]> = BTreeMap::new();
    let mut add = |side: usize, row: &postgres::Row| {
        ids.entry(row.get(0)).or_default()[side] = Some(row.get(1));
        Ok(())
    };
    each_row(&mut session.client, &row(&id, &hash, &source), SOURCE, |row| add(0, row))?;
    each_row(client, &row("invoice_id", &decided_hash, &decided), DECISIONS, |row| add(1, row))?;
    Ok(Invoices::of(&ids))
}

impl Invoices {
    /// From the hashes that source and decisions have of each id.
    fn of(ids: &BTreeMap<i64, [Option<i64>; 2]>) -> Self {
        let some = |is_meant: fn(&[Option<i64>; 2]) -> bool| {
            ids.iter().filter(|(_, sides)| is_meant(sides)).map(|(id, _)| *id).take(NAMED_MAX).collect()
        };
        Self {
            undecided: some(|[source, decided]| source.is_some() && decided.is_none()),
            gone: some(|[source, decided]| source.is_none() && decided.is_some()),
            other: some(|[source, decided]| source.is_some() && decided.is_some() && source != decided),
        }
    }
}

impl MonthState {
    fn differs(&self) -> bool {
        self.source != self.decided || self.figures.0 > 0
    }

    /// What differs, for people.
    fn sentence(&self) -> String {
        let mut text = String::new();
        if self.source != self.decided {
            let _ = write!(text, "{} invoices, decided are {}", self.source.rows, self.decided.rows);
        }
        let invoices = &self.invoices;
        for (ids, what) in [
            (&invoices.undecided, "not decided"),
            (&invoices.gone, "decided and not in the source's month any more"),
            (&invoices.other, "decided with other values"),
        ] {
            if !ids.is_empty() {
                let _ = write!(text, "; {what}: {}", listed(ids));
            }
        }
        if self.figures.0 > 0 {
            let (days, businesses) = &self.figures;
            let separator = if text.is_empty() { "" } else { "; " };
            let _ = write!(
                text,
                "{separator}figures of {days} days of businesses are not those of the decisions: {}",
                listed(businesses)
            );
        }
        text
    }

    fn to_json(&self, month: Month, scale: u8) -> Value {
        let side =
            |side: &Fingerprint| json!({"rows": side.rows, "amount_usd": money::format(side.amount, scale)});
        json!({
            "month": month.to_string(),
            "agree": !self.differs(),
            "source": side(&self.source),
            "decided": side(&self.decided),
            "undecided": self.invoices.undecided,
            "gone": self.invoices.gone,
            "other_values": self.invoices.other,
            "figures": self.figures.1,
        })
    }
}

fn listed(ids: &[i64]) -> String {
    let text: Vec<String> = ids.iter().map(i64::to_string).collect();
    let more = if ids.len() == NAMED_MAX { " …" } else { "" };
    format!("{}{more}", text.join(", "))
}

fn result(months: &BTreeMap<Month, MonthState>, scale: u8) -> Result<Value> {
    let differing: Vec<_> = months.iter().filter(|(_, state)| state.differs()).collect();
    for (month, state) in &differing {
        tracing::error!(month = %month, "{}", state.sentence());
    }
    let rows = |side: fn(&MonthState) -> u64| months.values().map(side).sum::<u64>();
    let facts = json!({
        "months_differ": differing.len(),
        "source_rows": rows(|state| state.source.rows),
        "decided_rows": rows(|state| state.decided.rows),
        "months": months.iter().map(|(month, state)| state.to_json(*month, scale)).collect::<Vec<_>>(),
    });
    match differing.first() {
        None => Ok(facts),
        Some((month, state)) => Err(Error::refused(format!(
            "{} of {} months differ, first {month}: {}; see that the consumer runs and has caught up, and look at \
             invoice_consumer dlq list and docs/runbook/README.md",
            differing.len(),
            months.len(),
            state.sentence()
        ))
        .with_facts(facts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_difference_has_its_name() {
        let ids = BTreeMap::from([
            (1, [Some(5), Some(5)]),
            (2, [Some(5), None]),
            (3, [None, Some(5)]),
            (4, [Some(5), Some(6)]),
        ]);
        let invoices = Invoices::of(&ids);
        assert_eq!(
            (invoices.undecided.as_slice(), invoices.gone.as_slice()),
            ([2].as_slice(), [3].as_slice())
        );
        assert_eq!(invoices.other, [4]);
        let source = Fingerprint { rows: 3, ..Fingerprint::default() };
        let state = MonthState { source, invoices, figures: (1, vec![7]), ..MonthState::default() };
        assert_eq!(
            state.sentence(),
            "3 invoices, decided are 0; not decided: 2; decided and not in the source's month any more: 3; \
             decided with other values: 4; figures of 1 days of businesses are not those of the decisions: 7"
        );
    }

    #[test]
    fn cents_take_the_scale_of_the_source() {
        assert_eq!((in_scale(1234, 2), in_scale(1234, 4), in_scale(1200, 0)), (1234, 123_400, 12));
    }
}
