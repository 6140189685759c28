//! Types, shapes, cost and life time of every value: known before anything runs.
//!
//! # Rules
//! - Shapes are inferred node by node; a size is a number or the batch, and the batch is only ever first.
//! - Cost is for one row. A run of `n` rows costs at most `n` times as much.
//! - A value is dropped after the last node that takes it.

use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, element_count};

use crate::graph::{Graph, Node, Ref};
use crate::kernels::Isa;
use crate::limits::TEXT_BYTES_MAX;
use crate::model::shape_text;
use crate::ops::{Call, Kernel, Operand, Prepared, Scope};
use crate::{Dim, Error, Fault, Limits, Port};

/// Type and shape of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<Dim>,
}

impl ValueType {
    /// A type whose rank, position of the batch and size of one row are within the limits.
    pub(crate) fn new(dtype: Dtype, shape: Vec<Dim>, limits: &Limits) -> Result<Self, Fault> {
        if shape.iter().skip(1).any(|dim| *dim == Dim::Batch) {
            return Err(Fault::MixesBatch { what: "moving the batch away from the first dimension" });
        }
        let ty = Self { dtype, shape };
        let row = ty.concrete(1);
        let count = element_count(&row)?;
        if count > limits.elements_max || row.len() as u64 > limits.rank_max {
            return Err(Fault::Shape {
                what: "size of a value",
                expected: format!(
                    "at most {} elements and {} dimensions",
                    limits.elements_max, limits.rank_max
                ),
                got: shape_text(&ty.shape),
            });
        }
        Ok(ty)
    }

    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: tensor.shape().iter().map(|size| Dim::Fixed(*size)).collect() }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    pub(crate) fn batched(&self) -> bool {
        self.shape.first() == Some(&Dim::Batch)
    }

    /// The shape for this many rows.
    pub(crate) fn concrete(&self, batch: u64) -> Vec<u64> {
        self.shape.iter().map(|dim| if let Dim::Fixed(size) = dim { *size } else { batch }).collect()
    }

    /// Elements of one row; at most 2^28.
    pub(crate) fn row_elements(&self) -> u64 {
        self.concrete(1).iter().fold(1_u64, |count, size| count.saturating_mul(*size))
    }

    /// Sizes as fixed numbers from dimension `from` on.
    pub(crate) fn fixed(&self, from: usize) -> Result<Vec<u64>, Fault> {
        let size = |dim: &Dim| match dim {
            Dim::Fixed(size) => Ok(*size),
            Dim::Batch => Err(Fault::MixesBatch { what: "using the batch as a size" }),
        };
        self.shape.iter().skip(from).map(size).collect()
    }

    fn row_bytes(&self) -> u64 {
        let text_bytes = size_of::<String>() + TEXT_BYTES_MAX;
        self.row_elements().saturating_mul(self.dtype.size_bytes().unwrap_or(text_bytes) as u64)
    }
}

/// A graph that is ready to run.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    inputs: Vec<ValueType>,
    weights: Vec<ValueType>,
    values: Vec<ValueType>,
    outputs: Vec<Ref>,
    macs: u64,
    peak_bytes: u64,
    /// Bytes of constants, counted as often as nodes take them: bounds the work of checking.
    taken_bytes: u64,
    /// Bytes that kernels keep once loaded.
    loaded_bytes: u64,
}

#[derive(Debug)]
struct Step {
    operator: &'static str,
    inputs: Vec<Ref>,
    outputs: std::ops::Range<usize>,
    kernel: Box<dyn Kernel>,
    scratch_bytes: u64,
    /// Values that nobody takes after this step.
    frees: Vec<usize>,
}

impl Plan {
    /// Infer and check everything.
    pub(crate) fn build(graph: &Graph, weights: &[Arc<Tensor>], limits: &Limits) -> Result<Self, Error> {
        let mut plan = Self::start(graph, weights, limits)?;
        for (index, node) in graph.nodes.iter().enumerate() {
            plan.add(node, weights, limits).map_err(|fault| at(index, node.operator.name, fault))?;
        }
        plan.outputs = graph.outputs.iter().map(|(_, source)| *source).collect();
        for (name, source) in &graph.outputs {
            let graph_error = |problem| Error::Graph { problem, name: name.clone() };
            plan.ty(*source).ok_or_else(|| graph_error("an output refers to nothing"))?;
            if graph.outputs.iter().filter(|(other, _)| other == name).count() > 1 {
                return Err(graph_error("two outputs have the same name"));
            }
        }
        plan.mark_last_uses();
        plan.peak_bytes = plan.measure_peak();
        Ok(plan)
    }

    fn start(graph: &Graph, weights: &[Arc<Tensor>], limits: &Limits) -> Result<Self, Error> {
        let edges = graph.nodes.iter().map(|node| node.inputs.len() as u64).sum::<u64>();
        let tensors = edges + (graph.inputs.len() + weights.len() + graph.outputs.len()) as u64;
        Limits::check("tensors of the graph", tensors, limits.tensors_max)?;
        Limits::check("nodes of the graph", graph.nodes.len() as u64, limits.nodes_max)?;
        /// Interfaces are matched by name one by one, so they are small.
        const PORTS_MAX: u64 = 1024;
        Limits::check("inputs of the graph", graph.inputs.len() as u64, PORTS_MAX)?;
        Limits::check("outputs of the graph", graph.outputs.len() as u64, PORTS_MAX)?;
        let mut inputs = Vec::new();
        for (index, port) in graph.inputs.iter().enumerate() {
            if graph.inputs[..index].iter().any(|other| other.name == port.name) {
                return Err(Error::Graph {
                    problem: "two inputs have the same name",
                    name: port.name.clone(),
                });
            }
            let ty = ValueType::new(port.dtype, port.shape.clone(), limits);
            inputs
                .push(ty.map_err(|fault| Error::Constant { name: port.name.clone(), fault: fault.into() })?);
        }
        let weights = weights.iter().map(|weight| ValueType::of(weight)).collect();
        let (steps, values, outputs) = (Vec::new(), Vec::new(), Vec::new());
        let (macs, peak_bytes, taken_bytes, loaded_bytes) = (0, 0, 0, 0);
        Ok(Self { steps, inputs, weights, values, outputs, macs, peak_bytes, taken_bytes, loaded_bytes })
    }

    fn add(&mut self, node: &Node, weights: &[Arc<Tensor>], limits: &Limits) -> Result<(), Fault> {
        let mut operands = Vec::with_capacity(node.inputs.len());
        for source in &node.inputs {
            operands.push(match (source, self.ty(*source)) {
                (Ref::Absent, _) => None,
                (Ref::Weight(index), Some(ty)) => {
                    Some(Operand { ty, constant: weights.get(*index as usize).map(AsRef::as_ref) })
                }
                (_, Some(ty)) => Some(Operand { ty, constant: None }),
                (_, None) => {
                    let got = format!("{source:?}");
                    let expected = "an input, a weight or an earlier value".to_owned();
                    return Err(Fault::Shape { what: "reference", expected, got });
                }
            });
        }
        let outputs = node.outputs as usize;
        let scope = Scope { attributes: node.attributes.reader(), operands, outputs, limits };
        let taken_bytes = self.taken_bytes.saturating_add(scope.constant_bytes());
        check_taken(taken_bytes, limits)?;
        let prepared = node.operator.prepare(&scope)?;
        scope.attributes.finish()?;
        self.taken_bytes = taken_bytes;
        self.loaded_bytes = self.loaded_bytes.saturating_add(prepared.loaded_bytes);
        self.push(node, prepared)
    }

    fn push(&mut self, node: &Node, prepared: Prepared) -> Result<(), Fault> {
        let Prepared { outputs, macs, scratch_bytes, kernel, .. } = prepared;
        if outputs.len() != node.outputs as usize {
            return Err(Fault::Arity {
                what: "outputs",
                expected: "as many as it has",
                got: node.outputs as usize,
            });
        }
        let moved = outputs.iter().map(ValueType::row_elements).fold(macs, u64::saturating_add);
        self.macs = self.macs.saturating_add(moved);
        let first = self.values.len();
        self.values.extend(outputs);
        self.steps.push(Step {
            operator: node.operator.name,
            inputs: node.inputs.clone(),
            outputs: first..self.values.len(),
            kernel,
            scratch_bytes,
            frees: Vec::new(),
        });
        Ok(())
    }

    fn ty(&self, source: Ref) -> Option<&ValueType> {
        match source {
            Ref::Absent => None,
            Ref::Input(index) => self.inputs.get(index as usize),
            Ref::Weight(index) => self.weights.get(index as usize),
            Ref::Value(index) => self.values.get(index as usize),
        }
    }

    fn mark_last_uses(&mut self) {
        let mut needed: Vec<bool> = vec![false; self.values.len()];
        let value = |source: &Ref| if let Ref::Value(index) = source { Some(*index as usize) } else { None };
        for index in self.outputs.iter().filter_map(value) {
            needed[index] = true;
        }
        for step in self.steps.iter_mut().rev() {
            for index in step.inputs.iter().filter_map(value).chain(step.outputs.clone()) {
                if !needed[index] {
                    needed[index] = true;
                    step.frees.push(index);
                }
            }
        }
    }

    /// Most bytes that live at once, for one row: inputs, values, and the copies of what is returned.
    fn measure_peak(&self) -> u64 {
        let total = |types: &[ValueType]| types.iter().map(ValueType::row_bytes).fold(0, u64::saturating_add);
        let copied = self.outputs.iter().filter_map(|source| self.ty(*source)).map(ValueType::row_bytes);
        let fixed = total(&self.inputs).saturating_add(copied.fold(0, u64::saturating_add));
        let (mut live, mut peak) = (0_u64, 0_u64);
        for step in &self.steps {
            live = live.saturating_add(total(&self.values[step.outputs.clone()]));
            peak = peak.max(live.saturating_add(step.scratch_bytes));
            for index in &step.frees {
                live = live.saturating_sub(self.values[*index].row_bytes());
            }
        }
        fixed.saturating_add(peak)
    }

    /// Let every kernel order its constants as it likes them.
    pub(crate) fn load(&mut self, weights: &[Arc<Tensor>]) {
        for step in &mut self.steps {
            let constant = |source: &Ref| match source {
                Ref::Weight(index) => weights.get(*index as usize).map(AsRef::as_ref),
                _ => None,
            };
            let constants: Vec<_> = step.inputs.iter().map(constant).collect();
            step.kernel.load(&constants);
        }
    }

    pub(crate) fn loaded_bytes(&self) -> u64 {
        self.loaded_bytes
    }

    pub(crate) fn macs(&self) -> u64 {
        self.macs
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Types of a node's outputs, for the importer.
    pub(crate) fn outputs(&self, graph: &Graph) -> Vec<Port> {
        let port = |(name, source): &(String, Ref)| {
            let ty = self.ty(*source)?;
            Some(Port { name: name.clone(), dtype: ty.dtype, shape: ty.shape.clone() })
        };
        graph.outputs.iter().filter_map(port).collect()
    }

    /// Run on inputs that fit the graph's, in its order.
    pub(crate) fn run(
        &self,
        isa: Isa,
        inputs: &[&Tensor],
        weights: &[Arc<Tensor>],
        batch: u64,
        limits: &Limits,
    ) -> Result<Vec<Tensor>, Error> {
        let mut values: Vec<Option<Tensor>> = Vec::new();
        values.resize_with(self.values.len(), || None);
        for (index, step) in self.steps.iter().enumerate() {
            let outputs = {
                let take = |source: &Ref| match source {
                    Ref::Absent => None,
                    Ref::Input(index) => inputs.get(*index as usize).copied(),
                    Ref::Weight(index) => weights.get(*index as usize).map(AsRef::as_ref),
                    Ref::Value(index) => values.get(*index as usize).and_then(Option::as_ref),
                };
                let taken: Vec<_> = step.inputs.iter().map(take).collect();
                self.step(isa, step, &taken, batch, limits)
                    .map_err(|fault| at(index, step.operator, fault))?
            };
            for (slot, output) in step.outputs.clone().zip(outputs) {
                values[slot] = Some(output);
            }
            for freed in &step.frees {
                values[*freed] = None;
            }
        }
        let output = |source: &Ref| match source {
            Ref::Absent => None,
            Ref::Input(index) => inputs.get(*index as usize).map(|tensor| (*tensor).clone()),
            Ref::Weight(index) => weights.get(*index as usize).map(|tensor| tensor.as_ref().clone()),
            Ref::Value(index) => values.get(*index as usize).and_then(Clone::clone),
        };
        Ok(self.outputs.iter().filter_map(output).collect())
    }

    fn step(
        &self,
        isa: Isa,
        step: &Step,
        inputs: &[Option<&Tensor>],
        batch: u64,
        limits: &Limits,
    ) -> Result<Vec<Tensor>, Fault> {
        let mut shapes = Vec::with_capacity(step.outputs.len());
        for ty in &self.values[step.outputs.clone()] {
            let shape = ty.concrete(batch);
            if element_count(&shape)? > limits.elements_max {
                let expected = format!("at most {} elements", limits.elements_max);
                return Err(Fault::Shape { what: "size of an output", expected, got: format!("{shape:?}") });
            }
            shapes.push(shape);
        }
        let outputs = step.kernel.run(&Call { isa, inputs, shapes: &shapes })?;
        if outputs.len() != shapes.len() {
            return Err(Fault::Arity { what: "outputs", expected: "as many as planned", got: outputs.len() });
        }
        shapes.into_iter().zip(outputs).map(|(shape, data)| Ok(Tensor::new(shape, data)?)).collect()
    }
}

/// Refuse a graph whose nodes share constants so often that checking them is a burden.
pub(crate) fn check_taken(got: u64, limits: &Limits) -> Result<(), Fault> {
    if got <= limits.weight_bytes_max {
        return Ok(());
    }
    Err(Fault::Shape {
        what: "bytes of constants, counted for each node that takes them",
        expected: format!("at most {}", limits.weight_bytes_max),
        got: got.to_string(),
    })
}

fn at(index: usize, operator: &str, fault: Fault) -> Error {
    Error::Node {
        node: index as u64,
        name: String::new(),
        operator: operator.to_owned(),
        fault: fault.into(),
    }
}
