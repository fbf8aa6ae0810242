//! Rule sets: a TOML file of conditions with scores and reasons. Parsing checks all of it and says
//! line and column of what is wrong; deciding is a pure function of the features.

mod expression;
mod file;
mod reason;

pub use expression::Condition;

use crate::decision::{Fired, Status};
use crate::model::Features;
use reason::Reason;
use std::collections::HashSet;

/// Highest score of a decision and of a rule.
pub const SCORE_MAX: u8 = 100;
/// Used when no file is named.
pub const DEFAULT_RULES: &str = include_str!("../../rules/default.toml");

/// One rule.
#[derive(Debug, Clone)]
pub struct Rule {
    pub id: String,
    /// Points that it adds when it fires, 1 to 100.
    pub score: u8,
    /// The condition as it is written.
    pub when: String,
    condition: Condition,
    reason: Reason,
}

/// A checked rule set.
#[derive(Debug, Clone)]
pub struct RuleSet {
    /// First 16 hexadecimal digits of the SHA-256 of the file.
    pub id: String,
    /// The whole file.
    pub text: String,
    /// Scores from here on are for review, from `block_from` on blocked.
    pub review_from: u8,
    pub block_from: u8,
    pub rules: Vec<Rule>,
    /// The first use of the score of an ONNX model, as the mistake it is where there is none.
    pub needs_onnx: Option<RuleError>,
}

/// A rule that fires for an invoice.
#[derive(Debug, Clone, Copy)]
pub struct Firing<'a> {
    pub rule: &'a Rule,
    /// False where the condition can't be computed: overflow, division by zero.
    is_computed: bool,
}

/// What the rules say of one invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub score: u8,
    pub status: Status,
    pub fired: Vec<Fired>,
}

/// A mistake in a rules file, with its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleError {
    /// Both counted from 1; the column in characters.
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl std::fmt::Display for RuleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for RuleError {}

impl RuleSet {
    /// Parses and checks a rules file.
    ///
    /// # Errors
    /// The first mistake, with line and column.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let file = file::parse(text)?;
        let mut ids = HashSet::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        let mut needs_onnx = None;
        for rule in file.rules {
            let id = rule.id.value();
            if !ids.insert(id.to_owned()) {
                return Err(rule.id.error(text, 0, format!("there are two rules {id:?}")));
            }
            let condition = Condition::compile(rule.when.value())
                .map_err(|mistake| rule.when.error(text, mistake.offset, mistake.message))?;
            let reason = Reason::parse(rule.reason.value())
                .map_err(|mistake| rule.reason.error(text, mistake.offset, mistake.message))?;
            let missing = || "onnx_score needs an ONNX model: name its file with --onnx-model".to_owned();
            needs_onnx = needs_onnx
                .or_else(|| reason.score_at.map(|offset| rule.reason.error(text, offset, missing())))
                .or_else(|| condition.score_at.map(|offset| rule.when.error(text, offset, missing())));
            let when = rule.when.value().trim().to_owned();
            rules.push(Rule { id: id.to_owned(), score: rule.score, when, condition, reason });
        }
        let id =
            openssl::sha::sha256(text.as_bytes())[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            id,
            text: text.to_owned(),
            review_from: file.review_from,
            block_from: file.block_from,
            rules,
            needs_onnx,
        })
    }

    /// What the rules that fire mean together, and why each of them does.
    pub fn judge(&self, features: &Features) -> Verdict {
        self.verdict(&self.firing(features), features)
    }

    /// The rules that fire. One that can't be computed does, so that no invoice slips through by being strange.
    pub fn firing(&self, features: &Features) -> Vec<Firing<'_>> {
        let outcomes = self.rules.iter().map(|rule| (rule, rule.condition.holds(features)));
        let firing = outcomes.filter(|(_, outcome)| *outcome != Ok(false));
        firing.map(|(rule, outcome)| Firing { rule, is_computed: outcome.is_ok() }).collect()
    }

    /// What rules that fire for `features` mean together, and why each of them does.
    pub fn verdict(&self, firing: &[Firing<'_>], features: &Features) -> Verdict {
        let (score, status) = self.status_of(firing);
        let fired = firing.iter().map(|Firing { rule, is_computed }| {
            let reason = if *is_computed {
                rule.reason.write(features)
            } else {
                "the condition cannot be computed: overflow or division by zero".to_owned()
            };
            Fired { id: rule.id.clone(), score: rule.score, reason }
        });
        Verdict { score, status, fired: fired.collect() }
    }

    /// The sum of the scores, 100 at most, and the status that it means.
    pub fn status_of(&self, firing: &[Firing<'_>]) -> (u8, Status) {
        let sum: u32 = firing.iter().map(|firing| u32::from(firing.rule.score)).sum();
        let score = sum.min(u32::from(SCORE_MAX)) as u8;
        let status = match score {
            score if score >= self.block_from => Status::Block,
            score if score >= self.review_from => Status::Review,
            _ => Status::Approve,
        };
        (score, status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Feature;
    use crate::model::features::FEATURE_COUNT;

    const HEAD: &str = "[thresholds]\nreview = 40\nblock = 80\n\n";

    fn rules(body: &str) -> Result<RuleSet, RuleError> {
        RuleSet::parse(&format!("{HEAD}{body}"))
    }

    fn place(body: &str) -> (usize, usize, String) {
        let error = rules(body).unwrap_err();
        (error.line, error.column, error.message)
    }

    #[test]
    fn the_default_rules_never_approve_an_invoice_to_oneself() {
        let set = RuleSet::parse(DEFAULT_RULES).unwrap();
        let mut features = [0; FEATURE_COUNT];
        features[Feature::SelfInvoice as usize] = 1;
        assert_ne!(set.judge(&features).status, Status::Approve);
        assert_eq!(set.judge(&[0; FEATURE_COUNT]).status, Status::Approve);
    }

    #[test]
    fn scores_add_up_to_a_hundred_at_most() {
        let set = rules(
            "[[rule]]\nid = 'a'\nscore = 70\nreason = 'a {amount}'\nwhen = 'amount > 0'\n\
             [[rule]]\nid = 'b'\nscore = 60\nreason = 'b'\nwhen = 'amount > 100'\n\
             [[rule]]\nid = 'c'\nscore = 1\nreason = 'c'\nwhen = '1 / amount == 5'\n",
        )
        .unwrap();
        let mut features = [0; FEATURE_COUNT];
        features[0] = 100;
        let verdict = set.judge(&features);
        assert_eq!((verdict.score, verdict.status), (70, Status::Review));
        assert_eq!(verdict.fired[0].reason, "a 1.00");
        features[0] = 200;
        assert_eq!(set.judge(&features).score, 100);
        features[0] = 0;
        assert_eq!(set.judge(&features).fired[0].id, "c");
    }

    #[test]
    fn mistakes_are_named_by_line_and_column() {
        let rule = |when: &str| format!("[[rule]]\nid = 'a'\nscore = 5\nreason = 'r'\nwhen = {when}\n");
        let (line, column, message) = place(&rule("'amount > 1 && nothing'"));
        assert_eq!((line, column), (9, 23), "{message}");
        let (line, column, message) = place(&rule("'''\namount > 1\n  && nothing'''"));
        assert_eq!((line, column), (11, 6), "{message}");
        let (line, _, message) = place(&rule("'amount > 1'\nscroe = 4"));
        assert_eq!(line, 10, "{message}");
        let (line, _, message) = place("[[rule]]\nid = 'a'\nscore = 500\nreason = 'r'\nwhen = 'true'");
        assert_eq!(line, 7, "{message}");
        let (line, _, message) = place(&format!("{}{}", rule("'true'"), rule("'true'")));
        assert_eq!((line, message.as_str()), (11, "there are two rules \"a\""));
        assert_eq!(place("oh no").0, 5);
    }

    #[test]
    fn an_empty_file_or_crossed_thresholds_are_refused() {
        assert!(RuleSet::parse("").is_err());
        assert!(RuleSet::parse("[thresholds]\nreview = 80\nblock = 40\n").is_err());
    }
}
