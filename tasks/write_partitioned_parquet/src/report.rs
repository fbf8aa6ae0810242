//! What the run did, for the result line, and what it would do, for `--dry-run`.

use crate::job::Job;
use crate::publish::{Planned, Published};
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{PartitionBy, Table};
use invoices::lake::strangers;
use invoices::{Result, Window, money};
use serde_json::{Value, json};

/// Counts of one run.
pub struct Report {
    window: Window,
    partition_by: PartitionBy,
    months_written: u64,
    months_unchanged: u64,
    window_written: bool,
    partitions_written: u64,
    partitions_deleted: u64,
    bytes: u64,
    /// The window's record: rows, amount and businesses of all months.
    total: Option<CommitRecord>,
    planned: Option<Vec<Value>>,
    /// Objects that no task has written.
    strangers: Vec<String>,
}

impl Report {
    pub fn new(window: Window, partition_by: PartitionBy) -> Self {
        Self {
            window,
            partition_by,
            months_written: 0,
            months_unchanged: 0,
            window_written: false,
            partitions_written: 0,
            partitions_deleted: 0,
            bytes: 0,
            total: None,
            planned: None,
            strangers: Vec::new(),
        }
    }

    pub fn published(&mut self, job: &Job, published: Published) {
        let Published { record, is_new, deleted, strangers } = published;
        self.strangers.extend(strangers);
        let objects = if is_new { record.objects.as_slice() } else { &[] };
        self.bytes += objects.iter().map(|object| object.size).sum::<u64>();
        if job.to == Table::LastNMonths {
            self.window_written = is_new;
            self.total = Some(record);
            return;
        }
        self.partitions_written += objects.len() as u64;
        self.partitions_deleted += deleted as u64;
        self.months_written += u64::from(is_new);
        self.months_unchanged += u64::from(!is_new);
    }

    /// A line per partition that would be replaced, on stderr for people and in the result for
    /// programs.
    pub fn planned(&mut self, job: &Job, planned: Planned) {
        let lines = self.planned.get_or_insert_default();
        let staged = &planned.staged.record;
        self.strangers.extend(planned.strangers);
        if planned.is_current {
            self.months_unchanged += u64::from(job.to == Table::ByBusiness);
        } else {
            let replaced_bytes: u64 = planned.listed.iter().map(|object| object.size).sum();
            let (replaced, objects) = (planned.listed.len(), job.parts_at_most(staged));
            tracing::info!(
                rows = staged.rows,
                objects,
                replaced_objects = replaced,
                replaced_bytes,
                "would publish {}",
                job.what
            );
            lines.push(json!({
                "table": job.to.name(), "partition": job.partition, "rows": staged.rows,
                "objects_at_most": objects, "replaced_objects": replaced, "replaced_bytes": replaced_bytes,
            }));
        }
        if job.to == Table::LastNMonths {
            self.total = Some(planned.staged.record);
        }
    }

    pub fn into_json(self) -> Result<Value> {
        let mut line = json!({
            "first_month": self.window.first,
            "last_month": self.window.last,
            "partition_by": self.partition_by.to_string(),
            "months_written": self.months_written,
            "months_unchanged": self.months_unchanged,
            "window_written": self.window_written,
            "partitions_written": self.partitions_written,
            "partitions_deleted": self.partitions_deleted,
            "bytes": self.bytes,
        });
        if let Some(total) = self.total {
            let fingerprint = total.fingerprint()?;
            line["rows"] = json!(fingerprint.rows);
            line["amount_usd"] = json!(money::format(fingerprint.amount, total.money.scale));
            line["businesses"] = json!(total.rows);
        }
        if let Some(sentence) = strangers::sentence(&self.strangers) {
            tracing::warn!("{sentence}");
            line["warnings"] = json!([sentence]);
        }
        if let Some(planned) = self.planned {
            line["dry_run"] = json!(true);
            line["would_publish"] = json!(planned);
        }
        Ok(line)
    }
}
