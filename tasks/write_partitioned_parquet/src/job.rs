//! What is published: one partition of a staged table as one partition of a published one.

use crate::encode::{encode, is_publishable};
use crate::partitions::{self, cut};
use crate::staged;
use crate::totals::Totals;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{self, PartitionBy, Table};
use invoices::statistics::Scope;
use invoices::{Error, KeyKinds, Month, Result, Window};

/// Layout of the published objects; a program with another layout publishes everything again.
const LAYOUT: &str = "layout=1";

/// A partition to publish.
pub struct Job {
    pub from: Table,
    pub to: Table,
    pub partition: String,
    /// Names it in logs and errors: "month 2026-01-01".
    pub what: String,
    kind: Kind,
}

/// The two kinds of jobs.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// A month is cut into partitions.
    Month(PartitionBy),
    /// A window is one object, published as it was staged.
    Window,
}

/// An object to be written.
pub struct Part {
    pub path: String,
    body: Body,
}

enum Body {
    Rows(RecordBatch),
    Encoded(Bytes),
}

impl Part {
    pub fn into_object(self) -> Result<(String, Bytes)> {
        match self.body {
            Body::Rows(rows) => Ok((self.path, encode(&rows)?)),
            Body::Encoded(bytes) => Ok((self.path, bytes)),
        }
    }
}

impl Job {
    pub fn month(month: Month, by: PartitionBy) -> Self {
        Self {
            from: Table::StagedByBusiness,
            to: Table::ByBusiness,
            partition: names::month_partition(month),
            what: format!("month {month}"),
            kind: Kind::Month(by),
        }
    }

    pub fn window(window: Window) -> Self {
        Self {
            from: Table::StagedLastNMonths,
            to: Table::LastNMonths,
            partition: names::window_partition(window.last, window.len()),
            what: format!("the window {} to {}", window.first, window.last),
            kind: Kind::Window,
        }
    }

    /// The months of the window, oldest first, then the window itself.
    pub fn all(window: Window, by: PartitionBy) -> Vec<Self> {
        window.months().map(|month| Self::month(month, by)).chain([Self::window(window)]).collect()
    }

    /// Folder of everything that belongs to the partition.
    pub fn folder(&self) -> String {
        format!("{}/{}", self.to.folder(), self.partition)
    }

    /// What else than the staged object decides what is published, and what the ids of businesses are.
    pub fn options(&self, staged: &CommitRecord) -> String {
        let keys = KeyKinds::of_options(&staged.options).options();
        match self.kind {
            Kind::Month(by) => format!("{LAYOUT}{keys} partition_by={by}"),
            Kind::Window => format!("{LAYOUT}{keys}"),
        }
    }

    /// Most objects that a staged partition becomes.
    pub fn parts_at_most(&self, staged: &CommitRecord) -> u64 {
        match self.kind {
            Kind::Month(by) => partitions::count_at_most(staged.rows, by),
            Kind::Window => 1,
        }
    }

    /// Refused when the staged partition would become more objects than allowed.
    pub fn check_limit(&self, staged: &CommitRecord, max_partitions: u32) -> Result<()> {
        let (count, allowed) = (self.parts_at_most(staged), u64::from(max_partitions));
        if count <= allowed || matches!(self.kind, Kind::Window) {
            return Ok(());
        }
        let advice = advice(staged, allowed);
        let what = &self.what;
        Err(Error::refused(format!(
            "{what} has {count} partitions and --max-partitions is {allowed}: use --partition-by {advice}; nothing was written"
        )))
    }

    /// The staged object as the objects to publish, which add up to what was staged.
    ///
    /// # Errors
    /// Refused when the object is not what its record says.
    pub fn parts(&self, staged: &CommitRecord, object: Option<Bytes>) -> Result<Vec<Part>> {
        let parts = match (object, self.kind) {
            (None, _) => Vec::new(),
            (Some(object), Kind::Month(by)) => self.cut(staged, object, by)?,
            (Some(object), Kind::Window) => self.copy(staged, object)?,
        };
        self.check_totals(staged, &parts)?;
        Ok(parts.into_iter().map(|(part, _)| part).collect())
    }

    fn cut(&self, staged: &CommitRecord, object: Bytes, by: PartitionBy) -> Result<Vec<(Part, RecordBatch)>> {
        let rows = staged::rows(object.clone(), staged, Scope::Month)?;
        // A month that is one object has the rows and columns that were staged.
        let as_staged = matches!(by, PartitionBy::Month) && is_publishable(&object)?;
        let part = |partition: partitions::Partition| {
            let path = format!("{}/{}{}", self.folder(), partition.folder, names::OBJECT_NAME);
            let body =
                if as_staged { Body::Encoded(object.clone()) } else { Body::Rows(partition.rows.clone()) };
            (Part { path, body }, partition.rows)
        };
        Ok(cut(&rows, by)?.into_iter().map(part).collect())
    }

    fn copy(&self, staged: &CommitRecord, object: Bytes) -> Result<Vec<(Part, RecordBatch)>> {
        let rows = staged::rows(object.clone(), staged, Scope::Window)?;
        let path = names::object(self.to, &self.partition);
        Ok(vec![(Part { path, body: Body::Encoded(object) }, rows)])
    }

    fn check_totals(&self, staged: &CommitRecord, parts: &[(Part, RecordBatch)]) -> Result<()> {
        let mut totals = Totals::default();
        for (_, rows) in parts {
            totals.add(rows)?;
        }
        totals.check(&staged.fingerprint()?, staged.money.scale, &self.what)
    }
}

/// A partitioning whose objects have a good size.
fn advice(staged: &CommitRecord, allowed: u64) -> String {
    let bytes: u64 = staged.objects.iter().map(|object| object.size).sum();
    match partitions::advised_buckets(bytes, allowed) {
        1 => "month, or 'month,bucket(business_id,N)' for N objects a month".to_owned(),
        buckets => {
            let each_mib = (bytes / buckets).div_ceil(1 << 20);
            format!("'month,bucket(business_id,{buckets})', objects of about {each_mib} MiB")
        }
    }
}
