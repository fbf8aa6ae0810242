//! The answer: written batch by batch into a file that nobody sees, which becomes the output when
//! the query has ended well. A query that fails has printed nothing.

mod destination;
mod values;

pub use destination::Destination;

use crate::args::Format;
use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use comfy_table::{Attribute, Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use invoices::{Error, Result};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::fs::File;
use std::io::{BufWriter, Write};

const STYLE: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// Writes batches in one form.
pub struct Writer {
    body: Body,
    rows: u64,
}

enum Body {
    Table { table: Box<Table>, rows_max: usize, file: BufWriter<File> },
    Csv(Box<csv::Writer<File>>),
    Lines(BufWriter<File>),
    Parquet(Box<ArrowWriter<File>>),
}

impl Writer {
    /// Starts with the header. `width` is the terminal's, for tables.
    pub fn new(
        format: Format,
        file: File,
        schema: &SchemaRef,
        rows_max: usize,
        width: Option<u16>,
    ) -> Result<Self> {
        let names = schema.fields().iter().map(|field| field.name());
        let body = match format {
            Format::Table => {
                let mut table = Table::new();
                table.load_style(STYLE).set_content_arrangement(ContentArrangement::Dynamic);
                if let Some(width) = width {
                    table.set_width(width);
                }
                table.set_header(names.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
                Body::Table { table: Box::new(table), rows_max, file: BufWriter::new(file) }
            }
            Format::Csv => {
                let mut writer = csv::Writer::from_writer(file);
                writer.write_record(names).map_err(failed)?;
                Body::Csv(Box::new(writer))
            }
            Format::Jsonl => Body::Lines(BufWriter::new(file)),
            Format::Parquet => {
                let level = ZstdLevel::try_new(3).map_err(failed)?;
                let properties =
                    WriterProperties::builder().set_compression(Compression::ZSTD(level)).build();
                let writer = ArrowWriter::try_new(file, schema.clone(), Some(properties)).map_err(failed)?;
                Body::Parquet(Box::new(writer))
            }
        };
        Ok(Self { body, rows: 0 })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        let rows_before = self.rows;
        self.rows += batch.num_rows() as u64;
        let columns = batch.columns();
        match &mut self.body {
            Body::Table { table, rows_max, .. } => {
                let room = rows_max.saturating_sub(rows_before as usize).min(batch.num_rows());
                for row in 0..room {
                    table.add_row(columns.iter().map(|column| table_cell(column, row)));
                }
            }
            Body::Csv(writer) => {
                for row in 0..batch.num_rows() {
                    for column in columns {
                        let text = values::text(column, row).unwrap_or_default();
                        writer.write_field(text).map_err(failed)?;
                    }
                    writer.write_record(None::<&[u8]>).map_err(failed)?;
                }
            }
            Body::Lines(file) => {
                let mut line = String::new();
                for row in 0..batch.num_rows() {
                    line.clear();
                    for (field, column) in batch.schema_ref().fields().iter().zip(columns) {
                        line.push(if line.is_empty() { '{' } else { ',' });
                        values::quoted(field.name(), &mut line);
                        line.push(':');
                        values::json(column, row, &mut line);
                    }
                    line.push_str("}\n");
                    file.write_all(line.as_bytes()).map_err(failed)?;
                }
            }
            Body::Parquet(writer) => writer.write(batch).map_err(failed)?,
        }
        Ok(())
    }

    /// Writes the rest and returns the number of rows.
    pub fn finish(self) -> Result<u64> {
        match self.body {
            Body::Table { table, rows_max, mut file } => {
                let more = self.rows.saturating_sub(rows_max as u64);
                writeln!(file, "{}", table.trim_fmt()).map_err(failed)?;
                if more > 0 {
                    let more = invoices::task::grouped(more);
                    writeln!(file, "… and {more} more rows; --max-rows or another --format shows them")
                        .map_err(failed)?;
                }
                file.flush().map_err(failed)?;
            }
            Body::Csv(mut writer) => writer.flush().map_err(failed)?,
            Body::Lines(mut file) => file.flush().map_err(failed)?,
            Body::Parquet(writer) => {
                writer.close().map_err(failed)?;
            }
        }
        Ok(self.rows)
    }
}

fn table_cell(column: &ArrayRef, row: usize) -> Cell {
    let text = values::text(column, row).unwrap_or_default();
    let is_number = column.data_type().is_numeric();
    let alignment = if is_number { CellAlignment::Right } else { CellAlignment::Left };
    Cell::new(text).set_alignment(alignment)
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::retry("cannot write the answer").because(error)
}
