//! What a run of given sizes does, step by step: types, shapes, cost and life time of every value.
//!
//! # Rules
//! - A plan is made for exact sizes of the inputs. Values that depend on shapes and constants only are
//!   computed while planning, so that shape arithmetic costs nothing later.
//! - A node whose shape depends on a computed value is a *late* step: it is prepared during the run, with
//!   every operand known, and pays from the same limits.
//! - A value is dropped after the last step that takes it.
//! - A body is planned and run as a graph of its own ([`pass`]), within the budget of the run around it.

use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, element_count};

use crate::graph::{Graph, Node, Ref};
use crate::kernels::Cpu;
use crate::limits::TEXT_BYTES_MAX;
use crate::ops::{Call, Kernel, Operand, Packed, Prepared, Scope, sizes};
use crate::{Error, Fault, Limits};

mod budget;
mod fuse;
mod pass;
mod pool;
mod resident;
mod run;
mod tail;

pub(crate) use budget::{Budget, at_most};
pub(crate) use pass::{Pass, Returned};
pub(crate) use pool::Pool;
pub(crate) use resident::{Kept, Residents, packable};
use tail::Tail;
pub(crate) use tail::TailCall;

/// Most elements of a value that is computed while planning.
const FOLD_ELEMENTS_MAX: usize = 1 << 16;
/// Most multiply-adds of a node that is computed while planning.
const FOLD_MACS_MAX: u64 = 1 << 22;

/// Type and shape of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ValueType {
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
}

impl ValueType {
    /// A type whose rank and size are within the limits.
    pub(crate) fn new(dtype: Dtype, shape: Vec<usize>, limits: &Limits) -> Result<Self, Fault> {
        let wide: Vec<u64> = shape.iter().map(|size| *size as u64).collect();
        let too_large = || Fault::Shape {
            what: "size of a value",
            expected: format!("at most {} elements and {} dimensions", limits.elements_max, limits.rank_max),
            got: format!("{shape:?}"),
        };
        let count = element_count(&wide).map_err(|_| too_large())?;
        if count > limits.elements_max || shape.len() as u64 > limits.rank_max {
            return Err(too_large());
        }
        Ok(Self { dtype, shape })
    }

    pub(crate) fn of(tensor: &Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: sizes(tensor.shape()) }
    }

    pub(crate) fn rank(&self) -> usize {
        self.shape.len()
    }

    /// Number of elements; at most 2^28.
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    pub(crate) fn count(&self) -> u64 {
        self.elements() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        let text_bytes = size_of::<String>() + TEXT_BYTES_MAX;
        self.count().saturating_mul(self.dtype.size_bytes().unwrap_or(text_bytes) as u64)
    }

    pub(crate) fn wide(&self) -> Vec<u64> {
        self.shape.iter().map(|size| *size as u64).collect()
    }
}

/// What stays the same for all plans of a model.
#[derive(Debug)]
pub(crate) struct Program<'a> {
    pub(crate) cpu: &'a Cpu,
    pub(crate) graph: &'a Graph,
    /// Weights, but for those that only live on in the order of the kernels.
    pub(crate) weights: Weights<'a>,
    pub(crate) weight_types: &'a [ValueType],
    /// Values that depend on weights only, where they have been computed; empty if none have.
    pub(crate) statics: &'a [Static],
    /// Packed operands, by node; empty if nothing is packed.
    pub(crate) packed: &'a [Option<Packed>],
    pub(crate) limits: &'a Limits,
}

/// Weights of a model; for a body, what it takes from around its node.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Weights<'a> {
    Kept(&'a [Option<Arc<Tensor>>]),
    Taken(&'a [Option<&'a Tensor>]),
}

impl Program<'_> {
    fn weight(&self, index: u32) -> Option<&Tensor> {
        match self.weights {
            Weights::Kept(weights) => weights.get(index as usize).and_then(Option::as_deref),
            Weights::Taken(weights) => weights.get(index as usize).copied().flatten(),
        }
    }

    fn packed(&self, node: usize) -> Option<&Packed> {
        self.packed.get(node).and_then(Option::as_ref)
    }
}

/// A value that depends on weights only, computed once per session.
#[derive(Debug, Clone)]
pub(crate) enum Static {
    /// It does not, or it is left to each run.
    No,
    Value(Arc<Tensor>),
    /// Only its type is left: every node that takes it has packed it.
    Packed(ValueType),
}

impl Static {
    pub(crate) fn value(&self) -> Option<&Arc<Tensor>> {
        if let Self::Value(tensor) = self { Some(tensor) } else { None }
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::No)
    }
}

/// What is known of a value while planning.
#[derive(Debug, Clone)]
enum Slot {
    Typed(ValueType),
    Constant(Arc<Tensor>, ValueType),
    /// Known during the run only.
    Unknown,
}

/// A graph that is ready to run on inputs of certain sizes.
#[derive(Debug)]
pub(crate) struct Plan {
    steps: Vec<Step>,
    inputs: Vec<ValueType>,
    values: Vec<Slot>,
    macs: u64,
    peak_bytes: u64,
}

#[derive(Debug)]
struct Step {
    node: usize,
    inputs: Vec<Ref>,
    outputs: std::ops::Range<usize>,
    /// `None`: prepared during the run.
    ready: Option<Ready>,
    /// Values that nobody takes after this step.
    frees: Vec<usize>,
}

#[derive(Debug)]
struct Ready {
    kernel: Box<dyn Kernel>,
    outputs: Vec<ValueType>,
    scratch_bytes: u64,
    /// Not all of its cost is known before the run.
    open: bool,
    /// Steps joined to this one, and the inputs of the step that they take.
    tail: Option<Tail>,
}

impl Plan {
    /// Infer and check everything for inputs of these types.
    pub(crate) fn build(program: &Program<'_>, inputs: Vec<ValueType>) -> Result<Self, Error> {
        let (steps, values) = (Vec::new(), Vec::new());
        let mut plan = Self { steps, inputs, values, macs: 0, peak_bytes: 0 };
        for (index, node) in program.graph.nodes.iter().enumerate() {
            plan.add(program, index, node).map_err(|fault| program.graph.at(index, fault))?;
        }
        for (port, source) in &program.graph.outputs {
            if plan.operand(program, *source).is_none() {
                let problem = "an output refers to nothing";
                return Err(Error::Graph { problem, name: port.name.clone() });
            }
        }
        fuse::join(&mut plan, program);
        plan.mark_last_uses(program.graph);
        plan.peak_bytes = plan.measure_peak(program);
        Ok(plan)
    }

    pub(crate) fn macs(&self) -> u64 {
        self.macs
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.peak_bytes
    }

    /// Whether everything is known before the run.
    pub(crate) fn is_static(&self) -> bool {
        self.steps.iter().all(|step| step.ready.as_ref().is_some_and(|ready| !ready.open))
    }

    /// Type of an output, if it is known before the run.
    pub(crate) fn output(&self, program: &Program<'_>, source: Ref) -> Option<ValueType> {
        self.operand(program, source).flatten().map(|operand| operand.ty.clone())
    }

    fn add(&mut self, program: &Program<'_>, index: usize, node: &Node) -> Result<(), Fault> {
        let first = self.values.len();
        let statics = program.statics.get(first..first + node.outputs as usize).unwrap_or_default();
        if !statics.is_empty() && statics.iter().all(Static::is_some) {
            self.values.extend(statics.iter().map(|value| match value {
                Static::Value(tensor) => Slot::Constant(tensor.clone(), ValueType::of(tensor)),
                Static::Packed(ty) => Slot::Typed(ty.clone()),
                Static::No => Slot::Unknown,
            }));
            return Ok(());
        }
        let mut operands = Vec::with_capacity(node.inputs.len());
        let mut late = false;
        for source in &node.inputs {
            operands.push(match (source, self.operand(program, *source)) {
                (Ref::Absent, _) => None,
                (_, Some(Some(operand))) => Some(operand),
                (_, Some(None)) => {
                    late = true;
                    None
                }
                (_, None) => {
                    let expected = "an input, a weight or an earlier value".to_owned();
                    return Err(Fault::Shape { what: "reference", expected, got: format!("{source:?}") });
                }
            });
        }
        if late {
            self.push_late(index, node);
            return Ok(());
        }
        let all_known = operands.iter().flatten().all(|operand| operand.constant.is_some());
        let scope = Scope {
            attributes: node.attributes.reader(),
            operands,
            outputs: node.outputs as usize,
            limits: program.limits,
            packed: program.packed(index),
        };
        match node.operator.prepare(&scope) {
            Ok(prepared) => {
                check_count(prepared.outputs.len(), node)?;
                if (all_known || prepared.known) && is_small(&prepared) {
                    let tensors = fold(program, &scope, &prepared)?;
                    drop(scope);
                    self.macs = self.macs.saturating_add(prepared.macs);
                    self.values.extend(tensors.into_iter().map(|t| {
                        let ty = ValueType::of(&t);
                        Slot::Constant(Arc::new(t), ty)
                    }));
                } else {
                    drop(scope);
                    self.push(index, node, prepared);
                }
                Ok(())
            }
            Err(Fault::NotConstant { .. }) => {
                drop(scope);
                self.push_late(index, node);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }

    fn push(&mut self, index: usize, node: &Node, prepared: Prepared) {
        let Prepared { outputs, macs, scratch_bytes, open, kernel, .. } = prepared;
        let moved = outputs.iter().map(ValueType::count).fold(macs, u64::saturating_add);
        self.macs = self.macs.saturating_add(moved);
        let first = self.values.len();
        self.values.extend(outputs.iter().cloned().map(Slot::Typed));
        self.steps.push(Step {
            node: index,
            inputs: node.inputs.clone(),
            outputs: first..self.values.len(),
            ready: Some(Ready { kernel, outputs, scratch_bytes, open, tail: None }),
            frees: Vec::new(),
        });
    }

    fn push_late(&mut self, index: usize, node: &Node) {
        let first = self.values.len();
        self.values.resize_with(first + node.outputs as usize, || Slot::Unknown);
        self.steps.push(Step {
            node: index,
            inputs: node.inputs.clone(),
            outputs: first..self.values.len(),
            ready: None,
            frees: Vec::new(),
        });
    }

    /// `None`: there is no such value. `Some(None)`: its type is not known before the run.
    fn operand<'s>(&'s self, program: &'s Program<'_>, source: Ref) -> Option<Option<Operand<'s>>> {
        match source {
            Ref::Absent => None,
            Ref::Input(index) => {
                self.inputs.get(index as usize).map(|ty| Some(Operand { ty, constant: None }))
            }
            Ref::Weight(index) => {
                let ty = program.weight_types.get(index as usize)?;
                let constant = program.weight(index);
                Some(Some(Operand { ty, constant }))
            }
            Ref::Value(index) => Some(match self.values.get(index as usize)? {
                Slot::Typed(ty) => Some(Operand { ty, constant: None }),
                Slot::Constant(tensor, ty) => Some(Operand { ty, constant: Some(tensor) }),
                Slot::Unknown => None,
            }),
        }
    }

    fn mark_last_uses(&mut self, graph: &Graph) {
        let mut needed: Vec<bool> = vec![false; self.values.len()];
        let value = |source: &Ref| if let Ref::Value(index) = source { Some(*index as usize) } else { None };
        for index in graph.outputs.iter().filter_map(|(_, source)| value(source)) {
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

    fn value_bytes(&self, index: usize) -> u64 {
        match &self.values[index] {
            Slot::Typed(ty) => ty.bytes(),
            Slot::Constant(..) | Slot::Unknown => 0,
        }
    }

    /// Most bytes that live at once: inputs, values, and the copies of what is returned.
    fn measure_peak(&self, program: &Program<'_>) -> u64 {
        let inputs = self.inputs.iter().map(ValueType::bytes).fold(0, u64::saturating_add);
        let returned = program.graph.outputs.iter().filter_map(|(_, source)| self.output(program, *source));
        let fixed = returned.map(|ty| ty.bytes()).fold(inputs, u64::saturating_add);
        let (mut live, mut peak) = (0_u64, 0_u64);
        for step in &self.steps {
            for index in step.outputs.clone() {
                live = live.saturating_add(self.value_bytes(index));
            }
            let scratch = step.ready.as_ref().map_or(0, |ready| ready.scratch_bytes);
            peak = peak.max(live.saturating_add(scratch));
            for index in &step.frees {
                live = live.saturating_sub(self.value_bytes(*index));
            }
        }
        fixed.saturating_add(peak)
    }
}

fn check_count(outputs: usize, node: &Node) -> Result<(), Fault> {
    if outputs == node.outputs as usize {
        return Ok(());
    }
    Err(Fault::Arity { what: "outputs", expected: "as many as it has", got: node.outputs as usize })
}

fn is_small(prepared: &Prepared) -> bool {
    !prepared.open
        && prepared.macs <= FOLD_MACS_MAX
        && prepared.outputs.iter().all(|ty| ty.elements() <= FOLD_ELEMENTS_MAX)
}

/// Run a node whose operands are known, or do not matter.
fn fold(program: &Program<'_>, scope: &Scope<'_>, prepared: &Prepared) -> Result<Vec<Tensor>, Fault> {
    let inputs: Vec<_> =
        scope.operands.iter().map(|operand| operand.and_then(|operand| operand.constant)).collect();
    let pool = Pool::default();
    let budget = Budget::new(program.limits, 0, 0);
    let call = Call {
        cpu: program.cpu,
        inputs: &inputs,
        outputs: &prepared.outputs,
        packed: scope.packed,
        pool: &pool,
        tail: None,
        budget: &budget,
    };
    run::call(prepared.kernel.as_ref(), &call)
}
