//! The few requests of DynamoDB that are needed (docs/decisions/0035).

use invoices::aws::{self, Reply, Service};
use invoices::{Error, Result};
use serde_json::Value;
use std::time::Duration;

const SERVICE: Service = Service {
    name: "DynamoDB",
    id: "dynamodb",
    target: "DynamoDB_20120810",
    content_type: "application/x-amz-json-1.0",
    request_timeout: Duration::from_secs(5),
};

/// A connection pool to one region.
#[derive(Debug, Clone)]
pub struct Client(aws::Client);

/// How a request ended that DynamoDB has understood.
#[derive(Debug)]
pub enum Done {
    Answer(Value),
    /// The item is not as the condition wants it.
    ConditionFailed,
}

impl Client {
    /// # Errors
    /// Configuration when the endpoint or the credentials can't be used.
    pub fn new(endpoint: Option<&str>, region: &str, patience: Duration) -> Result<Self> {
        aws::Client::new(&SERVICE, endpoint, region, patience).map(Self)
    }

    /// Sends one request, again and again while DynamoDB is busy or away, as long as patience lasts.
    ///
    /// # Errors
    /// Retry when it doesn't answer, configuration for a missing table or privilege, bug for a request
    /// that it does not understand.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Done> {
        match self.0.call(operation, body).await? {
            Reply::Answer(answer) => Ok(Done::Answer(answer)),
            Reply::Refused(refusal) if refusal.kind == "ConditionalCheckFailedException" => {
                Ok(Done::ConditionFailed)
            }
            Reply::Refused(refusal) => Err(refusal.error),
        }
    }

    /// An answer to a request without a condition.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub async fn ask(&self, operation: &str, body: &Value) -> Result<Value> {
        match self.call(operation, body).await? {
            Done::Answer(answer) => Ok(answer),
            Done::ConditionFailed => Err(Error::bug(format!("{operation} failed a condition it hasn't"))),
        }
    }
}
