//! Amazon's services beside S3: JSON by POST, signed by the lake's own library, which also finds the
//! credentials (docs/decisions/0035).

use crate::error::{Error, Kind, Result};
use crate::task::check_stop;
use object_store::aws::{AmazonS3Builder, AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpConnector, HttpRequest, ReqwestConnector};
use object_store::{ClientOptions, RetryConfig};
use serde_json::Value;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// First and longest pause before a request is tried again.
const PAUSES: [Duration; 2] = [Duration::from_millis(20), Duration::from_secs(1)];
/// What the services call a request that should be slower or later.
const BUSY: [&str; 9] = [
    "ProvisionedThroughputExceededException",
    "ThrottlingException",
    "Throttling",
    "RequestLimitExceeded",
    "InternalServerError",
    "InternalServiceException",
    "ServiceUnavailable",
    "OperationTimeoutException",
    "ConcurrentModificationException",
];
const NOT_UNDERSTOOD: [&str; 3] = ["ValidationException", "SerializationException", "InvalidInputException"];
const DENIED: [&str; 4] = [
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidSignatureException",
    "ExpiredTokenException",
];

/// What differs between services.
#[derive(Debug)]
pub struct Service {
    pub name: &'static str,
    /// In the signature and in the address.
    pub id: &'static str,
    /// Before the operation in `X-Amz-Target`.
    pub target: &'static str,
    pub content_type: &'static str,
    pub request_timeout: Duration,
}

/// A connection pool to one service in one region.
#[derive(Debug, Clone)]
pub struct Client {
    service: &'static Service,
    http: HttpClient,
    credentials: AwsCredentialProvider,
    url: String,
    region: String,
    patience: Duration,
}

/// What a service has answered.
#[derive(Debug)]
pub enum Reply {
    Answer(Value),
    Refused(Refusal),
}

/// A request that was understood and is not done.
#[derive(Debug)]
pub struct Refusal {
    /// As the service calls it: `ResourceNotFoundException`.
    pub kind: String,
    /// What it is for a caller that did not expect it.
    pub error: Error,
}

impl Client {
    /// Patience is how long a request is tried again while the service is busy or away.
    ///
    /// # Errors
    /// Configuration when the endpoint or the credentials can't be used.
    pub fn new(
        service: &'static Service,
        endpoint: Option<&str>,
        region: &str,
        patience: Duration,
    ) -> Result<Self> {
        let url =
            endpoint.map_or_else(|| format!("https://{}.{region}.amazonaws.com", service.id), str::to_owned);
        let failed = |error| Error::config(format!("cannot use {} at {url}", service.name)).because(error);
        let options = ClientOptions::new()
            .with_allow_http(url.starts_with("http://"))
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_timeout(service.request_timeout);
        let http = ReqwestConnector::default().connect(&options).map_err(failed)?;
        // The bucket stands for nothing: the builder is asked for its chain of credentials.
        let store = AmazonS3Builder::from_env().with_bucket_name("none").with_region(region);
        let retry = RetryConfig { max_retries: 2, retry_timeout: patience, ..Default::default() };
        let credentials = store.with_retry(retry).build().map_err(failed)?.credentials().clone();
        let url = format!("{}/", url.trim_end_matches('/'));
        Ok(Self { service, http, credentials, url, region: region.to_owned(), patience })
    }

    /// Sends one request, again and again while the service is busy or away, as long as patience lasts.
    ///
    /// # Errors
    /// Retry when it doesn't answer, configuration when there are no credentials.
    pub async fn call(&self, operation: &str, body: &Value) -> Result<Reply> {
        let started = Instant::now();
        let mut pause = PAUSES[0];
        loop {
            let reply = self.call_once(operation, body).await;
            let may_pass = match &reply {
                Ok(Reply::Answer(_)) => false,
                Ok(Reply::Refused(refusal)) => refusal.error.kind() == Kind::Retry,
                Err(error) => error.kind() == Kind::Retry,
            };
            if !may_pass || started.elapsed() + pause > self.patience || check_stop().is_err() {
                return reply;
            }
            tokio::time::sleep(pause.mul_f64(random_half())).await;
            pause = (pause * 2).min(PAUSES[1]);
        }
    }

    async fn call_once(&self, operation: &str, body: &Value) -> Result<Reply> {
        let name = self.service.name;
        let away = format!("{name} does not answer");
        let credential = self.credentials.get_credential().await.map_err(|error| {
            if crate::lake::lacks_credentials(&format!("{error:?}")) {
                return Error::config(format!(
                    "there are no credentials for {name}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                ));
            }
            Error::retry(format!("cannot get credentials for {name}")).because(error)
        })?;
        let mut request = self
            .request(operation, body)
            .map_err(|error| Error::bug(format!("cannot build a request to {name}")).because(error))?;
        AwsAuthorizer::new(&credential, self.service.id, &self.region).authorize(&mut request, None);
        let response =
            self.http.execute(request).await.map_err(|error| Error::retry(&away).because(error))?;
        let status = response.status().as_u16();
        let bytes = response.into_body().bytes().await.map_err(|error| Error::retry(&away).because(error))?;
        if status != 200 {
            return Ok(Reply::Refused(refusal(name, operation, status, &bytes)));
        }
        let answer = serde_json::from_slice(&bytes);
        answer
            .map(Reply::Answer)
            .map_err(|error| Error::retry(format!("{name}'s answer is no JSON")).because(error))
    }

    fn request(
        &self,
        operation: &str,
        body: &Value,
    ) -> Result<HttpRequest, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = HttpRequest::new(body.to_string().into());
        *request.method_mut() = "POST".parse()?;
        *request.uri_mut() = self.url.parse()?;
        let headers = request.headers_mut();
        headers.insert("content-type", self.service.content_type.parse()?);
        headers.insert("x-amz-target", format!("{}.{operation}", self.service.target).parse()?);
        Ok(request)
    }
}

fn refusal(service: &str, operation: &str, status: u16, bytes: &[u8]) -> Refusal {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let kind = body["__type"].as_str().unwrap_or_default();
    let kind = kind.rsplit('#').next().unwrap_or_default();
    let said = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    let sentence = format!("{service} refuses {operation} with {status} {kind}: {said}");
    let error = match kind {
        _ if status >= 500 || BUSY.contains(&kind) => Error::retry(sentence),
        _ if NOT_UNDERSTOOD.contains(&kind) => Error::bug(sentence),
        _ if DENIED.contains(&kind) => {
            Error::config(format!("{sentence}; check the AWS_* credentials and what they may do"))
        }
        _ => Error::config(sentence),
    };
    Refusal { kind: kind.to_owned(), error }
}

/// Between a half and one, so that many that failed together don't come back together.
fn random_half() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    0.5 + (random % 1000) as f64 / 2000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_pass_is_tried_again_and_the_rest_is_not() {
        let body = |kind: &str| format!(r#"{{"__type":"com.amazonaws.dynamodb.v20120810#{kind}"}}"#);
        let kind_of = |kind: &str, status| {
            let refusal = refusal("Glue", "GetTable", status, body(kind).as_bytes());
            assert_eq!(refusal.kind, kind);
            refusal.error.kind()
        };
        assert_eq!(kind_of("ThrottlingException", 400), Kind::Retry);
        assert_eq!(kind_of("ConcurrentModificationException", 400), Kind::Retry);
        assert_eq!(kind_of("", 502), Kind::Retry);
        assert_eq!(kind_of("ResourceNotFoundException", 400), Kind::Config);
        assert_eq!(kind_of("AccessDeniedException", 400), Kind::Config);
        assert_eq!(kind_of("ValidationException", 400), Kind::Bug);
    }

    #[test]
    fn pauses_differ_and_have_a_bound() {
        let pauses: Vec<f64> = (0..100).map(|_| random_half()).collect();
        assert!(pauses.iter().all(|pause| (0.5..1.0).contains(pause)), "{pauses:?}");
        assert!(pauses.iter().any(|pause| pause != &pauses[0]));
    }
}
