//! Bytes of the canonical graph and of the weights.
//!
//! The graph is deterministic CBOR (shortest integers, definite lengths, no maps, no floats):
//!
//! ```text
//! graph     = ["nabla/graph", 2, [*symbol], [*port], [*output], [*weight], [*node]]
//! symbol    = [name, greatest size]
//! port      = [name, dtype code, [*dim]]          dim = size / name of a symbol / null (known in the run only)
//! output    = [port, ref]                         ref = 0 absent / 4 * index + 1 input, 2 weight, 3 value
//! weight    = [dtype code, [*size], offset]       offset in the weights' bytes, a multiple of 64
//! node      = [operator, [*ref], outputs, [*attribute]]
//! attribute = [name, kind, value]                 sorted by name
//!             kind 0 integer, 1 float as its bits, 2 text, 3 [*integer], 4 bytes (f32, little-endian), 5 [*text],
//!             6 body
//! body      = [inputs, [*ref], [*node]]           outputs, nodes; a ref of kind 2 is an input of the node (see `body`)
//! ```
//!
//! # When things go wrong
//! Lengths are checked before they are believed; [`crate::Model::from_parts`] encodes again and compares.

use std::sync::Arc;

use minicbor::{Decoder, Encoder};
use nabla_types::tensor::{Dtype, Tensor, TensorData, element_count};

use super::{Attribute, Attributes, BODIES_MAX, Body, Graph, Node, Ref, Symbol};
use crate::{Dim, Error, Fault, Limits, Port, ops};

const MAGIC: &str = "nabla/graph";
const VERSION: u64 = 2;
/// Weights start at multiples of this many bytes.
const ALIGNMENT: u64 = 64;
/// Bytes in front of each text.
const TEXT_HEAD: u64 = 4;

/// Type and place of a weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WeightHead {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<u64>,
    offset: u64,
}

type Sink = Encoder<Vec<u8>>;

/// The canonical bytes of a graph.
pub(crate) fn encode_graph(graph: &Graph, weights: &[WeightHead]) -> Vec<u8> {
    let mut sink = Encoder::new(Vec::new());
    let written: Result<(), Never> = write_graph(&mut sink, graph, weights);
    written.expect("writing to a Vec has no failure");
    sink.into_writer()
}

type Never = minicbor::encode::Error<std::convert::Infallible>;

/// Refuse a graph whose bytes are not the canonical ones.
pub(crate) fn check_canonical(graph: &Graph, weights: &[WeightHead], bytes: &[u8]) -> Result<(), Error> {
    if encode_graph(graph, weights) == bytes {
        return Ok(());
    }
    Err(not_canonical("the bytes that graph_bytes writes", "other bytes for the same graph"))
}

pub(crate) fn not_canonical(expected: &str, got: &str) -> Error {
    bad("the graph is not in its canonical encoding", expected, got)
}

/// Types and places of these weights.
pub(crate) fn heads(weights: &[Arc<Tensor>]) -> Vec<WeightHead> {
    let head = |(weight, offset): (&Arc<Tensor>, u64)| WeightHead {
        dtype: weight.dtype(),
        shape: weight.shape().to_vec(),
        offset,
    };
    weights.iter().zip(offsets(weights)).map(head).collect()
}

fn write_graph(e: &mut Sink, graph: &Graph, weights: &[WeightHead]) -> Result<(), Never> {
    e.array(7)?.str(MAGIC)?.u64(VERSION)?.array(graph.symbols.len() as u64)?;
    for symbol in &graph.symbols {
        e.array(2)?.str(&symbol.name)?.u64(symbol.max)?;
    }
    e.array(graph.inputs.len() as u64)?;
    graph.inputs.iter().try_for_each(|port| write_port(e, port))?;
    e.array(graph.outputs.len() as u64)?;
    for (port, source) in &graph.outputs {
        write_port(e.array(2)?, port)?;
        e.u64(ref_code(*source))?;
    }
    e.array(weights.len() as u64)?;
    for weight in weights {
        e.array(3)?.u8(weight.dtype.code())?.array(weight.shape.len() as u64)?;
        for size in &weight.shape {
            e.u64(*size)?;
        }
        e.u64(weight.offset)?;
    }
    e.array(graph.nodes.len() as u64)?;
    graph.nodes.iter().try_for_each(|node| write_node(e, node))
}

fn write_port(e: &mut Sink, port: &Port) -> Result<(), Never> {
    e.array(3)?.str(&port.name)?.u8(port.dtype.code())?.array(port.shape.len() as u64)?;
    for dim in &port.shape {
        match dim {
            Dim::Fixed(size) => e.u64(*size)?,
            Dim::Symbol(name) => e.str(name)?,
            Dim::Unknown => e.null()?,
        };
    }
    Ok(())
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
        Attribute::Graph(v) => return write_body(e.u8(6)?, v),
    };
    Ok(())
}

fn write_body(e: &mut Sink, body: &Body) -> Result<(), Never> {
    e.array(3)?.u32(body.inputs)?.array(body.graph.outputs.len() as u64)?;
    for (_, source) in &body.graph.outputs {
        e.u64(ref_code(*source))?;
    }
    e.array(body.graph.nodes.len() as u64)?;
    body.graph.nodes.iter().try_for_each(|node| write_node(e, node))
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
    let mut reader = Reader {
        d: Decoder::new(bytes),
        items_left: limits.tensors_max.saturating_mul(4),
        bodies: 0,
        limits,
    };
    reader.fixed(7)?;
    let magic = reader.text()?;
    let version = reader.uint()?;
    if magic != MAGIC || version != VERSION {
        let got = format!("{magic:?} version {version}");
        return Err(bad("unknown graph format", &format!("{MAGIC:?} version {VERSION}"), &got));
    }
    let symbols = reader.list(Reader::symbol)?;
    let inputs = reader.list(Reader::port)?;
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
    Ok((Graph { symbols, inputs, outputs, nodes, labels: Vec::new() }, weights))
}

struct Reader<'b> {
    d: Decoder<'b>,
    /// Entries of lists that may still be read: bounds memory by the limits, not by the input's claims.
    items_left: u64,
    /// Bodies around what is being read.
    bodies: usize,
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
        Dtype::from_code(code).ok_or_else(|| bad("unknown dtype code", "1 to 14", &code.to_string()))
    }

    fn symbol(&mut self) -> Result<Symbol, Error> {
        self.fixed(2)?;
        Ok(Symbol { name: self.text()?.into(), max: self.uint()? })
    }

    fn port(&mut self) -> Result<Port, Error> {
        self.fixed(3)?;
        let name = self.text()?.to_owned();
        let dtype = self.dtype()?;
        let shape = self.list(|r| match r.d.datatype() {
            Ok(minicbor::data::Type::Null) => r.d.null().map(|()| Dim::Unknown).map_err(|e| cbor("null", &e)),
            Ok(minicbor::data::Type::String) => r.text().map(|name| Dim::Symbol(name.into())),
            _ => r.uint().map(Dim::Fixed),
        })?;
        Limits::check("dimensions of a port", shape.len() as u64, self.limits.rank_max)?;
        Ok(Port { name, dtype, shape })
    }

    fn output(&mut self) -> Result<(Port, Ref), Error> {
        self.fixed(2)?;
        Ok((self.port()?, self.reference()?))
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
            6 => Attribute::Graph(Arc::new(self.body()?)),
            got => return Err(bad("unknown kind of attribute", "0 to 6", &got.to_string())),
        };
        Ok((name, value))
    }

    fn body(&mut self) -> Result<Body, Error> {
        self.bodies += 1;
        Limits::check("bodies inside each other", self.bodies as u64, BODIES_MAX as u64)?;
        self.fixed(3)?;
        let inputs = self.d.u32().map_err(|e| cbor("a count of inputs", &e))?;
        let outputs = self.list(Self::reference)?;
        let nodes = self.list(Self::node)?;
        self.bodies -= 1;
        Ok(Body::new(inputs, outputs, nodes, Vec::new()))
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
        *end = start + weight_length(weight);
        Some(start)
    })
}

/// Length of [`encode_weight`], in bytes.
pub(crate) fn weight_length(weight: &Tensor) -> u64 {
    match weight.data() {
        TensorData::String(texts) => texts.iter().map(|text| TEXT_HEAD + text.len() as u64).sum(),
        data => fixed_length(weight.dtype(), data.len() as u64),
    }
}

fn fixed_length(dtype: Dtype, elements: u64) -> u64 {
    elements.saturating_mul(dtype.size_bytes().unwrap_or(1) as u64)
}

/// Length of [`encode_weights`], in bytes.
pub(crate) fn weights_length(weights: &[Arc<Tensor>]) -> u64 {
    let last = weights.last().map_or(0, |weight| weight_length(weight));
    offsets(weights).last().unwrap_or(0) + last
}

/// All weights, aligned, zeros between. A text is its length (u32, little-endian) and its UTF-8.
pub(crate) fn encode_weights(weights: &[Arc<Tensor>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(usize::try_from(weights_length(weights)).unwrap_or(0));
    for (weight, offset) in weights.iter().zip(offsets(weights)) {
        bytes.resize(usize::try_from(offset).unwrap_or(usize::MAX), 0);
        bytes.extend(encode_weight(weight));
    }
    bytes
}

/// One weight, without padding.
pub(crate) fn encode_weight(weight: &Tensor) -> Vec<u8> {
    let TensorData::String(texts) = weight.data() else {
        return weight.data().to_le_bytes().expect("only texts have no fixed size");
    };
    let mut bytes = Vec::with_capacity(usize::try_from(weight_length(weight)).unwrap_or(0));
    for text in texts {
        bytes.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Cut the weights out of their bytes. Offsets must be the canonical ones and padding must be zero.
pub(crate) fn decode_weights(heads: &[WeightHead], bytes: &[u8]) -> Result<Vec<Arc<Tensor>>, Error> {
    let places = places(heads, bytes.len() as u64)?;
    let weights = heads.iter().zip(places).enumerate();
    weights
        .map(|(index, (head, place))| {
            let part = slice(bytes, place.start, place.end)?;
            Ok(Arc::new(decode_weight(index, head, &place, part)?))
        })
        .collect()
}

/// Where a weight lies in the bytes of all weights, with the padding behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// Bytes without padding; `None` for texts, whose length stands in themselves.
    pub(crate) length: Option<u64>,
    last: bool,
}

/// The place of every weight in `total` bytes. The places follow each other without gaps; those of fixed
/// length are as long as their types say.
pub(crate) fn places(heads: &[WeightHead], total: u64) -> Result<Vec<Place>, Error> {
    let first = heads.first().map_or(total, |head| head.offset);
    if first != 0 {
        return Err(bad(
            "weights have the wrong length",
            "weights from byte 0 to the end",
            &first.to_string(),
        ));
    }
    let mut places = Vec::with_capacity(heads.len());
    for (index, head) in heads.iter().enumerate() {
        let count = element_count(&head.shape).map_err(|e| constant(index, e.into()))?;
        let start = head.offset;
        let last = index + 1 == heads.len();
        let end = heads.get(index + 1).map_or(total, |next| next.offset);
        let length = (head.dtype != Dtype::String).then(|| fixed_length(head.dtype, count));
        let place = Place { start, end, length, last };
        if start > end || end > total {
            return Err(bad("weights are cut short", &format!("{end} bytes"), &total.to_string()));
        }
        if let Some(length) = length {
            place.check_length(length)?;
        }
        places.push(place);
    }
    Ok(places)
}

impl Place {
    /// Bytes with padding.
    pub(crate) fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Refuse a place that does not end where a weight of this length would.
    fn check_length(&self, length: u64) -> Result<(), Error> {
        let end = self.start.saturating_add(length);
        let expected = if self.last { Some(end) } else { end.checked_next_multiple_of(ALIGNMENT) };
        if expected == Some(self.end) {
            return Ok(());
        }
        let problem = if self.last { "weights have the wrong length" } else { "a weight is out of place" };
        Err(bad(problem, &expected.unwrap_or(u64::MAX).to_string(), &self.end.to_string()))
    }
}

/// A weight from the bytes of its place.
pub(crate) fn decode_weight(
    index: usize,
    head: &WeightHead,
    place: &Place,
    bytes: &[u8],
) -> Result<Tensor, Error> {
    let count = element_count(&head.shape).map_err(|e| constant(index, e.into()))?;
    let (data, length) = if head.dtype == Dtype::String {
        let (texts, length) = decode_texts(bytes, count)?;
        place.check_length(length)?;
        (Ok(TensorData::String(texts)), length)
    } else {
        let length = fixed_length(head.dtype, count);
        (TensorData::from_le_bytes(head.dtype, slice(bytes, 0, length)?), length)
    };
    check_padding(slice(bytes, length, bytes.len() as u64)?)?;
    let tensor = data.and_then(|data| Tensor::new(head.shape.clone(), data));
    tensor.map_err(|e| constant(index, e.into()))
}

/// Padding is zeros.
pub(crate) fn check_padding(padding: &[u8]) -> Result<(), Error> {
    if padding.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(bad("padding between weights", "zeros", "other bytes"))
}

/// A tensor from exactly the bytes that [`encode_weight`] wrote.
pub(crate) fn decode_tensor(dtype: Dtype, shape: Vec<u64>, bytes: &[u8]) -> Result<Tensor, Error> {
    let head = WeightHead { dtype, shape, offset: 0 };
    let places = places(std::slice::from_ref(&head), bytes.len() as u64)?;
    decode_weight(0, &head, &places[0], bytes)
}

fn constant(index: usize, fault: Fault) -> Error {
    Error::Constant { name: format!("weight {index}"), fault: fault.into() }
}

/// `count` texts from the front, and the bytes that they take.
fn decode_texts(bytes: &[u8], count: u64) -> Result<(Vec<String>, u64), Error> {
    let mut rest = bytes;
    let mut texts = Vec::new();
    for _ in 0..count {
        let cut =
            || bad("a text is cut short or not UTF-8", "a length and as many bytes", "fewer, or others");
        let (head, tail) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        let (text, tail) = tail.split_at_checked(length).ok_or_else(cut)?;
        texts.push(std::str::from_utf8(text).map_err(|_| cut())?.to_owned());
        rest = tail;
    }
    Ok((texts, (bytes.len() - rest.len()) as u64))
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
