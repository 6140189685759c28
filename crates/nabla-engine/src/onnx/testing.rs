//! A writer of small ONNX files, so that tests need nothing but Rust.

use crate::{Error, Limits, Model, NoExternalData, import_onnx};

/// Numbers of ONNX element types.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;

/// A file in the making; parts are kept in wire format.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) opsets: Vec<(&'static str, u64)>,
    pub(crate) graph: Vec<Vec<u8>>,
    /// Fields of the model beside version, graph and opsets.
    pub(crate) extra: Vec<Vec<u8>>,
}

/// Value of an attribute.
pub(crate) enum Value<'a> {
    Int(i64),
    Float(f32),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Texts(&'a [&'a str]),
    Tensor(Vec<u8>),
}

impl File {
    pub(crate) fn new() -> Self {
        Self { opsets: vec![("", 17), ("ai.onnx.ml", 3)], graph: Vec::new(), extra: Vec::new() }
    }

    /// An input; a dimension that is no number is a name.
    pub(crate) fn input(mut self, name: &str, elem_type: u64, dims: &[&str]) -> Self {
        let dim = |dim: &&str| match dim.parse::<u64>() {
            Ok(size) => bytes(1, &int(1, size)),
            Err(_) => bytes(1, &text(2, dim)),
        };
        let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
        let ty = bytes(1, &[int(1, elem_type), bytes(2, &shape)].concat());
        self.graph.push(bytes(11, &[text(1, name), bytes(2, &ty)].concat()));
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Self {
        self.graph.push(bytes(12, &text(1, name)));
        self
    }

    pub(crate) fn node(
        self,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Value<'_>)],
    ) -> Self {
        self.node_of("", op, inputs, outputs, attributes)
    }

    pub(crate) fn node_of(
        mut self,
        domain: &str,
        op: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[(&str, Value<'_>)],
    ) -> Self {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        node.extend(outputs.iter().flat_map(|name| text(2, name)));
        node.extend(text(4, op));
        node.extend(attributes.iter().flat_map(|(name, value)| bytes(5, &attribute(name, value))));
        node.extend(text(7, domain));
        self.graph.push(bytes(1, &node));
        self
    }

    pub(crate) fn weight(mut self, name: &str, dims: &[u64], values: &[f32]) -> Self {
        self.graph.push(bytes(5, &tensor(name, dims, values)));
        self
    }

    pub(crate) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let head = [int(1, values.len() as u64), int(2, INT64), text(8, name)].concat();
        self.graph.push(bytes(5, &[head, bytes(9, &raw)].concat()));
        self
    }

    /// A part of the graph that the other methods do not write.
    pub(crate) fn raw(mut self, number: u64, value: &[u8]) -> Self {
        self.graph.push(bytes(number, value));
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let mut file = int(1, 8);
        file.extend(self.extra.concat());
        file.extend(bytes(7, &self.graph.concat()));
        for (domain, version) in &self.opsets {
            file.extend(bytes(8, &[text(1, domain), int(2, *version)].concat()));
        }
        file
    }

    pub(crate) fn import(&self) -> Result<Model, Error> {
        import_onnx(&self.build(), &NoExternalData, &Limits::default())
    }
}

/// A tensor of f32 with its elements as raw bytes.
pub(crate) fn tensor(name: &str, dims: &[u64], values: &[f32]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut tensor: Vec<u8> = dims.iter().flat_map(|size| int(1, *size)).collect();
    tensor.extend([int(2, FLOAT), text(8, name), bytes(9, &raw)].concat());
    tensor
}

fn attribute(name: &str, value: &Value<'_>) -> Vec<u8> {
    let (kind, value) = match value {
        Value::Float(v) => (1, [varint(2 << 3 | 5), v.to_le_bytes().to_vec()].concat()),
        Value::Int(v) => (2, int(3, v.cast_unsigned())),
        Value::Tensor(v) => (4, bytes(5, v)),
        Value::Floats(v) => (6, bytes(7, &v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())),
        Value::Ints(v) => (7, v.iter().flat_map(|x| int(8, x.cast_unsigned())).collect()),
        Value::Texts(v) => (8, v.iter().flat_map(|x| text(9, x)).collect()),
    };
    [text(1, name), value, int(20, kind)].concat()
}

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

pub(crate) fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

pub(crate) fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

pub(crate) fn text(number: u64, value: &str) -> Vec<u8> {
    bytes(number, value.as_bytes())
}

/// `relu(x * w + b)`, then a softmax: 3 features, 2 classes.
pub(crate) fn small_network() -> File {
    File::new()
        .input("x", FLOAT, &["N", "3"])
        .output("y")
        .weight("w", &[3, 2], &[0.5, -1.0, 2.0, 0.25, -0.75, 1.5])
        .weight("b", &[2], &[0.125, -0.5])
        .node("Gemm", &["x", "w", "b"], &["h"], &[])
        .node("Relu", &["h"], &["r"], &[])
        .node("Softmax", &["r"], &["y"], &[("axis", Value::Int(-1))])
}

/// Run a model on f32 inputs with the portable kernels, which are the definition.
pub(crate) fn run(
    model: Model,
    inputs: &[(&str, &[u64], &[f32])],
) -> Result<Vec<nabla_types::tensor::Tensor>, Error> {
    use crate::{Engine, Kernels, Runtime};
    use nabla_types::tensor::{NamedTensor, Tensor};
    let named = |(name, shape, values): &(&str, &[u64], &[f32])| {
        NamedTensor::new(*name, Tensor::f32(shape, values.to_vec()).expect("a test gives whole tensors"))
    };
    let inputs: Vec<NamedTensor> = inputs.iter().map(named).collect();
    let mut answers = Vec::new();
    for kernels in [Kernels::Scalar, Kernels::Auto] {
        let session = Engine::new(kernels)?.prepare(std::sync::Arc::new(model.clone()))?;
        answers.push(session.run(&inputs)?);
    }
    assert_eq!(answers[0], answers[1], "the kernels differ");
    Ok(answers.remove(0).into_iter().map(|named| named.tensor).collect())
}
