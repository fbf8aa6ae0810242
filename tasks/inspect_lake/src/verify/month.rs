//! One month of the lake, read in full within a bounded amount of memory.

use super::layout;
use super::read::{Invoices, Totals, invoices_of, totals_of};
use super::verdict;
use bytes::Bytes;
use futures::{StreamExt, stream};
use invoices::lake::commit::CommitRecord;
use invoices::lake::names::{self, Table};
use invoices::lake::{CONCURRENCY, Lake, Object};
use invoices::money::MoneyType;
use invoices::task::check_stop;
use invoices::{Error, Fingerprint, KeyKinds, Kind, Month, Result};
use tokio::sync::Semaphore;

/// Objects in memory at once; one that is larger is read alone.
const BUDGET_MIB: u32 = 256;

/// What a month's folder of one table holds. No objects add up to nothing.
pub struct Found<T> {
    pub objects: Vec<Object>,
    /// Paths that no task writes.
    pub strangers: Vec<String>,
    pub partitionings: Vec<&'static str>,
    pub record: Option<CommitRecord>,
    /// What the objects add up to, or why that can't be said.
    pub content: Result<T, String>,
}

impl<T> Found<T> {
    pub fn bytes(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }
}

/// A month everywhere, and what is wrong with it.
pub struct MonthState {
    pub month: Month,
    pub source: Fingerprint,
    pub invoices: Found<Invoices>,
    pub by_business: Found<Totals>,
    pub problems: Vec<String>,
}

impl MonthState {
    /// Nowhere is anything of this month.
    pub fn is_empty(&self) -> bool {
        self.source.rows == 0 && self.invoices.objects.is_empty() && self.by_business.objects.is_empty()
    }
}

/// Reads months; shared by those under way.
pub struct MonthReader {
    lake: Lake,
    money: MoneyType,
    budget: Semaphore,
}

impl MonthReader {
    pub fn new(lake: Lake, money: MoneyType) -> Self {
        Self { lake, money, budget: Semaphore::new(BUDGET_MIB as usize) }
    }

    pub async fn read(&self, month: Month, source: Fingerprint) -> Result<MonthState> {
        check_stop()?;
        let money = self.money;
        let invoices = self
            .table(
                Table::Invoices,
                month,
                move |bytes| invoices_of(bytes, money),
                |all: &mut Invoices, one| {
                    all.fingerprint.merge(one.fingerprint);
                    all.proof = one.proof;
                    all.more = one.more;
                    Ok(())
                },
            )
            .await?;
        let by_business =
            self.table(Table::ByBusiness, month, move |bytes| totals_of(bytes, money), Totals::merge).await?;
        let problems = verdict::problems(&source, money, &invoices, &by_business);
        Ok(MonthState { month, source, invoices, by_business, problems })
    }

    /// The objects' bytes, for a second reading.
    pub async fn whole(&self, objects: &[Object]) -> Result<Vec<Bytes>> {
        let mut contents = Vec::new();
        for object in objects {
            contents.extend(self.lake.get(&object.path).await?.map(|(_, bytes)| bytes));
        }
        Ok(contents)
    }

    async fn table<T: Default + Send + 'static>(
        &self,
        table: Table,
        month: Month,
        decode: impl Fn(Bytes) -> Result<T> + Copy + Send + 'static,
        merge: impl Fn(&mut T, T) -> Result<()>,
    ) -> Result<Found<T>> {
        let partition = names::month_partition(month);
        let folder = format!("{}/{partition}", table.folder());
        let record = self.lake.read_commit(table, &partition).await?;
        let listed = self.lake.list(&folder).await?;
        let keys = record.as_ref().map(|record: &CommitRecord| KeyKinds::of_options(&record.options));
        let business = keys.unwrap_or_default().business;
        let (objects, strangers) = layout::divide(table, &folder, listed, business);
        let partitionings = layout::partitionings(&folder, &objects);
        let added = self.add_up(&objects, decode, merge).await;
        let content = match added {
            Ok(content) => Ok(content),
            Err(error) if error.kind() == Kind::Refused => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        Ok(Found { objects, strangers, partitionings, record, content })
    }

    async fn add_up<T: Default + Send + 'static>(
        &self,
        objects: &[Object],
        decode: impl Fn(Bytes) -> Result<T> + Copy + Send + 'static,
        merge: impl Fn(&mut T, T) -> Result<()>,
    ) -> Result<T> {
        let mut total = T::default();
        let contents = stream::iter(objects).map(|object| self.decoded(object, decode));
        let mut contents = std::pin::pin!(contents.buffer_unordered(CONCURRENCY));
        while let Some(content) = contents.next().await {
            merge(&mut total, content?)?;
        }
        Ok(total)
    }

    /// Reads an object and decodes it on a thread that may take its time.
    async fn decoded<T: Send + 'static>(
        &self,
        object: &Object,
        decode: impl FnOnce(Bytes) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        check_stop()?;
        let mib = u32::try_from(object.size.div_ceil(1 << 20)).unwrap_or(u32::MAX).clamp(1, BUDGET_MIB);
        let permit = self.budget.acquire_many(mib).await;
        let _permit = permit.map_err(|error| Error::bug("the memory budget is closed").because(error))?;
        let place = self.lake.locate(&object.path);
        let found = self.lake.get(&object.path).await?;
        let (_, bytes) =
            found.ok_or_else(|| Error::refused(format!("{place} vanished while it was verified")))?;
        let decoded = tokio::task::spawn_blocking(move || decode(bytes)).await;
        let decoded =
            decoded.map_err(|error| Error::bug(format!("reading {place} panicked")).because(error))?;
        decoded.map_err(|error| match error.kind() {
            Kind::Refused => Error::refused(format!("{place} cannot be read: {error}")),
            _ => error,
        })
    }
}
