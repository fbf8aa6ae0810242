//! The HTTP side: routes, and what every request passes through.

mod businesses;
mod console;
mod invoice;
mod parameters;
pub mod problem;
pub mod serve;
mod stream;
mod system;

use crate::args::ServeArgs;
use crate::feed::Feed;
use crate::loader::Loader;
use crate::local::Local;
use crate::metrics::Metrics;
use crate::months::Months;
use crate::pipeline::Pipeline;
use crate::redis_cache::RedisCache;
use crate::store::Reader;
use crate::tokens::{Scope, Token, Tokens};
use axum::extract::{Request, State as FromState};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use problem::Problem;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Longest time of one request; the live feed is exempt.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const TOKEN_BYTES_MAX: usize = 256;

/// What requests share.
pub struct State {
    pub args: ServeArgs,
    pub scale: u8,
    pub local: Arc<Local>,
    pub redis: Option<Arc<RedisCache>>,
    pub loader: Arc<Loader>,
    /// Connections for lists and names, apart from the loaders'.
    pub readers: Vec<Mutex<Reader>>,
    pub months: Months,
    pub pipeline: Pipeline,
    pub feed: Arc<Feed>,
    pub tokens: RwLock<Arc<Tokens>>,
    pub metrics: Arc<Metrics>,
    pub has_events: bool,
    pub has_decisions: bool,
    pub source_is_up: AtomicBool,
}

type Shared = FromState<Arc<State>>;
type Answer = Result<Response, Problem>;

pub fn router(state: Arc<State>) -> Router {
    // Everything but health and the console's own files needs a token, unknown paths too.
    let guarded = Router::new()
        .route("/v1/invoices/{id}", get(invoice::get))
        .route("/v1/businesses/{id}/months", get(businesses::months))
        .route("/v1/businesses/{id}/invoices", get(businesses::invoices))
        .route("/v1/decisions/stream", get(stream::decisions))
        .route("/v1/pipeline", get(system::pipeline))
        .route("/metrics", get(system::metrics))
        .route("/openapi.json", get(system::openapi))
        .fallback(|| async { Problem::not_found("There is nothing at this address.") })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(middleware::from_fn_with_state(state.clone(), guard));
    Router::new()
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/", get(console::index))
        .route("/console/{file}", get(console::file))
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .merge(guarded)
        .layer(middleware::from_fn_with_state(state.clone(), around))
        .with_state(state)
}

/// Counts, limits the time, refuses bodies, adds headers.
async fn around(FromState(state): Shared, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let mut response = if has_body(request.headers()) {
        Problem::too_large().into_response()
    } else if ![Method::GET, Method::HEAD].contains(request.method()) && is_public(request.uri().path()) {
        Problem::method_not_allowed().into_response()
    } else {
        match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::timeout().into_response(),
        }
    };
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    state.metrics.record(response.status().as_u16(), started.elapsed());
    response
}

fn is_public(path: &str) -> bool {
    matches!(path, "/" | "/healthz" | "/readyz") || path.starts_with("/console/")
}

fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).map(HeaderValue::as_bytes);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != b"0")
}

/// Lets in who has a token, within its rate.
async fn guard(FromState(state): Shared, mut request: Request, next: Next) -> Response {
    let tokens = match state.tokens.read() {
        Ok(tokens) => tokens.clone(),
        Err(poisoned) => poisoned.into_inner().clone(),
    };
    let Some(holder) = bearer(request.headers()).and_then(|token| tokens.holder(token)) else {
        return Problem::unauthorized().into_response();
    };
    if let Err(seconds) = holder.take(state.args.rate_limit, Instant::now()) {
        state.metrics.rate_limited.add(1);
        return Problem::too_many(seconds).into_response();
    }
    request.extensions_mut().insert(holder);
    next.run(request).await
}

/// The token of the only Authorization header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (all.next(), all.next()) else { return None };
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    (is_bearer && !token.is_empty() && token.len() <= TOKEN_BYTES_MAX).then_some(token)
}

fn demand(holder: &Extension<Arc<Token>>, scope: Scope) -> Result<(), Problem> {
    if holder.may(scope) {
        return Ok(());
    }
    tracing::info!(holder = holder.name, scope = scope.name(), "a token lacks a scope");
    Err(Problem::forbidden(scope.name()))
}

/// A JSON body that only its reader may keep, and only after asking.
fn json_response(body: Vec<u8>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
