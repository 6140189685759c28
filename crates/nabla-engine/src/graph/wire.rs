//! Bytes of the canonical graph and of the weights.
//!
//! The graph is deterministic CBOR (shortest integers, definite lengths, no maps, no floats):
//!
//! ```text
//! graph     = ["nabla/graph", 1, [*input], [*output], [*weight], [*node]]
//! input     = [name, dtype code, [*dim]]          dim = size / null (the batch)
//! output    = [name, ref]                         ref = 0 absent / 4 * index + 1 input, 2 weight, 3 value
//! weight    = [dtype code, [*size], offset]       offset in the weights' bytes, a multiple of 64
//! node      = [operator, [*ref], outputs, [*attribute]]
//! attribute = [name, kind, value]                 sorted by name
//!             kind 0 integer, 1 float as its bits, 2 text, 3 [*integer], 4 bytes (f32, little-endian), 5 [*text]
//! ```
//!
//! # When things go wrong
//! Lengths are checked before they are believed; [`crate::Model::from_parts`] encodes again and compares.

use std::sync::Arc;

use minicbor::{Decoder, Encoder};
use nabla_types::tensor::{Dtype, Tensor, TensorData, element_count};

use super::{Attribute, Attributes, Graph, Node, Ref};
use crate::{Dim, Error, Fault, Limits, Port, ops};

const MAGIC: &str = "nabla/graph";
const VERSION: u64 = 1;
/// Weights start at multiples of this many bytes.
const ALIGNMENT: u64 = 64;

/// Type and place of a weight.
#[derive(Debug)]
pub(crate) struct WeightHead {
    dtype: Dtype,
    shape: Vec<u64>,
    offset: u64,
}

type Sink = Encoder<Vec<u8>>;

/// The canonical bytes of a graph.
pub(crate) fn encode_graph(graph: &Graph, weights: &[Arc<Tensor>]) -> Vec<u8> {
    let mut sink = Encoder::new(Vec::new());
    let written: Result<(), Never> = write_graph(&mut sink, graph, weights);
    written.expect("writing to a Vec has no failure");
    sink.into_writer()
}

type Never = minicbor::encode::Error<std::convert::Infallible>;

fn write_graph(e: &mut Sink, graph: &Graph, weights: &[Arc<Tensor>]) -> Result<(), Never> {
    e.array(6)?.str(MAGIC)?.u64(VERSION)?.array(graph.inputs.len() as u64)?;
    for port in &graph.inputs {
        e.array(3)?.str(&port.name)?.u8(port.dtype.code())?.array(port.shape.len() as u64)?;
        for dim in &port.shape {
            match dim {
                Dim::Fixed(size) => e.u64(*size)?,
                Dim::Batch => e.null()?,
            };
        }
    }
    e.array(graph.outputs.len() as u64)?;
    for (name, source) in &graph.outputs {
        e.array(2)?.str(name)?.u64(ref_code(*source))?;
    }
    e.array(weights.len() as u64)?;
    for (weight, offset) in weights.iter().zip(offsets(weights)) {
        e.array(3)?.u8(weight.dtype().code())?.array(weight.shape().len() as u64)?;
        for size in weight.shape() {
            e.u64(*size)?;
        }
        e.u64(offset)?;
    }
    e.array(graph.nodes.len() as u64)?;
    graph.nodes.iter().try_for_each(|node| write_node(e, node))
}

fn write_node(e: &mut Sink, node: &Node) -> Result<(), Never> {
    e.array(4)?.str(node.operator.name)?.array(node.inputs.len() as u64)?;
    for input in &node.inputs {
        e.u64(ref_code(*input))?;
    }
    e.u32(node.outputs)?.array(node.attributes.iter().len() as u64)?;
    for (name, value) in node.attributes.iter() {
        e.array(3)?.str(name)?;
        write_attribute(e, value)?;
    }
    Ok(())
}

fn write_attribute(e: &mut Sink, value: &Attribute) -> Result<(), Never> {
    match value {
        Attribute::Int(v) => e.u8(0)?.i64(*v)?,
        Attribute::Float(v) => e.u8(1)?.u32(v.to_bits())?,
        Attribute::Text(v) => e.u8(2)?.str(v)?,
        Attribute::Ints(v) => {
            e.u8(3)?.array(v.len() as u64)?;
            for int in v {
                e.i64(*int)?;
            }
            e
        }
        Attribute::Floats(v) => {
            e.u8(4)?.bytes(&v.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())?
        }
        Attribute::Texts(v) => {
            e.u8(5)?.array(v.len() as u64)?;
            for text in v {
                e.str(text)?;
            }
            e
        }
    };
    Ok(())
}

fn ref_code(source: Ref) -> u64 {
    match source {
        Ref::Absent => 0,
        Ref::Input(index) => u64::from(index) * 4 + 1,
        Ref::Weight(index) => u64::from(index) * 4 + 2,
        Ref::Value(index) => u64::from(index) * 4 + 3,
    }
}

/// Read a graph; the caller checks that it was in canonical form.
pub(crate) fn decode_graph(bytes: &[u8], limits: &Limits) -> Result<(Graph, Vec<WeightHead>), Error> {
    let mut reader =
        Reader { d: Decoder::new(bytes), items_left: limits.tensors_max.saturating_mul(4), limits };
    reader.fixed(6)?;
    let magic = reader.text()?;
    let version = reader.uint()?;
    if magic != MAGIC || version != VERSION {
        let got = format!("{magic:?} version {version}");
        return Err(bad("unknown graph format", &format!("{MAGIC:?} version {VERSION}"), &got));
    }
    let inputs = reader.list(Reader::input)?;
    let outputs = reader.list(Reader::output)?;
    let weights = reader.list(Reader::weight)?;
    let nodes = reader.list(Reader::node)?;
    Limits::check("nodes of the graph", nodes.len() as u64, limits.nodes_max)?;
    if reader.d.position() != bytes.len() {
        return Err(bad(
            "bytes follow the graph",
            &bytes.len().to_string(),
            &reader.d.position().to_string(),
        ));
    }
    Ok((Graph { inputs, outputs, nodes }, weights))
}

struct Reader<'b> {
    d: Decoder<'b>,
    /// Entries of lists that may still be read: bounds memory by the limits, not by the input's claims.
    items_left: u64,
    limits: &'b Limits,
}

impl<'b> Reader<'b> {
    fn list<T>(&mut self, read: impl Fn(&mut Self) -> Result<T, Error>) -> Result<Vec<T>, Error> {
        let length = self.length()?;
        if length > self.items_left {
            return Err(Error::Limit { what: "entries of the graph", got: length, max: self.items_left });
        }
        self.items_left -= length;
        let mut entries = Vec::new();
        for _ in 0..length {
            entries.push(read(self)?);
        }
        Ok(entries)
    }

    fn length(&mut self) -> Result<u64, Error> {
        let length = self.d.array().map_err(|e| cbor("a list", &e))?;
        length.ok_or_else(|| bad("a list", "a known length", "an indefinite one"))
    }

    fn fixed(&mut self, expected: u64) -> Result<(), Error> {
        match self.length()? {
            got if got == expected => Ok(()),
            got => Err(bad("a list has the wrong length", &expected.to_string(), &got.to_string())),
        }
    }

    fn text(&mut self) -> Result<&'b str, Error> {
        self.d.str().map_err(|e| cbor("a text", &e))
    }

    fn uint(&mut self) -> Result<u64, Error> {
        self.d.u64().map_err(|e| cbor("an unsigned integer", &e))
    }

    fn int(&mut self) -> Result<i64, Error> {
        self.d.i64().map_err(|e| cbor("an integer", &e))
    }

    fn dtype(&mut self) -> Result<Dtype, Error> {
        let code = self.d.u8().map_err(|e| cbor("a dtype code", &e))?;
        Dtype::from_code(code).ok_or_else(|| bad("unknown dtype code", "1 to 8", &code.to_string()))
    }

    fn input(&mut self) -> Result<Port, Error> {
        self.fixed(3)?;
        let name = self.text()?.to_owned();
        let dtype = self.dtype()?;
        let shape = self.list(|r| match r.d.datatype() {
            Ok(minicbor::data::Type::Null) => r.d.null().map(|()| Dim::Batch).map_err(|e| cbor("null", &e)),
            _ => r.uint().map(Dim::Fixed),
        })?;
        Ok(Port { name, dtype, shape })
    }

    fn output(&mut self) -> Result<(String, Ref), Error> {
        self.fixed(2)?;
        Ok((self.text()?.to_owned(), self.reference()?))
    }

    fn reference(&mut self) -> Result<Ref, Error> {
        let code = self.uint()?;
        let index = u32::try_from(code / 4).ok();
        match (code % 4, index) {
            (0, Some(0)) => Ok(Ref::Absent),
            (1, Some(index)) => Ok(Ref::Input(index)),
            (2, Some(index)) => Ok(Ref::Weight(index)),
            (3, Some(index)) => Ok(Ref::Value(index)),
            _ => Err(bad("a reference is malformed", "0 or 4 * index + kind", &code.to_string())),
        }
    }

    fn weight(&mut self) -> Result<WeightHead, Error> {
        self.fixed(3)?;
        let dtype = self.dtype()?;
        let shape = self.list(Self::uint)?;
        Limits::check("dimensions of a weight", shape.len() as u64, self.limits.rank_max)?;
        Ok(WeightHead { dtype, shape, offset: self.uint()? })
    }

    fn node(&mut self) -> Result<Node, Error> {
        self.fixed(4)?;
        let name = self.text()?;
        let operator = ops::find(name)
            .ok_or_else(|| bad("unknown operator", &crate::supported_operators().join(", "), name))?;
        let inputs = self.list(Self::reference)?;
        let outputs = self.d.u32().map_err(|e| cbor("a count of outputs", &e))?;
        let mut attributes = Attributes::default();
        let mut previous: Option<&str> = None;
        for (name, value) in self.list(Self::attribute)? {
            if previous.is_some_and(|previous| previous >= name) {
                return Err(bad("attributes are not sorted", "names in order, each once", name));
            }
            attributes.insert(name, value).map_err(|_| bad("attributes", "each name once", name))?;
            previous = Some(name);
        }
        Ok(Node { operator, inputs, outputs, attributes })
    }

    fn attribute(&mut self) -> Result<(&'b str, Attribute), Error> {
        self.fixed(3)?;
        let name = self.text()?;
        let value = match self.uint()? {
            0 => Attribute::Int(self.int()?),
            1 => Attribute::Float(f32::from_bits(self.d.u32().map_err(|e| cbor("bits of a float", &e))?)),
            2 => Attribute::Text(self.text()?.to_owned()),
            3 => Attribute::Ints(self.list(Self::int)?),
            4 => Attribute::Floats(self.floats()?),
            5 => Attribute::Texts(self.list(|r| r.text().map(str::to_owned))?),
            got => return Err(bad("unknown kind of attribute", "0 to 5", &got.to_string())),
        };
        Ok((name, value))
    }

    fn floats(&mut self) -> Result<Vec<f32>, Error> {
        let bytes = self.d.bytes().map_err(|e| cbor("bytes", &e))?;
        match bytes.as_chunks::<4>() {
            (chunks, []) => Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()),
            _ => Err(bad("floats are cut", "a multiple of 4 bytes", &bytes.len().to_string())),
        }
    }
}

/// Where each weight starts.
fn offsets(weights: &[Arc<Tensor>]) -> impl Iterator<Item = u64> + '_ {
    weights.iter().scan(0_u64, |end, weight| {
        let start = end.next_multiple_of(ALIGNMENT);
        *end = start + weight_length(weight.dtype(), weight.data().len() as u64);
        Some(start)
    })
}

fn weight_length(dtype: Dtype, elements: u64) -> u64 {
    elements.saturating_mul(dtype.size_bytes().unwrap_or(1) as u64)
}

/// Length of [`encode_weights`], in bytes.
pub(crate) fn weights_length(weights: &[Arc<Tensor>]) -> u64 {
    let last = weights.last().map_or(0, |weight| weight_length(weight.dtype(), weight.data().len() as u64));
    offsets(weights).last().unwrap_or(0) + last
}

/// All weights, aligned, zeros between.
pub(crate) fn encode_weights(weights: &[Arc<Tensor>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::try_from(weights_length(weights)).unwrap_or(0));
    for (weight, offset) in weights.iter().zip(offsets(weights)) {
        bytes.resize(usize::try_from(offset).unwrap_or(usize::MAX), 0);
        bytes.extend(weight.data().to_le_bytes().expect("the graph holds no string weights"));
    }
    bytes
}

/// Cut the weights out of their bytes. Offsets must be the canonical ones and padding must be zero.
pub(crate) fn decode_weights(heads: &[WeightHead], bytes: &[u8]) -> Result<Vec<Arc<Tensor>>, Error> {
    let mut end = 0_u64;
    let mut weights = Vec::new();
    for (index, head) in heads.iter().enumerate() {
        let constant =
            |fault: Fault| Error::Constant { name: format!("weight {index}"), fault: fault.into() };
        let count = element_count(&head.shape).map_err(|e| constant(e.into()))?;
        let start = end.next_multiple_of(ALIGNMENT);
        if head.offset != start {
            return Err(bad("a weight is out of place", &start.to_string(), &head.offset.to_string()));
        }
        let padding = slice(bytes, end, start)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(bad("padding between weights", "zeros", "other bytes"));
        }
        end = start.saturating_add(weight_length(head.dtype, count));
        let data = TensorData::from_le_bytes(head.dtype, slice(bytes, start, end)?);
        let tensor = data.and_then(|data| Tensor::new(head.shape.clone(), data));
        weights.push(Arc::new(tensor.map_err(|e| constant(e.into()))?));
    }
    if end != bytes.len() as u64 {
        return Err(bad("weights have the wrong length", &end.to_string(), &bytes.len().to_string()));
    }
    Ok(weights)
}

fn slice(bytes: &[u8], start: u64, end: u64) -> Result<&[u8], Error> {
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    range
        .and_then(|(start, end)| bytes.get(start..end))
        .ok_or_else(|| bad("weights are cut short", &format!("{end} bytes"), &bytes.len().to_string()))
}

fn bad(problem: &'static str, expected: &str, got: &str) -> Error {
    Error::Bytes { problem, expected: expected.to_owned(), got: got.chars().take(80).collect() }
}

fn cbor(expected: &str, error: &minicbor::decode::Error) -> Error {
    bad("the graph is not valid CBOR of its kind", expected, &error.to_string())
}
