//! Rules from files: read at the start, looked at once a second, replaced only by what is valid.

use crate::args::RuleArgs;
use crate::rules::{DEFAULT_RULES, RuleSet, Verdict};
use invoices::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Differences between the rules and their candidate that are logged one by one.
const DIFFERENCES_LOGGED_MAX: u64 = 100;

/// The rules in force and a candidate beside them.
pub struct RuleFiles {
    active: RuleFile,
    shadow: Option<RuleFile>,
    looked: Instant,
    /// Reloads that failed, and decisions that the candidate would have made differently.
    pub reloads_failed: u64,
    pub differences: u64,
    has_score: bool,
}

struct RuleFile {
    path: Option<PathBuf>,
    seen: Option<(SystemTime, u64)>,
    set: Arc<RuleSet>,
}

impl RuleFiles {
    /// `has_score` says whether there is an ONNX model, whose score rules may use.
    ///
    /// # Errors
    /// Configuration: a file that can't be read or is wrong, with line and column.
    pub fn open(args: &RuleArgs, has_score: bool) -> Result<Self> {
        let open = |path: Option<PathBuf>| RuleFile::open(path, has_score);
        let active = open(args.rules.clone())?;
        let shadow = args.shadow_rules.clone().map(|path| open(Some(path))).transpose()?;
        Ok(Self { active, shadow, looked: Instant::now(), reloads_failed: 0, differences: 0, has_score })
    }

    pub fn active(&self) -> Arc<RuleSet> {
        Arc::clone(&self.active.set)
    }

    /// Takes over files that changed; one that is wrong is reported and the rules stay.
    pub fn refresh(&mut self) {
        if self.looked.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked = Instant::now();
        for file in [Some(&mut self.active), self.shadow.as_mut()].into_iter().flatten() {
            match file.reload(self.has_score) {
                Ok(true) => {
                    tracing::info!(rule_set = file.set.id, rules = file.set.rules.len(), "rules reloaded")
                }
                Ok(false) => {}
                Err(error) => {
                    self.reloads_failed += 1;
                    tracing::error!("{error}; the rules {} stay in force", file.set.id);
                }
            }
        }
    }

    /// Lets the candidate judge too; counts and logs where it differs.
    pub fn compare(&mut self, invoice_id: i64, features: &crate::model::Features, verdict: &Verdict) {
        let Some(shadow) = &self.shadow else { return };
        let other = shadow.set.judge(features);
        if other.status == verdict.status {
            return;
        }
        self.differences += 1;
        if self.differences <= DIFFERENCES_LOGGED_MAX {
            tracing::info!(
                invoice_id,
                status = verdict.status.name(),
                candidate = other.status.name(),
                score = verdict.score,
                candidate_score = other.score,
                "the candidate rules differ"
            );
        }
    }
}

impl RuleFile {
    fn open(path: Option<PathBuf>, has_score: bool) -> Result<Self> {
        let set = match &path {
            Some(path) => usable(path, has_score)?,
            None => parse(DEFAULT_RULES, "the built-in rules")?,
        };
        let seen = path.as_deref().and_then(stamp);
        Ok(Self { path, seen, set: Arc::new(set) })
    }

    fn reload(&mut self, has_score: bool) -> Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        let now = stamp(path);
        if now.is_none() || now == self.seen {
            return Ok(false);
        }
        self.seen = now;
        let set = usable(path, has_score)?;
        let changed = set.id != self.set.id;
        self.set = Arc::new(set);
        Ok(changed)
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Reads rules that can be decided by: those on a score need something that scores.
fn usable(path: &Path, has_score: bool) -> Result<RuleSet> {
    let set = read(path)?;
    match &set.needs_onnx {
        Some(error) if !has_score => Err(Error::config(format!("{}, {error}", path.display()))),
        _ => Ok(set),
    }
}

/// Reads and checks a rules file.
///
/// # Errors
/// Configuration, with line and column.
pub fn read(path: &Path) -> Result<RuleSet> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("cannot read the rules {}", path.display())).because(error))?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, name: &str) -> Result<RuleSet> {
    RuleSet::parse(text).map_err(|error| Error::config(format!("{name}, {error}")))
}
