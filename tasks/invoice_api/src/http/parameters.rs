//! Path and query parameters, each wrong one refused with a sentence. Pure.

use super::problem::Problem;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use chrono::NaiveDate;
use std::collections::HashMap;

/// An id from the path: a decimal integer of 64 bits, in its one usual spelling.
pub struct Id(pub i64);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(text) = path.map_err(|_| Problem::bad_request("The id in the path is not UTF-8 text."))?;
        parse_id(&text).map(Self)
    }
}

fn parse_id(text: &str) -> Result<i64, Problem> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number {
        return Err(Problem::bad_request("The id in the path is not a whole number."));
    }
    text.parse()
        .map_err(|_| Problem::bad_request(format!("The id is out of range: {} to {}.", i64::MIN, i64::MAX)))
}

/// Query parameters; unknown and repeated ones are refused.
pub struct Parameters(HashMap<String, String>);

impl Parameters {
    pub fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut values = HashMap::new();
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let known = known.join(", ");
                let advice = if known.is_empty() {
                    "there are none here".to_owned()
                } else {
                    format!("known are {known}")
                };
                return Err(Problem::bad_request(format!("A query parameter is unknown; {advice}.")));
            }
            if values.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(Problem::bad_request(format!("The query parameter {name} is given twice.")));
            }
        }
        Ok(Self(values))
    }

    pub fn whole(&self, name: &str, min: i64, max: i64) -> Result<Option<i64>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| is_number && (min..=max).contains(number));
        let wrong = || Problem::bad_request(format!("{name} must be a whole number from {min} to {max}."));
        number.map(Some).ok_or_else(wrong)
    }

    pub fn date(&self, name: &str) -> Result<Option<NaiveDate>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let date = invoices::task::args::parse_date(text).ok().filter(|_| text.len() == 10);
        let wrong = || Problem::bad_request(format!("{name} must be a date: YYYY-MM-DD."));
        date.map(Some).ok_or_else(wrong)
    }

    /// One of some words.
    pub fn word<'a>(&self, name: &str, words: &[&'a str]) -> Result<Option<&'a str>, Problem> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let found = words.iter().find(|word| *word == text).copied();
        let wrong = || Problem::bad_request(format!("{name} must be one of {}.", words.join(", ")));
        found.map(Some).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_plain_whole_numbers_of_64_bits() {
        assert_eq!(parse_id("-9223372036854775808").unwrap(), i64::MIN);
        for text in ["", "-", "+1", "1.0", "1e3", " 1", "９", "0x1", "1;drop", "9223372036854775808"] {
            assert!(parse_id(text).is_err(), "{text}");
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused() {
        assert!(Parameters::parse(Some("n=1&m=2"), &["n"]).is_err());
        assert!(Parameters::parse(Some("n=1&n=2"), &["n"]).is_err());
        let parameters = Parameters::parse(Some("n=013"), &["n"]).unwrap();
        assert_eq!(parameters.whole("n", 1, 20).unwrap(), Some(13));
        assert!(parameters.whole("n", 1, 12).is_err());
    }
}
