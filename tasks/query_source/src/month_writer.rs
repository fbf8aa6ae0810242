//! One month's Parquet object, streamed into its upload while rows arrive.

use bytes::Bytes;
use invoices::fingerprint::FingerprintRecord;
use invoices::lake::commit::SourceSnapshot;
use invoices::lake::{Lake, Object, Upload, names, names::Table};
use invoices::parquet::{Proof, Shape, invoice_batch, invoice_properties, invoice_schema};
use invoices::{ColumnsOf, Error, Fingerprint, Keys, Month, Result};
use parquet::arrow::ArrowWriter;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

/// Rows per row group: some 4 MB while being written, so that every month of a window can be open.
const ROWS_PER_GROUP: usize = 128 * 1024;

/// A month being written. Rows become Parquet in whatever thread brings them.
pub struct MonthWriter {
    pub month: Month,
    shape: Arc<Shape>,
    runtime: Handle,
    lake: Lake,
    /// Made with the first row: a month without invoices has no object.
    open: Option<Open>,
    pub fingerprint: Fingerprint,
}

struct Open {
    parquet: ArrowWriter<Sink>,
    sink: Sink,
    upload: Upload,
}

impl MonthWriter {
    pub fn new(month: Month, shape: Arc<Shape>, runtime: Handle, lake: Lake) -> Self {
        Self { month, shape, runtime, lake, open: None, fingerprint: Fingerprint::default() }
    }

    pub fn path(&self) -> String {
        names::object(Table::Invoices, &names::month_partition(self.month))
    }

    /// Adds rows; waits while the store is slower than the source.
    pub fn write(&mut self, columns: ColumnsOf<impl Keys>) -> Result<()> {
        self.fingerprint.merge(Fingerprint::of(&columns, self.shape.money));
        let batch = invoice_batch(columns, &self.shape)?;
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.start()?,
        };
        open.parquet.write(&batch)?;
        self.runtime.block_on(open.drain())?;
        self.open = Some(open);
        Ok(())
    }

    fn start(&self) -> Result<Open> {
        let sink = Sink::default();
        let properties = invoice_properties(ROWS_PER_GROUP);
        let parquet = ArrowWriter::try_new(sink.clone(), invoice_schema(&self.shape), Some(properties))?;
        let upload = self.runtime.block_on(self.lake.upload(&self.path()))?;
        Ok(Open { parquet, sink, upload })
    }

    /// Completes the object with its proof and makes it visible; none for a month without rows.
    pub async fn finish(self, snapshot: &SourceSnapshot) -> Result<Option<Object>> {
        let Some(mut open) = self.open else { return Ok(None) };
        let proof = Proof {
            invoices: FingerprintRecord::new(&self.fingerprint, self.shape.money.scale),
            money: self.shape.money,
            keys: self.shape.keys,
            snapshot: snapshot.clone(),
        };
        open.parquet.append_key_value_metadata(proof.to_key_value()?);
        let footer = open.parquet.finish()?;
        if footer.file_metadata().num_rows() as u64 != self.fingerprint.rows {
            return Err(Error::bug(format!("the Parquet writer lost rows of {}", self.month)));
        }
        open.drain().await?;
        open.upload.finish().await.map(Some)
    }

    /// Throws away what was written; nothing becomes visible.
    pub async fn abort(self) {
        if let Some(open) = self.open {
            open.upload.abort().await;
        }
    }
}

impl Open {
    async fn drain(&mut self) -> Result<()> {
        let bytes = self.sink.take();
        if !bytes.is_empty() {
            self.upload.write(bytes).await?;
        }
        Ok(())
    }
}

/// Where the Parquet writer leaves finished row groups until the upload takes them.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn take(&self) -> Bytes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
