//! Which months must be read, and in how many passes. Pure.

use crate::args::Refresh;
use crate::fingerprint_of;
use invoices::lake::Object;
use invoices::lake::commit::CommitRecord;
use invoices::money::MoneyType;
use invoices::parquet::Shape;
use invoices::source::{MonthFingerprints, SelectArgs};
use invoices::{Month, MoreColumn, Window};
use std::collections::BTreeMap;

/// Layout of the objects; a program with another layout writes every month again.
const LAYOUT: &str = "layout=1";

/// Memory of one month being written: the part being filled, one under way, and a row group.
const MONTH_BYTES: u64 = 10 << 20;

/// What a month's record must say for its object to stay.
#[derive(Debug, Clone)]
pub struct Form {
    pub money: MoneyType,
    /// Layout, kinds of the ids, further columns, and which rows and amounts were asked for.
    pub options: String,
}

impl Form {
    pub fn new(shape: &Shape, select: &SelectArgs) -> Self {
        let (keys, more) = (shape.keys.options(), MoreColumn::options(&shape.more));
        Self { money: shape.money, options: format!("{LAYOUT}{keys}{more}{}", select.options()) }
    }
}

/// What the lake has of one month.
#[derive(Debug, Default)]
pub struct Known {
    pub record: Option<CommitRecord>,
    pub objects: Vec<Object>,
}

impl Known {
    /// The record, if it still describes the month's objects and is of this program's making.
    pub fn trusted(&self, form: &Form) -> Option<&CommitRecord> {
        self.record.as_ref().filter(|record| {
            record.options == form.options && record.money == form.money && record.describes(&self.objects)
        })
    }
}

/// Whether the lake has nothing of the window that could be kept.
pub fn nothing_known(window: Window, known: &BTreeMap<Month, Known>, form: &Form) -> bool {
    !window.months().any(|month| known.get(&month).is_some_and(|k| k.trusted(form).is_some()))
}

/// The months to read and those that stay.
#[derive(Debug, PartialEq, Eq)]
pub struct Plan {
    pub read: Vec<Month>,
    pub keep: Vec<Month>,
}

impl Plan {
    pub fn new(
        refresh: Refresh,
        window: Window,
        known: &BTreeMap<Month, Known>,
        fingerprints: Option<&MonthFingerprints>,
        form: &Form,
    ) -> Self {
        let must_read = |month: &Month| {
            let record = known.get(month).and_then(|known| known.trusted(form));
            let Some(record) = record else { return true };
            match refresh {
                Refresh::Window => true,
                Refresh::Latest => *month == window.last,
                Refresh::Changed => fingerprints.is_none_or(|fingerprints| {
                    record.fingerprint().ok() != Some(fingerprint_of(fingerprints, *month))
                }),
            }
        };
        let (read, keep) = window.months().partition(must_read);
        Self { read, keep }
    }

    /// Months in groups that fit the memory budget together, whatever order the rows come in.
    pub fn passes(&self, memory_budget_bytes: u64) -> Vec<Vec<Month>> {
        let months_at_once = (memory_budget_bytes / MONTH_BYTES).max(1) as usize;
        let passes = self.read.len().div_ceil(months_at_once).max(1);
        let size = self.read.len().div_ceil(passes).max(1);
        self.read.chunks(size).map(<[Month]>::to_vec).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use chrono::NaiveDate;
    use invoices::Fingerprint;
    use invoices::fingerprint::FingerprintRecord;
    use invoices::{KeyKind, KeyKinds};

    const MONEY: MoneyType = MoneyType { precision: 12, scale: 2 };

    fn form() -> Form {
        Form::new(&Shape::plain(MONEY), &SelectArgs::default())
    }

    pub fn window() -> Window {
        Window::ending(NaiveDate::from_ymd_opt(2026, 1, 15).unwrap(), 3)
    }

    fn known(month: Month, rows: u64) -> (Month, Known) {
        let object = Object { path: format!("invoices/{month}"), size: 10, etag: "e".into() };
        let record = CommitRecord {
            table: "invoices".into(),
            partition: String::new(),
            rows,
            invoices: FingerprintRecord::new(&Fingerprint { rows, amount: 5, hash: 7 }, 2),
            money: MONEY,
            snapshot: Default::default(),
            inputs: BTreeMap::new(),
            options: form().options,
            objects: vec![(&object).into()],
            rows_before: None,
            committed_at: String::new(),
            program: String::new(),
        };
        (month, Known { record: Some(record), objects: vec![object] })
    }

    pub fn all_known() -> BTreeMap<Month, Known> {
        window().months().map(|month| known(month, 1)).collect()
    }

    pub fn fingerprints(rows: &[u64]) -> MonthFingerprints {
        let of = |&rows: &u64| Fingerprint { rows, amount: 5, hash: 7 };
        window().months().zip(rows.iter().map(of)).collect()
    }

    #[test]
    fn months_that_were_selected_otherwise_are_read_again() {
        let select = SelectArgs { condition: Some("a = 1".to_owned()), ..SelectArgs::default() };
        let form = Form::new(&Shape::plain(MONEY), &select);
        let source = fingerprints(&[1, 1, 1]);
        let plan = Plan::new(Refresh::Changed, window(), &all_known(), Some(&source), &form);
        assert_eq!((plan.read.len(), form.options.as_str()), (3, "layout=1 where=\"a = 1\""));
    }

    #[test]
    fn months_with_ids_of_another_kind_are_read_again() {
        let keys = KeyKinds::of_business(KeyKind::Text);
        let form = Form::new(&Shape { keys, ..Shape::plain(MONEY) }, &SelectArgs::default());
        let source = fingerprints(&[1, 1, 1]);
        let plan = Plan::new(Refresh::Changed, window(), &all_known(), Some(&source), &form);
        assert_eq!((plan.read.len(), form.options.as_str()), (3, "layout=1 business_id=text"));
    }

    fn months(plan: &Plan) -> Vec<String> {
        plan.read.iter().map(Month::to_string).collect()
    }

    #[test]
    fn only_changed_months_are_read() {
        let source = fingerprints(&[1, 2, 1]);
        let plan = Plan::new(Refresh::Changed, window(), &all_known(), Some(&source), &form());
        assert_eq!(months(&plan), ["2025-12-01"]);
        assert_eq!(plan.keep.len(), 2);
    }

    #[test]
    fn a_month_that_lost_all_invoices_is_read_again() {
        let mut source = fingerprints(&[1, 1, 1]);
        source.remove(&window().last);
        let plan = Plan::new(Refresh::Changed, window(), &all_known(), Some(&source), &form());
        assert_eq!(months(&plan), ["2026-01-01"]);
    }

    #[test]
    fn an_object_that_is_not_the_recorded_one_is_written_again() {
        let mut lake = all_known();
        lake.get_mut(&window().first).unwrap().objects[0].etag = "other".into();
        let plan = Plan::new(Refresh::Changed, window(), &lake, Some(&fingerprints(&[1, 1, 1])), &form());
        assert_eq!(months(&plan), ["2025-11-01"]);
    }

    #[test]
    fn latest_reads_the_newest_month_and_what_is_missing() {
        let mut lake = all_known();
        lake.remove(&window().first);
        let plan = Plan::new(Refresh::Latest, window(), &lake, None, &form());
        assert_eq!(months(&plan), ["2025-11-01", "2026-01-01"]);
        assert_eq!(Plan::new(Refresh::Window, window(), &lake, None, &form()).read.len(), 3);
    }

    #[test]
    fn passes_cover_every_month_once_and_fit_the_budget() {
        let months: Vec<Month> = window().months().collect();
        let plan = Plan { read: months.clone(), keep: vec![] };
        let passes = plan.passes(2 * MONTH_BYTES);
        assert!(passes.iter().all(|pass| pass.len() <= 2));
        assert_eq!(passes.concat(), months);
        assert_eq!(plan.passes(1 << 40).len(), 1);
        assert!(Plan { read: vec![], keep: vec![] }.passes(1 << 30).is_empty());
    }
}
