//! `GET /v1/businesses/{id}/months` and `/invoices`.

use super::invoice::with_etag;
use super::parameters::{Id, Parameters};
use super::problem::Problem;
use super::{Answer, Shared, State, demand};
use crate::render;
use crate::store::{PageOf, Reader, Side};
use crate::tokens::{Scope, Token};
use axum::Extension;
use axum::extract::{RawQuery, State as FromState};
use axum::http::HeaderMap;
use invoices::{Month, Window};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::MutexGuard;

/// Months of one answer at most.
const MONTHS_MAX: i64 = 120;
const LIMIT_MAX: i64 = 200;

pub async fn months(
    FromState(state): Shared,
    holder: Extension<Arc<Token>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    demand(&holder, Scope::Businesses)?;
    let parameters = Parameters::parse(query.as_deref(), &["n", "as_of"])?;
    let count = parameters.whole("n", 1, MONTHS_MAX)?.unwrap_or(12);
    let lake_failed = |error: invoices::Error| Problem::of(&error, "The lake");
    let last = match parameters.date("as_of")? {
        Some(date) => Some(Month::of_date(date)),
        None => state.months.newest().await.map_err(lake_failed)?,
    };
    let months = match last {
        Some(last) => {
            let window = Window::ending(last.first_day(), count as u32);
            state.months.of_business(id, window).await.map_err(lake_failed)?
        }
        None => Vec::new(),
    };
    // A name is good to have; without the database the statistics are still right.
    let name = reader(&state).await.business_name(id).await.unwrap_or_default();
    let body = json!({ "business_id": id, "name": name, "months": months });
    Ok(with_etag(body.to_string().into_bytes(), &headers))
}

pub async fn invoices(
    FromState(state): Shared,
    holder: Extension<Arc<Token>>,
    Id(id): Id,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    demand(&holder, Scope::Businesses)?;
    let parameters = Parameters::parse(query.as_deref(), &["side", "before", "limit"])?;
    let limit = parameters.whole("limit", 1, LIMIT_MAX)?.unwrap_or(50) as u16;
    let before = parameters.whole("before", i64::MIN, i64::MAX)?;
    let word = parameters.word("side", &["issued", "received", "both"])?.unwrap_or("both");
    let side = match word {
        "issued" => Side::Issued,
        "received" => Side::Received,
        _ => Side::Both,
    };
    let page = PageOf { business_id: id, side, before, limit };
    let found = reader(&state).await.page(page).await;
    let found = found.map_err(|error| Problem::of(&error, "The invoice database"))?;
    let last = found.last().filter(|_| found.len() == usize::from(limit));
    let next =
        last.map(|(last, _)| format!("/v1/businesses/{id}/invoices?side={word}&limit={limit}&before={last}"));
    Ok(with_etag(render::page(id, &found, state.scale, next), &headers))
}

/// A free connection, or the first one to become free.
async fn reader(state: &State) -> MutexGuard<'_, Reader> {
    for reader in &state.readers {
        if let Ok(free) = reader.try_lock() {
            return free;
        }
    }
    state.readers[0].lock().await
}
