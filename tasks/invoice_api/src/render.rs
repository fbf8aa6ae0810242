//! Entries as the API's JSON. Pure.

use crate::entry::{InvoiceView, Party};
use crate::feed::raw;
use chrono::{DateTime, SecondsFormat};
use invoices::fingerprint::NULL_BUSINESS;
use invoices::money;
use serde::Serialize;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

#[derive(Serialize)]
struct InvoiceJson<'a> {
    invoice_id: i64,
    issue_date: Option<String>,
    amount_usd: String,
    issuer: Option<PartyJson<'a>>,
    receiver: Option<PartyJson<'a>>,
    decision: Option<DecisionJson<'a>>,
}

#[derive(Serialize)]
struct PartyJson<'a> {
    business_id: i64,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct DecisionJson<'a> {
    status: &'a str,
    score: i16,
    rules: Value,
    rule_set: &'a str,
    decided_at: String,
    lsn: i64,
}

/// One invoice. The amount is a decimal text, times are RFC 3339 in UTC.
pub fn invoice(id: i64, view: &InvoiceView, scale: u8) -> Vec<u8> {
    serde_json::to_vec(&invoice_json(id, view, scale)).unwrap_or_default()
}

/// A page of invoices, with the address of the next one.
pub fn page(business_id: i64, invoices: &[(i64, InvoiceView)], scale: u8, next: Option<String>) -> Vec<u8> {
    #[derive(Serialize)]
    struct Page<'a> {
        business_id: i64,
        invoices: Vec<InvoiceJson<'a>>,
        next: Option<String>,
    }
    let invoices = invoices.iter().map(|(id, view)| invoice_json(*id, view, scale)).collect();
    serde_json::to_vec(&Page { business_id, invoices, next }).unwrap_or_default()
}

fn invoice_json(id: i64, view: &InvoiceView, scale: u8) -> InvoiceJson<'_> {
    InvoiceJson {
        invoice_id: id,
        issue_date: view.issue_date_us.map(time_text),
        amount_usd: amount_text(view.amount, scale),
        issuer: party(&view.issuer),
        receiver: party(&view.receiver),
        decision: view.decision.as_ref().map(|decision| DecisionJson {
            status: &decision.status,
            score: decision.score,
            rules: raw(decision.rules.as_deref()),
            rule_set: &decision.rule_set,
            decided_at: time_text(decision.decided_at_us),
            lsn: decision.lsn,
        }),
    }
}

fn party(party: &Party) -> Option<PartyJson<'_>> {
    (party.id != NULL_BUSINESS)
        .then_some(PartyJson { business_id: party.id, name: party.name.as_deref().map(AsRef::as_ref) })
}

pub fn amount_text(unscaled: i64, scale: u8) -> String {
    money::format(i128::from(unscaled), scale)
}

/// RFC 3339 in UTC to the microsecond; empty outside the calendar.
pub fn time_text(timestamp_us: i64) -> String {
    DateTime::from_timestamp_micros(timestamp_us)
        .map_or_else(String::new, |time| time.to_rfc3339_opts(SecondsFormat::Micros, true))
}

/// A strong ETag: equal bytes have equal ones, whichever process or cache they come from.
pub fn etag(body: &[u8]) -> String {
    format!("\"{:016x}\"", xxh3_64(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_texts_and_missing_parties_are_null() {
        let view = InvoiceView {
            issue_date_us: Some(1_767_225_600_000_001),
            amount: -1_234_567_890_123_456,
            issuer: Party::new(Some(7), Some("Käse & \"Söhne\"")),
            receiver: Party::new(None, None),
            decision: None,
        };
        let text = String::from_utf8(invoice(42, &view, 2)).unwrap();
        assert_eq!(
            text,
            r#"{"invoice_id":42,"issue_date":"2026-01-01T00:00:00.000001Z","amount_usd":"-12345678901234.56","issuer":{"business_id":7,"name":"Käse & \"Söhne\""},"receiver":null,"decision":null}"#
        );
    }
}
