//! Feeds arbitrary bytes to the decoder; see `promises.rs` for what must hold.

#![no_main]

use invoice_consumer::change::{Event, Row};
use invoice_consumer::decode::{DateUnit, DecimalMode, Decoder, Options};
use invoices::source::ColumnNames;

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::keep(bytes));
