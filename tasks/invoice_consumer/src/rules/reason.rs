//! The sentence that says why a rule fired: a text with `{feature}` where a value goes.

use super::expression::Mistake;
use crate::model::features::{display, position};
use crate::model::{Feature, Features};

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Feature(usize),
}

/// A parsed reason.
#[derive(Debug, Clone)]
pub struct Reason {
    parts: Vec<Part>,
    /// Where the score of an ONNX model is used, in bytes.
    pub score_at: Option<usize>,
}

impl Reason {
    /// # Errors
    /// A brace without its partner, or a feature that doesn't exist.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let mut parts = Vec::new();
        let mut score_at = None;
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let offset = text.len() - rest.len() + open;
            let mistake = |message: String| Mistake { offset, message };
            let close = rest[open..].find('}').ok_or_else(|| mistake("this { is never closed".to_owned()))?;
            let name = &rest[open + 1..open + close];
            let index = position(name).ok_or_else(|| mistake(format!("there is no feature {name:?}")))?;
            if index == Feature::OnnxScore as usize {
                score_at = score_at.or(Some(offset));
            }
            parts.push(Part::Text(rest[..open].to_owned()));
            parts.push(Part::Feature(index));
            rest = &rest[open + close + 1..];
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self { parts, score_at })
    }

    /// The sentence for these features.
    pub fn write(&self, features: &Features) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Feature(index) => text.push_str(&display(*index, features[*index])),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::features::FEATURE_COUNT;

    #[test]
    fn values_go_where_their_names_are() {
        let mut features = [0; FEATURE_COUNT];
        features[0] = 123_450;
        assert_eq!(Reason::parse("sum of {amount}!").unwrap().write(&features), "sum of 1,234.50!");
        assert_eq!(Reason::parse("ab {amont}").unwrap_err().offset, 3);
        assert!(Reason::parse("ab {amount").is_err());
    }
}
