//! Which index a few months need, given how well dates follow the rows' places on disk. Pure.

use super::check::Finding;
use crate::text;
use invoices::source::args::quote;

/// Below this absolute correlation a block range spans so many dates that BRIN excludes little.
const BRIN_CORRELATION_MIN: f64 = 0.9;

/// A table that physically holds rows: the invoice table or one of its partitions.
#[derive(Debug, Clone, Default)]
pub struct Heap {
    /// Quoted name with its schema.
    pub name: String,
    /// None where nothing has counted them yet.
    pub rows_estimate: Option<u64>,
    pub bytes: u64,
    pub is_analyzed: bool,
    /// Between the order of dates and that of rows on disk, -1 to 1.
    pub correlation: Option<f64>,
    /// Smallest and largest date of the planner's sample.
    pub dates: Option<(String, String)>,
    pub date_index: Option<DateIndex>,
}

#[derive(Debug, Clone)]
pub struct DateIndex {
    pub name: String,
    pub is_brin: bool,
}

/// What to say of the index on the issue date.
pub fn date_index(heaps: &[Heap], is_partitioned_by_date: bool, column: &str) -> Finding {
    if is_partitioned_by_date {
        return Finding::ok(format!("{}, divided by {column}", text::count(heaps.len(), "partition")));
    }
    let without: Vec<&Heap> = heaps.iter().filter(|heap| heap.date_index.is_none()).collect();
    if let Some(heap) = without.first() {
        let more = match without.len() {
            1 => String::new(),
            others => format!(", and likewise for {} more", others - 1),
        };
        return Finding::warn(
            format!("no index on {column}: a few months cost a pass over the whole table"),
            format!("{}{more}", create(heap, column)),
        );
    }
    let useless = heaps.iter().find(|heap| {
        let is_brin = heap.date_index.as_ref().is_some_and(|index| index.is_brin);
        is_brin && heap.correlation.is_some_and(|correlation| !follows(correlation))
    });
    if let Some((heap, index)) = useless.and_then(|heap| Some((heap, heap.date_index.as_ref()?))) {
        return Finding::warn(
            format!(
                "BRIN index {} helps little: dates don't follow the rows' order on disk (correlation {:.2})",
                index.name,
                heap.correlation.unwrap_or_default()
            ),
            format!("{}; then drop index concurrently {}", create(heap, column), index.name),
        );
    }
    let names: Vec<&str> =
        heaps.iter().filter_map(|heap| Some(heap.date_index.as_ref()?.name.as_str())).collect();
    Finding::ok(match names.as_slice() {
        [name] => format!("{name}{}", correlation_text(&heaps[0])),
        names => format!("on each of {} tables", names.len()),
    })
}

fn correlation_text(heap: &Heap) -> String {
    heap.correlation.map_or_else(String::new, |value| format!(" (correlation {value:.2})"))
}

fn follows(correlation: f64) -> bool {
    correlation.abs() >= BRIN_CORRELATION_MIN
}

/// The statement that makes the index; without statistics dates are taken to follow the rows, as
/// they do where invoices arrive in time.
fn create(heap: &Heap, column: &str) -> String {
    let column = quote(column);
    if heap.correlation.is_none_or(follows) {
        format!(
            "create index concurrently on {} using brin ({column}) with (pages_per_range = 32, autosummarize = on)",
            heap.name
        )
    } else {
        format!(
            "create index concurrently on {} ({column}), a btree, because dates don't follow the rows' order on disk",
            heap.name
        )
    }
}

/// Whether the planner has looked at the dates.
pub fn statistics(heaps: &[Heap]) -> Finding {
    let missing: Vec<&str> =
        heaps.iter().filter(|heap| !heap.is_analyzed).map(|heap| heap.name.as_str()).collect();
    match missing.as_slice() {
        [] => Finding::ok("the planner has statistics"),
        [first, ..] => Finding::warn(
            format!("the planner knows nothing of {} (or it is empty)", text::count(missing.len(), "table")),
            format!("analyze {first}{}", if missing.len() > 1 { ", and likewise the others" } else { "" }),
        ),
    }
}

/// Estimated rows, size on disk and, where the planner sampled them, dates.
pub fn extent(heaps: &[Heap]) -> Finding {
    let rows: Option<u64> = heaps.iter().map(|heap| heap.rows_estimate).sum();
    let rows = rows.map_or("unknown number of".to_owned(), |rows| format!("about {}", text::grouped(rows)));
    let bytes: u64 = heaps.iter().map(|heap| heap.bytes).sum();
    // Text in ISO form sorts as its dates do.
    let first = heaps.iter().filter_map(|heap| Some(&heap.dates.as_ref()?.0)).min();
    let last = heaps.iter().filter_map(|heap| Some(&heap.dates.as_ref()?.1)).max();
    let dates = match first.zip(last) {
        Some((first, last)) => format!(", about {first} to {last}"),
        None => String::new(),
    };
    Finding::ok(format!("{rows} rows, {} with indexes{dates}", text::size(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::check::Outcome;

    fn heap(index: Option<bool>, correlation: Option<f64>) -> Heap {
        let date_index = index.map(|is_brin| DateIndex { name: "by_date".into(), is_brin });
        Heap { name: "public.invoices".into(), correlation, date_index, ..Heap::default() }
    }

    fn advice(heap: Heap) -> String {
        date_index(&[heap], false, "issue_date").advice.unwrap_or_default()
    }

    #[test]
    fn a_missing_index_comes_with_its_statement() {
        let brin = "create index concurrently on public.invoices using brin (\"issue_date\")";
        assert!(advice(heap(None, Some(0.99))).starts_with(brin));
        assert!(advice(heap(None, None)).starts_with(brin));
        let btree = "create index concurrently on public.invoices (\"issue_date\"), a btree";
        assert!(advice(heap(None, Some(0.1))).starts_with(btree));
    }

    #[test]
    fn a_brin_index_helps_only_where_dates_follow_the_rows() {
        assert_eq!(advice(heap(Some(true), Some(-0.95))), "");
        assert!(advice(heap(Some(true), Some(0.5))).contains("drop index concurrently by_date"));
        assert_eq!(advice(heap(Some(false), Some(0.5))), "");
    }

    #[test]
    fn partitions_by_date_need_no_index() {
        assert_eq!(date_index(&[heap(None, None)], true, "issue_date").outcome, Outcome::Ok);
    }

    #[test]
    fn the_extent_spans_all_partitions() {
        let part = |first: &str, last: &str| Heap {
            rows_estimate: Some(600),
            bytes: 1024,
            dates: Some((first.into(), last.into())),
            ..Heap::default()
        };
        let found = extent(&[part("2025-01-01", "2025-01-31"), part("2024-12-01", "2024-12-31")]);
        assert_eq!(found.detail, "about 1,200 rows, 2.0 KiB with indexes, about 2024-12-01 to 2025-01-31");
    }
}
