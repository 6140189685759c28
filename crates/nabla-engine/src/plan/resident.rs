//! What a session keeps between runs, made node by node: values that depend on weights only, and weights
//! in the order of the kernels.
//!
//! # Rules
//! - Nodes are worked through in the graph's order. Weights may come late, but before the first node that
//!   takes them, so that a load never holds the whole model twice.
//! - A weight, or a value that follows from weights, is forgotten as soon as every node that takes it has
//!   packed it or has become a constant itself.
//!
//! # When things go wrong
//! A node that fails names itself; what was made so far is dropped by the caller.

use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor};

use super::{Plan, Program, Static, ValueType, Weights, fold};
use crate::graph::{Graph, Node, Ref};
use crate::kernels::Cpu;
use crate::ops::{Operand, Packed, Scope};
use crate::{Error, Interface, Limits};

/// What a session keeps.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Weights, but for those that only live on in the order of the kernels.
    pub(crate) weights: Vec<Option<Arc<Tensor>>>,
    pub(crate) statics: Vec<Static>,
    pub(crate) packed: Vec<Option<Packed>>,
}

impl Kept {
    pub(crate) fn bytes(&self) -> u64 {
        let statics = self.statics.iter().filter_map(Static::value);
        let tensors = self.weights.iter().flatten().chain(statics);
        let packed = self.packed.iter().flatten().map(Packed::bytes);
        tensors.map(|tensor| tensor_bytes(tensor)).chain(packed).fold(0, u64::saturating_add)
    }
}

/// How often a value is still needed as it is.
#[derive(Debug)]
struct Uses {
    weights: Vec<usize>,
    values: Vec<usize>,
}

impl Uses {
    fn of(graph: &Graph, weights: usize) -> Self {
        let values = graph.nodes.iter().map(|node| node.outputs as usize).sum();
        let mut uses = Self { weights: vec![0; weights], values: vec![0; values] };
        let outputs = graph.outputs.iter().map(|(_, source)| source);
        for source in graph.nodes.iter().flat_map(|node| &node.inputs).chain(outputs) {
            uses.count(*source).into_iter().for_each(|count| *count += 1);
        }
        uses
    }

    fn count(&mut self, source: Ref) -> Option<&mut usize> {
        match source {
            Ref::Weight(index) => self.weights.get_mut(index as usize),
            Ref::Value(index) => self.values.get_mut(index as usize),
            Ref::Absent | Ref::Input(_) => None,
        }
    }
}

/// A session's memory in the making.
#[derive(Debug)]
pub(crate) struct Residents<'a> {
    cpu: &'a Cpu,
    interface: &'a Interface,
    kept: Kept,
    uses: Uses,
    /// Bytes of statics that were ever computed, and multiply-adds that they took.
    static_bytes: u64,
    static_macs: u64,
    packed_bytes: u64,
    live_bytes: u64,
}

impl<'a> Residents<'a> {
    /// Begin with the weights that are there; the others come by [`Self::give`].
    pub(crate) fn new(cpu: &'a Cpu, interface: &'a Interface, weights: Vec<Option<Arc<Tensor>>>) -> Self {
        let uses = Uses::of(interface.graph(), weights.len());
        let kept = Kept { weights: vec![None; weights.len()], ..Kept::default() };
        let (static_bytes, static_macs, packed_bytes, live_bytes) = (0, 0, 0, 0);
        let mut made =
            Self { cpu, interface, kept, uses, static_bytes, static_macs, packed_bytes, live_bytes };
        for (index, weight) in weights.into_iter().enumerate() {
            weight.into_iter().for_each(|weight| made.give(index, weight));
        }
        made
    }

    /// A weight; one that nobody takes is dropped at once.
    pub(crate) fn give(&mut self, index: usize, weight: Arc<Tensor>) {
        let Some(place) = self.kept.weights.get_mut(index) else { return };
        if place.is_none() && self.uses.weights[index] > 0 {
            self.live_bytes = self.live_bytes.saturating_add(tensor_bytes(&weight));
            *place = Some(weight);
        }
    }

    /// Bytes of everything that is held now.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Work on the next node. Its weights have been given.
    pub(crate) fn advance(&mut self, index: usize) -> Result<(), Error> {
        let graph = self.interface.graph();
        let Some(node) = graph.nodes.get(index) else { return Ok(()) };
        let is_static = self.compute(index, node)?;
        let packed = if is_static { None } else { self.pack(index, node)? };
        for (input, source) in node.inputs.iter().enumerate() {
            if is_static || packed.as_ref().is_some_and(|packed| packed.replaces.contains(&input)) {
                self.release(*source);
            }
        }
        if let Some(packed) = &packed {
            self.packed_bytes = self.packed_bytes.saturating_add(packed.bytes());
            self.live_bytes = self.live_bytes.saturating_add(packed.bytes());
            Limits::check("bytes of weights as kernels keep them", self.packed_bytes, self.bytes_max())?;
        }
        self.kept.packed.push(packed);
        Ok(())
    }

    /// What is kept, after the last node.
    pub(crate) fn finish(self) -> Kept {
        self.kept
    }

    /// Statics and packed weights are limited to twice what the weights may take, each.
    fn bytes_max(&self) -> u64 {
        self.interface.limits().weight_bytes_max.saturating_mul(2)
    }

    fn program(&self) -> Program<'_> {
        Program {
            cpu: self.cpu,
            graph: self.interface.graph(),
            weights: Weights::Kept(&self.kept.weights),
            weight_types: self.interface.weight_types(),
            statics: &self.kept.statics,
            packed: &[],
            limits: self.interface.limits(),
        }
    }

    /// Compute a node that depends on weights only, such as one that dequantises them; whether it was one.
    /// A value whose turn would pass the limit on bytes is left to each run.
    fn compute(&mut self, index: usize, node: &Node) -> Result<bool, Error> {
        let outputs = node.outputs as usize;
        let first = self.kept.statics.len();
        // What a loop over weights makes has no size before it has run: it is left to the plans.
        if let Some(operands) = static_operands(&self.kept, node).filter(|_| !node.operator.is_flow()) {
            let types: Vec<_> = operands.iter().map(|t| t.as_ref().map(|t| ValueType::of(t))).collect();
            let program = self.program();
            let constants = operands.iter().zip(&types);
            let constants =
                constants.map(|(t, ty)| Some(Operand { ty: ty.as_ref()?, constant: t.as_deref() }));
            let scope = scope(&program, node, constants.collect());
            let at = |fault| program.graph.at(index, fault);
            let prepared = node.operator.prepare(&scope).map_err(at)?;
            let macs = self.static_macs.saturating_add(prepared.macs);
            let macs_max = program.limits.macs_max;
            Limits::check("multiply-adds of values that depend on weights only", macs, macs_max)?;
            let bytes =
                prepared.outputs.iter().map(ValueType::bytes).fold(self.static_bytes, u64::saturating_add);
            let fits = prepared.outputs.len() == outputs && bytes <= self.bytes_max();
            let made = if fits { fold(&program, &scope, &prepared).map_err(at)? } else { Vec::new() };
            self.static_macs = macs;
            if fits {
                self.static_bytes = bytes;
            }
            for tensor in made {
                self.live_bytes = self.live_bytes.saturating_add(tensor_bytes(&tensor));
                self.kept.statics.push(Static::Value(Arc::new(tensor)));
            }
        }
        self.kept.statics.resize(first + outputs, Static::No);
        Ok(self.kept.statics.get(first).is_some_and(Static::is_some))
    }

    /// Let a node order its constant operands.
    fn pack(&self, index: usize, node: &Node) -> Result<Option<Packed>, Error> {
        let constant = |source: &Ref| match source {
            Ref::Weight(index) => self.kept.weights.get(*index as usize).and_then(Option::as_ref),
            Ref::Value(index) => self.kept.statics.get(*index as usize).and_then(Static::value),
            Ref::Absent | Ref::Input(_) => None,
        };
        let constants: Vec<_> = node.inputs.iter().map(constant).collect();
        let unknown = ValueType { dtype: Dtype::F32, shape: Vec::new() };
        let types: Vec<_> =
            constants.iter().map(|t| t.map_or_else(|| unknown.clone(), |t| ValueType::of(t))).collect();
        let operands = constants.iter().zip(&types);
        let operands = operands.map(|(t, ty)| t.map(|t| Operand { ty, constant: Some(t.as_ref()) }));
        let program = self.program();
        let scope = scope(&program, node, operands.collect());
        node.operator.pack(&scope, self.cpu.isa()).map_err(|fault| program.graph.at(index, fault))
    }

    /// One taker less; the last one lets the bytes go.
    fn release(&mut self, source: Ref) {
        let Some(count) = self.uses.count(source) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        let gone = match source {
            Ref::Weight(index) => self.kept.weights.get_mut(index as usize).and_then(Option::take),
            Ref::Value(index) => self.kept.statics.get_mut(index as usize).and_then(|value| {
                let tensor = value.value()?.clone();
                *value = Static::Packed(ValueType::of(&tensor));
                Some(tensor)
            }),
            Ref::Absent | Ref::Input(_) => None,
        };
        self.live_bytes = self.live_bytes.saturating_sub(gone.map_or(0, |tensor| tensor_bytes(&tensor)));
    }
}

fn tensor_bytes(tensor: &Tensor) -> u64 {
    ValueType::of(tensor).bytes()
}

fn scope<'s>(program: &Program<'s>, node: &'s Node, operands: Vec<Option<Operand<'s>>>) -> Scope<'s> {
    let (attributes, outputs) = (node.attributes.reader(), node.outputs as usize);
    Scope { attributes, operands, outputs, limits: program.limits, packed: None }
}

/// The operands of a node, if all of them are constant and there is at least one.
fn static_operands(kept: &Kept, node: &Node) -> Option<Vec<Option<Arc<Tensor>>>> {
    let mut operands = Vec::with_capacity(node.inputs.len());
    for source in &node.inputs {
        operands.push(match source {
            Ref::Absent => None,
            Ref::Input(_) => return None,
            Ref::Weight(index) => Some(kept.weights.get(*index as usize)?.clone()?),
            Ref::Value(index) => Some(kept.statics.get(*index as usize)?.value()?.clone()),
        });
    }
    operands.iter().any(Option::is_some).then_some(operands)
}

/// Weights that a plan may do without: taken by nodes that pack, together with something that the weights
/// alone do not give.
pub(crate) fn packable(graph: &Graph, weights: usize) -> Vec<bool> {
    let mut packable = vec![false; weights];
    let mut refused = vec![false; weights];
    let mut fixed: Vec<bool> = Vec::new();
    for node in &graph.nodes {
        let is_fixed = node.inputs.iter().all(|source| match source {
            Ref::Input(_) => false,
            Ref::Value(index) => fixed.get(*index as usize).copied().unwrap_or(true),
            Ref::Absent | Ref::Weight(_) => true,
        });
        fixed.resize(fixed.len() + node.outputs as usize, is_fixed);
        let list = if node.operator.packs() && !is_fixed { &mut packable } else { &mut refused };
        mark(list, &node.inputs);
    }
    graph.outputs.iter().for_each(|(_, source)| mark(&mut refused, &[*source]));
    packable.iter().zip(refused).map(|(packable, refused)| *packable && !refused).collect()
}

fn mark(list: &mut [bool], sources: &[Ref]) {
    for source in sources {
        if let Ref::Weight(index) = source {
            list.get_mut(*index as usize).into_iter().for_each(|mark| *mark = true);
        }
    }
}

impl Plan {
    /// Of the weights that were left out of this plan, those whose values might have changed it: taken by
    /// a node that waits for the run, or beside nothing but constants.
    pub(crate) fn missed(&self, program: &Program<'_>, left_out: &[bool]) -> Vec<bool> {
        let mut missed = vec![false; left_out.len()];
        let is_out = |source: &Ref| match source {
            Ref::Weight(index) => left_out.get(*index as usize).copied().unwrap_or(false),
            _ => false,
        };
        let mut ready = vec![false; program.graph.nodes.len()];
        self.steps.iter().filter(|step| step.ready.is_some()).for_each(|step| ready[step.node] = true);
        for (node, ready) in program.graph.nodes.iter().zip(ready) {
            let varies = node.inputs.iter().any(|source| {
                !is_out(source)
                    && matches!(self.operand(program, *source), Some(Some(o)) if o.constant.is_none())
            });
            if !ready || !varies {
                mark(&mut missed, &node.inputs);
            }
        }
        missed.iter().zip(left_out).map(|(missed, left_out)| *missed && *left_out).collect()
    }
}
