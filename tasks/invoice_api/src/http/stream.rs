//! `GET /v1/decisions/stream`: decisions as server-sent events, filtered at the server.

use super::parameters::Parameters;
use super::{Answer, Shared, demand};
use crate::feed::FeedItem;
use crate::tokens::{Scope, Token};
use axum::Extension;
use axum::extract::{RawQuery, State as FromState};
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::stream;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Decisions that a new listener is shown first, after its filters.
const FIRST_SHOWN: usize = 50;
/// How often an idle stream looks whether the service is ending.
const END_CHECK: Duration = Duration::from_millis(500);

struct Filter {
    status: Option<&'static str>,
    min_score: i64,
    business_id: Option<i64>,
}

impl Filter {
    fn passes(&self, item: &FeedItem) -> bool {
        let business = |id: i64| item.issuer_id == Some(id) || item.receiver_id == Some(id);
        self.status.is_none_or(|status| item.status == status)
            && i64::from(item.score) >= self.min_score
            && self.business_id.is_none_or(business)
    }
}

struct Listener {
    filter: Filter,
    waiting: VecDeque<Arc<FeedItem>>,
    receiver: Receiver<Arc<FeedItem>>,
}

pub async fn decisions(
    FromState(state): Shared,
    holder: Extension<Arc<Token>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer {
    demand(&holder, Scope::Decisions)?;
    let parameters = Parameters::parse(query.as_deref(), &["status", "min_score", "business_id"])?;
    let filter = Filter {
        status: parameters.word("status", &["approve", "review", "block", "withdrawn"])?,
        min_score: parameters.whole("min_score", 0, 100)?.unwrap_or(0),
        business_id: parameters.whole("business_id", i64::MIN, i64::MAX)?,
    };
    let (recent, receiver) = state.feed.listen();
    let last_seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = last_seen.and_then(|seen| recent.iter().position(|item| item.id == seen));
    let mut waiting: VecDeque<_> =
        recent.into_iter().skip(after.map_or(0, |at| at + 1)).filter(|item| filter.passes(item)).collect();
    if after.is_none() && waiting.len() > FIRST_SHOWN {
        waiting.drain(..waiting.len() - FIRST_SHOWN);
    }
    let listener = Listener { filter, waiting, receiver };
    let events = stream::unfold(listener, |mut listener| async move {
        let event = next(&mut listener).await?;
        Some((Ok::<_, Infallible>(event), listener))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

/// The next event; none when the service ends.
async fn next(listener: &mut Listener) -> Option<Event> {
    loop {
        if let Some(item) = listener.waiting.pop_front() {
            let data = serde_json::to_string(&*item).unwrap_or_default();
            return Some(Event::default().event("decision").id(item.id.clone()).data(data));
        }
        match tokio::time::timeout(END_CHECK, listener.receiver.recv()).await {
            Ok(Ok(item)) if listener.filter.passes(&item) => listener.waiting.push_back(item),
            Ok(Ok(_)) => {}
            Ok(Err(RecvError::Lagged(count))) => {
                return Some(Event::default().event("skipped").data(count.to_string()));
            }
            Ok(Err(RecvError::Closed)) => return None,
            Err(_) if invoices::task::check_stop().is_err() => return None,
            Err(_) => {}
        }
    }
}
