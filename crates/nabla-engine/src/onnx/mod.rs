//! From an ONNX file to a [`Model`].
//!
//! # Rules
//! - The file is read in place; a list is counted before it is stored ([`wire`], [`proto`]).
//! - What is not understood is refused, not skipped: functions, subgraphs, sparse tensors, segments, a
//!   tensor whose value is given in two ways, an unknown attribute. Only documentation is skipped.
//! - Nodes are taken in the order in which a walk from the outputs needs them; what no output needs is
//!   left out. Names, documentation and the order of the upload leave no trace.
//! - Inputs with an initializer of the same name are constants.
//!
//! # When things go wrong
//! An [`Error`] names the node or tensor of the upload.

use std::collections::HashMap;
use std::sync::Arc;

use nabla_types::tensor::Tensor;

use crate::graph::{Graph, Node, Ref};
use crate::ops::{self, Imported, ONNX, ONNX_ML, Operand, Scope};
use crate::plan::{ValueType, check_taken};
use crate::{Dim, Error, Fault, Limits, Model, Port};

pub(crate) mod external;
pub(crate) mod proto;
pub(crate) mod upload;
mod wire;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use external::ExternalData;
use proto::{DimProto, GraphProto, ModelProto, NodeProto, TensorProto};
use upload::{Argument, Upload};

/// Operator set versions of each domain that are read.
const OPSETS: [(&str, std::ops::RangeInclusive<i64>); 2] = [(ONNX, 7..=25), (ONNX_ML, 1..=5)];

/// Read an ONNX file. `external` gives the bytes of tensors that stand in other files.
///
/// # Errors
/// [`Error`] if the file is broken, uses what is not supported, or costs more than `limits` allow.
pub fn import_onnx(bytes: &[u8], external: &dyn ExternalData, limits: &Limits) -> Result<Model, Error> {
    Limits::check("bytes of the file", bytes.len() as u64, limits.file_bytes_max)?;
    let model = proto::read_model(bytes, limits)?;
    let mut importer = Importer::new(&model, external, limits)?;
    importer.add_inputs()?;
    importer.add_nodes()?;
    importer.finish()
}

struct Importer<'a> {
    file: &'a GraphProto<'a>,
    opsets: HashMap<&'a str, i64>,
    external: &'a dyn ExternalData,
    limits: &'a Limits,
    /// Constants of the file by name, not yet read.
    initializers: HashMap<&'a str, &'a TensorProto<'a>>,
    /// Node that makes each name.
    producers: HashMap<&'a str, usize>,
    /// What each name stands for, as far as it is known.
    known: HashMap<&'a str, Argument>,
    graph: Graph,
    weights: Vec<Arc<Tensor>>,
    /// Bytes of external and inline constants read so far.
    constant_bytes: u64,
    /// Bytes of constants, counted as often as nodes take them.
    taken_bytes: u64,
    /// Place of each constant among the weights.
    placed: HashMap<*const Tensor, u32>,
    values: u32,
}

impl<'a> Importer<'a> {
    fn new(
        model: &'a ModelProto<'a>,
        external: &'a dyn ExternalData,
        limits: &'a Limits,
    ) -> Result<Self, Error> {
        let file = &model.graph;
        let opsets = opsets(model)?;
        let mut initializers = HashMap::new();
        for tensor in &file.initializers {
            if tensor.name.is_empty() || initializers.insert(tensor.name, tensor).is_some() {
                return Err(graph_error("two initializers have the same name, or one has none", tensor.name));
            }
        }
        let mut producers = HashMap::new();
        for (index, node) in file.nodes.iter().enumerate() {
            for output in node.outputs.iter().filter(|output| !output.is_empty()) {
                if producers.insert(*output, index).is_some() || initializers.contains_key(output) {
                    return Err(graph_error("a value is made twice", output));
                }
            }
        }
        Ok(Self {
            file,
            opsets,
            external,
            limits,
            initializers,
            producers,
            known: HashMap::new(),
            graph: Graph::default(),
            weights: Vec::new(),
            constant_bytes: 0,
            taken_bytes: 0,
            placed: HashMap::new(),
            values: 0,
        })
    }

    fn add_inputs(&mut self) -> Result<(), Error> {
        let mut batch_name = None;
        for input in &self.file.inputs {
            if self.initializers.contains_key(input.name) {
                continue;
            }
            if self.producers.contains_key(input.name) || self.known.contains_key(input.name) {
                return Err(graph_error("an input has the name of another value", input.name));
            }
            let fault = |fault: Fault| Error::Constant { name: input.name.to_owned(), fault: fault.into() };
            let ty = input.ty.as_ref().ok_or_else(|| fault(no_shape()))?;
            let dtype = proto::dtype_or_error(ty.elem_type, input.name)?;
            let dims = ty.dims.as_ref().ok_or_else(|| fault(no_shape()))?;
            let mut shape = Vec::with_capacity(dims.len());
            for (index, dim) in dims.iter().enumerate() {
                shape.push(input_dim(dim, index, &mut batch_name).map_err(fault)?);
            }
            let ty = ValueType::new(dtype, shape.clone(), self.limits).map_err(fault)?;
            let source = Ref::Input(small(self.graph.inputs.len()));
            self.graph.inputs.push(Port { name: input.name.to_owned(), dtype, shape });
            self.known.insert(input.name, Argument::Value { source, ty });
        }
        Ok(())
    }

    /// Visit nodes from the outputs backwards, without recursion; a node is added after what it needs.
    fn add_nodes(&mut self) -> Result<(), Error> {
        let mut state = vec![State::New; self.file.nodes.len()];
        for output in &self.file.outputs {
            let mut stack: Vec<usize> = self.producers.get(output.name).copied().into_iter().collect();
            while let Some(node) = stack.last().copied() {
                match state[node] {
                    State::Done => {
                        stack.pop();
                    }
                    State::Open => {
                        self.add_node(node)?;
                        state[node] = State::Done;
                        stack.pop();
                    }
                    State::New => {
                        state[node] = State::Open;
                        self.push_needs(node, &state, &mut stack)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Push the nodes that `node` needs, the first input on top.
    fn push_needs(&self, node: usize, state: &[State], stack: &mut Vec<usize>) -> Result<(), Error> {
        for input in self.file.nodes[node].inputs.iter().rev() {
            let Some(producer) = self.producers.get(input).copied() else {
                continue;
            };
            match state[producer] {
                State::New => stack.push(producer),
                // Open and below on the stack: it waits for this node, which waits for it.
                State::Open => return Err(graph_error("a value depends on itself (a cycle)", input)),
                State::Done => {}
            }
        }
        Ok(())
    }

    fn add_node(&mut self, index: usize) -> Result<(), Error> {
        let node = &self.file.nodes[index];
        let first_output = node.outputs.first().copied().unwrap_or_default();
        let label = if node.name.is_empty() { first_output } else { node.name };
        let at = |fault: Fault| Error::Node {
            node: index as u64,
            name: cut(label),
            operator: cut(node.op_type),
            fault: fault.into(),
        };
        let domain = canonical_domain(node.domain);
        let operator = ops::find(node.op_type).filter(|operator| operator.domain == domain);
        let operator = operator.ok_or_else(|| Error::Operator {
            node: index as u64,
            name: cut(label),
            operator: cut(node.op_type),
            domain: cut(node.domain),
        })?;
        let opset = self.opsets.get(domain).copied();
        let opset =
            opset.ok_or_else(|| graph_error("no opset_import for the domain of a node", node.op_type))?;
        let mut upload = Upload::new(operator, opset, node.outputs.len(), self.limits);
        for input in &node.inputs {
            let argument = if input.is_empty() { Argument::Absent } else { self.resolve(input)? };
            upload.push(argument);
        }
        for attribute in &node.attributes {
            upload.add_attribute(attribute).map_err(at)?;
        }
        match operator.import(&mut upload).map_err(at)? {
            Imported::Alias(argument) => {
                upload.finish_alias().map_err(at)?;
                self.known.insert(first_output, argument);
                Ok(())
            }
            Imported::Node => self.place(upload, node).map_err(at),
        }
    }

    /// Put a canonical node at the end of the graph.
    fn place(&mut self, upload: Upload<'_>, file: &NodeProto<'a>) -> Result<(), Fault> {
        let canonical = upload.finish()?;
        let operands = canonical.inputs.iter().map(Argument::typed).collect::<Vec<_>>();
        let operands = operands
            .iter()
            .map(|typed| typed.as_ref().map(|(ty, constant)| Operand { ty, constant: constant.as_deref() }));
        let scope = Scope {
            attributes: canonical.attributes.reader(),
            operands: operands.collect(),
            outputs: file.outputs.len(),
            limits: self.limits,
        };
        self.taken_bytes = self.taken_bytes.saturating_add(scope.constant_bytes());
        check_taken(self.taken_bytes, self.limits)?;
        let prepared = canonical.operator.prepare(&scope)?;
        scope.attributes.finish()?;
        drop(scope);
        let mut inputs = Vec::with_capacity(canonical.inputs.len());
        for argument in &canonical.inputs {
            inputs.push(self.reference(argument)?);
        }
        for (name, ty) in file.outputs.iter().zip(prepared.outputs) {
            let source = Ref::Value(self.values);
            self.values += 1;
            self.known.insert(name, Argument::Value { source, ty });
        }
        let outputs = small(file.outputs.len());
        self.graph.nodes.push(Node {
            operator: canonical.operator,
            inputs,
            outputs,
            attributes: canonical.attributes,
        });
        Ok(())
    }

    /// What a name stands for; reads a constant when it is first needed.
    fn resolve(&mut self, name: &'a str) -> Result<Argument, Error> {
        if let Some(argument) = self.known.get(name) {
            return Ok(argument.clone());
        }
        let Some(initializer) = self.initializers.get(name) else {
            return Err(graph_error("nobody makes a value that is needed", name));
        };
        let budget = self.limits.weight_bytes_max.saturating_sub(self.constant_bytes);
        let tensor = initializer.read(self.external, budget)?;
        let bytes = (tensor.data().len() * tensor.dtype().size_bytes().unwrap_or(1)) as u64;
        self.constant_bytes = self.constant_bytes.saturating_add(bytes);
        let argument = Argument::Constant(Arc::new(tensor));
        self.known.insert(name, argument.clone());
        Ok(argument)
    }

    fn reference(&mut self, argument: &Argument) -> Result<Ref, Fault> {
        match argument {
            Argument::Absent => Ok(Ref::Absent),
            Argument::Value { source, .. } => Ok(*source),
            Argument::Constant(tensor) => {
                if tensor.dtype().size_bytes().is_none() {
                    let hint = "give labels as attributes";
                    return Err(Fault::Unsupported { what: "a constant of strings".to_owned(), hint });
                }
                let next = small(self.weights.len());
                let place = *self.placed.entry(Arc::as_ptr(tensor)).or_insert(next);
                if place == next {
                    self.weights.push(tensor.clone());
                }
                Ok(Ref::Weight(place))
            }
        }
    }

    fn finish(mut self) -> Result<Model, Error> {
        if self.file.outputs.is_empty() {
            return Err(graph_error("the graph has no outputs", ""));
        }
        for output in &self.file.outputs {
            let argument = self.resolve(output.name)?;
            let constant =
                |fault: Fault| Error::Constant { name: output.name.to_owned(), fault: fault.into() };
            let source = self.reference(&argument).map_err(constant)?;
            self.graph.outputs.push((output.name.to_owned(), source));
        }
        Model::build(self.graph, self.weights, self.limits)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Open,
    Done,
}

fn opsets<'a>(model: &ModelProto<'a>) -> Result<HashMap<&'a str, i64>, Error> {
    let mut opsets = HashMap::new();
    for (domain, version) in &model.opsets {
        let domain = canonical_domain(domain);
        if let Some((_, range)) = OPSETS.iter().find(|(known, _)| *known == domain)
            && !range.contains(version)
        {
            let hint = "export with an opset from 7 to 25 (ai.onnx.ml: 1 to 5)";
            return Err(Error::Unsupported {
                what: "operator set",
                got: format!("{domain:?} {version}"),
                hint,
            });
        }
        if opsets.insert(domain, *version).is_some() {
            return Err(graph_error("an operator set is imported twice", domain));
        }
    }
    Ok(opsets)
}

fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { ONNX } else { domain }
}

/// A size, or the batch: the first dimension, if it is named or open.
fn input_dim<'a>(dim: &DimProto<'a>, index: usize, batch: &mut Option<&'a str>) -> Result<Dim, Fault> {
    match (*dim, index) {
        (DimProto::Size(size), _) if size >= 0 => Ok(Dim::Fixed(size.unsigned_abs())),
        (DimProto::Open, 0) | (DimProto::Size(-1), 0) => Ok(Dim::Batch),
        (DimProto::Named(name), 0) if batch.is_none_or(|batch| batch == name) => {
            *batch = Some(name);
            Ok(Dim::Batch)
        }
        (got, _) => Err(Fault::Shape {
            what: "shape of an input",
            expected: "sizes, and one name for the batch in the first dimension".to_owned(),
            got: format!("{got:?} in dimension {index}"),
        }),
    }
}

fn no_shape() -> Fault {
    let hint = "export with tensors of known shape as inputs";
    Fault::Unsupported { what: "an input without tensor type and shape".to_owned(), hint }
}

fn graph_error(problem: &'static str, name: &str) -> Error {
    Error::Graph { problem, name: cut(name) }
}

/// A foreign name, cut to 80 characters, for an error.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Counts are bounded by the limits, far below 2^32.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
