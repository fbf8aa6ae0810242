//! What an error of the client or of the cluster means for a person, and whether trying again may help.

use invoices::Error;
use spark_connect_core::{SparkError, SparkErrorKind};

/// gRPC codes (google.rpc.Code).
const CANCELLED: i32 = 1;
const UNKNOWN: i32 = 2;
const DEADLINE_EXCEEDED: i32 = 4;
const PERMISSION_DENIED: i32 = 7;
const UNAVAILABLE: i32 = 14;
const UNAUTHENTICATED: i32 = 16;

/// Conditions of Spark, and words of its and other engines' messages, that say that a file cannot be read.
const UNREADABLE: [&str; 22] = [
    "PATH_NOT_FOUND",
    "FAILED_TO_CREATE_PLAN_FOR_DIRECT_QUERY",
    "FAILED_READ_FILE",
    "UNABLE_TO_INFER_SCHEMA",
    "FileSystem",
    "FileNotFoundException",
    "ClassNotFoundException",
    "AccessDenied",
    "AccessControlException",
    "Forbidden",
    "Status Code: 403",
    "401 Unauthorized",
    "404 Not Found",
    "NoSuchBucket",
    "NoSuchKey",
    "No such file",
    "Permission denied",
    "recognise URL",
    "is missing from the schema",
    "lookup address",
    "object store",
    "Object Store",
];

/// The server lost what it was doing: it was started again, or the session was ended.
const FORGOTTEN: [&str; 4] = ["INVALID_HANDLE", "SESSION_", "OPERATION_CANCELED", "OPERATION_ABANDONED"];

/// Sentences that name the cluster.
pub struct Failures {
    /// Host and port; the URL may hold a token.
    pub remote: String,
}

impl Failures {
    /// Why the query of `place`, a path as the cluster calls it, failed.
    pub fn of_query(&self, error: &SparkError, place: &str) -> Error {
        let (remote, said) = (&self.remote, first_line(error));
        let says =
            |words: &[&str]| words.iter().any(|word| error.error_class.contains(word) || said.contains(word));
        match error.grpc_code {
            Some(UNAUTHENTICATED | PERMISSION_DENIED) => Error::config(format!(
                "Spark at {remote} refuses the login; check the token in SPARK_REMOTE: {said}"
            )),
            _ if said.contains("peer certificate") => Error::config(format!(
                "no TLS connection to Spark at {remote}; check the name in SPARK_REMOTE and that its authority is one of SSL_CERT_FILE or of this machine: {said}"
            )),
            _ if is_lost(error) || says(&FORGOTTEN) => self.lost(&said),
            _ if says(&UNREADABLE) => self.unreadable(place, &said),
            _ => {
                let sentence = format!("Spark at {remote} cannot group the invoices of {place}: {said}");
                match error.kind {
                    SparkErrorKind::Arithmetic => Error::refused(sentence),
                    SparkErrorKind::Analysis
                    | SparkErrorKind::Parse
                    | SparkErrorKind::UnsupportedOperation => Error::config(sentence),
                    // Executors die and come back.
                    _ => Error::retry(sentence),
                }
            }
        }
    }

    /// The server is away, or does not answer any more.
    pub fn lost(&self, said: &str) -> Error {
        let remote = &self.remote;
        Error::retry(format!(
            "no connection to Spark at {remote}; check that its Connect server runs there, then run again: {said}"
        ))
    }

    /// The cluster is there, the object is not, as far as the cluster sees.
    fn unreadable(&self, place: &str, said: &str) -> Error {
        let remote = &self.remote;
        Error::config(format!(
            "Spark at {remote} cannot read {place}; check that --spark-lake is the lake's URL as the cluster sees it, and that the cluster has the store's connector and the right to read: {said}"
        ))
    }
}

/// Whether there is no server that could have failed: an answer of a server has details or another code.
pub fn is_lost(error: &SparkError) -> bool {
    let is_of_the_transport = error.error_class.is_empty();
    match error.grpc_code {
        Some(UNAVAILABLE | DEADLINE_EXCEEDED | CANCELLED) => true,
        Some(UNKNOWN) => is_of_the_transport,
        // A connection that breaks off within an answer.
        Some(_) => is_of_the_transport && error.message.contains("h2 protocol error"),
        None => false,
    }
}

/// What the server said, without its stack trace and the plan.
fn first_line(error: &SparkError) -> String {
    let lines = error.message.lines().map(str::trim);
    lines.into_iter().find(|line| !line.is_empty()).unwrap_or("it does not say why").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Kind;

    const PLACE: &str = "s3a://lake/invoices/part-0.parquet";

    fn error(kind: SparkErrorKind, code: i32, class: &str, message: &str) -> SparkError {
        let mut error = SparkError::connect_msg(message);
        (error.kind, error.grpc_code, error.error_class) = (kind, Some(code), class.to_owned());
        error
    }

    /// The messages are those of Spark 4.2 and Sail 0.7.
    #[test]
    fn what_servers_say_becomes_a_kind_and_one_line() {
        use SparkErrorKind::{Analysis, Arithmetic, Connect, Parse, QueryExecution, SparkRuntime};
        let failures = Failures { remote: "spark:15002".to_owned() };
        for (kind, code, class, message, expected) in [
            (Connect, 14, "", "tcp connect error", Kind::Retry),
            (Connect, 14, "", "invalid peer certificate: UnknownIssuer", Kind::Config),
            (Connect, 2, "", "h2 protocol error: error reading a body from connection", Kind::Retry),
            (Connect, 13, "", "h2 protocol error: stream closed", Kind::Retry),
            (Connect, 16, "", "Invalid token", Kind::Config),
            (Analysis, 13, "PATH_NOT_FOUND", "[PATH_NOT_FOUND] Path does not exist: x.", Kind::Config),
            (
                Analysis,
                13,
                "FAILED_TO_CREATE_PLAN_FOR_DIRECT_QUERY",
                "[FAILED_TO_CREATE_PLAN_FOR_DIRECT_QUERY] Failed to create plan",
                Kind::Config,
            ),
            (QueryExecution, 13, "", "Generic URL error: Unable to recognise URL \"x\"", Kind::Config),
            (SparkRuntime, 13, "", "Job aborted due to stage failure: lost an executor", Kind::Retry),
            (Arithmetic, 13, "ARITHMETIC_OVERFLOW", "[ARITHMETIC_OVERFLOW] overflow", Kind::Refused),
            (
                Parse,
                13,
                "PARSE_SYNTAX_ERROR",
                "\n[PARSE_SYNTAX_ERROR] near 'x'.\n\n== SQL ==\n",
                Kind::Config,
            ),
            (Connect, 13, "INVALID_HANDLE.SESSION_CLOSED", "[INVALID_HANDLE] Session", Kind::Retry),
        ] {
            let found = failures.of_query(&error(kind, code, class, message), PLACE);
            assert_eq!(found.kind(), expected, "{found}");
            let text = found.to_string();
            let said = message.trim().lines().next().unwrap();
            assert!(text.ends_with(said) && text.contains("Spark at spark:15002"), "{text}");
        }
    }
}
