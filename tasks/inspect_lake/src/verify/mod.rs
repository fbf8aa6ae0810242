//! `verify`: the source, the `invoices` objects and `invoice_by_business`, each added up from
//! scratch and compared month by month. No footer, record or ETag is taken for the content.

mod deep;
mod deep_text;
mod layout;
mod month;
mod read;
mod report;
mod verdict;

use crate::args::VerifyArgs;
use crate::table::Form;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::source::Source;
use invoices::task::Progress;
use invoices::{MoreColumn, Result};
use month::{MonthReader, MonthState};
use serde_json::Value;
use tokio::runtime::Runtime;

/// Months under way at once; what bounds memory is the reader's budget.
const MONTHS_AT_ONCE: usize = 4;

/// Compares the window's months.
///
/// # Errors
/// Refused when anything differs; retry and configuration as the contract says.
pub fn run(args: &VerifyArgs, form: Form, runtime: &Runtime) -> Result<Value> {
    let window = args.window.window()?;
    let lake = crate::open_existing(&args.lake)?;
    let mut source = Source::open(&args.source, &args.select)?;
    let snapshot = source.snapshot().clone();
    let money = source.money();
    let more = source.shape().more;
    let fingerprints = source.fingerprints(window)?;
    // The snapshot holds back vacuum in the source, and the lake may take its time: it is kept only where
    // every invoice must be read in it once more.
    let kept = args.deep.then_some(source);

    let reader = MonthReader::new(lake, money);
    let progress = Progress::new("months", window.len() as u64);
    let states = stream::iter(window.months())
        .map(|month| {
            let expected = fingerprints.get(&month).copied().unwrap_or_default();
            reader.read(month, expected)
        })
        .buffered(MONTHS_AT_ONCE)
        .inspect(|_| progress.add(1));
    let mut states: Vec<MonthState> = runtime.block_on(states.try_collect())?;
    drop(progress);
    for state in &mut states {
        state.problems.extend(other_columns(state, &more));
        let exported = kept.as_ref().map(|source| source.snapshot().snapshot.as_str());
        let exported = exported.filter(|id| !id.is_empty());
        name_invoices(state, args, exported, &reader, runtime)?;
    }
    drop(kept);

    report::show(&states, money, form, args.quiet);
    report::result(&states, money, &snapshot)
}

/// The sentence for a month whose columns are not those that were asked for.
fn other_columns(state: &MonthState, asked: &[MoreColumn]) -> Option<String> {
    let found = state.invoices.content.as_ref().ok().filter(|_| !state.invoices.objects.is_empty())?;
    let text = |columns: &[MoreColumn]| {
        let text = MoreColumn::options(columns).trim_start().replace(" column=", ", ").replace("column=", "");
        if text.is_empty() { "none".to_owned() } else { text }
    };
    (found.more != asked).then(|| {
        format!(
            "invoices has the further columns {} where --column says {}; give --column as query_source had it, or run \
             query_source",
            text(&found.more),
            text(asked)
        )
    })
}

/// Compares the month's invoices one by one where that was asked for, and where the sums differ, so that
/// somebody can look at the invoices that do it.
fn name_invoices(
    state: &mut MonthState,
    args: &VerifyArgs,
    snapshot: Option<&str>,
    reader: &MonthReader,
    runtime: &Runtime,
) -> Result<()> {
    let found = state.invoices.content.as_ref();
    let differs = found.is_ok_and(|found| found.fingerprint != state.source);
    if !args.deep && (!differs || state.invoices.objects.is_empty()) {
        return Ok(());
    }
    let objects = runtime.block_on(reader.whole(&state.invoices.objects))?;
    match deep::compare(objects, &args.source, &args.select, snapshot, state.month) {
        Ok(None) => {}
        Ok(Some(sentence)) => state.problems.push(format!("one by one: {sentence}")),
        Err(error) if error.kind() == invoices::Kind::Refused => state.problems.push(error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Demo;
    use invoices::Kind;
    use invoices::lake::names::Table;

    fn verify(demo: &Demo) -> Result<Value> {
        run(&demo.verify_args(), Form::Json, &demo.runtime())
    }

    /// The sentence and the facts of a difference.
    fn difference(demo: &Demo) -> (String, Value) {
        let error = verify(demo).unwrap_err();
        assert_eq!(error.kind(), Kind::Refused, "{error}");
        (error.to_string(), error.facts().unwrap().clone())
    }

    #[test]
    fn a_lake_that_is_what_the_source_says_passes_and_empty_months_are_fine() {
        let demo = Demo::published();
        let facts = verify(&demo).unwrap();
        assert_eq!(facts["months_differ"], 0);
        assert_eq!(facts["months"].as_array().unwrap().len(), 3);
        assert_eq!((facts["rows"].as_u64(), facts["amount_usd"].as_str()), (Some(40), Some("-12.20")));
    }

    #[test]
    fn a_tampered_object_with_an_honest_footer_is_found() {
        let demo = Demo::published();
        demo.tamper_with_invoices("2026-01-01", |invoices| invoices.amount.swap(0, 1));
        let (sentence, facts) = difference(&demo);
        assert!(sentence.starts_with("1 of 3 months differs: 2026-01-01"), "{sentence}");
        assert!(sentence.contains("not what its footer proves"), "{sentence}");
        assert_eq!(facts["months"][2]["agree"], false);
        assert_eq!(facts["months"][1]["agree"], true);
    }

    #[test]
    fn an_invoice_added_to_the_source_is_a_difference_that_a_run_mends() {
        let demo = Demo::published();
        demo.execute("insert into invoices values (999, '2025-12-24 12:00:00', 1, 2, '1.00')");
        let (sentence, _) = difference(&demo);
        assert!(sentence.contains("the source has changed since"), "{sentence}");
    }

    #[test]
    fn the_invoices_that_differ_are_named_and_a_deep_look_agrees_where_none_does() {
        let demo = Demo::published();
        let deep = VerifyArgs { deep: true, ..demo.verify_args() };
        assert_eq!(run(&deep, Form::Json, &demo.runtime()).unwrap()["months_differ"], 0);
        demo.execute("update invoices set issuer_id = 9 where invoice_id = 104");
        let (_, facts) = difference(&demo);
        assert!(facts["months"][2]["problems"].to_string().contains("invoice 104 differs"), "{facts}");
    }

    #[test]
    fn a_lost_business_is_a_difference() {
        let demo = Demo::published();
        let folder = "invoice_by_business/issue_date_yearmonth=2025-12-01/business_id=1/part-0.parquet";
        demo.delete(folder);
        let (sentence, facts) = difference(&demo);
        assert!(sentence.contains("invoice_by_business"), "{sentence}");
        let problems = facts["months"][1]["problems"].to_string();
        assert!(problems.contains("issued") && problems.contains("commit record"), "{problems}");
    }

    #[test]
    fn what_does_not_belong_and_what_is_no_parquet_is_named() {
        let demo = Demo::published();
        demo.put("invoices/issue_date_yearmonth=2026-01-01/part-1.parquet", b"PAR1");
        demo.put("invoice_by_business/issue_date_yearmonth=2026-01-01/business_id=2/part-0.parquet", b"junk");
        let (_, facts) = difference(&demo);
        let problems = facts["months"][2]["problems"].to_string();
        assert!(problems.contains("part-1.parquet does not belong"), "{problems}");
        assert!(problems.contains("business_id=2/part-0.parquet cannot be read"), "{problems}");
    }

    /// Whatever a damaged byte does to the reader, the exit code says that the data are wrong.
    #[test]
    fn damaged_bytes_are_never_a_bug_or_a_pass() {
        let demo = Demo::published();
        let path = "invoices/issue_date_yearmonth=2026-01-01/part-0.parquet";
        let whole = demo.get(path);
        for at in (0..whole.len()).step_by(whole.len() / 40) {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 0x55;
            demo.put(path, &bytes);
            difference(&demo);
        }
    }

    #[test]
    fn a_missing_record_and_a_missing_table_are_differences() {
        let demo = Demo::published();
        demo.delete("_commits/invoices/issue_date_yearmonth=2026-01-01.json");
        assert!(difference(&demo).0.contains("invoices has no commit record"));
        let demo = Demo::new();
        assert!(difference(&demo).0.contains(&format!("nothing in {}", Table::Invoices)));
    }
}
