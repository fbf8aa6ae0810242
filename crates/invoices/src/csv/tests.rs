//! What is accepted is what another reader sees; what is refused is named with its place.

use super::*;
use proptest::prelude::*;
use std::io::{BufReader, Read};

type Table = Vec<Vec<String>>;

/// Header and rows, read in small pieces.
fn read_with(bytes: &[u8], options: Options) -> Result<Table, ReadError> {
    let mut reader = Reader::new(BufReader::with_capacity(7, bytes), options)?;
    let mut table = vec![reader.names().to_vec()];
    while let Some(row) = reader.read()? {
        table.push(row.iter().map(|field| field.into_owned()).collect());
    }
    Ok(table)
}

fn read(bytes: impl AsRef<[u8]>) -> Result<Table, ReadError> {
    read_with(bytes.as_ref(), Options { delimiter: Delimiter::COMMA, delimiter_flag: Some("--delimiter") })
}

/// The sentence that refuses a file.
fn refusal(bytes: impl AsRef<[u8]>) -> String {
    match read(bytes.as_ref()) {
        Ok(table) => panic!("accepted as {table:?}"),
        Err(error) => error.in_file("x.csv").to_string(),
    }
}

#[track_caller]
fn refused(bytes: impl AsRef<[u8]>, place: &str, part: &str) {
    let said = refusal(bytes);
    assert!(said.starts_with(&format!("x.csv {place}: ")) && said.contains(part), "{said}");
}

#[test]
fn quoted_fields_keep_delimiters_line_breaks_and_doubled_quotes() {
    let text = "\u{feff}a,b\r\n\"1,\r\n\"\"x\"\"\",\"\"\r\né, y \r\n\r\n";
    let expected = [["a", "b"], ["1,\r\n\"x\"", ""], ["é", " y "]];
    assert_eq!(read(text).unwrap(), expected);
}

#[test]
fn an_empty_value_in_quotes_is_told_from_none() {
    let mut reader = Reader::new("a,b\n\"\",\n".as_bytes(), Options::default()).unwrap();
    let row = reader.read().unwrap().unwrap();
    assert_eq!((row.is_quoted(0), row.is_quoted(1)), (true, false));
}

#[test]
fn places_count_physical_lines_and_characters() {
    let mut reader = Reader::new("a,b\n\"é\n\",\"ü\nö\"\n1,2\n".as_bytes(), Options::default()).unwrap();
    let row = reader.read().unwrap().unwrap();
    assert_eq!(
        (row.place(0).to_string(), row.place(1).to_string().as_str()),
        ("line 2, column 1".into(), "line 3, column 3")
    );
    assert_eq!(reader.read().unwrap().unwrap().line(), 5);
}

#[test]
fn quotes_that_contradict_are_refused() {
    refused("a,b\n1,ok\n2,\"12 inch\n3,ok\n4,ok\n", "line 3, column 3", "never closed");
    refused("a,b\n2,\"12 inch\n3,\"ok\"\n", "line 3, column 4", "closes the field of line 2, column 3");
    refused("a,b\n1,\"x\"y\n", "line 2, column 6", "text follows the quote");
    refused("a,b\n1,\"x\" \n", "line 2, column 6", "text follows the quote");
    refused("a,b\n1,12\" pipe\n", "line 2, column 5", "without quotes");
    refused("a,b\n1, \"x\"\n", "line 2, column 4", "without quotes");
    refused("a,b\n1,\"say \\\"hi\\\"\"\n", "line 2, column 8", "backslash");
    refused("a,b\n1,\"C:\\\"\n", "line 2, column 6", "backslash");
    refused("a,b\n1,say \\\"hi\n", "line 2, column 8", "backslash");
}

#[test]
fn another_delimiter_is_named_with_the_flag_to_set() {
    refused("a;b\n1;2\n", "line 1, column 1", "separated by semicolons, not by commas; use --delimiter ';'");
    refused("a\tb\tc\n", "line 1, column 1", "use --delimiter tab");
    refused("a|b, c|d\n", "line 1, column 1", "use --delimiter '|'");
    refused("\"a\";\"b\"\n", "line 1, column 4", "use --delimiter ';'");
    refused("a,b,c\n1;2;3,5\n", "line 2, column 7", "use --delimiter ';'");
    let without_flag = read_with(b"a,b\n", Options { delimiter: Delimiter::TAB, delimiter_flag: None });
    let said = without_flag.unwrap_err().in_file("x").to_string();
    assert!(said.ends_with("separated by commas; save the file with tabs"), "{said}");
    let semicolon = Options { delimiter: ";".parse().unwrap(), delimiter_flag: None };
    assert_eq!(read_with(b"a;b\n1,5;2\n", semicolon).unwrap()[1], ["1,5", "2"]);
}

#[test]
fn delimiters_are_one_sign() {
    assert_eq!("TAB".parse(), Ok(Delimiter::TAB));
    assert_eq!("\\t".parse(), Ok(Delimiter::TAB));
    for text in ["", "\"", "a", "1", ";;", "\n", "é", "."] {
        assert!(text.parse::<Delimiter>().is_err(), "{text:?}");
    }
}

#[test]
fn ragged_rows_are_refused_one_by_one() {
    refused(
        "a,b\n1,10,50\n",
        "line 2, column 6",
        "3 fields where the header has 2; put values with commas in quotes",
    );
    refused("a,b\n1\n", "line 2, column 1", "1 field where the header has 2");
    let mut reader = Reader::new("a,b\n1\n2,3\n".as_bytes(), Options::default()).unwrap();
    let Err(ReadError::Fault(fault)) = reader.read() else { panic!("accepted") };
    assert!(fault.only_this_row);
    assert_eq!(reader.read().unwrap().unwrap().get(0).unwrap(), "2");
}

#[test]
fn headers_have_a_name_for_every_column_once() {
    refused("", "line 1, column 1", "the file is empty");
    refused("\n\n", "line 1, column 1", "the file is empty");
    refused("a,,c\n1,2,3\n", "line 1, column 3", "column 2 of the header has no name");
    refused("a,b,a\n", "line 1, column 5", "the name \"a\" twice");
}

#[test]
fn lines_are_whole_and_of_one_kind() {
    refused("a,b\n1,2\n\n\n3,4\n", "line 3, column 1", "empty line");
    refused("\na,b\n", "line 1, column 1", "empty line");
    refused("a,b\n1,2\r\n", "line 2, column 4", "ends with \\r\\n, those before with \\n");
    refused("a,b\r\n1,2\n", "line 2, column 4", "ends with \\n, those before with \\r\\n");
    refused("a,b\r1,2\r", "line 1, column 4", "carriage return");
    refused("a,b\n1,2\r", "line 2, column 4", "carriage return");
    assert_eq!(read("a,b\n1,2\n\n\n").unwrap().len(), 2);
    assert_eq!(read("a,b\r\n1,\"x\ny\"\r\n3,4").unwrap().len(), 3);
}

#[test]
fn what_is_no_text_in_utf8_is_named() {
    refused(b"a,b\n1,x\0y\n", "line 2, column 4", "NUL byte");
    refused(b"a,b\n1,\"x\0y\"\n", "line 2, column 5", "NUL byte");
    refused(b"a,b\n1,M\xFCller\n", "line 2, column 4", "0xFC is not UTF-8, perhaps it is Latin-1");
    refused(b"a,b\n1,\x80\n", "line 2, column 3", "Windows-1252");
    refused(b"\xFF\xFEa\0,\0b\0\n\0", "line 1, column 1", "UTF-16");
    refused(b"\xFE\xFF\0a\0,\0b\0\n", "line 1, column 1", "UTF-16");
    refused(b"a\0,\0b\0\n\0", "line 1, column 2", "perhaps UTF-16");
    refused(b"\x1F\x8B\x08\0", "line 1, column 1", "gzip");
    refused(b"PK\x03\x04\n", "line 1, column 1", "spreadsheet");
}

#[test]
fn fields_and_rows_have_a_limit() {
    let longest = "x".repeat(FIELD_BYTES_MAX);
    assert_eq!(
        read(format!("a,b\n{longest},\"{longest}\"\n")).unwrap()[1],
        [longest.clone(), longest.clone()]
    );
    refused(format!("a,b\n1,{longest}x\n"), "line 2, column 3", "longer than 1 MiB");
    refused(format!("a,b\n1,\"{longest}x\"\n"), "line 2, column 4", "longer than 1 MiB");
    refused(
        format!("a,b\n1,\"{}\n", "x\n".repeat(FIELD_BYTES_MAX)),
        "line 2, column 3",
        "not closed within 1 MiB",
    );
    let wide = format!("a\n{}\n", vec![longest.as_str(); 20].join(","));
    refused(wide, "line 2, column 1", "longer than 16 MiB");
}

#[test]
fn a_huge_field_does_not_fill_memory() {
    for quote in ["", "\""] {
        let endless = format!("a,b\n1,{quote}").into_bytes();
        let input = BufReader::new(endless.as_slice().chain(std::io::repeat(b'x')));
        let mut reader = Reader::new(input, Options::default()).unwrap();
        let error = reader.read().err().unwrap().in_file("x.csv").to_string();
        assert!(error.contains("1 MiB"), "{error}");
        assert!(reader.bytes() <= (ROW_BYTES_MAX + (1 << 16)) as u64);
        assert!(reader.read().unwrap().is_none());
    }
}

/// What another reader makes of the same bytes.
fn read_by_csv_crate(bytes: &[u8]) -> Result<Table, ::csv::Error> {
    let mut reader = ::csv::ReaderBuilder::new().has_headers(false).from_reader(bytes);
    reader.records().map(|row| Ok(row?.iter().map(str::to_owned).collect())).collect()
}

/// Fields of signs that matter; a backslash before a quote would be refused.
fn field() -> impl Strategy<Value = String> {
    "[a,;é \"\r\n'\\\\]{0,6}".prop_map(|mut text| {
        while let Some(at) = text.find("\\\"") {
            text.remove(at);
        }
        text.trim_end_matches('\\').to_owned()
    })
}

proptest! {
    #[test]
    fn what_the_csv_crate_writes_is_read_back(
        rows in (1_usize..5).prop_flat_map(|width| prop::collection::vec(prop::collection::vec(field(), width), 0..6)),
        crlf: bool,
        all_quoted: bool,
    ) {
        let terminator = if crlf { ::csv::Terminator::CRLF } else { ::csv::Terminator::Any(b'\n') };
        let style = if all_quoted { ::csv::QuoteStyle::Always } else { ::csv::QuoteStyle::Necessary };
        let mut writer = ::csv::WriterBuilder::new().terminator(terminator).quote_style(style).from_writer(Vec::new());
        let width = rows.first().map_or(1, Vec::len);
        let mut table: Table = vec![(0..width).map(|column| format!("c{column}")).collect()];
        table.extend(rows);
        for row in &table {
            writer.write_record(row).unwrap();
        }
        prop_assert_eq!(read(writer.into_inner().unwrap()).unwrap(), table);
    }

    #[test]
    fn what_is_accepted_is_what_the_csv_crate_reads(bytes in "[ab1,\"\r\n\\\\;é]{0,24}") {
        if let Ok(table) = read(&bytes) {
            prop_assert_eq!(table, read_by_csv_crate(bytes.as_bytes()).unwrap());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        if let Ok(table) = read(&bytes) {
            prop_assert_eq!(table, read_by_csv_crate(&bytes).unwrap());
        }
    }

    #[test]
    fn any_bytes_after_a_header_are_read_or_refused(
        bytes in prop::collection::vec(prop::sample::select(b"ab,,\"\"\"\r\n\n\\\0\xC3\xA9".as_slice()), 0..40)
    ) {
        let whole = [b"a,b\n".as_slice(), &bytes].concat();
        if let Ok(table) = read(&whole) {
            prop_assert_eq!(table, read_by_csv_crate(&whole).unwrap());
        }
    }
}
