//! The proof in an object's footer, without the rest of the object.

use super::{ATTEMPTS, Lake, Object};
use crate::error::{Error, Result};
use crate::parquet::{AtEnd, Proof, read_proof_at_end};

/// Bytes at an object's end that hold its footer, unless it has hundreds of row groups.
const FOOTER_BYTES: u64 = 64 << 10;

impl Lake {
    /// An object and the proof in its footer, from its last bytes; none when there is no object, and no proof where
    /// `query_source` has not written it.
    ///
    /// # Errors
    /// Refused for an object that is not Parquet; retry when it is replaced again and again, or the store doesn't answer.
    pub async fn footer(&self, path: &str) -> Result<Option<(Object, Option<Proof>)>> {
        for _ in 0..ATTEMPTS {
            let not_parquet = || Error::refused(format!("{} is not a Parquet file", self.locate(path)));
            let Some(object) = self.head(path).await? else { return Ok(None) };
            if object.size == 0 {
                return Err(not_parquet());
            }
            let mut count = FOOTER_BYTES.min(object.size);
            // None: replaced since it was looked up, so look again.
            while let Some(last_bytes) = self.read_range(&object, object.size - count..object.size).await? {
                match read_proof_at_end(&last_bytes, object.size)? {
                    AtEnd::Proof(proof) => return Ok(Some((object, proof))),
                    AtEnd::Needs(more) if (count + 1..=object.size).contains(&more) => count = more,
                    AtEnd::Needs(_) => return Err(not_parquet()),
                }
            }
        }
        Err(Error::retry(format!("{} is being replaced again and again; run again later", self.locate(path))))
    }
}
