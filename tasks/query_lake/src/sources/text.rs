//! Text as rows: a row per line of a document, a row per e-mail.

use super::Columns;
use super::values::timestamp_us;
use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use invoices::{Error, Result};
use mailparse::{MailHeaderMap, ParsedMail, parse_mail};
use std::sync::Arc;

type Files = [(String, bytes::Bytes)];

/// Columns file, line (from 1) and text; bytes that are not UTF-8 become `U+FFFD`.
pub fn lines(files: &Files) -> Columns {
    let (mut names, mut numbers, mut texts) = (Vec::new(), Vec::new(), Vec::new());
    for (name, bytes) in files {
        for (index, line) in String::from_utf8_lossy(bytes).lines().enumerate() {
            names.push(name.clone());
            numbers.push(index as i64 + 1);
            texts.push(line.to_owned());
        }
    }
    vec![
        ("file".to_owned(), Arc::new(StringArray::from(names)) as ArrayRef),
        ("line".to_owned(), Arc::new(Int64Array::from(numbers))),
        ("text".to_owned(), Arc::new(StringArray::from(texts))),
    ]
}

/// Columns file, sender, recipients, subject, sent (UTC) and body (its plain text).
///
/// # Errors
/// Refused for a file that has no header of a mail.
pub fn mails(files: &Files) -> Result<Columns> {
    let mut columns: [Vec<Option<String>>; 5] = Default::default();
    let mut sent = Vec::new();
    for (name, bytes) in files {
        let broken =
            || Error::refused(format!("{name} is not an e-mail, for it has no From, Subject or Date"));
        let mail = parse_mail(bytes).map_err(|_| broken())?;
        let header = |name: &str| mail.headers.get_first_value(name);
        let date = header("Date");
        if header("From").is_none() && header("Subject").is_none() && date.is_none() {
            return Err(broken());
        }
        sent.push(date.as_deref().and_then(sent_us));
        let values = [Some(name.clone()), header("From"), header("To"), header("Subject"), body(&mail)];
        for (column, value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
    }
    let names = ["file", "sender", "recipients", "subject", "body"];
    let texts = names.iter().zip(columns);
    let mut columns: Columns = texts
        .map(|(name, values)| ((*name).to_owned(), Arc::new(StringArray::from(values)) as ArrayRef))
        .collect();
    columns.insert(4, ("sent".to_owned(), Arc::new(TimestampMicrosecondArray::from(sent))));
    Ok(columns)
}

fn sent_us(text: &str) -> Option<i64> {
    let seconds = mailparse::dateparse(text).ok().map(|seconds| seconds * 1_000_000);
    seconds.or_else(|| timestamp_us(text))
}

/// The first plain text part, decoded.
fn body(mail: &ParsedMail) -> Option<String> {
    if mail.subparts.is_empty() {
        let is_text = mail.ctype.mimetype.starts_with("text/");
        return is_text.then(|| mail.get_body().ok().map(|text| text.replace("\r\n", "\n"))).flatten();
    }
    let plain = mail.subparts.iter().find(|part| part.ctype.mimetype == "text/plain").and_then(body);
    plain.or_else(|| mail.subparts.iter().find_map(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    #[test]
    fn a_mail_is_a_row_with_its_text_decoded() {
        let mail = "From: a@example.com\r\nTo: b@example.com\r\nSubject: =?utf-8?q?Caf=C3=A9?=\r\n\
            Date: Thu, 1 Jan 1970 02:00:00 +0200\r\nMIME-Version: 1.0\r\n\
            Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\nContent-Type: text/html\r\n\r\n<p>no</p>\r\n\
            --x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n\
            SW52b2ljZSA0Mg==\r\n--x--\r\n";
        let columns = mails(&[("m.eml".to_owned(), mail.into())]).unwrap();
        let text = |index: usize| columns[index].1.as_string::<i32>().value(0).to_owned();
        assert_eq!(text(3), "Café");
        assert_eq!(columns[4].1.as_primitive::<TimestampMicrosecondType>().value(0), 0);
        assert_eq!(text(5), "Invoice 42");
    }

    #[test]
    fn other_text_is_no_mail() {
        let error = mails(&[("m.eml".to_owned(), "hello\n".into())]).unwrap_err();
        assert!(error.to_string().contains("m.eml is not an e-mail"), "{error}");
    }

    #[test]
    fn lines_are_numbered() {
        let columns = lines(&[("t.txt".to_owned(), "a\r\n\nb\n".into())]);
        assert_eq!(columns[1].1.as_primitive::<Int64Type>().values().to_vec(), [1, 2, 3]);
    }
}
