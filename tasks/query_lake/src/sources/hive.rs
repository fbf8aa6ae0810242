//! Columns that the names of folders say: `key=value`, decoded once. A key has one type over all files, and
//! text whenever another would lose a digit of any value.

use super::values::Kind;
use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use invoices::lake::names::NULL_PARTITION;

pub struct Key {
    pub name: String,
    pub values: Vec<ScalarValue>,
}

impl Key {
    pub fn data_type(&self) -> DataType {
        self.values.first().map_or(DataType::Utf8, ScalarValue::data_type)
    }
}

/// The keys that the folders of every path have, in the order of the first.
pub fn keys(paths: &[&str]) -> Vec<Key> {
    let folders = |path: &str| -> Vec<(String, String)> {
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        let pairs = folders.split('/').filter_map(|folder| folder.split_once('='));
        pairs.map(|(key, value)| (decoded(key), decoded(value))).collect()
    };
    let all: Vec<Vec<(String, String)>> = paths.iter().map(|path| folders(path)).collect();
    let Some(first) = all.first() else { return Vec::new() };
    let texts_of = |name: &str| -> Option<Vec<Option<&str>>> {
        let value = |folders: &'_ Vec<(String, String)>| folders.iter().position(|(key, _)| key == name);
        all.iter()
            .map(|folders| {
                let text = folders[value(folders)?].1.as_str();
                Some((text != NULL_PARTITION).then_some(text))
            })
            .collect()
    };
    let key =
        |(name, _): &(String, String)| Some(Key { name: name.clone(), values: typed(&texts_of(name)?) });
    first.iter().filter_map(key).collect()
}

fn typed(texts: &[Option<&str>]) -> Vec<ScalarValue> {
    let kinds = texts.iter().flatten().map(|text| match Kind::of(text) {
        // `-0` and `+1` would come back as other texts.
        Kind::Int if text.parse::<i64>().is_ok_and(|number| number.to_string() == **text) => Kind::Int,
        kind @ (Kind::Date | Kind::Timestamp | Kind::Instant) => kind,
        _ => Kind::Text,
    });
    let kind = kinds.map(Some).reduce(|a, b| if a == b { a } else { None }).flatten().unwrap_or(Kind::Text);
    let text = |text: &Option<&str>| ScalarValue::Utf8(text.map(str::to_owned));
    let array = kind.array(texts).ok();
    let scalar = |row: usize| ScalarValue::try_from_array(array.as_ref()?, row).ok();
    let values: Option<Vec<ScalarValue>> = (0..texts.len()).map(scalar).collect();
    values.unwrap_or_else(|| texts.iter().map(text).collect())
}

/// `%XX` becomes its byte; what is no escape stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let is_hex = |hex: &&str| bytes[at] == b'%' && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        let escape = text.get(at + 1..at + 3).filter(is_hex);
        match escape.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> Vec<ScalarValue> {
        let paths: Vec<String> = texts.iter().map(|text| format!("x/k={text}/f.parquet")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        keys(&paths).remove(0).values
    }

    fn text(text: &str) -> ScalarValue {
        ScalarValue::from(text)
    }

    #[test]
    fn a_key_is_text_when_another_type_would_lose_digits() {
        assert_eq!(values(&["7", "8"]), [ScalarValue::from(7_i64), ScalarValue::from(8_i64)]);
        assert_eq!(values(&["007", "8"]), [text("007"), text("8")]);
        assert_eq!(values(&["7", "a"]), [text("7"), text("a")]);
    }

    #[test]
    fn null_and_empty_are_different_and_escapes_are_decoded_once() {
        let found = values(&["__HIVE_DEFAULT_PARTITION__", "", "a%2525b", "50%", "%+1"]);
        assert_eq!(found, [ScalarValue::Utf8(None), text(""), text("a%25b"), text("50%"), text("%+1")]);
        assert_eq!(values(&["__HIVE_DEFAULT_PARTITION__", "7"])[0], ScalarValue::Int64(None));
    }
}
