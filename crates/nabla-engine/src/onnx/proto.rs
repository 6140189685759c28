//! The messages of ONNX that matter, read in place.
//!
//! A field that may stand once and stands twice is refused: protobuf would let the last one win or merge
//! them, and two readers could see two models in one file.

use nabla_types::tensor::{Dtype, Tensor, TensorData, element_count};

use super::external::ExternalData;
use super::wire::{Fields, Value};
use crate::{Error, Fault, Limits};

/// A model: opsets and one graph.
#[derive(Debug)]
pub(super) struct ModelProto<'a> {
    pub(super) opsets: Vec<(&'a str, i64)>,
    pub(super) graph: GraphProto<'a>,
    pub(super) functions: Vec<FunctionProto<'a>>,
}

/// A function of the file: nodes that stand for a call.
#[derive(Debug, Default)]
pub(super) struct FunctionProto<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) nodes: Vec<NodeProto<'a>>,
    pub(super) opsets: Vec<(&'a str, i64)>,
    /// Attributes with a default.
    pub(super) defaults: Vec<AttributeProto<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct GraphProto<'a> {
    pub(super) nodes: Vec<NodeProto<'a>>,
    pub(super) initializers: Vec<TensorProto<'a>>,
    pub(super) inputs: Vec<ValueProto<'a>>,
    pub(super) outputs: Vec<ValueProto<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct NodeProto<'a> {
    pub(super) name: &'a str,
    pub(super) op_type: &'a str,
    pub(super) domain: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: Vec<AttributeProto<'a>>,
}

#[derive(Debug)]
pub(crate) struct AttributeProto<'a> {
    pub(super) name: &'a str,
    pub(super) value: AttributeValue<'a>,
}

#[derive(Debug)]
pub(super) enum AttributeValue<'a> {
    Int(i64),
    Float(f32),
    Text(&'a str),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<&'a str>),
    Tensor(Box<TensorProto<'a>>),
    Graph(Box<GraphProto<'a>>),
    /// The attribute of this name at the call of the function.
    Reference(&'a str),
}

/// A tensor whose elements have not been copied yet.
#[derive(Debug, Default)]
pub(super) struct TensorProto<'a> {
    pub(super) name: &'a str,
    dims: Vec<i64>,
    data_type: u64,
    raw: Option<&'a [u8]>,
    floats: Vec<f32>,
    doubles: Vec<f64>,
    /// `int32_data`, which also holds narrower integers and truth values.
    narrow: Vec<i64>,
    wide: Vec<i64>,
    /// `uint64_data`: the bits of u64, which also holds u32.
    unsigned: Vec<i64>,
    texts: Vec<&'a [u8]>,
    external: Vec<(&'a str, &'a str)>,
    location: i64,
}

#[derive(Debug, Default)]
pub(super) struct ValueProto<'a> {
    pub(super) name: &'a str,
    pub(super) ty: Option<TypeProto<'a>>,
}

#[derive(Debug, Default)]
pub(super) struct TypeProto<'a> {
    pub(super) elem_type: u64,
    pub(super) dims: Option<Vec<DimProto<'a>>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum DimProto<'a> {
    Size(i64),
    Named(&'a str),
    Open,
}

/// Our type for an ONNX type number.
pub(crate) fn dtype(number: u64) -> Option<Dtype> {
    match number {
        1 => Some(Dtype::F32),
        2 => Some(Dtype::U8),
        3 => Some(Dtype::I8),
        6 => Some(Dtype::I32),
        7 => Some(Dtype::I64),
        8 => Some(Dtype::String),
        9 => Some(Dtype::Bool),
        4 => Some(Dtype::U16),
        5 => Some(Dtype::I16),
        10 => Some(Dtype::F16),
        11 => Some(Dtype::F64),
        12 => Some(Dtype::U32),
        13 => Some(Dtype::U64),
        16 => Some(Dtype::BF16),
        _ => None,
    }
}

pub(super) fn dtype_or_error(number: u64, name: &str) -> Result<Dtype, Error> {
    dtype(number).ok_or_else(|| Error::Unsupported {
        what: "element type",
        got: format!("number {number} of {name:?}"),
        hint: "export with FLOAT, DOUBLE, FLOAT16, BFLOAT16, INT8 to INT64, UINT8 to UINT64, BOOL or STRING",
    })
}

/// Reads messages and keeps count of what they store.
struct Reader<'l> {
    /// Entries of repeated fields that may still be stored.
    entries_left: u64,
    /// Integers of lists that may still be stored.
    integers_left: u64,
    /// Graphs inside graphs.
    depth: u64,
    limits: &'l Limits,
}

/// Read a model. Elements of tensors stay where they are.
pub(super) fn read_model<'a>(bytes: &'a [u8], limits: &Limits) -> Result<ModelProto<'a>, Error> {
    if bytes.is_empty() {
        return Err(Error::Onnx { context: "file", problem: "it is empty".to_owned() });
    }
    // A node with its names and attributes takes a handful of entries.
    let entries_left = limits.tensors_max.saturating_mul(4);
    let mut reader = Reader { entries_left, integers_left: limits.elements_max / 4, depth: 0, limits };
    let mut fields = Fields::new(bytes, "ModelProto");
    let (mut opsets, mut graph, mut version, mut functions) = (Vec::new(), None, None, Vec::new());
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => once(&mut version, fields.int(value)?, &fields, "ir_version")?,
            7 => once(&mut graph, fields.bytes(value)?, &fields, "graph")?,
            8 => {
                reader.count(1)?;
                opsets.push(read_opset(fields.bytes(value)?)?);
            }
            25 => {
                reader.count(1)?;
                functions.push(reader.function(fields.bytes(value)?)?);
            }
            _ => {}
        }
    }
    let (Some(_), Some(graph)) = (version, graph) else {
        let problem = "it has no ir_version or no graph".to_owned();
        return Err(Error::Onnx { context: "ModelProto", problem });
    };
    Ok(ModelProto { opsets, graph: reader.graph(graph)?, functions })
}

fn read_opset(bytes: &[u8]) -> Result<(&str, i64), Error> {
    let mut fields = Fields::new(bytes, "OperatorSetIdProto");
    let (mut domain, mut version) = (None, None);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => once(&mut domain, fields.text(value)?, &fields, "domain")?,
            2 => once(&mut version, fields.int(value)?, &fields, "version")?,
            _ => {}
        }
    }
    Ok((domain.unwrap_or_default(), version.unwrap_or_default()))
}

impl Reader<'_> {
    fn count(&mut self, entries: u64) -> Result<(), Error> {
        match self.entries_left.checked_sub(entries) {
            Some(left) => {
                self.entries_left = left;
                Ok(())
            }
            None => {
                let max = self.limits.tensors_max.saturating_mul(4);
                Err(Error::Limit {
                    what: "nodes, names, tensors and attributes of the file",
                    got: max + 1,
                    max,
                })
            }
        }
    }

    fn graph<'a>(&mut self, bytes: &'a [u8]) -> Result<GraphProto<'a>, Error> {
        let mut graph = GraphProto::default();
        let mut fields = Fields::new(bytes, "GraphProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => {
                    Limits::check("nodes of the graph", graph.nodes.len() as u64 + 1, self.limits.nodes_max)?;
                    graph.nodes.push(self.node(fields.bytes(value)?)?);
                }
                5 => {
                    let count = graph.initializers.len() as u64 + 1;
                    Limits::check("tensors of the graph", count, self.limits.tensors_max)?;
                    graph.initializers.push(self.tensor(fields.bytes(value)?)?);
                }
                11 => graph.inputs.push(self.value(fields.bytes(value)?)?),
                12 => graph.outputs.push(self.value(fields.bytes(value)?)?),
                15 => return Err(refused("a sparse initializer", "store it as a dense tensor")),
                _ => {}
            }
        }
        Ok(graph)
    }

    fn subgraph<'a>(&mut self, bytes: &'a [u8]) -> Result<GraphProto<'a>, Error> {
        Limits::check("graphs inside each other", self.depth + 1, self.limits.nesting_max)?;
        self.depth += 1;
        let graph = self.graph(bytes);
        self.depth -= 1;
        graph
    }

    fn function<'a>(&mut self, bytes: &'a [u8]) -> Result<FunctionProto<'a>, Error> {
        let (mut name, mut domain) = (None, None);
        let mut function = FunctionProto::default();
        let mut fields = Fields::new(bytes, "FunctionProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut name, fields.text(value)?, &fields, "name")?,
                4 | 5 => {
                    self.count(1)?;
                    let names = if number == 4 { &mut function.inputs } else { &mut function.outputs };
                    names.push(fields.text(value)?);
                }
                7 => {
                    let count = function.nodes.len() as u64 + 1;
                    Limits::check("nodes of a function", count, self.limits.nodes_max)?;
                    function.nodes.push(self.node(fields.bytes(value)?)?);
                }
                9 => {
                    self.count(1)?;
                    function.opsets.push(read_opset(fields.bytes(value)?)?);
                }
                10 => once(&mut domain, fields.text(value)?, &fields, "domain")?,
                11 => function.defaults.push(self.attribute(fields.bytes(value)?)?),
                13 if !fields.bytes(value)?.is_empty() => {
                    return Err(refused("an overloaded function", "inline functions before export"));
                }
                _ => {}
            }
        }
        function.name = name.unwrap_or_default();
        function.domain = domain.unwrap_or_default();
        Ok(function)
    }

    fn node<'a>(&mut self, bytes: &'a [u8]) -> Result<NodeProto<'a>, Error> {
        self.count(1)?;
        let (mut name, mut op_type, mut domain) = (None, None, None);
        let mut node = NodeProto::default();
        let mut fields = Fields::new(bytes, "NodeProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 | 2 => {
                    self.count(1)?;
                    let names = if number == 1 { &mut node.inputs } else { &mut node.outputs };
                    names.push(fields.text(value)?);
                }
                3 => once(&mut name, fields.text(value)?, &fields, "name")?,
                4 => once(&mut op_type, fields.text(value)?, &fields, "op_type")?,
                5 => {
                    /// No operator has nearly as many; a longer list only costs time.
                    const ATTRIBUTES_MAX: u64 = 64;
                    let count = node.attributes.len() as u64 + 1;
                    Limits::check("attributes of a node", count, ATTRIBUTES_MAX)?;
                    node.attributes.push(self.attribute(fields.bytes(value)?)?);
                }
                7 => once(&mut domain, fields.text(value)?, &fields, "domain")?,
                8 if !fields.bytes(value)?.is_empty() => {
                    return Err(refused("an overloaded operator", "inline functions before export"));
                }
                _ => {}
            }
        }
        node.name = name.unwrap_or_default();
        node.op_type = op_type.unwrap_or_default();
        node.domain = domain.unwrap_or_default();
        Ok(node)
    }

    fn attribute<'a>(&mut self, bytes: &'a [u8]) -> Result<AttributeProto<'a>, Error> {
        self.count(1)?;
        let mut parts = AttributeParts::default();
        let mut fields = Fields::new(bytes, "AttributeProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut parts.name, fields.text(value)?, &fields, "name")?,
                2 => once(&mut parts.float, one_float(&fields, value)?, &fields, "f")?,
                3 => once(&mut parts.int, fields.int(value)?, &fields, "i")?,
                4 => once(&mut parts.text, fields.text(value)?, &fields, "s")?,
                5 => once(&mut parts.tensor, self.tensor(fields.bytes(value)?)?, &fields, "t")?,
                7 => fields.floats(value, &mut parts.floats)?,
                8 => fields.ints(value, &mut parts.ints, &mut self.integers_left)?,
                9 => {
                    self.count(1)?;
                    parts.texts.push(fields.text(value)?);
                }
                20 => once(&mut parts.kind, fields.int(value)?, &fields, "type")?,
                6 => once(&mut parts.graph, self.subgraph(fields.bytes(value)?)?, &fields, "g")?,
                11 => return Err(refused("a list of graphs as attribute", "export without control flow")),
                10 | 14 | 15 | 22 | 23 => {
                    return Err(refused("an attribute of types or sparse tensors", "use plain operators"));
                }
                21 if !fields.bytes(value)?.is_empty() => {
                    once(&mut parts.reference, fields.text(value)?, &fields, "ref_attr_name")?;
                }
                _ => {}
            }
        }
        parts.finish(&fields)
    }

    fn tensor<'a>(&mut self, bytes: &'a [u8]) -> Result<TensorProto<'a>, Error> {
        self.count(1)?;
        let mut tensor = TensorProto::default();
        let (mut name, mut data_type, mut raw, mut location) = (None, None, None, None);
        let mut fields = Fields::new(bytes, "TensorProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => fields.ints(value, &mut tensor.dims, &mut (self.limits.rank_max + 1))?,
                2 => once(&mut data_type, fields.int(value)?, &fields, "data_type")?,
                3 => return Err(refused("a tensor in segments", "store it in one piece")),
                4 => fields.floats(value, &mut tensor.floats)?,
                5 => fields.ints(value, &mut tensor.narrow, &mut self.integers_left)?,
                6 => {
                    self.count(1)?;
                    tensor.texts.push(fields.bytes(value)?);
                }
                7 => fields.ints(value, &mut tensor.wide, &mut self.integers_left)?,
                8 => once(&mut name, fields.text(value)?, &fields, "name")?,
                9 => once(&mut raw, fields.bytes(value)?, &fields, "raw_data")?,
                10 => fields.doubles(value, &mut tensor.doubles)?,
                11 => fields.ints(value, &mut tensor.unsigned, &mut self.integers_left)?,
                13 => {
                    self.count(1)?;
                    tensor.external.push(read_entry(fields.bytes(value)?)?);
                }
                14 => once(&mut location, fields.int(value)?, &fields, "data_location")?,
                _ => {}
            }
            Limits::check("dimensions of a tensor", tensor.dims.len() as u64, self.limits.rank_max)?;
        }
        tensor.name = name.unwrap_or_default();
        tensor.data_type = data_type.unwrap_or_default().cast_unsigned();
        tensor.raw = raw.filter(|raw| !raw.is_empty());
        tensor.location = location.unwrap_or_default();
        Ok(tensor)
    }

    fn value<'a>(&mut self, bytes: &'a [u8]) -> Result<ValueProto<'a>, Error> {
        self.count(1)?;
        let (mut name, mut ty) = (None, None);
        let mut fields = Fields::new(bytes, "ValueInfoProto");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut name, fields.text(value)?, &fields, "name")?,
                2 => once(&mut ty, fields.bytes(value)?, &fields, "type")?,
                _ => {}
            }
        }
        let name = name.unwrap_or_default();
        let mut tensor = None;
        let mut fields = Fields::new(ty.unwrap_or_default(), "TypeProto");
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                once(&mut tensor, fields.bytes(value)?, &fields, "tensor_type")?;
            }
        }
        Ok(ValueProto { name, ty: tensor.map(|tensor| self.tensor_type(tensor)).transpose()? })
    }

    fn tensor_type<'a>(&mut self, bytes: &'a [u8]) -> Result<TypeProto<'a>, Error> {
        let (mut elem_type, mut shape) = (None, None);
        let mut fields = Fields::new(bytes, "TypeProto.Tensor");
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => once(&mut elem_type, fields.int(value)?, &fields, "elem_type")?,
                2 => once(&mut shape, fields.bytes(value)?, &fields, "shape")?,
                _ => {}
            }
        }
        let dims = shape.map(|shape| self.dims(shape)).transpose()?;
        Ok(TypeProto { elem_type: elem_type.unwrap_or_default().cast_unsigned(), dims })
    }

    fn dims<'a>(&mut self, bytes: &'a [u8]) -> Result<Vec<DimProto<'a>>, Error> {
        let mut dims = Vec::new();
        let mut fields = Fields::new(bytes, "TensorShapeProto");
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                Limits::check("dimensions of a value", dims.len() as u64 + 1, self.limits.rank_max)?;
                dims.push(read_dim(fields.bytes(value)?)?);
            }
        }
        Ok(dims)
    }
}

fn read_dim(bytes: &[u8]) -> Result<DimProto<'_>, Error> {
    let mut dim = None;
    let mut fields = Fields::new(bytes, "TensorShapeProto.Dimension");
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => once(&mut dim, DimProto::Size(fields.int(value)?), &fields, "value")?,
            2 => once(&mut dim, DimProto::Named(fields.text(value)?), &fields, "value")?,
            _ => {}
        }
    }
    Ok(match dim {
        Some(DimProto::Named("")) | None => DimProto::Open,
        Some(dim) => dim,
    })
}

fn read_entry(bytes: &[u8]) -> Result<(&str, &str), Error> {
    let (mut key, mut text) = (None, None);
    let mut fields = Fields::new(bytes, "StringStringEntryProto");
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => once(&mut key, fields.text(value)?, &fields, "key")?,
            2 => once(&mut text, fields.text(value)?, &fields, "value")?,
            _ => {}
        }
    }
    Ok((key.unwrap_or_default(), text.unwrap_or_default()))
}

#[derive(Default)]
struct AttributeParts<'a> {
    name: Option<&'a str>,
    kind: Option<i64>,
    float: Option<f32>,
    int: Option<i64>,
    text: Option<&'a str>,
    tensor: Option<TensorProto<'a>>,
    graph: Option<GraphProto<'a>>,
    reference: Option<&'a str>,
    floats: Vec<f32>,
    ints: Vec<i64>,
    texts: Vec<&'a str>,
}

impl<'a> AttributeParts<'a> {
    /// The one value that the attribute's type names; a value of another type beside it is refused.
    fn finish(self, fields: &Fields<'a>) -> Result<AttributeProto<'a>, Error> {
        let name = self.name.unwrap_or_default();
        let kind = self.kind.unwrap_or_default();
        let given = [
            (1, self.float.is_some()),
            (2, self.int.is_some()),
            (3, self.text.is_some()),
            (4, self.tensor.is_some()),
            (5, self.graph.is_some()),
            (6, !self.floats.is_empty()),
            (7, !self.ints.is_empty()),
            (8, !self.texts.is_empty()),
        ];
        // Writers may put a zero where nothing is meant, so a zero of another type is no contradiction.
        let is_zero = |other: i64| match other {
            1 => self.float.is_none_or(|float| float.to_bits() == 0),
            2 => self.int == Some(0),
            3 => self.text == Some(""),
            _ => false,
        };
        if let Some((other, _)) =
            given.iter().find(|(other, given)| *given && *other != kind && !is_zero(*other))
        {
            return Err(
                fields.error(format!("attribute {name:?} of type {kind} also has a value of type {other}"))
            );
        }
        if let Some(reference) = self.reference {
            if given.iter().any(|(_, given)| *given) {
                return Err(fields.error(format!("attribute {name:?} is a value and a reference")));
            }
            return Ok(AttributeProto { name, value: AttributeValue::Reference(reference) });
        }
        let value = match kind {
            1 => AttributeValue::Float(self.float.unwrap_or_default()),
            2 => AttributeValue::Int(self.int.unwrap_or_default()),
            3 => AttributeValue::Text(self.text.unwrap_or_default()),
            4 => AttributeValue::Tensor(Box::new(self.tensor.unwrap_or_default())),
            5 => AttributeValue::Graph(Box::new(self.graph.unwrap_or_default())),
            6 => AttributeValue::Floats(self.floats),
            7 => AttributeValue::Ints(self.ints),
            8 => AttributeValue::Texts(self.texts),
            got => {
                return Err(fields.error(format!("attribute {name:?} has type {got}, expected 1 to 8")));
            }
        };
        Ok(AttributeProto { name, value })
    }
}

impl TensorProto<'_> {
    /// Copy the elements out, after shape and lengths were found to agree and to fit into `bytes_max`.
    pub(super) fn read(&self, external: &dyn ExternalData, bytes_max: u64) -> Result<Tensor, Error> {
        let dtype = dtype_or_error(self.data_type, self.name)?;
        let fail = |fault: Fault| Error::Constant {
            name: self.name.chars().take(80).collect(),
            fault: fault.into(),
        };
        let shape = self.shape().map_err(fail)?;
        let count = element_count(&shape).map_err(|error| fail(error.into()))?;
        let bytes = count.saturating_mul(dtype.size_bytes().unwrap_or(1) as u64);
        Limits::check("bytes of constants", bytes, bytes_max)?;
        self.check_one_source().map_err(fail)?;
        let data = if self.location == 1 {
            let bytes = self.read_external(external, bytes)?;
            TensorData::from_le_bytes(dtype, &bytes).map_err(|error| fail(error.into()))?
        } else if let Some(raw) = self.raw {
            TensorData::from_le_bytes(dtype, raw).map_err(|error| fail(error.into()))?
        } else {
            self.typed(dtype).map_err(fail)?
        };
        Tensor::new(shape, data).map_err(|error| fail(error.into()))
    }

    fn shape(&self) -> Result<Vec<u64>, Fault> {
        let size = |dim: &i64| {
            u64::try_from(*dim).map_err(|_| Fault::Shape {
                what: "shape of a constant",
                expected: "sizes from 0".to_owned(),
                got: dim.to_string(),
            })
        };
        self.dims.iter().map(size).collect()
    }

    /// Two places for one value are two models in one file.
    fn check_one_source(&self) -> Result<(), Fault> {
        let given = [
            self.raw.is_some(),
            !self.floats.is_empty(),
            !self.doubles.is_empty(),
            !self.narrow.is_empty(),
            !self.wide.is_empty(),
            !self.unsigned.is_empty(),
            !self.texts.is_empty(),
            self.location == 1,
        ];
        let count = given.iter().filter(|given| **given).count();
        if count > 1 || !(0..=1).contains(&self.location) || (self.location == 0 && !self.external.is_empty())
        {
            let problem = "its value is given in more than one place".to_owned();
            return Err(Fault::Table { what: "constant", problem });
        }
        Ok(())
    }

    fn typed(&self, dtype: Dtype) -> Result<TensorData, Fault> {
        let out_of_range = || Fault::Table {
            what: "int32_data",
            problem: format!("expected integers of {dtype}, got one out of range"),
        };
        let data = match dtype {
            Dtype::F32 => TensorData::F32(self.floats.clone()),
            Dtype::F64 => TensorData::F64(self.doubles.clone()),
            Dtype::I64 => TensorData::I64(self.wide.clone()),
            Dtype::I32 => TensorData::I32(narrowed(&self.narrow).ok_or_else(out_of_range)?),
            Dtype::I8 => TensorData::I8(narrowed(&self.narrow).ok_or_else(out_of_range)?),
            Dtype::U8 => TensorData::U8(narrowed(&self.narrow).ok_or_else(out_of_range)?),
            Dtype::I16 => TensorData::I16(narrowed(&self.narrow).ok_or_else(out_of_range)?),
            Dtype::U16 => TensorData::U16(narrowed(&self.narrow).ok_or_else(out_of_range)?),
            Dtype::U32 => TensorData::U32(narrowed(&self.unsigned).ok_or_else(out_of_range)?),
            Dtype::U64 => TensorData::U64(self.unsigned.iter().map(|x| x.cast_unsigned()).collect()),
            Dtype::F16 | Dtype::BF16 => {
                let bits: Vec<u16> = narrowed(&self.narrow).ok_or_else(out_of_range)?;
                let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
                TensorData::from_le_bytes(dtype, &bytes)?
            }
            Dtype::Bool => {
                let bytes: Vec<u8> = narrowed(&self.narrow).ok_or_else(out_of_range)?;
                TensorData::from_le_bytes(Dtype::Bool, &bytes)?
            }
            Dtype::String => {
                let text = |bytes: &&[u8]| String::from_utf8(bytes.to_vec()).ok();
                TensorData::String(
                    self.texts.iter().map(text).collect::<Option<_>>().ok_or_else(out_of_range)?,
                )
            }
        };
        let held =
            self.floats.len() + self.doubles.len() + self.narrow.len() + self.wide.len() + self.texts.len();
        if data.len() == held {
            return Ok(data);
        }
        let problem = format!("its elements stand in a field of another type than {dtype}");
        Err(Fault::Table { what: "constant", problem })
    }

    fn read_external(&self, external: &dyn ExternalData, bytes: u64) -> Result<Vec<u8>, Error> {
        let find = |key: &str| self.external.iter().find(|(other, _)| *other == key).map(|(_, value)| *value);
        let location = find("location").unwrap_or_default();
        let fail = |problem: String| Error::External { location: location.to_owned(), problem };
        let number = |key: &str| match find(key) {
            Some(text) => {
                text.parse::<u64>().map(Some).map_err(|_| fail(format!("{key} {text:?} is no number")))
            }
            None => Ok(None),
        };
        let offset = number("offset")?.unwrap_or(0);
        let length = number("length")?.unwrap_or(bytes);
        if length != bytes {
            return Err(fail(format!("its shape needs {bytes} bytes, its length says {length}")));
        }
        let data = external.read(location, offset, Some(bytes))?;
        if data.len() as u64 != bytes {
            return Err(fail(format!("expected {bytes} bytes from offset {offset}, got {}", data.len())));
        }
        Ok(data)
    }
}

fn narrowed<T: TryFrom<i64>>(values: &[i64]) -> Option<Vec<T>> {
    values.iter().map(|value| T::try_from(*value).ok()).collect()
}

fn once<T>(slot: &mut Option<T>, value: T, fields: &Fields<'_>, name: &str) -> Result<(), Error> {
    match slot.replace(value) {
        Some(_) => Err(fields.error(format!("field {name} stands there twice"))),
        None => Ok(()),
    }
}

fn one_float(fields: &Fields<'_>, value: Value<'_>) -> Result<f32, Error> {
    match value {
        Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
        _ => Err(fields.error("expected a float".to_owned())),
    }
}

fn refused(got: &str, hint: &'static str) -> Error {
    Error::Unsupported { what: "this engine does not take", got: got.to_owned(), hint }
}
