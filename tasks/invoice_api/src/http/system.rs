//! Health, metrics, the API's description, the state of the pipeline.

use super::problem::Problem;
use super::{Answer, Shared, demand, json_response};
use crate::tokens::{Scope, Token};
use axum::Extension;
use axum::extract::State as FromState;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::sync::atomic::Ordering;

const OPENAPI: &str = include_str!("openapi.json");

/// The process lives.
pub async fn healthz() -> Response {
    json_response(br#"{"status":"ok"}"#.to_vec())
}

/// The source answered lately; without it only cached invoices are served.
pub async fn readyz(FromState(state): Shared) -> Answer {
    if state.source_is_up.load(Ordering::Relaxed) {
        Ok(json_response(br#"{"status":"ready"}"#.to_vec()))
    } else {
        Err(Problem::unavailable("The invoice database"))
    }
}

pub async fn metrics(FromState(state): Shared, holder: Extension<Arc<Token>>) -> Answer {
    demand(&holder, Scope::Metrics)?;
    let mut response = state.metrics.render(state.local.len()).into_response();
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

pub async fn openapi() -> Response {
    json_response(OPENAPI.as_bytes().to_vec())
}

pub async fn pipeline(FromState(state): Shared, holder: Extension<Arc<Token>>) -> Answer {
    demand(&holder, Scope::Pipeline)?;
    let body = state.pipeline.state(&state).await.map_err(|error| Problem::of(&error, "The lake"))?;
    Ok(json_response(body.to_string().into_bytes()))
}
