//! Rows from the source to their months: several connections, one snapshot, bounded memory.

mod blocks;
mod differing;
mod postgres;
mod router;
mod sqlite;
mod wire;

use crate::args::Args;
use crate::month_writer::MonthWriter;
use crate::publish::Failure;
pub use differing::differing;
use invoices::lake::Lake;
use invoices::source::{MonthFingerprints, Source};
use invoices::task::Task;
use invoices::{Error, Month, Result, Texts, Window};
use router::Router;
use std::sync::Arc;

/// What was read of a group of months, and what the source says of them.
pub struct Extraction {
    pub writers: Vec<MonthWriter>,
    pub fingerprints: MonthFingerprints,
}

/// Reads the months. Where the source's fingerprints are not known yet, the source adds them up
/// while the rows are on their way.
pub fn extract(
    args: &Args,
    task: &Task,
    lake: &Lake,
    source: &mut Source,
    months: &[Month],
    known: Option<&MonthFingerprints>,
) -> Result<Extraction> {
    let (Some(&first), Some(&last)) = (months.first(), months.last()) else {
        return Err(Error::bug("no month to read"));
    };
    let shape = Arc::new(source.shape());
    let runtime = task.runtime.handle().clone();
    let writer = |month: &Month| MonthWriter::new(*month, shape.clone(), runtime.clone(), lake.clone());
    let router = Router::new(months.iter().map(writer).collect());
    let window = Window { first, last };
    let outcome = match source {
        Source::Postgres(session) => {
            let extract = if shape.keys.are_integers() {
                postgres::extract::<Vec<i64>>
            } else {
                postgres::extract::<Texts>
            };
            extract(session, &router, months, usize::from(args.connections), known.cloned())
        }
        Source::Sqlite(session) => sqlite::extract(session, &router, window, known.cloned()),
    };
    let writers = router.into_writers();
    match outcome {
        Ok(fingerprints) => Ok(Extraction { writers, fingerprints }),
        Err(error) => Err(task.block_on(Failure::new(writers, error).abort())),
    }
}
