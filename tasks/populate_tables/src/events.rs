//! What comes with the rows: the planted cases' labels as CSV, and every row as the change event that
//! Debezium would send for its insertion, one JSON object a line.

use crate::CENTS;
use crate::generate::{Label, Random};
use invoices::{Error, Invoice, Result, money};
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// Bytes of log that a row takes, for positions that look like those of a real log.
const LSN_STEP: u64 = 152;
/// Invoices reach the database within this time after their date.
const DELAY_MAX_US: u64 = 60_000_000;

/// Files that are written beside the rows.
#[derive(Default)]
pub struct Extras {
    labels: Option<BufWriter<File>>,
    events: Option<BufWriter<File>>,
    written: u64,
}

impl Extras {
    /// # Errors
    /// Configuration: a file that can't be made.
    pub fn create(labels: Option<&Path>, events: Option<&Path>) -> Result<Self> {
        let mut extras = Self { labels: open(labels)?, events: open(events)?, written: 0 };
        if let Some(file) = &mut extras.labels {
            written(writeln!(file, "invoice_id,case,typology"))?;
        }
        Ok(extras)
    }

    /// Writes what belongs to one row.
    ///
    /// # Errors
    /// Retry when the disk doesn't take it.
    pub fn add(&mut self, invoice: &Invoice, label: Option<Label>) -> Result<()> {
        self.written += 1;
        if let (Some(file), Some(label)) = (&mut self.labels, label) {
            written(writeln!(file, "{},{},{}", invoice.invoice_id, label.case, label.typology.name()))?;
        }
        if let Some(file) = &mut self.events {
            let delay = Random::of_event(invoice.invoice_id).below(DELAY_MAX_US) as i64;
            let committed_us = invoice.issue_date_us + delay;
            let event = json!({
                "before": null,
                "after": {
                    "invoice_id": invoice.invoice_id,
                    "issue_date": invoice.issue_date_us,
                    "issuer_id": invoice.issuer_id,
                    "receiver_id": invoice.receiver_id,
                    "amount_usd": money::format(invoice.amount.into(), CENTS.scale),
                },
                "source": {
                    "connector": "postgresql",
                    "name": "postgres",
                    "schema": "public",
                    "table": "invoices",
                    "snapshot": "false",
                    "lsn": self.written * LSN_STEP,
                    "ts_ms": committed_us / 1000,
                    "ts_us": committed_us,
                },
                "op": "c",
                "ts_ms": committed_us / 1000,
            });
            written(writeln!(file, "{event}"))?;
        }
        Ok(())
    }

    /// # Errors
    /// Retry when the disk doesn't take the rest.
    pub fn finish(self) -> Result<()> {
        for mut file in [self.labels, self.events].into_iter().flatten() {
            written(file.flush())?;
        }
        Ok(())
    }
}

fn open(path: Option<&Path>) -> Result<Option<BufWriter<File>>> {
    let create = |path: &Path| {
        let file = File::create(path);
        file.map(BufWriter::new)
            .map_err(|error| Error::config(format!("cannot write {}", path.display())).because(error))
    };
    path.map(create).transpose()
}

fn written(result: std::io::Result<()>) -> Result<()> {
    result.map_err(|error| Error::retry("cannot write the labels or events").because(error))
}
