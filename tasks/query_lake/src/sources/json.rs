//! JSON values that keep their numbers as they were written: a number that went through a float is
//! no amount any more.

use std::borrow::Cow;
use std::collections::HashSet;

const DEPTH_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    Null,
    Bool(bool),
    Number(&'a str),
    Text(Cow<'a, str>),
    Array(Vec<Json<'a>>),
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

/// What is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    pub offset: usize,
    pub problem: &'static str,
}

/// One value with nothing but blanks around it.
pub fn parse(text: &str) -> Result<Json<'_>, Broken> {
    let mut parser = Parser { text, at: 0 };
    let value = parser.value(0)?;
    parser.blanks();
    if parser.at < text.len() {
        return parser.broken("something follows the value");
    }
    Ok(value)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn broken<T>(&self, problem: &'static str) -> Result<T, Broken> {
        Err(Broken { offset: self.at, problem })
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        self.blanks();
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        self.blanks();
        if depth > DEPTH_MAX {
            return self.broken("it is nested too deeply");
        }
        match self.peek() {
            None => self.broken("it ends too early"),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) => {
                for (word, value) in
                    [("null", Json::Null), ("true", Json::Bool(true)), ("false", Json::Bool(false))]
                {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                self.broken("no value begins like this")
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        self.at += 1;
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        if self.take(b'}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.blanks();
            if self.peek() != Some(b'"') {
                return self.broken("a field's name is missing");
            }
            let start = self.at;
            let name = self.string()?;
            if !names.insert(name.clone()) {
                return Err(Broken { offset: start, problem: "a field stands there twice" });
            }
            if !self.take(b':') {
                return self.broken("a colon is missing");
            }
            fields.push((name, self.value(depth + 1)?));
            if self.take(b'}') {
                return Ok(Json::Object(fields));
            }
            if !self.take(b',') {
                return self.broken("a comma or a brace is missing");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json<'a>, Broken> {
        self.at += 1;
        let mut items = Vec::new();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return self.broken("a comma or a bracket is missing");
            }
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>, Broken> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        let mut end = start + 1;
        let mut has_escapes = false;
        loop {
            match bytes.get(end) {
                None => return self.broken("a text does not end"),
                Some(b'"') => break,
                Some(b'\\') => {
                    has_escapes = true;
                    end += 2;
                }
                Some(0..=0x1F) => return self.broken("a text holds a control character"),
                Some(_) => end += 1,
            }
        }
        let Some(quoted) = self.text.get(start..=end) else { return self.broken("a text does not end") };
        self.at = end + 1;
        if !has_escapes {
            return Ok(Cow::Borrowed(&quoted[1..quoted.len() - 1]));
        }
        match serde_json::from_str(quoted) {
            Ok(text) => Ok(Cow::Owned(text)),
            Err(_) => Err(Broken { offset: start, problem: "a text has an unknown escape" }),
        }
    }

    fn number(&mut self) -> Result<Json<'a>, Broken> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')) {
            self.at += 1;
        }
        let number = &self.text[start..self.at];
        if !is_number(number) {
            self.at = start;
            return self.broken("a number is malformed");
        }
        Ok(Json::Number(number))
    }
}

/// As the standard has it: no leading zeros, digits on both sides of the point.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (digits, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    is_digits(whole)
        && (whole.len() == 1 || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && exponent.is_none_or(|exponent| is_digits(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_as_written() {
        let value = parse(r#" {"a": 12345678901234567890.10, "b": [-1, null, true, "x\n\u00e9"], "c": {}} "#);
        let expected = Json::Object(vec![
            ("a".into(), Json::Number("12345678901234567890.10")),
            (
                "b".into(),
                Json::Array(vec![
                    Json::Number("-1"),
                    Json::Null,
                    Json::Bool(true),
                    Json::Text("x\né".into()),
                ]),
            ),
            ("c".into(), Json::Object(vec![])),
        ]);
        assert_eq!(value, Ok(expected));
    }

    /// The other parser in this program must agree on what JSON is.
    #[test]
    fn what_is_not_json_is_refused() {
        let texts = [
            "",
            "{",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "\"a",
            "\"\\x\"",
            "{} {}",
            "[1 2]",
            "\"\u{1}\"",
            "--1",
            "1-1",
            "\"\\",
            "[\"\\\"]",
            "{\"a\":\"é\\",
        ];
        for text in texts {
            assert!(parse(text).is_err(), "{text:?}");
            assert!(serde_json::from_str::<serde_json::Value>(text).is_err(), "{text:?}");
        }
        for text in ["0", "-0.5e-7", "[]", "\"é\"", "[[[]]]", "{\"a\":{\"b\":[1]}}", "1E+2"] {
            assert!(parse(text).is_ok(), "{text:?}");
        }
    }
}
