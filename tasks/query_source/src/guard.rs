//! What a source must not do in silence: lose most of a month, or all of a window. Pure.

use crate::fingerprint_of;
use crate::plan::Known;
use invoices::lake::commit::{SourceSnapshot, lost_most};
use invoices::source::MonthFingerprints;
use invoices::task::grouped;
use invoices::{Error, Month, Result, Window};
use std::collections::BTreeMap;

/// A month that has lost more than 90 % of its rows since its last commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    pub month: Month,
    pub rows_before: u64,
    pub rows: u64,
}

impl Loss {
    pub fn sentence(&self) -> String {
        format!(
            "{} has {} invoices where the last run found {}; see that nobody deleted or hid them",
            self.month,
            grouped(self.rows),
            grouped(self.rows_before)
        )
    }
}

/// Rows of a month as its last commit says, whoever wrote it.
pub fn rows_before(known: &BTreeMap<Month, Known>, month: Month) -> Option<u64> {
    known.get(&month)?.record.as_ref().map(|record| record.rows)
}

/// The months that have lost most of their rows.
pub fn losses(
    months: &[Month],
    known: &BTreeMap<Month, Known>,
    fingerprints: &MonthFingerprints,
) -> Vec<Loss> {
    let loss = |&month: &Month| {
        let (rows_before, rows) = (rows_before(known, month)?, fingerprint_of(fingerprints, month).rows);
        lost_most(rows_before, rows).then_some(Loss { month, rows_before, rows })
    };
    months.iter().filter_map(loss).collect()
}

/// Whether these months are empty in the source and at least one of the window's is not in the lake:
/// then it must be asked whether the whole window is empty.
pub fn is_suspicious(
    window: Window,
    months: &[Month],
    known: &BTreeMap<Month, Known>,
    fingerprints: &MonthFingerprints,
) -> bool {
    // An object without a record holds somebody's rows too.
    let had_rows = |month: Month| {
        rows_before(known, month).is_some_and(|rows| rows > 0)
            || known.get(&month).is_some_and(|known| !known.objects.is_empty())
    };
    window.months().any(had_rows) && months.iter().all(|month| fingerprint_of(fingerprints, *month).rows == 0)
}

/// # Errors
/// Refused when the source has no invoice of the whole window, where the lake has some.
pub fn refuse_emptied(
    window: Window,
    known: &BTreeMap<Month, Known>,
    fingerprints: &MonthFingerprints,
    table: &str,
) -> Result<()> {
    let months: Vec<Month> = window.months().collect();
    if !is_suspicious(window, &months, known, fingerprints) {
        return Ok(());
    }
    let rows: u64 = months.iter().filter_map(|month| rows_before(known, *month)).sum();
    let lake_has = if rows > 0 { grouped(rows) } else { "objects without a commit record".to_owned() };
    Err(Error::refused(format!(
        "{table} has no invoices at all from {} to {}, where the lake has {lake_has}; see that the URL, --table and \
         the role's rights are right, and run with --allow-empty if they were deleted",
        window.first, window.last,
    )))
}

/// A sentence when the lake's newest month was read from another cluster, or from another history of
/// this one: their positions can't be compared with this one's.
pub fn new_source(known: &BTreeMap<Month, Known>, now: &SourceSnapshot) -> Option<String> {
    let records = known.values().filter_map(|known| known.record.as_ref());
    let newest = records.map(|record| &record.snapshot).max_by_key(|snapshot| snapshot.taken_at_us)?;
    let (mine, theirs) = (now.cluster.as_ref()?, newest.cluster.as_ref()?);
    let safely = "months are compared by their invoices, and the newest run wins";
    if mine.system_identifier != theirs.system_identifier {
        return Some(format!(
            "{} is cluster {} now, the lake was read from cluster {} ({}): {safely}",
            now.source, mine.system_identifier, theirs.system_identifier, newest.source
        ));
    }
    (mine.timeline != theirs.timeline).then(|| {
        format!(
            "{} is on timeline {} now, the lake was read on timeline {}: {safely}",
            now.source, mine.timeline, theirs.timeline
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{all_known, fingerprints, window};
    use invoices::lake::commit::Cluster;

    #[test]
    fn a_window_is_empty_only_if_all_its_months_are() {
        let known = all_known();
        let emptied = |rows: &[u64]| refuse_emptied(window(), &known, &fingerprints(rows), "public.invoices");
        assert!(emptied(&[0, 0, 1]).is_ok());
        let error = emptied(&[0, 0, 0]).unwrap_err().to_string();
        assert!(error.starts_with("public.invoices has no invoices at all from 2025-11-01"), "{error}");
        assert!(error.contains("where the lake has 3") && error.contains("--allow-empty"), "{error}");
        assert!(refuse_emptied(window(), &BTreeMap::new(), &fingerprints(&[0]), "t").is_ok());
        let mut unrecorded = all_known();
        unrecorded.values_mut().for_each(|known| known.record = None);
        let error = refuse_emptied(window(), &unrecorded, &fingerprints(&[0, 0, 0]), "t").unwrap_err();
        assert!(error.to_string().contains("the lake has objects without a commit record"), "{error}");
    }

    #[test]
    fn a_month_that_lost_most_is_named_with_both_numbers() {
        let mut known = all_known();
        let month = window().last;
        known.get_mut(&month).unwrap().record.as_mut().unwrap().rows = 1000;
        let months: Vec<Month> = window().months().collect();
        assert_eq!(losses(&months, &known, &fingerprints(&[1, 1, 100])), []);
        let found = losses(&months, &known, &fingerprints(&[1, 1, 99]));
        assert_eq!(found, [Loss { month, rows_before: 1000, rows: 99 }]);
        assert!(found[0].sentence().contains("99 invoices where the last run found 1,000"));
    }

    #[test]
    fn another_cluster_and_another_timeline_are_said_once_each() {
        let cluster = |system_identifier: &str, timeline| {
            Some(Cluster { system_identifier: system_identifier.to_owned(), timeline })
        };
        let of = |cluster| SourceSnapshot { source: "db".into(), cluster, ..SourceSnapshot::default() };
        let mut known = all_known();
        assert_eq!(new_source(&known, &of(cluster("7", 1))), None, "records of an older program");
        for known in known.values_mut() {
            known.record.as_mut().unwrap().snapshot = of(cluster("7", 1));
        }
        assert_eq!(new_source(&known, &of(cluster("7", 1))), None);
        assert!(new_source(&known, &of(cluster("8", 1))).unwrap().contains("cluster 8 now"));
        assert!(new_source(&known, &of(cluster("7", 2))).unwrap().contains("timeline 2 now"));
    }
}
