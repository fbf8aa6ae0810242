//! What decoding promises for any bytes, checked by the fuzzer and, for its corpus, by a unit test:
//! it never panics, what it remembers changes no result, money has at most 15 digits, and who reads the keys alone hears
//! of every invoice that changed.

use super::{ColumnNames, DateUnit, DecimalMode, Decoder, Event, Keys, Options, Row, Touched};

const CENTS_MAX: i64 = 999_999_999_999_999;
/// A reason goes into a header of the dead letter and into the database.
const REASON_BYTES_MAX: usize = 1024;

/// Decodes each line as one message, with every set of options.
pub fn keep(bytes: &[u8]) {
    for (allow_number_amounts, date_unit) in [(false, DateUnit::Us), (true, DateUnit::Ms)] {
        let decimal_mode = DecimalMode::String;
        let options = Options { columns: columns(), allow_number_amounts, decimal_mode, date_unit };
        let mut remembering = Decoder::new(options.clone());
        for message in bytes.split(|byte| *byte == b'\n') {
            let event = remembering.decode(Some(message));
            let fresh = Decoder::new(options.clone()).decode(Some(message));
            assert_eq!(event, fresh, "a remembered schema changed what a message means");
            let touched = Keys::decode(Some(message), &options.columns).map(|keys| keys.touched);
            match event {
                Ok(Event::Change(change)) => {
                    assert!(names(&touched, change.invoice_id), "{touched:?} of {change:?}");
                    assert!(
                        change.renamed_from.is_none_or(|old| names(&touched, old)),
                        "{touched:?} of {change:?}"
                    );
                    assert!(change.after.iter().chain(&change.before).all(is_sane), "{change:?}");
                }
                Ok(Event::Truncation(_)) => assert_eq!(touched, Ok(Touched::All)),
                Ok(Event::Nothing(_)) => assert_eq!(touched, Ok(Touched::Rows(Vec::new()))),
                Err(reason) => assert_is_short(&reason),
            }
            touched.err().iter().for_each(|reason| assert_is_short(reason));
        }
    }
}

fn assert_is_short(reason: &str) {
    assert!(!reason.is_empty() && reason.len() <= REASON_BYTES_MAX, "{} bytes", reason.len());
}

fn names(touched: &Result<Touched, String>, id: i64) -> bool {
    matches!(touched, Ok(Touched::Rows(ids)) if ids.contains(&id))
}

fn is_sane(row: &Row) -> bool {
    row.amount.is_none_or(|cents| cents.abs() <= CENTS_MAX)
}

/// The sample table's.
pub fn columns() -> ColumnNames {
    ColumnNames {
        invoice_id_column: "invoice_id".into(),
        issue_date_column: "issue_date".into(),
        issuer_column: "issuer_id".into(),
        receiver_column: "receiver_id".into(),
        amount_column: "amount_usd".into(),
    }
}
