//! A partition's state at an offset, kept so that a start reads the decisions after it alone. A cache and never the
//! truth: the decisions are, and what doesn't fit them is not used (decision 0086).

mod bytes;
mod folder;

pub use folder::Checkpoints;

use crate::engine::Engine;
use roaring::RoaringTreemap;
use serde::{Deserialize, Serialize};

/// Changes whenever the bytes of a state mean something else.
pub const FORMAT: u32 = 1;

/// What a checkpoint says of itself: its first line, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    pub format: u32,
    /// Version of the exact features, whose formulas say what a state remembers. Rules and ONNX models see a
    /// state and are no part of it.
    pub model: String,
    pub topic: String,
    pub partition: i32,
    /// Every decision below this place is in the state: an offset with its topic's epoch.
    pub place: i64,
    /// How many decisions that are.
    pub decisions: u64,
    /// The last of them, to recognise a database that says something else now.
    pub last: LastDecision,
}

/// A stored decision; the time tells it from the same decision made again in a database that was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDecision {
    pub log_offset: i64,
    pub step: i32,
    pub invoice_id: i64,
    pub lsn: i64,
    pub decided_us: i64,
}

/// What a checkpoint holds.
#[derive(Debug)]
pub struct Checkpoint {
    pub head: Head,
    pub engine: Engine,
    /// Invoices with a decision.
    pub ids: RoaringTreemap,
}
