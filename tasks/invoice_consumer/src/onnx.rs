//! An ONNX model that adds one feature, `onnx_score`. The only floats of the consumer: exact features go
//! in, one number comes out and is rounded to ten-thousandths, an integer like every other feature.
//!
//! What a file needs (`docs/howto/onnx.md` has an example):
//! * the metadata property `features`: the names of the features that it takes, separated by commas;
//! * one input of floats, of shape `[batch, n]` for n features;
//! * the score as its only output, or as the one that the metadata property `score` names: one number,
//!   or two, of which the second counts, as a classifier gives the probabilities of no and yes.

#[cfg_attr(not(feature = "onnx"), path = "onnx/absent.rs")]
mod scorer;

use crate::model::{Features, Version};
use invoices::{Error, Result};
use scorer::Scorer;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::Path;
use std::sync::Arc;

/// `onnx_score` is the score times this, rounded, halves away from zero.
const UNITS: f64 = 10_000.0;

/// What computes features: the exact ones, and a score if there is an ONNX model.
pub struct Model {
    pub version: Arc<Version>,
    scorer: Option<Scorer>,
}

impl Model {
    /// The model of a file, or without one the exact features alone.
    ///
    /// # Errors
    /// Configuration for a file that can't be read or that doesn't fit; the sentence says what is wrong.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self { version: Arc::new(Version::new(None)), scorer: None });
        };
        let shown = path.display();
        let bytes = std::fs::read(path)
            .map_err(|error| Error::config(format!("cannot read the ONNX model {shown}")).because(error))?;
        // Of broken files tract says most with an error and some with a panic.
        let hook = take_hook();
        set_hook(Box::new(|_| ()));
        let loaded = catch_unwind(AssertUnwindSafe(|| Scorer::read(&bytes)));
        set_hook(hook);
        let loaded = loaded.unwrap_or_else(|_| Err("it is broken, or tract cannot read it".to_owned()));
        let scorer =
            loaded.map_err(|reason| Error::config(format!("cannot use the ONNX model {shown}: {reason}")))?;
        let hash: String =
            openssl::sha::sha256(&bytes)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { version: Arc::new(Version::new(Some(&hash))), scorer: Some(scorer) })
    }

    /// The feature `onnx_score`; 0 without an ONNX model. A score that can't be computed or is no finite
    /// number counts as the largest, so that no invoice slips through by being strange.
    pub fn score(&self, exact: &Features) -> i64 {
        let Some(scorer) = &self.scorer else { return 0 };
        let score = catch_unwind(AssertUnwindSafe(|| scorer.run(exact)));
        let score = score.ok().and_then(|score| score.ok()).filter(|score| score.is_finite());
        score.map_or(i64::MAX, quantized)
    }
}

/// In ten-thousandths; what does not fit stops at the smallest or largest integer.
fn quantized(score: f64) -> i64 {
    (score * UNITS).round() as i64
}

#[cfg(all(test, feature = "onnx"))]
mod tests {
    use super::*;
    use crate::model::Feature;
    use crate::model::features::FEATURE_COUNT;
    use tract_onnx::pb::ModelProto;
    use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
    use tract_onnx::pb::{
        GraphProto, NodeProto, OperatorSetIdProto, StringStringEntryProto, TensorShapeProto, TypeProto,
        ValueInfoProto, tensor_proto::DataType, type_proto,
    };

    /// A model of one operator on features.
    fn proto(operator: &str, features: &str) -> ModelProto {
        let dims = [dimension::Value::DimParam("batch".to_owned()), dimension::Value::DimValue(2)];
        let dim = dims.map(|value| Dimension { value: Some(value), ..Dimension::default() }).to_vec();
        let shape = Some(TensorShapeProto { dim });
        let tensor = type_proto::Tensor { elem_type: DataType::Float as i32, shape };
        let value = Some(type_proto::Value::TensorType(tensor));
        let kind = Some(TypeProto { value, ..TypeProto::default() });
        let named =
            |name: &str, r#type| ValueInfoProto { name: name.to_owned(), r#type, ..Default::default() };
        let node = NodeProto {
            input: vec!["x".to_owned()],
            output: vec!["score".to_owned()],
            op_type: operator.to_owned(),
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![node],
            input: vec![named("x", kind)],
            output: vec![named("score", None)],
            ..GraphProto::default()
        };
        let property = StringStringEntryProto { key: "features".to_owned(), value: features.to_owned() };
        ModelProto {
            ir_version: 8,
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(graph),
            metadata_props: vec![property],
            ..ModelProto::default()
        }
    }

    fn model(operator: &str, features: &str) -> Result<Model, String> {
        let scorer = Some(Scorer::new(&proto(operator, features))?);
        Ok(Model { version: Arc::new(Version::new(Some("00"))), scorer })
    }

    fn reason(operator: &str, features: &str) -> String {
        model(operator, features).err().unwrap()
    }

    #[test]
    fn a_model_takes_the_features_that_it_names() {
        let model = model("Sigmoid", "amount, pair_history").unwrap();
        let mut exact = [0; FEATURE_COUNT];
        assert_eq!(model.score(&exact), 5_000);
        exact[Feature::PairHistory as usize] = 1;
        exact[Feature::Amount as usize] = 99;
        assert_eq!(model.score(&exact), 7_311);
        exact[Feature::PairHistory as usize] = -1_000_000;
        assert_eq!(model.score(&exact), 0);
    }

    #[test]
    fn what_does_not_fit_is_refused_with_the_reason() {
        assert!(reason("Sigmoid", "amount").contains("its metadata names 1 features"));
        assert!(reason("Sigmoid", "amount, amont").contains("did you mean amount?"));
        assert!(reason("Sigmoid", "amount, onnx_score").contains("\"onnx_score\", which does not exist"));
        assert!(reason("Log", "amount, late").contains("-inf when all features are 0"));
        assert!(reason("Nothing", "amount, late").contains("Nothing"));
    }

    #[test]
    fn a_score_that_cannot_be_computed_is_the_largest() {
        let model = model("Exp", "amount, late").unwrap();
        let mut exact = [0; FEATURE_COUNT];
        exact[Feature::Late as usize] = 1_000;
        assert_eq!(model.score(&exact), i64::MAX);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn kernels_of_particular_processors_are_switched_off() {
        use tract_onnx::prelude::tract_linalg::isa::{Arch, Isa, native};
        model("Sigmoid", "amount, late").unwrap();
        let others = Isa::ALL.into_iter().filter(|isa| *isa != Isa::X86_64 && isa.arch() == Arch::X86_64);
        assert_eq!(others.filter(|isa| native().has(*isa)).collect::<Vec<_>>(), []);
    }

    #[test]
    fn scores_are_rounded_to_ten_thousandths_and_stay_in_range() {
        assert_eq!(quantized(0.931_24), 9_312);
        assert_eq!(quantized(0.000_05), 1);
        assert_eq!(quantized(-0.000_05), -1);
        assert_eq!(quantized(1e300), i64::MAX);
        assert_eq!(quantized(-1e300), i64::MIN);
    }
}
