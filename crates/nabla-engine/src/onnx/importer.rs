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
use crate::graph::attributes::fault;
use crate::graph::{BODIES_MAX, Body, Graph, Node, Ref};
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
    /// The main graph, and the bodies inside each other that are being read.
    levels: Vec<Level>,
    weights: Vec<Arc<Tensor>>,
    /// Bytes of external and inline constants read so far.
    constant_bytes: u64,
    /// Place of each constant among the weights.
    placed: HashMap<*const Tensor, u32>,
    /// Nodes looked at so far: bounds what functions that call each other may grow to.
    visited: u64,
}

/// The main graph or a body, while it is read.
#[derive(Default)]
struct Level {
    graph: Graph,
    /// Values of its nodes so far.
    values: u32,
    /// What a body takes from around its node.
    captures: Vec<Argument>,
    captured: HashMap<Captured, u32>,
}

/// What a capture is known by: a value around the body, or a constant.
#[derive(PartialEq, Eq, Hash)]
enum Captured {
    Value(Ref),
    Constant(*const Tensor),
}

impl Level {
    /// What stands around the body, as the body sees it.
    fn capture(&mut self, argument: &Argument) -> Ref {
        let key = match argument {
            Argument::Absent => return Ref::Absent,
            Argument::Value(source) => Captured::Value(*source),
            Argument::Constant(tensor) => Captured::Constant(Arc::as_ptr(tensor)),
        };
        let next = small(self.captures.len());
        let place = *self.captured.entry(key).or_insert(next);
        if place == next {
            self.captures.push(argument.clone());
        }
        Ref::Weight(place)
    }
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
            levels: vec![Level::default()],
            weights: Vec::new(),
            constant_bytes: 0,
            placed: HashMap::new(),
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
        let main = self.levels.swap_remove(0);
        Model::import(main.graph, self.weights, self.limits)
    }

    /// The inputs alone.
    pub(super) fn inputs(mut self) -> Result<Vec<Port>, Error> {
        self.add_inputs()?;
        Ok(std::mem::take(&mut self.level().graph.inputs))
    }

    /// The graph or body that is being read.
    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the main graph is never left")
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
            let ports = &mut self.level().graph.inputs;
            let source = Ref::Input(small(ports.len()));
            ports.push(Port { name: input.name.to_owned(), dtype, shape });
            Limits::check("inputs of the graph", ports.len() as u64, PORTS_MAX)?;
            self.frames[0].known.insert(input.name, Argument::Value(source));
        }
        Ok(())
    }

    /// A size, or a symbol. An open first dimension without a name is the batch.
    fn input_dim(&mut self, dim: &DimProto<'a>, index: usize) -> Result<Dim, Fault> {
        let symbols = &mut self.level().graph.symbols;
        let name: Arc<str> = match (*dim, index) {
            (DimProto::Size(size), _) if size >= 0 => return Ok(Dim::Fixed(size.unsigned_abs())),
            (DimProto::Open | DimProto::Size(-1), 0) => "batch".into(),
            (DimProto::Open | DimProto::Size(-1), _) => format!("size_{}", symbols.len()).into(),
            (DimProto::Named(name), _) => cut(name).into(),
            (got, _) => {
                return Err(Fault::Shape {
                    what: "shape of an input",
                    expected: "sizes, or names of open dimensions".to_owned(),
                    got: format!("{got:?} in dimension {index}"),
                });
            }
        };
        if !symbols.iter().any(|symbol| symbol.name == name) {
            symbols.push(Symbol { name: name.clone(), max: 1 });
        }
        Ok(Dim::Symbol(name))
    }

    fn add_output(&mut self, output: &ValueProto<'a>, argument: &Argument) -> Result<(), Error> {
        let constant = |fault: Fault| Error::Constant { name: cut(output.name), fault: fault.into() };
        let source = self.reference(argument).map_err(constant)?;
        let number = output.ty.as_ref().map_or(0, |ty| ty.elem_type);
        let dtype = if number == 0 { Dtype::F32 } else { proto::dtype_or_error(number, output.name)? };
        let port = Port { name: output.name.to_owned(), dtype, shape: Vec::new() };
        self.level().graph.outputs.push((port, source));
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
        if domain.is_empty()
            && node.op_type == "If"
            && let Some(chosen) = self.constant_condition(node)?
        {
            return self.inline_branch(index, node, chosen);
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
        let outputs = if operator.is_flow() { named(node) } else { node.outputs.len() };
        let mut upload = Upload::new(operator, opset, outputs, self.limits);
        for input in &node.inputs {
            let argument = if input.is_empty() { Argument::Absent } else { self.resolve(input)? };
            upload.push(argument);
        }
        if operator.is_flow() {
            self.add_bodies(index, node, &mut upload)?;
        }
        for attribute in &node.attributes {
            if operator.is_flow() && matches!(attribute.value, AttributeValue::Graph(_)) {
                continue;
            }
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
        let canonical = upload.finish()?;
        let outputs = named(file).max(canonical.outputs_least);
        let mut inputs = Vec::with_capacity(canonical.inputs.len());
        for argument in &canonical.inputs {
            inputs.push(self.reference(argument)?);
        }
        let first = self.level().values;
        self.level().values = first.saturating_add(small(outputs));
        for (name, value) in file.outputs.iter().zip(first..first.saturating_add(small(outputs))) {
            self.frame().known.insert(name, Argument::Value(Ref::Value(value)));
        }
        let graph = &mut self.level().graph;
        graph.labels.push(cut(label));
        graph.nodes.push(Node {
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
            if let Some(argument) = self.frames[depth].known.get(name).cloned() {
                return Ok(self.taken_inside(argument, self.frames[depth].level));
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

    /// A value of an outer level as the innermost one sees it: captured by every body on the way.
    fn taken_inside(&mut self, argument: Argument, level: usize) -> Argument {
        let Argument::Value(_) = argument else { return argument };
        let bodies = self.levels[level + 1..].iter_mut();
        bodies.fold(argument, |argument, body| Argument::Value(body.capture(&argument)))
    }

    fn reference(&mut self, argument: &Argument) -> Result<Ref, Fault> {
        match argument {
            Argument::Absent => Ok(Ref::Absent),
            Argument::Value(source) => Ok(*source),
            Argument::Constant(_) if self.levels.len() > 1 => Ok(self.level().capture(argument)),
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
        self.inline(frame, pairs)
    }

    /// The condition of an `If`, where it is a constant.
    fn constant_condition(&mut self, node: &'a NodeProto<'a>) -> Result<Option<bool>, Error> {
        let Some(name) = node.inputs.first().filter(|name| !name.is_empty()) else { return Ok(None) };
        Ok(match self.resolve(name)? {
            Argument::Constant(condition) => match condition.data() {
                TensorData::Bool(values) => values.first().copied(),
                _ => None,
            },
            _ => None,
        })
    }

    /// The branch that a constant condition chooses.
    fn inline_branch(&mut self, index: usize, node: &'a NodeProto<'a>, chosen: bool) -> Result<(), Error> {
        let wanted = if chosen { "then_branch" } else { "else_branch" };
        let branch = node.attributes.iter().find_map(|attribute| match &attribute.value {
            AttributeValue::Graph(graph) if attribute.name == wanted => Some(graph.as_ref()),
            _ => None,
        });
        let branch = branch.ok_or_else(|| {
            let fault = fault(wanted, "a graph", "nothing");
            node_error(index, node, fault)
        })?;
        let frame = self.inner_frame(branch)?;
        let pairs = branch.outputs.iter().map(|output| output.name).zip(node.outputs.iter().copied());
        self.inline(frame, pairs)
    }

    /// A frame that sees the names around it.
    fn inner_frame(&mut self, graph: &'a GraphProto<'a>) -> Result<Frame<'a>, Error> {
        let outside = self.frame();
        let (opsets, attributes) = (outside.opsets.clone(), outside.attributes.clone());
        let mut frame = Frame::new(&graph.nodes, &graph.initializers, opsets)?;
        frame.sees_outside = true;
        frame.attributes = attributes;
        Ok(frame)
    }

    /// Read the bodies of a node, by the order of their names.
    fn add_bodies(
        &mut self,
        index: usize,
        node: &'a NodeProto<'a>,
        upload: &mut Upload<'_>,
    ) -> Result<(), Error> {
        let graph = |attribute: &'a AttributeProto<'a>| match &attribute.value {
            AttributeValue::Graph(graph) => Some((attribute.name, graph.as_ref())),
            _ => None,
        };
        let mut graphs: Vec<_> = node.attributes.iter().filter_map(graph).collect();
        graphs.sort_by_key(|(name, _)| *name);
        // A branch makes what is asked for; a loop makes all.
        let wanted = if node.op_type == "If" { named(node) } else { usize::MAX };
        let mut level = Level::default();
        for (name, graph) in graphs {
            level = self.body(graph, wanted, level)?;
            let Graph { outputs, nodes, labels, .. } = std::mem::take(&mut level.graph);
            let outputs = outputs.into_iter().map(|(_, source)| source).collect();
            let body = Body::new(small(graph.inputs.len()), outputs, nodes, labels);
            let rank = |input: &ValueProto<'a>| {
                input.ty.as_ref().and_then(|ty| ty.dims.as_ref()).map_or(0, |dims| dims.len())
            };
            let ranks = graph.inputs.iter().map(rank).collect();
            let added = upload.add_body(name, body, level.captures.clone(), ranks);
            added.map_err(|fault| node_error(index, node, fault))?;
        }
        Ok(())
    }

    /// Read a body and its first outputs into a level, which holds what bodies beside it have captured.
    fn body(&mut self, graph: &'a GraphProto<'a>, outputs: usize, level: Level) -> Result<Level, Error> {
        Limits::check("bodies inside each other", self.levels.len() as u64, BODIES_MAX as u64)?;
        let mut frame = self.inner_frame(graph)?;
        frame.level = self.levels.len();
        for (index, input) in graph.inputs.iter().enumerate() {
            let argument = Argument::Value(Ref::Input(small(index)));
            if frame.makes(input.name) || frame.known.insert(input.name, argument).is_some() {
                return Err(graph_error("an input has the name of another value", input.name));
            }
        }
        self.enter(&frame)?;
        self.frames.push(frame);
        self.levels.push(Level { values: 0, ..level });
        for output in graph.outputs.iter().take(outputs) {
            let argument = self.demand(output.name)?;
            self.add_output(output, &argument)?;
        }
        self.frames.pop();
        Ok(self.levels.pop().unwrap_or_default())
    }

    /// Count a frame that is about to be entered.
    fn enter(&mut self, frame: &Frame<'a>) -> Result<(), Error> {
        let depth = self.frames.len() as u64;
        Limits::check("functions and branches inside each other", depth, FRAMES_MAX as u64)?;
        self.visited = self.visited.saturating_add(frame.nodes.len() as u64);
        Limits::check("nodes, with functions inlined", self.visited, self.limits.nodes_max)
    }

    /// Add what the outputs of a frame need, and give them their names outside.
    fn inline(
        &mut self,
        mut frame: Frame<'a>,
        outputs: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(), Error> {
        frame.level = self.levels.len() - 1;
        self.enter(&frame)?;
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

/// Outputs up to the last one that has a name.
fn named(node: &NodeProto<'_>) -> usize {
    node.outputs.iter().rposition(|name| !name.is_empty()).map_or(0, |last| last + 1)
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
