//! One partition, published: objects, then deletions, then the commit record, then another look.

use crate::job::{Job, Part};
use crate::staged::Staged;
use futures::{StreamExt, TryStreamExt, stream};
use invoices::lake::commit::{CommitRecord, now_text};
use invoices::lake::strangers;
use invoices::lake::{ATTEMPTS, Lake, Object, step_aside};
use invoices::task::{Progress, check_stop};
use invoices::{Error, KeyKind, KeyKinds, Result, failpoint};
use std::sync::Arc;

/// Where and how to publish.
pub struct Publisher<'a> {
    pub lake: &'a Lake,
    pub max_partitions: u32,
    pub program: &'a str,
    pub progress: &'a Progress,
}

/// What became of a partition.
pub struct Published {
    pub record: CommitRecord,
    pub is_new: bool,
    pub deleted: usize,
    /// Objects in the partition's folder that no task has written; they stay.
    pub strangers: Vec<String>,
}

/// What would become of a partition.
pub struct Planned {
    pub staged: Staged,
    pub is_current: bool,
    pub published: Option<CommitRecord>,
    pub listed: Vec<Object>,
    pub strangers: Vec<String>,
    /// What the ids in the names of its folders are.
    business: KeyKind,
}

impl Publisher<'_> {
    /// Brings the partition up to date with what is staged.
    ///
    /// # Errors
    /// Refused when it has too many partitions or its totals differ, retry when others keep writing it.
    pub async fn publish(&self, job: &Job) -> Result<Published> {
        for attempt in 1..=ATTEMPTS {
            step_aside(attempt).await;
            check_stop()?;
            if let Some(published) = self.attempt(job).await? {
                return Ok(published);
            }
            tracing::warn!(attempt, "{} was written by another run meanwhile; publishing it again", job.what);
        }
        Err(Error::retry(format!(
            "what is staged for {} does not stay or is not what its commit record says; run aggregate_by_business and this task again when no other run writes",
            job.what
        )))
    }

    /// What is staged, what is published, and whether they belong together.
    pub async fn plan(&self, job: &Job) -> Result<Planned> {
        let folder = job.folder();
        let (staged, published, listed) = futures::try_join!(
            Staged::find(self.lake, job.from, &job.partition, &job.what),
            self.lake.read_commit(job.to, &job.partition),
            self.lake.list(&folder),
        )?;
        let business = kind_of(&staged.record, published.as_ref());
        let (listed, strangers) = apart(job, listed, business);
        job.check_limit(&staged.record, self.max_partitions)?;
        let is_current = published.as_ref().is_some_and(|record| {
            record.inputs == staged.inputs()
                && record.options == job.options(&staged.record)
                && record.describes(&listed)
        });
        Ok(Planned { staged, is_current, published, listed, strangers, business })
    }

    /// None when what was staged or published changed under its hands.
    async fn attempt(&self, job: &Job) -> Result<Option<Published>> {
        let Planned { staged, is_current, published, strangers, business, .. } = self.plan(job).await?;
        if let Some(record) = published.filter(|_| is_current) {
            self.progress.add(record.objects.len() as u64);
            return Ok(Some(Published { record, is_new: false, deleted: 0, strangers }));
        }
        let Some(object) = staged.read(self.lake).await? else { return Ok(None) };
        let parts = job.parts(&staged.record, object)?;

        failpoint!("write::before_put");
        let written = self.put_all(parts).await?;
        let (found, stale) = self.list_apart(job, &written, business).await?;
        if found != written {
            return Ok(None);
        }
        failpoint!("write::before_delete");
        self.delete(&stale).await?;
        failpoint!("write::before_record");
        let record = record(job, &staged, &written, self.program);
        self.lake.write_commit(job.to, &record).await?;
        failpoint!("write::after_record");

        // A newer staging that came in between belongs on top of this one, not below it.
        let is_current = staged.is_current(self.lake).await?;
        Ok(is_current.then_some(Published { record, is_new: true, deleted: stale.len(), strangers }))
    }

    /// Writes all objects, many at once, and returns them in path order.
    async fn put_all(&self, parts: Vec<Part>) -> Result<Vec<Object>> {
        let batch = Arc::new(self.lake.batch()?);
        let put = |part: Part| {
            let batch = batch.clone();
            // Spawned, so that encoding uses all cores.
            tokio::spawn(async move {
                let (path, bytes) = part.into_object()?;
                batch.write(&path, bytes).await
            })
        };
        let mut puts = stream::iter(parts).map(put).buffer_unordered(self.lake.concurrent_writes());
        while let Some(put) = puts.next().await {
            put.map_err(|error| Error::bug("encoding broke off").because(error))??;
            self.progress.add(1);
            failpoint!("write::between_puts");
            check_stop()?;
        }
        batch.publish().await
    }

    /// What the partition's folder holds under the written paths, and the rest of what a task writes there:
    /// businesses that vanished, or the objects of another partitioning.
    async fn list_apart(
        &self,
        job: &Job,
        written: &[Object],
        business: KeyKind,
    ) -> Result<(Vec<Object>, Vec<Object>)> {
        let is_written =
            |object: &Object| written.binary_search_by(|other| other.path.cmp(&object.path)).is_ok();
        let (listed, _) = apart(job, self.lake.list(&job.folder()).await?, business);
        Ok(listed.into_iter().partition(is_written))
    }

    async fn delete(&self, stale: &[Object]) -> Result<()> {
        let deletions = stream::iter(stale).map(|object| self.lake.delete(&object.path));
        deletions.buffer_unordered(self.lake.concurrent_writes()).try_collect().await
    }
}

/// The objects of a partition's folder that a task writes there, and the paths of the others that engines read.
fn apart(job: &Job, listed: Vec<Object>, business: KeyKind) -> (Vec<Object>, Vec<String>) {
    let folder = job.folder();
    let (own, others): (Vec<Object>, Vec<Object>) =
        listed.into_iter().partition(|object| strangers::belongs(job.to, &folder, &object.path, business));
    let visible = others.into_iter().filter(|object| !strangers::is_hidden(&object.path));
    (own, visible.map(|object| object.path).collect())
}

/// What names folders of businesses, before or after: every integer is a text too.
fn kind_of(staged: &CommitRecord, published: Option<&CommitRecord>) -> KeyKind {
    let kinds = published.into_iter().chain([staged]);
    let mut kinds = kinds.map(|record| KeyKinds::of_options(&record.options).business);
    if kinds.any(|kind| kind == KeyKind::Text) { KeyKind::Text } else { KeyKind::Integer }
}

fn record(job: &Job, staged: &Staged, written: &[Object], program: &str) -> CommitRecord {
    CommitRecord {
        table: job.to.name().to_owned(),
        partition: job.partition.clone(),
        rows: staged.record.rows,
        invoices: staged.record.invoices.clone(),
        money: staged.record.money,
        snapshot: staged.record.snapshot.clone(),
        inputs: staged.inputs(),
        options: job.options(&staged.record),
        objects: written.iter().map(Into::into).collect(),
        rows_before: None,
        committed_at: now_text(),
        program: program.to_owned(),
    }
}
