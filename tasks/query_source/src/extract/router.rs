//! Sends each row to the writer of its month.

use crate::month_writer::MonthWriter;
use invoices::{ColumnsOf, Error, InvoiceOf, Keys, Result};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rows that a reader collects for a month before it writes them.
const BATCH_ROWS: usize = 16 * 1024;
/// Bytes of further columns after which it writes fewer.
const BATCH_BYTES: usize = 2 << 20;

/// The open months, shared by all readers.
pub struct Router {
    /// Start and end of each month in microseconds, ascending, not necessarily adjacent.
    bounds_us: Vec<(i64, i64)>,
    writers: Vec<Mutex<MonthWriter>>,
}

impl Router {
    /// Writers in ascending order of their months.
    pub fn new(writers: Vec<MonthWriter>) -> Self {
        Self {
            bounds_us: writers.iter().map(|w| (w.month.start_us(), w.month.end_us())).collect(),
            writers: writers.into_iter().map(Mutex::new).collect(),
        }
    }

    pub fn into_writers(self) -> Vec<MonthWriter> {
        let inner = |writer: Mutex<MonthWriter>| writer.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.writers.into_iter().map(inner).collect()
    }

    /// A reader's own buffers.
    pub fn reader<Ids: Keys>(&self) -> Reader<'_, Ids> {
        let batches = self.writers.iter().map(|_| ColumnsOf::default()).collect();
        Reader { router: self, batches, current: 0 }
    }

    fn writer(&self, index: usize) -> MutexGuard<'_, MonthWriter> {
        self.writers[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn position(&self, timestamp_us: i64) -> Option<usize> {
        let index = self.bounds_us.partition_point(|&(_, end)| end <= timestamp_us);
        let (start, _) = *self.bounds_us.get(index)?;
        (start <= timestamp_us).then_some(index)
    }
}

/// Collects rows per month and writes them in batches; one for each reading thread.
pub struct Reader<'a, Ids> {
    router: &'a Router,
    batches: Vec<ColumnsOf<Ids>>,
    /// Month of the last row: the next one is most often in it too.
    current: usize,
}

impl<Ids: Keys> Reader<'_, Ids> {
    /// Takes a row. A row of a month that isn't read is passed over: conditions on the date may be
    /// wider than the months.
    pub fn push(&mut self, invoice: InvoiceOf<Ids::Key<'_>>, more: &[&str]) -> Result<()> {
        let (start, end) = self.router.bounds_us[self.current];
        if invoice.issue_date_us < start || end <= invoice.issue_date_us {
            match self.router.position(invoice.issue_date_us) {
                Some(position) => self.current = position,
                None => return Ok(()),
            }
        }
        let batch = &mut self.batches[self.current];
        batch.push_with(invoice, more);
        if batch.len() >= BATCH_ROWS || batch.more_bytes() >= BATCH_BYTES {
            self.flush(self.current)?;
        }
        Ok(())
    }

    fn flush(&mut self, index: usize) -> Result<()> {
        let batch = std::mem::take(&mut self.batches[index]);
        self.router.writer(index).write(batch)
    }

    /// Writes what is left.
    pub fn finish(mut self) -> Result<()> {
        for index in 0..self.batches.len() {
            if !self.batches[index].is_empty() {
                self.flush(index)?;
            }
        }
        Ok(())
    }
}

/// The panic of a reader, as an error; a reader never panics on purpose.
pub fn panicked() -> Error {
    Error::bug("a reading thread panicked; please report it with the log")
}
