//! From the messages of a file to a canonical graph.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::external::ExternalData;
use super::frame::Frame;
use super::proto::{
    self, AttributeProto, AttributeValue, DimProto, FunctionProto, GraphProto, ModelProto, NodeProto,
    ValueProto,
};
use super::upload::{Argument, Upload};
use super::{canonical_domain, cut, graph_error, no_shape, opsets, small};
use crate::graph::{Graph, Node, Ref};
use crate::limits::PORTS_MAX;
use crate::ops::{self, Imported};
use crate::{Dim, Error, Fault, Limits, Model, Port, Symbol};

/// Most functions and branches inside each other.
const FRAMES_MAX: usize = 16;

pub(super) struct Importer<'a> {
    file: &'a GraphProto<'a>,
    functions: HashMap<(&'a str, &'a str), &'a FunctionProto<'a>>,
    external: &'a dyn ExternalData,
    limits: &'a Limits,
    /// The main graph, and what is being inlined into it.
    frames: Vec<Frame<'a>>,
    graph: Graph,
    weights: Vec<Arc<Tensor>>,
    /// Bytes of external and inline constants read so far.
    constant_bytes: u64,
    /// Place of each constant among the weights.
    placed: HashMap<*const Tensor, u32>,
    values: u32,
    /// Nodes looked at so far: bounds what functions that call each other may grow to.
    visited: u64,
}

impl<'a> Importer<'a> {
    pub(super) fn new(
        model: &'a ModelProto<'a>,
        external: &'a dyn ExternalData,
        limits: &'a Limits,
    ) -> Result<Self, Error> {
        let file = &model.graph;
        let frame = Frame::new(&file.nodes, &file.initializers, Rc::new(opsets(&model.opsets)?))?;
        let mut functions = HashMap::new();
        for function in &model.functions {
            if functions.insert((canonical_domain(function.domain), function.name), function).is_some() {
                return Err(graph_error("two functions have the same name", function.name));
            }
        }
        Ok(Self {
            file,
            functions,
            external,
            limits,
            frames: vec![frame],
            graph: Graph::default(),
            weights: Vec::new(),
            constant_bytes: 0,
            placed: HashMap::new(),
            values: 0,
            visited: 0,
        })
    }

    pub(super) fn run(mut self) -> Result<Model, Error> {
        self.add_inputs()?;
        if self.file.outputs.is_empty() {
            return Err(graph_error("the graph has no outputs", ""));
        }
        for output in &self.file.outputs {
            let argument = self.demand(output.name)?;
            self.add_output(output, &argument)?;
        }
        Model::import(self.graph, self.weights, self.limits)
    }

    fn add_inputs(&mut self) -> Result<(), Error> {
        for input in &self.file.inputs {
            if self.frames[0].initializers.contains_key(input.name) {
                continue;
            }
            if self.frames[0].makes(input.name) || self.frames[0].known.contains_key(input.name) {
                return Err(graph_error("an input has the name of another value", input.name));
            }
            let fault = |fault: Fault| Error::Constant { name: cut(input.name), fault: fault.into() };
            let ty = input.ty.as_ref().ok_or_else(|| fault(no_shape()))?;
            let dtype = proto::dtype_or_error(ty.elem_type, input.name)?;
            let dims = ty.dims.as_ref().ok_or_else(|| fault(no_shape()))?;
            let mut shape = Vec::with_capacity(dims.len());
            for (index, dim) in dims.iter().enumerate() {
                shape.push(self.input_dim(dim, index).map_err(fault)?);
            }
            let source = Ref::Input(small(self.graph.inputs.len()));
            self.graph.inputs.push(Port { name: input.name.to_owned(), dtype, shape });
            Limits::check("inputs of the graph", self.graph.inputs.len() as u64, PORTS_MAX)?;
            self.frames[0].known.insert(input.name, Argument::Value(source));
        }
        Ok(())
    }

    /// A size, or a symbol. An open first dimension without a name is the batch.
    fn input_dim(&mut self, dim: &DimProto<'a>, index: usize) -> Result<Dim, Fault> {
        let name: Arc<str> = match (*dim, index) {
            (DimProto::Size(size), _) if size >= 0 => return Ok(Dim::Fixed(size.unsigned_abs())),
            (DimProto::Open | DimProto::Size(-1), 0) => "batch".into(),
            (DimProto::Open | DimProto::Size(-1), _) => format!("size_{}", self.graph.symbols.len()).into(),
            (DimProto::Named(name), _) => cut(name).into(),
            (got, _) => {
                return Err(Fault::Shape {
                    what: "shape of an input",
                    expected: "sizes, or names of open dimensions".to_owned(),
                    got: format!("{got:?} in dimension {index}"),
                });
            }
        };
        if !self.graph.symbols.iter().any(|symbol| symbol.name == name) {
            self.graph.symbols.push(Symbol { name: name.clone(), max: 1 });
        }
        Ok(Dim::Symbol(name))
    }

    fn add_output(&mut self, output: &ValueProto<'a>, argument: &Argument) -> Result<(), Error> {
        let constant = |fault: Fault| Error::Constant { name: cut(output.name), fault: fault.into() };
        let source = self.reference(argument).map_err(constant)?;
        let number = output.ty.as_ref().map_or(0, |ty| ty.elem_type);
        let dtype = if number == 0 { Dtype::F32 } else { proto::dtype_or_error(number, output.name)? };
        let port = Port { name: output.name.to_owned(), dtype, shape: Vec::new() };
        self.graph.outputs.push((port, source));
        Ok(())
    }

    fn frame(&mut self) -> &mut Frame<'a> {
        self.frames.last_mut().expect("the main graph is never left")
    }

    /// What a name of the innermost frame stands for, after the nodes that it needs have been added.
    fn demand(&mut self, name: &'a str) -> Result<Argument, Error> {
        let mut stack = Vec::new();
        while let Some(node) = self.frame().next(name, &mut stack)? {
            self.add_node(node)?;
            if stack.is_empty() {
                break;
            }
        }
        self.resolve(name)
    }

    fn add_node(&mut self, index: usize) -> Result<(), Error> {
        self.visited += 1;
        Limits::check("nodes, with functions inlined", self.visited, self.limits.nodes_max)?;
        let node = &self.frame().nodes[index];
        let domain = canonical_domain(node.domain);
        if let Some(function) = self.functions.get(&(domain, node.op_type)).copied() {
            return self.inline_function(node, function);
        }
        if domain.is_empty() && node.op_type == "If" {
            return self.inline_branch(index, node);
        }
        let label = label(node);
        let at = |fault: Fault| node_error(index, node, fault);
        let operator = ops::find(node.op_type).filter(|operator| operator.domain == domain);
        let operator = operator.ok_or_else(|| Error::Operator {
            node: index as u64,
            name: cut(label),
            operator: cut(node.op_type),
            domain: cut(node.domain),
        })?;
        let opset = self.frame().opsets.get(domain).copied();
        let opset =
            opset.ok_or_else(|| graph_error("no opset_import for the domain of a node", node.op_type))?;
        let mut upload = Upload::new(operator, opset, node.outputs.len(), self.limits);
        for input in &node.inputs {
            let argument = if input.is_empty() { Argument::Absent } else { self.resolve(input)? };
            upload.push(argument);
        }
        for attribute in &node.attributes {
            if let Some(attribute) = self.attribute(attribute)? {
                upload.add_attribute(attribute.0, attribute.1).map_err(at)?;
            }
        }
        match operator.import(&mut upload).map_err(at)? {
            Imported::Alias(argument) => {
                upload.finish_alias().map_err(at)?;
                if let Some(output) = node.outputs.first() {
                    self.frame().known.insert(output, argument);
                }
                Ok(())
            }
            Imported::Node => self.place(upload, node, label).map_err(at),
        }
    }

    /// An attribute's name and value; a reference is looked up in the call of the function.
    fn attribute(
        &mut self,
        attribute: &'a AttributeProto<'a>,
    ) -> Result<Option<(&'a str, &'a AttributeValue<'a>)>, Error> {
        let AttributeValue::Reference(name) = &attribute.value else {
            return Ok(Some((attribute.name, &attribute.value)));
        };
        Ok(self.frame().attributes.get(name).map(|given| (attribute.name, &given.value)))
    }

    /// Put a canonical node at the end of the graph.
    fn place(&mut self, upload: Upload<'_>, file: &'a NodeProto<'a>, label: &str) -> Result<(), Fault> {
        let outputs = file.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1);
        let canonical = upload.finish()?;
        let mut inputs = Vec::with_capacity(canonical.inputs.len());
        for argument in &canonical.inputs {
            inputs.push(self.reference(argument)?);
        }
        for name in &file.outputs[..outputs] {
            let source = Ref::Value(self.values);
            self.values += 1;
            self.frame().known.insert(name, Argument::Value(source));
        }
        self.graph.labels.push(cut(label));
        self.graph.nodes.push(Node {
            operator: canonical.operator,
            inputs,
            outputs: small(outputs),
            attributes: canonical.attributes,
        });
        Ok(())
    }

    /// What a name stands for; reads a constant when it is first needed.
    fn resolve(&mut self, name: &'a str) -> Result<Argument, Error> {
        for depth in (0..self.frames.len()).rev() {
            if let Some(argument) = self.frames[depth].known.get(name) {
                return Ok(argument.clone());
            }
            if let Some(initializer) = self.frames[depth].initializers.get(name).copied() {
                let budget = self.limits.weight_bytes_max.saturating_sub(self.constant_bytes);
                let tensor = initializer.read(self.external, budget)?;
                self.constant_bytes = self.constant_bytes.saturating_add(bytes_of(&tensor));
                let argument = Argument::Constant(Arc::new(tensor));
                self.frames[depth].known.insert(name, argument.clone());
                return Ok(argument);
            }
            if !self.frames[depth].sees_outside {
                break;
            }
        }
        Err(graph_error("nobody makes a value that is needed", name))
    }

    fn reference(&mut self, argument: &Argument) -> Result<Ref, Fault> {
        match argument {
            Argument::Absent => Ok(Ref::Absent),
            Argument::Value(source) => Ok(*source),
            Argument::Constant(tensor) => {
                let next = small(self.weights.len());
                let place = *self.placed.entry(Arc::as_ptr(tensor)).or_insert(next);
                if place == next {
                    self.weights.push(tensor.clone());
                }
                Ok(Ref::Weight(place))
            }
        }
    }

    /// The body of a function in place of its call.
    fn inline_function(
        &mut self,
        call: &'a NodeProto<'a>,
        function: &'a FunctionProto<'a>,
    ) -> Result<(), Error> {
        if call.inputs.len() > function.inputs.len() || call.outputs.len() > function.outputs.len() {
            return Err(graph_error("a call has more inputs or outputs than its function", function.name));
        }
        let mut frame = Frame::new(&function.nodes, &[], Rc::new(opsets(&function.opsets)?))?;
        for (formal, actual) in function.inputs.iter().zip(&call.inputs) {
            if frame.makes(formal) {
                return Err(graph_error("a value is made twice", formal));
            }
            let argument = if actual.is_empty() { Argument::Absent } else { self.resolve(actual)? };
            frame.known.insert(formal, argument);
        }
        for formal in function.inputs.iter().skip(call.inputs.len()) {
            frame.known.insert(formal, Argument::Absent);
        }
        for default in &function.defaults {
            frame.attributes.insert(default.name, default);
        }
        for given in &call.attributes {
            if let AttributeValue::Reference(name) = &given.value {
                if let Some(passed) = self.frame().attributes.get(name).copied() {
                    frame.attributes.insert(given.name, passed);
                }
                continue;
            }
            frame.attributes.insert(given.name, given);
        }
        let pairs = function.outputs.iter().zip(&call.outputs).map(|(inner, outer)| (*inner, *outer));
        self.inline(frame, function.nodes.len(), pairs)
    }

    /// The branch that a constant condition chooses.
    fn inline_branch(&mut self, index: usize, node: &'a NodeProto<'a>) -> Result<(), Error> {
        let unsupported = |what: &str| {
            let hint = "export without control flow that depends on data";
            node_error(index, node, Fault::Unsupported { what: what.to_owned(), hint })
        };
        let condition = match node.inputs.first() {
            Some(name) if !name.is_empty() => self.resolve(name)?,
            _ => return Err(unsupported("If without a condition")),
        };
        let Argument::Constant(condition) = condition else {
            return Err(unsupported("If on a computed condition"));
        };
        let TensorData::Bool(chosen) = condition.data() else {
            return Err(unsupported("If on a condition that is not BOOL"));
        };
        let wanted = if chosen.first() == Some(&true) { "then_branch" } else { "else_branch" };
        let branch = node.attributes.iter().find_map(|attribute| match &attribute.value {
            AttributeValue::Graph(graph) if attribute.name == wanted => Some(graph.as_ref()),
            _ => None,
        });
        let branch = branch.ok_or_else(|| unsupported("If without both branches"))?;
        let opsets = self.frame().opsets.clone();
        let mut frame = Frame::new(&branch.nodes, &branch.initializers, opsets)?;
        frame.sees_outside = true;
        let pairs = branch.outputs.iter().map(|output| output.name).zip(node.outputs.iter().copied());
        self.inline(frame, branch.nodes.len(), pairs)
    }

    /// Add what the outputs of a frame need, and give them their names outside.
    fn inline(
        &mut self,
        frame: Frame<'a>,
        nodes: usize,
        outputs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        Limits::check(
            "functions and branches inside each other",
            self.frames.len() as u64,
            FRAMES_MAX as u64,
        )?;
        self.visited = self.visited.saturating_add(nodes as u64);
        Limits::check("nodes, with functions inlined", self.visited, self.limits.nodes_max)?;
        self.frames.push(frame);
        let mut found = Vec::new();
        for (inner, outer) in outputs.filter(|(_, outer)| !outer.is_empty()) {
            found.push((outer, self.demand(inner)?));
        }
        self.frames.pop();
        self.frame().known.extend(found);
        Ok(())
    }
}

fn bytes_of(tensor: &Tensor) -> u64 {
    match tensor.data() {
        TensorData::String(texts) => texts.iter().map(|text| text.len() as u64 + 8).sum(),
        data => (data.len() * tensor.dtype().size_bytes().unwrap_or(1)) as u64,
    }
}

/// Name of a node, or of its first output.
fn label<'a>(node: &NodeProto<'a>) -> &'a str {
    if node.name.is_empty() { node.outputs.first().copied().unwrap_or_default() } else { node.name }
}

fn node_error(index: usize, node: &NodeProto<'_>, fault: Fault) -> Error {
    Error::Node {
        node: index as u64,
        name: cut(label(node)),
        operator: cut(node.op_type),
        fault: fault.into(),
    }
}
