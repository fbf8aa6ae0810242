//! The few requests of DynamoDB that are needed: JSON by POST, signed by the lake's own library, which
//! also finds the credentials (docs/decisions/0035).

use axum::http::{Method, Request, StatusCode};
use invoices::{Error, Result};
use object_store::ClientOptions;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use serde_json::Value;
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// First and longest pause before a request is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// What DynamoDB calls a request that should be slower or later.
const BUSY: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "RequestLimitExceeded",
    "InternalServerError",
    "ServiceUnavailable",
];

/// A connection pool to one region.
#[derive(Debug, Clone)]
pub struct Client {
    http: HttpClient,
    credentials: AwsCredentialProvider,
    url: String,
    region: String,
    patience: Duration,
}

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
        let url = endpoint.map_or_else(|| format!("https://dynamodb.{region}.amazonaws.com"), str::to_owned);
        let failed = |error| Error::config(format!("cannot use DynamoDB at {url}")).because(error);
        let options = ClientOptions::new()
            .with_allow_http(url.starts_with("http://"))
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(REQUEST_TIMEOUT);
        let http = ReqwestConnector::default().connect(&options).map_err(failed)?;
        // The bucket stands for nothing: the builder is asked for its chain of credentials.
        let store = AmazonS3Builder::from_env().with_bucket_name("none").with_region(region);
        let credentials = store.build().map_err(failed)?.credentials().clone();
        let url = format!("{}/", url.trim_end_matches('/'));
        Ok(Self { http, credentials, url, region: region.to_owned(), patience })
    }

    /// Sends one request, again and again while DynamoDB is busy or away, as long as patience lasts.
    ///
    /// # Errors
    /// Retry when it doesn't answer, configuration for a missing table or privilege, bug for a request
    /// that it does not understand.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Done> {
        let started = Instant::now();
        let mut pause = PAUSES[0];
        loop {
            let error = match self.call_once(operation, body).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            let is_final = error.kind() != invoices::Kind::Retry;
            if is_final || started.elapsed() + pause > self.patience || invoices::task::check_stop().is_err()
            {
                return Err(error);
            }
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(PAUSES[1]);
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

    async fn call_once(&self, operation: &str, body: &Value) -> Result<Done> {
        let away = "DynamoDB does not answer";
        let credential = self.credentials.get_credential().await;
        let credential = credential
            .map_err(|error| Error::retry("credentials for DynamoDB can't be had").because(error))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&self.url)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-target", format!("DynamoDB_20120810.{operation}"))
            .body(body.to_string().into())
            .map_err(|error| Error::bug("a request to DynamoDB can't be made").because(error))?;
        AwsAuthorizer::new(&credential, "dynamodb", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| Error::config("a request to DynamoDB can't be signed").because(error))?;
        let response = self.http.execute(request).await.map_err(|error| Error::retry(away).because(error))?;
        let status = response.status();
        let bytes = response.into_body().bytes().await.map_err(|error| Error::retry(away).because(error))?;
        if status == StatusCode::OK {
            let answer = serde_json::from_slice(&bytes);
            return answer
                .map(Done::Answer)
                .map_err(|error| Error::retry("DynamoDB's answer is no JSON").because(error));
        }
        refusal(operation, status, &bytes)
    }
}

fn refusal(operation: &str, status: StatusCode, bytes: &[u8]) -> Result<Done> {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let kind = body["__type"].as_str().unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let said = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    let sentence = format!("DynamoDB refuses {operation} with {} {kind}: {said}", status.as_u16());
    match kind {
        "ConditionalCheckFailedException" => Ok(Done::ConditionFailed),
        _ if status.is_server_error() || BUSY.contains(&kind) => Err(Error::retry(sentence)),
        "ValidationException" | "SerializationException" => Err(Error::bug(sentence)),
        _ => Err(Error::config(sentence)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use invoices::Kind;

    #[test]
    fn what_can_pass_is_tried_again_and_the_rest_is_not() {
        let body = |kind: &str| format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{kind}"}}"#);
        let kind_of = |kind: &str, status| {
            refusal("UpdateItem", status, body(kind).as_bytes()).err().map(|error| error.kind())
        };
        assert_eq!(kind_of("ConditionalCheckFailedException", StatusCode::BAD_REQUEST), None);
        assert_eq!(kind_of("ThrottlingException", StatusCode::BAD_REQUEST), Some(Kind::Retry));
        assert_eq!(kind_of("", StatusCode::BAD_GATEWAY), Some(Kind::Retry));
        assert_eq!(kind_of("ResourceNotFoundException", StatusCode::BAD_REQUEST), Some(Kind::Config));
        assert_eq!(kind_of("ValidationException", StatusCode::BAD_REQUEST), Some(Kind::Bug));
    }
}
