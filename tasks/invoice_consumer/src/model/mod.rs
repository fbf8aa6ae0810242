//! The model's memory and what it computes from it. Pure: no I/O, no clock, no float.

pub mod benford;
pub mod clock;
pub mod features;
pub mod limits;
mod packed;
mod pair;
mod series;
mod state;
mod version;

pub use features::{Feature, Features};
pub use packed::{pack, unpack};
pub use state::{State, filed_us};
pub use version::Version;
