//! tract's plan of an ONNX model: exact features in, one number out.
//!
//! The same file gives the same score on every machine of an architecture, because tract's kernels for
//! particular processors are switched off: they round differently (133 of 209,536 scores of one network).

use crate::model::Features;
use crate::model::features::{EXACT_COUNT, FEATURE_COUNT, nearest, position};
use std::sync::Arc;
use tract_onnx::pb::ModelProto;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::Factoid;

/// Instruction sets whose kernels round in ways of their own.
const SWITCHED_OFF: &str = if cfg!(target_arch = "x86_64") {
    "-avx,-avx2,-fma,-f16c,-avx512f,-avx512vnni,-avx512fp16,-avxvnni,-amx-int8,-amx-bf16"
} else if cfg!(target_arch = "aarch64") {
    "-fp16,-dotprod,-sve2,-sme,-sme2,-apple-amx"
} else {
    ""
};
/// Values of all features with which a model is tried when it is loaded; -1 is "never before".
const TRIED: [i64; 3] = [0, 1, -1];

/// A plan that is optimized once and run for each invoice.
pub struct Scorer {
    plan: Arc<TypedRunnableModel>,
    /// Positions of the features that it takes.
    takes: Vec<usize>,
}

impl Scorer {
    pub fn read(mut bytes: &[u8]) -> Result<Self, String> {
        let proto = tract_onnx::onnx().proto_model_for_read(&mut bytes);
        Self::new(&proto.map_err(|error| format!("it is no ONNX file: {}", text(&error)))?)
    }

    pub fn new(proto: &ModelProto) -> Result<Self, String> {
        tract_data::knobs::set_config_global("TRACT_CPU_ISA", SWITCHED_OFF).map_err(|error| text(&error))?;
        let takes = features_taken(proto)?;
        let model = tract_onnx::onnx().model_for_proto_model(proto).map_err(|error| text(&error))?;
        let output = score_output(proto, model.outputs.len())?;
        check_input(&model, takes.len())?;
        let plan = plan(model, output, takes.len()).map_err(|error| text(&error))?;
        let scorer = Self { plan, takes };
        for value in TRIED {
            let score = scorer.run(&[value; FEATURE_COUNT]).map_err(|error| text(&error))?;
            if !score.is_finite() {
                return Err(format!("its score is {score} when all features are {value}"));
            }
        }
        Ok(scorer)
    }

    pub fn run(&self, exact: &Features) -> TractResult<f64> {
        let values: Vec<f32> = self.takes.iter().map(|&index| exact[index] as f32).collect();
        let input = Tensor::from_shape(&[1, values.len()], &values)?;
        let outputs = self.plan.run(tvec!(input.into()))?;
        let output = outputs[0].cast_to::<f64>()?;
        match *output.try_as_plain_ram()?.as_slice::<f64>()? {
            [score] | [_, score] => Ok(score),
            ref other => Err(TractError::msg(format!(
                "its score has {} numbers; one is expected, or two, of which the second counts",
                other.len()
            ))),
        }
    }
}

/// The positions of the features that the metadata names.
fn features_taken(proto: &ModelProto) -> Result<Vec<usize>, String> {
    let names = property(proto, "features").ok_or(
        "its metadata has no property `features`; it must name the features that the model takes, in their \
         order, separated by commas (`invoice_consumer features` lists them)",
    )?;
    let taken = |name: &str| {
        position(name)
            .filter(|&index| index < EXACT_COUNT)
            .ok_or_else(|| format!("it takes a feature {name:?}, which does not exist{}", nearest(name)))
    };
    names.split(',').map(|name| taken(name.trim())).collect()
}

fn property<'a>(proto: &'a ModelProto, key: &str) -> Option<&'a str> {
    proto.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str())
}

/// The position of the output that is the score.
fn score_output(proto: &ModelProto, count: usize) -> Result<usize, String> {
    let names: Vec<&str> =
        proto.graph.iter().flat_map(|graph| &graph.output).map(|output| output.name.as_str()).collect();
    match property(proto, "score") {
        Some(wanted) => names.iter().position(|name| *name == wanted).ok_or_else(|| {
            format!("its metadata names {wanted:?} as the score, and its outputs are {}", names.join(", "))
        }),
        None if count == 1 => Ok(0),
        None => Err(format!(
            "it has {count} outputs ({}); name the one that is the score in the metadata property `score`",
            names.join(", ")
        )),
    }
}

fn check_input(model: &InferenceModel, features: usize) -> Result<(), String> {
    let [input] = model.inputs[..] else {
        return Err(format!("it has {} inputs; one is expected", model.inputs.len()));
    };
    let fact = model.outlet_fact(input).map_err(|error| text(&error))?;
    let kind = fact.datum_type.concretize();
    if kind != Some(f32::datum_type()) {
        let kind = kind.map_or("unknown".to_owned(), |kind| format!("{kind:?}"));
        return Err(format!("its input is of type {kind}; 32-bit floats are expected"));
    }
    let dims: Vec<Option<i64>> =
        fact.shape.dims().map(|dim| dim.concretize().and_then(|dim| dim.to_i64().ok())).collect();
    let fits = |dim: Option<i64>, size: usize| dim.is_none_or(|dim| dim == size as i64);
    match dims[..] {
        [batch, count] if fits(batch, 1) && fits(count, features) => Ok(()),
        _ => {
            let dims: Vec<String> =
                dims.iter().map(|dim| dim.map_or("any".to_owned(), |dim| dim.to_string())).collect();
            Err(format!(
                "its input is of shape [{}]; its metadata names {features} features, so [any, {features}] is \
                 expected",
                dims.join(", ")
            ))
        }
    }
}

/// The model for one invoice at a time, optimized.
fn plan(mut model: InferenceModel, output: usize, features: usize) -> TractResult<Arc<TypedRunnableModel>> {
    model.set_input_fact(0, InferenceFact::dt_shape(f32::datum_type(), [1, features]))?;
    let output = model.outputs[output];
    model.select_output_outlets(&[output])?;
    model.into_optimized()?.into_runnable()
}

/// The whole chain of an error on one line.
fn text(error: &TractError) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
