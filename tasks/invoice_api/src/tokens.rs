//! Bearer tokens: 256 random bits, kept as SHA-256, with scopes.
//!
//! A file has one token per line: name, hash, scopes. The hash of a random token can't be turned back
//! and needs no salt; a password hash would only make every request slow.

use invoices::{Error, Result};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use subtle::ConstantTimeEq;

/// What a token may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Invoices,
    Businesses,
    Decisions,
    Pipeline,
    Metrics,
}

impl Scope {
    const ALL: [(Scope, &'static str); 5] = [
        (Scope::Invoices, "invoices"),
        (Scope::Businesses, "businesses"),
        (Scope::Decisions, "decisions"),
        (Scope::Pipeline, "pipeline"),
        (Scope::Metrics, "metrics"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = Self::ALL.iter().find(|(_, name)| *name == text).map(|(scope, _)| *scope);
        known.ok_or_else(|| {
            let names = Self::ALL.map(|(_, name)| name).join(", ");
            Error::config(format!("{text:?} is not a scope; use some of {names}"))
        })
    }
}

/// One holder.
pub struct Token {
    pub name: String,
    hash: [u8; 32],
    scopes: Vec<Scope>,
    bucket: Mutex<Bucket>,
}

impl Token {
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Takes one request from the allowance of `per_second`; otherwise the seconds to wait.
    pub fn take(&self, per_second: u32, now: Instant) -> std::result::Result<(), u64> {
        if per_second == 0 {
            return Ok(());
        }
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(f64::from(per_second), now)
    }
}

/// Holds a second's worth of requests at most.
struct Bucket {
    filled: f64,
    at: Option<Instant>,
}

impl Bucket {
    fn take(&mut self, per_second: f64, now: Instant) -> std::result::Result<(), u64> {
        let passed = self.at.map_or(1.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(now);
        self.filled = (self.filled + passed * per_second).min(per_second);
        if self.filled < 1.0 {
            return Err(1);
        }
        self.filled -= 1.0;
        Ok(())
    }
}

/// All holders.
#[derive(Default)]
pub struct Tokens(Vec<Arc<Token>>);

impl Tokens {
    /// # Errors
    /// Configuration, naming the line but not its content.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            let advice = "make one with `invoice_api token`";
            Error::config(format!("the token file {} can't be read; {advice}", path.display())).because(error)
        })?;
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut tokens = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || {
                Error::config(format!("line {} of the token file is not: name, SHA-256, scopes", index + 1))
            };
            let [name, hash, scopes] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return Err(wrong());
            };
            tokens.push(Arc::new(Token {
                name: name.to_owned(),
                hash: unhex(hash).ok_or_else(wrong)?,
                scopes: scopes.split(',').map(str::parse).collect::<Result<_>>()?,
                bucket: Mutex::new(Bucket { filled: 0.0, at: None }),
            }));
        }
        Ok(Self(tokens))
    }

    /// The holder of a presented token. Every hash is compared to its end, whether one fits or not.
    pub fn holder(&self, presented: &[u8]) -> Option<Arc<Token>> {
        let hash: [u8; 32] = Sha256::digest(presented).into();
        let mut found = None;
        for token in &self.0 {
            if bool::from(token.hash.ct_eq(&hash)) {
                found = Some(token.clone());
            }
        }
        found
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Makes a token, adds its line to the file (readable by its owner alone) and returns the token.
///
/// # Errors
/// Usage for a name with spaces or an unknown scope, configuration when the file can't be written.
pub fn create(path: &Path, name: &str, scopes: &str) -> Result<String> {
    if name.is_empty() || name.starts_with('#') || name.contains(char::is_whitespace) {
        return Err(Error::usage(format!("{name:?} is not a name; use one word")));
    }
    for scope in scopes.split(',') {
        scope.parse::<Scope>().map_err(|error| Error::usage(error.to_string()))?;
    }
    let token = format!("inv_{}", hex(&rand::random::<[u8; 32]>()));
    let hash = hex(&Sha256::digest(token.as_bytes()));
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| writeln!(file, "{name} {hash} {scopes}"));
    written.map_err(|error| {
        Error::config(format!("the token file {} can't be written", path.display())).because(error)
    })?;
    Ok(token)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_token_is_kept_as_a_hash_and_found_by_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let first = create(&path, "shop", "invoices").unwrap();
        let second = create(&path, "console", "invoices,pipeline").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&first) && !text.contains(&first[4..]));
        let tokens = Tokens::read(&path).unwrap();
        let holder = tokens.holder(second.as_bytes()).unwrap();
        assert_eq!(holder.name, "console");
        assert!(holder.may(Scope::Pipeline) && !holder.may(Scope::Metrics));
        assert!(tokens.holder(b"inv_other").is_none() && tokens.holder(b"").is_none());
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        let error = Tokens::parse("# comment\n\nshop secret-looking invoices").err().unwrap().to_string();
        assert!(error.contains("line 3") && !error.contains("secret-looking"), "{error}");
    }

    #[test]
    fn an_allowance_is_a_seconds_worth_and_fills_again() {
        let mut bucket = Bucket { filled: 0.0, at: None };
        let start = Instant::now();
        assert_eq!((0..10).filter(|_| bucket.take(5.0, start).is_ok()).count(), 5);
        let later = start + Duration::from_millis(400);
        assert_eq!((0..10).filter(|_| bucket.take(5.0, later).is_ok()).count(), 2);
    }
}
