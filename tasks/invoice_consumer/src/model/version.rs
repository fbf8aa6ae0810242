//! Which features a decision has, under which name: what another version decided can't be compared.

use super::features::{EXACT_COUNT, EXACT_MODEL, MEANINGS, Meaning};

/// Between the name of the exact features and the hash of an ONNX model.
const ONNX: &str = "+onnx-";

/// `features-1`, or `features-1+onnx-0123456789abcdef` with an ONNX model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    id: String,
}

impl Version {
    /// The exact features, and with the hash of an ONNX model its score.
    pub fn new(onnx_hash: Option<&str>) -> Self {
        Self { id: onnx_hash.map_or(EXACT_MODEL.to_owned(), |hash| format!("{EXACT_MODEL}{ONNX}{hash}")) }
    }

    /// The version of a stored decision.
    pub fn stored(id: &str) -> Self {
        Self { id: id.to_owned() }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn has_score(&self) -> bool {
        self.id.contains(ONNX)
    }

    /// Whether the exact features are those of this program.
    pub fn is_exact_part_current(&self) -> bool {
        self.id.split_once(ONNX).map_or(self.id(), |(exact, _)| exact) == EXACT_MODEL
    }

    /// The features in their order.
    pub fn meanings(&self) -> &'static [Meaning] {
        if self.has_score() { MEANINGS } else { &MEANINGS[..EXACT_COUNT] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_part_of_the_version() {
        let (plain, scored) = (Version::new(None), Version::new(Some("00ff")));
        assert_eq!((plain.id(), scored.id()), ("features-1", "features-1+onnx-00ff"));
        assert_eq!(scored.meanings().len(), plain.meanings().len() + 1);
        assert_eq!(scored.meanings().last().map(|meaning| meaning.name), Some("onnx_score"));
        assert!(plain.is_exact_part_current() && Version::stored(scored.id()).is_exact_part_current());
        assert!(!Version::stored("features-0+onnx-00ff").is_exact_part_current());
    }
}
