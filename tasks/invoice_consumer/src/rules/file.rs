//! The form of a rules file, and where in it a mistake is.

use super::{RuleError, SCORE_MAX};
use serde::Deserialize;
use toml::Spanned;

/// A text of the file and where it stands.
pub struct Placed(Spanned<String>);

impl Placed {
    pub fn value(&self) -> &str {
        self.0.get_ref()
    }

    /// A mistake `offset` bytes into the text.
    pub fn error(&self, file: &str, offset: usize, message: String) -> RuleError {
        let span = self.0.span();
        let literal = file.get(span.clone()).unwrap_or_default();
        // With escapes, offsets in the text are not offsets in the file; its start has to do then.
        let start = literal.find(self.value()).map_or(span.start, |within| span.start + within + offset);
        at(file, start, message)
    }
}

pub struct FileRule {
    pub id: Placed,
    pub score: u8,
    pub reason: Placed,
    pub when: Placed,
}

pub struct File {
    pub review_from: u8,
    pub block_from: u8,
    pub rules: Vec<FileRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    thresholds: Spanned<Thresholds>,
    #[serde(default)]
    rule: Vec<RawRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Thresholds {
    review: u8,
    block: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: Spanned<String>,
    score: Spanned<i64>,
    reason: Spanned<String>,
    when: Spanned<String>,
}

/// Parses the file's form; conditions and reasons are still texts.
pub fn parse(text: &str) -> Result<File, RuleError> {
    let raw: RawFile = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        at(text, start, error.message().replace('\n', " "))
    })?;
    let thresholds = raw.thresholds.get_ref();
    if thresholds.review == 0 || thresholds.review > thresholds.block || thresholds.block > SCORE_MAX {
        let message = "thresholds must be 1 <= review <= block <= 100".to_owned();
        return Err(at(text, raw.thresholds.span().start, message));
    }
    let rules = raw.rule.into_iter().map(|rule| {
        let score = u8::try_from(*rule.score.get_ref()).ok().filter(|score| (1..=SCORE_MAX).contains(score));
        let score = score.ok_or_else(|| {
            at(text, rule.score.span().start, "a score is a whole number from 1 to 100".to_owned())
        })?;
        Ok(FileRule { id: Placed(rule.id), score, reason: Placed(rule.reason), when: Placed(rule.when) })
    });
    Ok(File {
        review_from: thresholds.review,
        block_from: thresholds.block,
        rules: rules.collect::<Result<_, _>>()?,
    })
}

/// Line and column of a byte of the file.
fn at(file: &str, byte: usize, message: String) -> RuleError {
    let before = file.get(..byte.min(file.len())).unwrap_or(file);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    RuleError {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        message,
    }
}
