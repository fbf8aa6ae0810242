//! `GET /v1/invoices/{id}`.

use super::parameters::{Id, Parameters};
use super::problem::Problem;
use super::{Answer, Shared, demand, json_response};
use crate::entry::Entry;
use crate::loader::Outcome;
use crate::render;
use crate::tokens::{Scope, Token};
use axum::Extension;
use axum::extract::{RawQuery, State as FromState};
use axum::http::header::{ETAG, IF_NONE_MATCH, WARNING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

const STALE: HeaderName = HeaderName::from_static("x-stale");

pub async fn get(
    FromState(state): Shared,
    holder: Extension<Arc<Token>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    demand(&holder, Scope::Invoices)?;
    Parameters::parse(query.as_deref(), &[])?;
    match state.loader.get(id).await {
        Outcome::Current(entry) => respond(id, &entry, state.scale, &headers),
        Outcome::Stale(entry) => {
            let mut response = respond(id, &entry, state.scale, &headers)?;
            response.headers_mut().insert(STALE, HeaderValue::from_static("true"));
            let warning = HeaderValue::from_static("110 - \"Response is Stale\"");
            response.headers_mut().insert(WARNING, warning);
            Ok(response)
        }
        Outcome::Unavailable => Err(Problem::unavailable("The invoice database")),
        Outcome::Overloaded => Err(Problem::unavailable("The service has too much to do and")),
        Outcome::Unreadable => Err(Problem::internal()),
    }
}

fn respond(id: i64, entry: &Entry, scale: u8, headers: &HeaderMap) -> Answer {
    let Some(view) = &entry.found else {
        return Err(Problem::not_found(format!("There is no invoice {id}.")));
    };
    let body = render::invoice(id, view, scale);
    Ok(with_etag(body, headers))
}

/// The body with its ETag, or 304 when the client has it already.
pub fn with_etag(body: Vec<u8>, headers: &HeaderMap) -> Response {
    let etag = render::etag(&body);
    let known = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut candidates = known.flat_map(|value| value.split(',')).map(str::trim);
    let is_known = candidates.any(|candidate| candidate == "*" || candidate.trim_start_matches("W/") == etag);
    let mut response = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { json_response(body) };
    if let Ok(value) = HeaderValue::from_str(&etag) {
        response.headers_mut().insert(ETAG, value);
    }
    response
}
