//! A writer of small ONNX files: what no exporter would write must be written by hand.

use nabla_engine::{Engine, Error, Kernels, Limits, Model, NoExternalData, Runtime, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor};

/// Numbers of ONNX element types.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const INT64: u64 = 7;
pub(crate) const BOOL: u64 = 9;

/// A file in the making; parts are kept in wire format.
#[derive(Debug, Clone, Default)]
pub(crate) struct File {
    graph: Vec<u8>,
    /// Fields of the model beside version, graph and the operator set of ONNX.
    extra: Vec<u8>,
}

impl File {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// An input; a dimension that is no number is a name.
    pub(crate) fn input(mut self, name: &str, elem_type: u64, dims: &[&str]) -> Self {
        let dim = |dim: &&str| match dim.parse::<u64>() {
            Ok(size) => bytes(1, &int(1, size)),
            Err(_) => bytes(1, &text(2, dim)),
        };
        let shape: Vec<u8> = dims.iter().flat_map(dim).collect();
        let ty = bytes(1, &[int(1, elem_type), bytes(2, &shape)].concat());
        self.graph.extend(bytes(11, &[text(1, name), bytes(2, &ty)].concat()));
        self
    }

    pub(crate) fn output(mut self, name: &str, elem_type: u64) -> Self {
        let ty = bytes(1, &int(1, elem_type));
        self.graph.extend(bytes(12, &[text(1, name), bytes(2, &ty)].concat()));
        self
    }

    /// A node named `name`, with attributes as [`int_attribute`] and its like write them.
    pub(crate) fn node(
        mut self,
        name: &str,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) -> Self {
        self.graph.extend(bytes(1, &node(name, operator, "", inputs, outputs, attributes)));
        self
    }

    /// An initializer of integers.
    pub(crate) fn integers(self, name: &str, values: &[i64]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.part(5, &[int(1, values.len() as u64), int(2, INT64), text(8, name), bytes(9, &raw)].concat())
    }

    /// A part of the graph that the other methods do not write.
    pub(crate) fn part(mut self, number: u64, value: &[u8]) -> Self {
        self.graph.extend(bytes(number, value));
        self
    }

    /// Parts of the graph that are written already.
    pub(crate) fn append(mut self, parts: &[u8]) -> Self {
        self.graph.extend(parts);
        self
    }

    /// A part of the model that the other methods do not write.
    pub(crate) fn extra(mut self, part: &[u8]) -> Self {
        self.extra.extend(part);
        self
    }

    /// The graph as it stands in an attribute.
    pub(crate) fn subgraph(&self, name: &str) -> Vec<u8> {
        [text(1, name), bytes(6, &self.graph), int(20, 5)].concat()
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        [int(1, 8), self.extra.clone(), bytes(7, &self.graph), bytes(8, &int(2, 17))].concat()
    }

    pub(crate) fn import(&self, limits: &Limits) -> Result<Model, Error> {
        import_onnx(&self.build(), &NoExternalData, limits)
    }

    pub(crate) fn run(&self, limits: &Limits, inputs: &[NamedTensor]) -> Result<Vec<NamedTensor>, Error> {
        Engine::new(Kernels::Auto)?.prepare(self.import(limits)?.into())?.run(inputs)
    }
}

/// The bytes of a node.
pub(crate) fn node(
    name: &str,
    operator: &str,
    domain: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Vec<u8>],
) -> Vec<u8> {
    let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
    node.extend(outputs.iter().flat_map(|name| text(2, name)));
    node.extend([text(3, name), text(4, operator), text(7, domain)].concat());
    node.extend(attributes.iter().flat_map(|attribute| bytes(5, attribute)));
    node
}

pub(crate) fn int_attribute(name: &str, value: i64) -> Vec<u8> {
    [text(1, name), int(3, value.cast_unsigned()), int(20, 2)].concat()
}

pub(crate) fn ints_attribute(name: &str, values: &[i64]) -> Vec<u8> {
    let list: Vec<u8> = values.iter().flat_map(|value| int(8, value.cast_unsigned())).collect();
    [text(1, name), list, int(20, 7)].concat()
}

/// A scalar initializer.
pub(crate) fn scalar(name: &str, value: i64) -> Vec<u8> {
    [int(2, INT64), text(8, name), bytes(9, &value.to_le_bytes())].concat()
}

/// A scalar truth value as an initializer.
pub(crate) fn truth(name: &str, value: bool) -> Vec<u8> {
    [int(2, BOOL), text(8, name), bytes(9, &[u8::from(value)])].concat()
}

pub(crate) fn integers(name: &str, values: &[i64]) -> NamedTensor {
    NamedTensor::new(name, Tensor::i64(&[values.len() as u64], values.to_vec()).unwrap())
}

pub(crate) fn floats(name: &str, shape: &[u64]) -> NamedTensor {
    let count = usize::try_from(shape.iter().product::<u64>()).unwrap();
    let values = (0..count).map(|index| index as f32 * 0.25 - 1.0).collect();
    NamedTensor::new(name, Tensor::f32(shape, values).unwrap())
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
