//! One month from the lake's invoices to its staged statistics.

use crate::grouping::{Engine, Invoices};
use crate::staging::{self, Basis, Inputs};
use crate::{engine, totals};
use bytes::Bytes;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{self, Table};
use invoices::lake::{ATTEMPTS, Lake, step_aside};
use invoices::task::check_stop;
use invoices::{Error, Fingerprint, KeyKinds, Month, Result, failpoint};
use polars::prelude::DataFrame;

/// A month's statistics as they now stand in the staging area.
pub struct StagedMonth {
    pub record: CommitRecord,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Written,
    Emptied,
    Unchanged,
}

/// Brings the month's statistics up to date with its invoices.
///
/// # Errors
/// Configuration when the month was never extracted, refused when its invoices are not what their
/// proof says, retry when they keep changing.
pub async fn stage(lake: &Lake, engine: &Engine, month: Month, program: &str) -> Result<StagedMonth> {
    let run = Run { lake, engine, month, partition: names::month_partition(month), program };
    for attempt in 1..=ATTEMPTS {
        step_aside(attempt).await;
        check_stop()?;
        if let Some(staged) = run.attempt().await? {
            return Ok(staged);
        }
        tracing::warn!(attempt, %month, "the invoices changed meanwhile; grouping them again");
    }
    Err(Error::retry(format!(
        "other runs keep replacing the invoices or statistics of month {month}; run again when they are done"
    )))
}

struct Run<'a> {
    lake: &'a Lake,
    engine: &'a Engine,
    month: Month,
    partition: String,
    program: &'a str,
}

impl Run<'_> {
    fn input_path(&self) -> String {
        names::object(Table::Invoices, &self.partition)
    }

    fn staged_path(&self) -> String {
        names::object(Table::StagedByBusiness, &self.partition)
    }

    /// None when somebody replaced the invoices or the statistics meanwhile.
    async fn attempt(&self) -> Result<Option<StagedMonth>> {
        let (input, staged) = (self.input_path(), self.staged_path());
        let (inputs, staged, record) = futures::try_join!(
            staging::inputs_now(self.lake, &input),
            self.lake.head(&staged),
            self.lake.read_commit(Table::StagedByBusiness, &self.partition),
        )?;
        if let Some(record) = record.filter(|record| staging::is_current(record, &inputs, staged.as_ref())) {
            return Ok(Some(StagedMonth { record, outcome: Outcome::Unchanged }));
        }
        match self.engine.read(self.lake, &input).await? {
            Some(invoices) => self.write(invoices).await,
            None => self.empty().await,
        }
    }

    async fn write(&self, mut invoices: Invoices) -> Result<Option<StagedMonth>> {
        let basis = Basis {
            invoices: invoices.proof.invoices.clone(),
            money: invoices.proof.money,
            business: invoices.proof.keys.business,
            snapshot: invoices.proof.snapshot.clone(),
            inputs: [staging::input(&invoices.object)].into(),
        };
        let frame = self.engine.group(&mut invoices).await;
        // What a cluster has read, or failed to read, may have been another object of this name.
        if staging::inputs_now(self.lake, &invoices.object.path).await? != basis.inputs {
            return Ok(None);
        }
        let frame = frame?;
        let grouped = staging::off_the_runtime(move || proven(frame, &invoices)).await?;
        failpoint!("aggregate::before_put");
        let object = self.lake.put(&self.staged_path(), grouped.object).await?;
        let table = Table::StagedByBusiness;
        let record = staging::record(table, &self.partition, basis, grouped.rows, &[object], self.program);
        self.commit(record, Outcome::Written).await
    }

    /// A month whose last invoice is gone leaves a record and no object.
    async fn empty(&self) -> Result<Option<StagedMonth>> {
        let month = self.month;
        let source = self.lake.read_commit(Table::Invoices, &self.partition).await?;
        let advice = "run query_source for it first";
        let source =
            source.ok_or_else(|| Error::config(format!("month {month} has not been extracted; {advice}")))?;
        if source.rows != 0 {
            let lost = format!("the invoices of month {month} are gone from the lake; {advice}");
            return Err(Error::config(lost));
        }
        let basis = Basis {
            invoices: FingerprintRecord::new(&Fingerprint::default(), source.money.scale),
            money: source.money,
            business: KeyKinds::of_options(&source.options).business,
            snapshot: source.snapshot,
            inputs: Inputs::new(),
        };
        self.lake.delete(&self.staged_path()).await?;
        let record = staging::record(Table::StagedByBusiness, &self.partition, basis, 0, &[], self.program);
        self.commit(record, Outcome::Emptied).await
    }

    /// Writes the record, then looks again: a run on other invoices may have come in between.
    async fn commit(&self, record: CommitRecord, outcome: Outcome) -> Result<Option<StagedMonth>> {
        failpoint!("aggregate::before_record");
        self.lake.write_commit(Table::StagedByBusiness, &record).await?;
        failpoint!("aggregate::after_record");
        let (input, staged) = (self.input_path(), self.staged_path());
        let (inputs, staged) =
            futures::try_join!(staging::inputs_now(self.lake, &input), self.lake.head(&staged))?;
        let is_current = staging::is_current(&record, &inputs, staged.as_ref());
        Ok(is_current.then_some(StagedMonth { record, outcome }))
    }
}

struct Grouped {
    rows: u64,
    object: Bytes,
}

/// The statistics as an object, if they add up to what the invoices prove.
fn proven(mut frame: DataFrame, invoices: &Invoices) -> Result<Grouped> {
    totals::check(&frame, &invoices.expected, invoices.proof.money.scale, &invoices.place)?;
    Ok(Grouped { rows: frame.height() as u64, object: engine::to_parquet(&mut frame)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Fixture;
    use invoices::Invoice;

    const INVOICE: Invoice =
        Invoice { invoice_id: 1, issue_date_us: 0, issuer_id: Some(1), receiver_id: Some(2), amount: 5 };

    fn run_of(lake: &Lake) -> Run<'_> {
        let month = Fixture::newest();
        Run {
            lake,
            engine: &Engine::Polars,
            month,
            partition: names::month_partition(month),
            program: "test",
        }
    }

    #[tokio::test]
    async fn statistics_of_invoices_that_were_replaced_meanwhile_are_not_staged() {
        let fixture = Fixture::new();
        let (lake, month) = (&fixture.lake, Fixture::newest());
        let run = run_of(lake);
        fixture.extract(month, &[INVOICE]).await;
        let read = run.engine.read(lake, &run.input_path()).await.unwrap().unwrap();
        fixture.extract(month, &[INVOICE, INVOICE]).await;
        assert!(run.write(read).await.unwrap().is_none());
        assert_eq!(fixture.staged_month(month).await, None);
    }

    #[tokio::test]
    async fn a_record_is_not_the_last_word_when_the_invoices_changed_after_the_put() {
        let fixture = Fixture::new();
        let (lake, month) = (&fixture.lake, Fixture::newest());
        fixture.extract(month, &[INVOICE]).await;
        let staged = stage(lake, &Engine::Polars, month, "test").await.unwrap();
        fixture.extract(month, &[INVOICE, INVOICE]).await;
        assert!(run_of(lake).commit(staged.record, Outcome::Written).await.unwrap().is_none());
        let again = stage(lake, &Engine::Polars, month, "test").await.unwrap();
        assert_eq!(again.outcome, Outcome::Written);
    }
}
