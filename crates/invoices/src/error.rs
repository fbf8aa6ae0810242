//! One opaque error. Its kind decides the exit code, its text is one sentence that says what to do.

use serde_json::Value;
use std::fmt;

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a task ended. Airflow retries [`Kind::Retry`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The command line is wrong.
    Usage,
    /// The data can't be published: it is not what the source says, or not a valid invoice.
    Refused,
    /// The program contradicts itself.
    Bug,
    /// A service is down, slow or busy; the same command may succeed later.
    Retry,
    /// Missing table, privilege, bucket or credential: somebody has to change something.
    Config,
}

impl Kind {
    /// Exit code of the process (sysexits.h where it has a name for it).
    pub fn exit_code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Refused => 65,
            Kind::Bug => 70,
            Kind::Retry => 75,
            Kind::Config => 78,
        }
    }
}

/// A failed operation: kind, sentence, and the cause when there is one.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
    facts: Option<Box<Value>>,
}

impl Error {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, facts: None }
    }
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(Kind::Refused, message)
    }
    pub fn bug(message: impl Into<String>) -> Self {
        Self::new(Kind::Bug, message)
    }
    pub fn retry(message: impl Into<String>) -> Self {
        Self::new(Kind::Retry, message)
    }
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Kind::Config, message)
    }

    /// Keeps the cause; it is printed after the sentence.
    pub fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Keeps what was found out before the failure, an object that joins the result line.
    pub fn with_facts(mut self, facts: Value) -> Self {
        self.facts = Some(Box::new(facts));
        self
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// See [`Error::with_facts`].
    pub fn facts(&self) -> Option<&Value> {
        self.facts.as_deref()
    }
}

impl fmt::Display for Error {
    /// The sentence, then the chain of causes on the same line, each said once.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.message.clone();
        let mut cause = self.source.as_deref().map(|s| s as &dyn std::error::Error);
        while let Some(error) = cause {
            let said = error.to_string();
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        f.write_str(&text.replace('\n', " "))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn std::error::Error + 'static))
    }
}

impl From<::parquet::errors::ParquetError> for Error {
    fn from(error: ::parquet::errors::ParquetError) -> Self {
        Error::refused("a Parquet file cannot be read or written").because(error)
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(error: arrow::error::ArrowError) -> Self {
        match error {
            // What the reader says of a damaged file comes wrapped.
            arrow::error::ArrowError::ParquetError(text) => {
                Error::refused(format!("a Parquet file cannot be read or written: {text}"))
            }
            other => Error::bug("columns do not fit their schema").because(other),
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::retry("input or output failed").because(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_of_causes_is_one_line_and_says_nothing_twice() {
        let io = std::io::Error::other("disk on fire\nreally");
        let error = Error::retry("the lake did not answer").because(io);
        assert_eq!(error.to_string(), "the lake did not answer: disk on fire really");
        assert_eq!(error.kind().exit_code(), 75);
    }
}
