//! One check and what it found.

use crate::table::{Form, Sheet, Tone, judged, plain};
use invoices::{Error, Kind, Result};
use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// It works, and could be better or safer.
    Warn,
    /// The batch path cannot run like this.
    Fail,
}

impl Outcome {
    fn word(self) -> (&'static str, Tone) {
        match self {
            Outcome::Ok => ("ok", Tone::Good),
            Outcome::Warn => ("warn", Tone::Caution),
            Outcome::Fail => ("fail", Tone::Bad),
        }
    }
}

/// What a check found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub outcome: Outcome,
    pub detail: String,
    pub advice: Option<String>,
}

impl Finding {
    pub fn ok(detail: impl Into<String>) -> Self {
        Self { outcome: Outcome::Ok, detail: detail.into(), advice: None }
    }
    pub fn warn(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warn, detail: detail.into(), advice: Some(advice.into()) }
    }
    pub fn fail(detail: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, detail: detail.into(), advice: Some(advice.into()) }
    }
}

/// A check as it stands in the result line.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    area: &'static str,
    check: &'static str,
    result: Outcome,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    /// Only a service was down or busy.
    #[serde(skip)]
    passes_later: bool,
}

/// The checks of the source or the lake, in the order they were made.
pub struct Checks {
    area: &'static str,
    done: Vec<Check>,
}

impl Checks {
    pub fn new(area: &'static str) -> Self {
        Self { area, done: Vec::new() }
    }

    pub fn add(&mut self, check: &'static str, finding: Finding) {
        let Finding { outcome: result, detail, advice } = finding;
        self.done.push(Check { area: self.area, check, result, detail, advice, passes_later: false });
    }

    /// Records what was found, or that the check itself could not be made.
    pub fn attempt(&mut self, check: &'static str, finding: Result<Finding>) {
        if let Some(finding) = self.value_or_fail(check, finding) {
            self.add(check, finding);
        }
    }

    /// The value; an error is recorded as the check's failure.
    pub fn value_or_fail<T>(&mut self, check: &'static str, result: Result<T>) -> Option<T> {
        result.map_err(|error| self.failed(check, &error)).ok()
    }

    fn failed(&mut self, check: &'static str, error: &Error) {
        let passes_later = error.kind() == Kind::Retry;
        let advice = passes_later.then_some("see that the service runs and can be reached, then try again");
        self.add(
            check,
            Finding { outcome: Outcome::Fail, detail: error.to_string(), advice: advice.map(str::to_owned) },
        );
        if let Some(check) = self.done.last_mut() {
            check.passes_later = passes_later;
        }
    }

    pub fn into_inner(self) -> Vec<Check> {
        self.done
    }

    /// Shows the checks as soon as their area is done: a service that is down takes its time.
    pub fn show(&self, form: Form) {
        if form == Form::Json {
            self.done.iter().for_each(log);
            return;
        }
        let mut sheet = Sheet::new(self.area, &["", "check", "found"]);
        for check in &self.done {
            let (word, tone) = check.result.word();
            let advice = check.advice.iter().map(|advice| format!("\n→ {advice}")).collect::<String>();
            sheet.add(vec![
                judged(word, tone),
                plain(check.check),
                plain(format!("{}{advice}", check.detail)),
            ]);
        }
        sheet.print();
    }
}

fn log(check: &Check) {
    let Check { area, check, result, detail, advice, .. } = check;
    let advice = advice.as_deref();
    match result {
        Outcome::Ok => tracing::info!(area, check, advice, "ok: {detail}"),
        Outcome::Warn => tracing::warn!(area, check, advice, "warn: {detail}"),
        Outcome::Fail => tracing::error!(area, check, advice, "fail: {detail}"),
    }
}

/// Numbers of ok, warn and fail.
pub fn tally(checks: &[Check]) -> [usize; 3] {
    [Outcome::Ok, Outcome::Warn, Outcome::Fail]
        .map(|outcome| checks.iter().filter(|check| check.result == outcome).count())
}

/// The error of the failed checks: worth another try only if nothing but services was missing.
pub fn failure(checks: &[Check]) -> Option<Error> {
    let failed: Vec<&Check> = checks.iter().filter(|check| check.result == Outcome::Fail).collect();
    let first = failed.first()?;
    let kind = if failed.iter().all(|check| check.passes_later) { Kind::Retry } else { Kind::Config };
    let sentence = format!(
        "{} of {} checks failed, first {} {:?}: {}",
        failed.len(),
        checks.len(),
        first.area,
        first.check,
        first.detail
    );
    Some(Error::new(kind, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checks(errors: Vec<Error>) -> Vec<Check> {
        let mut checks = Checks::new("lake");
        checks.add("first", Finding::ok("fine"));
        checks.add("second", Finding::warn("so so", "better it"));
        errors.into_iter().for_each(|error| checks.attempt("third", Err(error)));
        checks.into_inner()
    }

    #[test]
    fn warnings_are_no_failure() {
        assert!(failure(&checks(vec![])).is_none());
        assert_eq!(tally(&checks(vec![])), [1, 1, 0]);
    }

    #[test]
    fn another_try_is_advised_only_when_nothing_but_services_failed() {
        let down = || Error::retry("down");
        assert_eq!(failure(&checks(vec![down(), down()])).unwrap().kind(), Kind::Retry);
        assert_eq!(failure(&checks(vec![down(), Error::config("no bucket")])).unwrap().kind(), Kind::Config);
    }
}
