//! Bodies for models: foreign ONNX and GGUF files, and foreign canonical bytes.

use std::sync::{Arc, LazyLock};

use nabla_engine::{
    Dim, Engine, Kernels, Limits, Model, NoExternalData, Port, Runtime, Session,
    gguf::{Gguf, Metadata, Tensors, dequantise},
    import_onnx,
    language::Config,
    survey_onnx,
};
use nabla_types::tensor::{Dtype, NamedTensor, Tensor, TensorData, bf16_from_f64, f16_from_f64};

use crate::{check::accepted, sections::Sections};

/// Small enough that no accepted model costs a body much time or memory.
#[must_use]
pub fn limits() -> Limits {
    Limits {
        file_bytes_max: 1 << 20,
        nodes_max: 1 << 12,
        tensors_max: 1 << 14,
        rank_max: 8,
        elements_max: 1 << 18,
        nesting_max: 16,
        macs_max: 1 << 21,
        peak_bytes_max: 1 << 23,
        weight_bytes_max: 1 << 21,
        batch_max: 4,
        symbol_max: 8,
        symbols: std::collections::BTreeMap::new(),
    }
}

/// An ONNX file. What is imported has one canonical form, keeps its limits and runs alike on all kernels, and
/// can be surveyed.
pub fn onnx(bytes: &[u8]) {
    let survey = accepted(survey_onnx(bytes, &limits()), bytes);
    if let Some(model) = accepted(import_onnx(bytes, &NoExternalData, &limits()), bytes) {
        assert!(survey.is_some(), "imported, but not surveyed");
        let (graph, weights) = (model.graph_bytes(), model.weights_bytes());
        let again = Model::from_parts(&graph, &weights, &limits()).expect("our own bytes");
        assert_eq!((again.graph_bytes(), again.weights_bytes()), (graph, weights), "two canonical forms");
        assert_eq!(again.cost(), model.cost());
        check_model(model, bytes);
    }
}

/// A GGUF file. Tensors of what is opened lie apart inside of the file, and have finite weights if they are read; every key
/// can be asked for anything; a model that is whole has sizes that fit each other.
pub fn gguf(bytes: &[u8]) {
    let source = bytes.to_vec();
    let Some(Gguf { metadata, tensors, .. }) = accepted(Gguf::open(&source), bytes) else { return };
    check_tensors(&tensors, bytes);
    check_keys(&metadata, bytes);
    let Some(config) = accepted(Config::from_metadata(&metadata), bytes) else { return };
    let attention = &config.attention;
    assert!(attention.head_count.is_multiple_of(attention.kv_head_count));
    assert!(config.rope.dimensions <= attention.head_size && attention.scale.is_finite());
    assert!(config.window.as_ref().is_none_or(|window| window.blocks.len() == config.block_count));
    if accepted(config.check(&tensors), bytes).is_some() {
        let embedding = tensors.get("token_embd.weight").expect("checked").shape;
        assert_eq!(embedding.columns, config.embedding_length as u64);
        assert!(tensors.len() > config.block_count);
    }
}

fn check_tensors(tensors: &Tensors, bytes: &[u8]) {
    let source = bytes.to_vec();
    let mut ranges: Vec<_> = tensors.iter().map(|tensor| tensor.range.clone()).collect();
    ranges.sort_by_key(|range| range.start);
    assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start), "tensors overlap");
    assert!(ranges.last().is_none_or(|range| range.end <= bytes.len() as u64), "outside of the file");
    for tensor in tensors.iter() {
        let Some(weights) = accepted(tensor.read(&source, &limits()), bytes) else { continue };
        let count = usize::try_from(tensor.shape.rows * tensor.shape.columns).expect("it was read");
        let mut values = vec![f32::NAN; count];
        dequantise(tensor.format, &weights, &mut values).expect("as many as the shape says");
        assert!(values.iter().all(|value| value.is_finite()), "{}", tensor.name);
    }
}

fn check_keys(metadata: &Metadata, bytes: &[u8]) {
    for (key, _) in metadata.keys() {
        let integer = accepted(metadata.u32(key), bytes);
        assert!(integer.is_none_or(|value| metadata.u64(key).ok() == Some(value.into())));
        let (float, truth) = (accepted(metadata.f32(key), bytes), accepted(metadata.bool(key), bytes));
        let text = accepted(metadata.str(key), bytes);
        let scalars = [float.is_some(), truth.is_some(), text.is_some(), metadata.length(key).is_ok()];
        assert!(scalars.iter().filter(|is| **is).count() <= 1, "{key:?} is two things");
        let lengths = [
            accepted(metadata.strs(key), bytes).map(|values| values.len()),
            accepted(metadata.f32s(key), bytes).map(|values| values.len()),
            accepted(metadata.i32s(key), bytes).map(|values| values.len()),
            accepted(metadata.bools(key), bytes).map(|values| values.len()),
        ];
        assert!(lengths.iter().flatten().all(|length| metadata.length(key).ok() == Some(*length)));
    }
}

/// Graph and weights as they come from storage: accepted only if they are the canonical bytes.
pub fn model(bytes: &[u8]) {
    let mut sections = Sections(bytes);
    let (graph, weights) = (sections.part(), sections.part());
    if let Some(model) = accepted(Model::from_parts(graph, weights, &limits()), bytes) {
        assert_eq!(model.graph_bytes(), graph, "two encodings of one graph");
        assert_eq!(model.weights_bytes(), weights, "two encodings of one set of weights");
        check_model(model, bytes);
    }
}

static KERNELS: LazyLock<[Engine; 2]> = LazyLock::new(|| {
    [Kernels::Scalar, Kernels::Auto].map(|kernels| Engine::new(kernels).expect("always there"))
});

fn check_model(model: Model, bytes: &[u8]) {
    let (cost, limits) = (model.cost(), limits());
    assert!(cost.macs <= limits.macs_max && cost.peak_bytes <= limits.peak_bytes_max);
    assert!(cost.weight_bytes <= limits.weight_bytes_max);
    let model = Arc::new(model);
    let prepare = |engine: &Engine| accepted(engine.prepare(model.clone()), bytes);
    let [scalar, vector] = [prepare(&KERNELS[0]), prepare(&KERNELS[1])];
    let (Some(scalar), Some(vector)) = (scalar, vector) else { return };
    for rows in [1, 3] {
        let inputs: Option<Vec<NamedTensor>> = model
            .inputs()
            .iter()
            .map(|port| Some(NamedTensor::new(port.name.clone(), filled(port, rows)?)))
            .collect();
        if let Some(inputs) = inputs {
            check_run(scalar.as_ref(), vector.as_ref(), &inputs, bytes);
        }
    }
}

fn check_run(scalar: &dyn Session, vector: &dyn Session, inputs: &[NamedTensor], bytes: &[u8]) {
    let (defined, fast) = (scalar.run(inputs), vector.run(inputs));
    match (accepted(defined, bytes), accepted(fast, bytes)) {
        (Some(defined), Some(fast)) => {
            assert_eq!(defined, fast, "the kernels differ");
            assert_eq!(defined.len(), scalar.interface().outputs().len());
        }
        (defined, fast) => assert_eq!(defined.is_some(), fast.is_some(), "only one of the kernels fails"),
    }
}

/// A tensor for this input, with numbers of both signs and a few that are none.
#[expect(clippy::cast_precision_loss, reason = "any numbers do")]
fn filled(port: &Port, rows: u64) -> Option<Tensor> {
    let size = |dim: &Dim| if let Dim::Fixed(size) = dim { *size } else { rows };
    let shape: Vec<u64> = port.shape.iter().map(size).collect();
    let count = usize::try_from(nabla_types::tensor::element_count(&shape).ok()?).ok()?;
    let numbers = (0..).map(|index: i64| (index * 37 + 11) % 23 - 9).take(count);
    let odd = |number: i64| match number {
        13 => f64::NAN,
        12 => f64::INFINITY,
        number => number as f64 * 0.37,
    };
    #[expect(clippy::cast_possible_truncation, reason = "any numbers do")]
    let data = match port.dtype {
        Dtype::F32 => TensorData::F32(numbers.map(|number| odd(number) as f32).collect()),
        Dtype::F64 => TensorData::F64(numbers.map(odd).collect()),
        Dtype::I64 => TensorData::I64(numbers.collect()),
        Dtype::I32 => TensorData::I32(numbers.map(|number| number as i32).collect()),
        Dtype::I8 => TensorData::I8(numbers.map(|number| number as i8).collect()),
        Dtype::U8 => TensorData::U8(numbers.map(|number| number.unsigned_abs() as u8).collect()),
        Dtype::Bool => TensorData::Bool(numbers.map(|number| number > 0).collect()),
        Dtype::String => TensorData::String(numbers.map(|number| number.to_string()).collect()),
        Dtype::I16 => TensorData::I16(numbers.map(|number| number as i16).collect()),
        Dtype::U16 => TensorData::U16(numbers.map(|number| number.unsigned_abs() as u16).collect()),
        Dtype::U32 => TensorData::U32(numbers.map(|number| number.unsigned_abs() as u32).collect()),
        Dtype::U64 => TensorData::U64(numbers.map(i64::unsigned_abs).collect()),
        Dtype::F16 => TensorData::F16(numbers.map(|number| f16_from_f64(odd(number))).collect()),
        Dtype::BF16 => TensorData::BF16(numbers.map(|number| bf16_from_f64(odd(number))).collect()),
    };
    Tensor::new(shape, data).ok()
}
