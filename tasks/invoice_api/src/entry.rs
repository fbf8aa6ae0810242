//! What the caches hold for one invoice id, and its form in Redis.

use crate::version::Version;
use invoices::fingerprint::NULL_BUSINESS;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Seconds since 1970; enough until 2106.
pub type Seconds = u32;

/// An invoice with its parties and the latest decision on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvoiceView {
    /// Microseconds since 1970-01-01 UTC; none when the source's date is infinite.
    #[serde(rename = "t")]
    pub issue_date_us: Option<i64>,
    #[serde(rename = "a")]
    pub amount: i64,
    #[serde(rename = "i")]
    pub issuer: Party,
    #[serde(rename = "r")]
    pub receiver: Party,
    #[serde(rename = "d", default, with = "shared", skip_serializing_if = "Option::is_none")]
    pub decision: Option<Arc<Decision>>,
}

/// A business's name, shared between entries; one word in each, where `Arc<str>` would be two.
pub type Name = Arc<Box<str>>;

/// A business on one side of an invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Party {
    /// [`NULL_BUSINESS`] when the source has NULL.
    pub id: i64,
    #[serde(rename = "n", default, with = "shared", skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

impl Party {
    pub fn new(id: Option<i64>, name: Option<&str>) -> Self {
        Self { id: id.unwrap_or(NULL_BUSINESS), name: name.map(|name| Arc::new(Box::from(name))) }
    }
}

/// What the stream path decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub status: String,
    pub score: i16,
    pub lsn: i64,
    pub rule_set: String,
    /// JSON array of the rules that fired: id, score, reason.
    pub rules: Option<String>,
    pub decided_at_us: i64,
}

/// Shared values in JSON, without asking every crate of the workspace for serde's `rc`.
mod shared {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::sync::Arc;

    pub fn serialize<T: Serialize + ?Sized, S: Serializer>(
        value: &Option<Arc<T>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.as_deref().serialize(serializer)
    }

    pub fn deserialize<'de, T: ?Sized, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Arc<T>>, D::Error>
    where
        Box<T>: Deserialize<'de>,
    {
        Ok(Option::<Box<T>>::deserialize(deserializer)?.map(Arc::from))
    }
}

/// A cached state. Past `expires` it is served only when nothing newer can be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// None: there is no such invoice.
    #[serde(rename = "f")]
    pub found: Option<InvoiceView>,
    #[serde(rename = "v")]
    pub version: Version,
    #[serde(rename = "e")]
    pub expires: Seconds,
    /// Whether `found` was ever read; an entry may hold nothing but announced changes.
    #[serde(rename = "k")]
    pub is_known: bool,
}

impl Entry {
    /// Only an announced change, no state yet.
    pub fn of_announcement(version: Version) -> Self {
        Self { found: None, version, expires: 0, is_known: false }
    }

    pub fn is_fresh(&self, now: Seconds) -> bool {
        self.is_known && now < self.expires && self.version.is_current()
    }

    /// Worth serving, marked as stale, while the source is down: a real invoice, not too old.
    pub fn serves_as_stale(&self, now: Seconds, stale_seconds: u32) -> bool {
        self.is_known && self.found.is_some() && now < self.expires.saturating_add(stale_seconds)
    }

    /// `xxh3 of id and JSON`, a space, JSON.
    pub fn encode(&self, id: i64) -> Vec<u8> {
        let json = serde_json::to_vec(self).unwrap_or_default();
        let mut bytes = format!("{:016x} ", checksum(id, &json)).into_bytes();
        bytes.extend_from_slice(&json);
        bytes
    }

    /// The entry, unless the bytes are not what [`Entry::encode`] wrote for this id.
    pub fn decode(id: i64, bytes: &[u8]) -> Option<Self> {
        let (head, json) = (bytes.get(..16)?, bytes.get(17..)?);
        let expected = u64::from_str_radix(std::str::from_utf8(head).ok()?, 16).ok()?;
        if expected != checksum(id, json) {
            return None;
        }
        serde_json::from_slice(json).ok()
    }
}

fn checksum(id: i64, json: &[u8]) -> u64 {
    xxh3_64(json) ^ (id as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let view = InvoiceView {
            issue_date_us: Some(1),
            amount: -5,
            issuer: Party::new(Some(7), Some("A \"quoted\" name")),
            receiver: Party::new(None, None),
            decision: None,
        };
        Entry { found: Some(view), version: Version::default(), expires: 100, is_known: true }
    }

    #[test]
    fn an_entry_survives_the_way_through_redis() {
        let bytes = entry().encode(42);
        assert_eq!(Entry::decode(42, &bytes), Some(entry()));
    }

    #[test]
    fn garbage_and_the_entry_of_another_id_are_no_entries() {
        let bytes = entry().encode(42);
        assert_eq!(Entry::decode(43, &bytes), None);
        for cut in 0..bytes.len() {
            assert_eq!(Entry::decode(42, &bytes[..cut]), None);
            let mut flipped = bytes.clone();
            flipped[cut] ^= 1;
            assert!(cut == 16 || Entry::decode(42, &flipped).is_none(), "{cut}");
        }
        assert_eq!(Entry::decode(42, b"\xff\xfe\x00"), None);
    }

    #[test]
    fn what_expired_or_waits_is_stale_and_not_fresh() {
        assert!(entry().is_fresh(99) && !entry().is_fresh(100));
        assert!(entry().serves_as_stale(150, 60) && !entry().serves_as_stale(160, 60));
    }
}
