//! Whole files: which rows they hold, or the one message that refuses them.

use super::*;
use crate::Customer;
use invoices::Invoice;
use std::io::Write;

const CUSTOMERS: [i64; 3] = [1, 2, 3];

fn read<R: Record>(text: impl AsRef<[u8]>) -> Result<Vec<R>> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_ref()).unwrap();
    Rows::open(file.path(), Options::default(), CUSTOMERS.to_vec())?.collect()
}

fn refusal<R: Record + std::fmt::Debug>(text: impl AsRef<[u8]>) -> String {
    let error = read::<R>(text).unwrap_err();
    assert_eq!(error.kind(), Kind::Refused);
    error.to_string()
}

#[test]
fn columns_are_found_by_name_in_any_order() {
    let text =
        "amount_usd,note, invoice_id,receiver_id,issue_date,issuer_id\r\n-1.5,x,7,,2024-02-29 10:00:00,3\r\n";
    let expected = Invoice {
        invoice_id: 7,
        issue_date_us: 1_709_200_800_000_000,
        issuer_id: Some(3),
        receiver_id: None,
        amount: -150,
    };
    assert_eq!(read::<Invoice>(text).unwrap(), [expected]);
}

#[test]
fn quoted_names_keep_commas_and_spaces_and_a_byte_order_mark_is_no_name() {
    let rows: Vec<Customer> = read("\u{feff}customer_id,customer_name\n1,\" A, B \"\n").unwrap();
    assert_eq!(rows[0].customer_name, " A, B ");
}

#[test]
fn every_bad_line_is_named_with_its_place() {
    let header = "invoice_id,issue_date,issuer_id,receiver_id,amount_usd";
    let lines = [
        "1,2024-01-01 00:00:00,1,2,1.00",
        "x,2024-01-01 00:00:00,1,2,1.00",
        "3,2024-02-30 00:00:00,1,2,1.00",
        "4,2024-01-01 00:00:00,1,2,1.005",
        "5,2024-01-01 00:00:00,1,2",
        "6,2024-01-01 00:00:00,1,4,1.00",
        "1,2024-01-01 00:00:00,1,2,1.00",
        "8,2024-01-01 00:00:00,one,2,1.00",
        "9,2024-01-01 00:00:00,1,2,\"1.00",
    ];
    for newline in ["\n", "\r\n"] {
        let text = format!("{header}{newline}{}{newline}", lines.join(newline));
        let said = refusal::<Invoice>(text);
        let expected = [
            "8 lines refused",
            "line 3, column 1: invoice_id \"x\" is not an id",
            "line 4, column 3: issue_date \"2024-02-30 00:00:00\" is not a date",
            "line 5, column 27: amount_usd \"1.005\" has more than 2 digits",
            "line 6, column 25: the row has 4 fields where the header has 5",
            "line 7, column 25: receiver_id \"4\" is not among the customers",
            "line 8, column 1: invoice_id 1 is there twice, first in line 2",
            "line 9, column 23: issuer_id \"one\" is not an id",
            "line 10, column 27: a quote is opened here",
        ];
        for part in expected {
            assert!(said.contains(part), "{part} is not in {said}");
        }
    }
}

#[test]
fn the_first_ten_bad_lines_are_listed_and_the_others_counted() {
    let said = refusal::<Customer>(format!("customer_id,customer_name\n{}", "x,y\n".repeat(12)));
    assert!(said.contains("12 lines") && said.contains("line 11,") && !said.contains("line 12,"), "{said}");
    assert!(said.ends_with("and 2 more"), "{said}");
}

#[test]
fn a_header_must_name_every_column_once() {
    let said = refusal::<Customer>("customer_id,name\n1,A\n");
    assert!(
        said.contains("no column customer_name; it needs") && said.ends_with("has customer_id,name"),
        "{said}"
    );
    assert!(refusal::<Customer>("customer_id,customer_name, customer_id\n").contains("twice"));
    assert!(refusal::<Customer>("").contains("the file is empty"));
}

#[test]
fn a_missing_file_is_a_matter_of_configuration() {
    let error = Rows::<Customer>::open(Path::new("no/such.csv"), Options::default(), Vec::new());
    let error = error.err().unwrap();
    assert_eq!(error.kind(), Kind::Config);
    assert!(error.to_string().contains("no/such.csv"), "{error}");
}
