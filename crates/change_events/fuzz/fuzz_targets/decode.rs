//! Feeds arbitrary bytes to the decoder; see `promises.rs` for what must hold.

#![no_main]

use change_events::{DateUnit, DecimalMode, Decoder, Event, Keys, Options, Row, Touched};
use invoices::source::ColumnNames;

#[path = "../promises.rs"]
mod promises;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| promises::keep(bytes));
