//! What is loaded, in which order: customers before the invoices that name them, files before what
//! is generated.

use crate::args::Args;
use crate::events::Extras;
use crate::files::{self, Rows};
use crate::generate::{self, Label, Plan};
use crate::summary::Summary;
use crate::target::Target;
use crate::{CENTS, Customer};
use invoices::csv::Options;
use invoices::task::{Progress, check_stop};
use invoices::{Error, Invoice, Result, failpoint};
use std::path::Path;

/// Rows between two steps of the progress bar.
const PROGRESS_ROWS: u64 = 1024;

/// Adds to the target what the arguments ask for. The caller commits.
///
/// # Errors
/// See [`crate::run`]; the transaction must not be committed then.
pub fn fill(target: &mut dyn Target, args: &Args) -> Result<Summary> {
    let mut summary = Summary::default();
    if let Some(path) = &args.customers_csv {
        let mut rows = open(path, args, Vec::new(), &mut summary)?;
        add_customers(target, &mut summary, &mut rows).map_err(|error| rows.located(error))?;
    }
    if let Some(wanted) = args.customers {
        top_up_customers(target, args, &mut summary, wanted)?;
    }
    failpoint!("populate::after_customers");
    if let Some(path) = &args.invoices_csv {
        let mut rows = open(path, args, target.customer_ids(None)?, &mut summary)?;
        add_invoices(target, &mut summary, &mut rows).map_err(|error| rows.located(error))?;
    }
    if let Some(count) = args.invoices.filter(|&count| count > 0) {
        generate_invoices(target, args, &mut summary, count)?;
    }
    failpoint!("populate::before_commit");
    Ok(summary)
}

/// `customers` are the ids that the rows may name, in order.
fn open<R: files::Record>(
    path: &Path,
    args: &Args,
    customers: Vec<i64>,
    summary: &mut Summary,
) -> Result<Rows<R>> {
    tracing::info!("loading {}", path.display());
    let options = Options { delimiter: args.delimiter, delimiter_flag: Some("--delimiter") };
    let rows = Rows::open(path, options, customers)?;
    summary.ignored_columns.extend_from_slice(rows.ignored_columns());
    Ok(rows)
}

/// Adds customers until there are `wanted`; none when there are as many already.
fn top_up_customers(target: &mut dyn Target, args: &Args, summary: &mut Summary, wanted: u64) -> Result<()> {
    let existing = target.customers()?;
    let missing = wanted.saturating_sub(existing.rows);
    if missing == 0 {
        return Ok(());
    }
    let first_id = following(existing.last_id, missing, "customer")?;
    tracing::info!(existing = existing.rows, "adding {missing} customers");
    let progress = Progress::new("customers", missing);
    let customers = generate::customers(args.seed, first_id, missing).map(Ok);
    add_customers(target, summary, shown(customers, &progress))
}

fn generate_invoices(target: &mut dyn Target, args: &Args, summary: &mut Summary, count: u64) -> Result<()> {
    let businesses = target.customer_ids(args.customers)?;
    if businesses.is_empty() {
        return Err(Error::usage(
            "there are no customers to draw invoices between; add some with --customers",
        ));
    }
    let needed = if args.scenarios { generate::businesses_min(count) } else { 1 };
    if businesses.len() < needed {
        return Err(Error::usage(format!(
            "--scenarios with {count} invoices needs {needed} customers or more; use --customers {needed}"
        )));
    }
    let (first_day, last_day) = args.first_and_last_day()?;
    let first_id = following(target.last_invoice_id()?, count, "invoice")?;
    tracing::info!(first_id, %first_day, %last_day, "adding {count} invoices between {} businesses", businesses.len());
    let plan = Plan { seed: args.seed, first_id, count, first_day, last_day, dates: args.dates, businesses };
    let progress = Progress::new("invoices", count);
    let mut extras = Extras::create(args.labels.as_deref(), args.events.as_deref())?;
    let invoices: Box<dyn Iterator<Item = (Invoice, Option<Label>)>> = if args.scenarios {
        Box::new(generate::WithScenarios::new(plan))
    } else {
        Box::new(generate::Invoices::new(plan).map(|invoice| (invoice, None)))
    };
    let invoices = invoices.map(|(invoice, label)| extras.add(&invoice, label).map(|()| invoice));
    add_invoices(target, summary, shown(invoices, &progress))?;
    extras.finish()
}

fn add_customers(
    target: &mut dyn Target,
    summary: &mut Summary,
    customers: impl Iterator<Item = Result<Customer>>,
) -> Result<()> {
    target.insert_customers(&mut customers.map(|customer| {
        check_stop()?;
        summary.customers += 1;
        customer
    }))
}

fn add_invoices(
    target: &mut dyn Target,
    summary: &mut Summary,
    invoices: impl Iterator<Item = Result<Invoice>>,
) -> Result<()> {
    target.insert_invoices(&mut invoices.map(|invoice| {
        check_stop()?;
        let invoice = invoice?;
        let amount = CENTS.check(invoice.amount);
        amount.map_err(|error| Error::bug(format!("invoice {}: amount_usd {error}", invoice.invoice_id)))?;
        summary.add(&invoice);
        Ok(invoice)
    }))
}

/// The same rows, counted on the progress bar.
fn shown<T>(rows: impl Iterator<Item = T>, progress: &Progress) -> impl Iterator<Item = T> {
    let mut done = 0;
    rows.inspect(move |_| {
        done += 1;
        if done % PROGRESS_ROWS == 0 {
            progress.add(PROGRESS_ROWS);
        }
    })
}

/// The first of `count` ids after the last one in use.
fn following(last_id: Option<i64>, count: u64, what: &str) -> Result<i64> {
    let last = last_id.unwrap_or(0).max(0);
    match i64::try_from(count).ok().and_then(|count| last.checked_add(count)) {
        Some(_) => Ok(last + 1),
        None => {
            Err(Error::config(format!("there are no {count} {what} ids after {last}, the highest in use")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_after_the_highest_and_begin_with_one() {
        assert_eq!(following(None, 10, "invoice").unwrap(), 1);
        assert_eq!(following(Some(-7), 10, "invoice").unwrap(), 1);
        assert_eq!(following(Some(41), 10, "invoice").unwrap(), 42);
        assert_eq!(following(Some(i64::MAX - 10), 10, "invoice").unwrap(), i64::MAX - 9);
        assert!(following(Some(i64::MAX - 9), 10, "invoice").is_err());
    }
}
