//! One pass through a body: its plan for inputs of certain types, and running it.
//!
//! # Rules
//! - What is known when the plan is made (captures that are weights or follow from shapes) is known in it; the
//!   inputs of a pass are not.
//! - A pass costs its multiply-adds and [`STEP_MACS`] for each of its steps: a body that does nothing, over and
//!   over, comes to an end, too.

use std::sync::Arc;

use nabla_types::tensor::{Tensor, TensorData};

use super::{Plan, Program, ValueType, Weights};
use crate::graph::{Body, Ref};
use crate::kernels::Cpu;
use crate::ops::{Call, Operand};
use crate::{Error, Fault, Limits};

/// What a step costs beside its arithmetic, in multiply-adds.
const STEP_MACS: u64 = 1 << 14;
/// What planning a node during a run costs.
const PLAN_MACS: u64 = 1 << 17;

/// A body that is planned for inputs of certain types.
#[derive(Debug)]
pub(crate) struct Pass {
    body: Arc<Body>,
    captures: Vec<ValueType>,
    plan: Plan,
    outputs: Vec<Option<ValueType>>,
    /// For each output: the truth value that it always is.
    truths: Vec<Option<bool>>,
}

/// An output of a pass.
#[derive(Debug)]
pub(crate) enum Returned {
    Made(Tensor),
    /// The input of this index, as it is.
    Input(usize),
}

impl Pass {
    /// Plan a body. Captures are operands of its node.
    pub(crate) fn new(
        body: &Arc<Body>,
        inputs: Vec<ValueType>,
        captures: &[Option<Operand<'_>>],
        limits: &Limits,
    ) -> Result<Self, Fault> {
        if inputs.len() != body.inputs as usize {
            return Err(Fault::Arity { what: "inputs", expected: "those of the body", got: inputs.len() });
        }
        let missing =
            || Fault::Arity { what: "inputs", expected: "all that the body takes", got: captures.len() };
        let types: Option<Vec<ValueType>> =
            captures.iter().map(|operand| operand.map(|operand| operand.ty.clone())).collect();
        let types = types.ok_or_else(missing)?;
        let known: Vec<Option<&Tensor>> =
            captures.iter().map(|operand| operand.and_then(|operand| operand.constant)).collect();
        // Which kernels compute what is known already makes no difference.
        let cpu = Cpu::scalar();
        let program = program(body, &known, &types, &cpu, limits);
        let plan = Plan::build(&program, inputs).map_err(inside)?;
        let sources = || body.graph.outputs.iter().map(|(_, source)| *source);
        let outputs = sources().map(|source| plan.output(&program, source)).collect();
        let truths = sources().map(|source| plan.truth(&program, source)).collect();
        Ok(Self { body: body.clone(), captures: types, plan, outputs, truths })
    }

    /// As [`Self::new`] in the middle of a run, which pays for it.
    pub(crate) fn planned_late(
        body: &Arc<Body>,
        inputs: Vec<ValueType>,
        captures: &[Option<Operand<'_>>],
        call: &Call<'_>,
    ) -> Result<Self, Fault> {
        let nodes = body.graph.all_nodes().len() as u64;
        call.budget.spend(nodes.saturating_add(1).saturating_mul(PLAN_MACS))?;
        Self::new(body, inputs, captures, call.budget.limits())
    }

    /// Multiply-adds of one pass, as far as they are known.
    pub(crate) fn macs(&self) -> u64 {
        let steps = self.plan.steps.len() as u64 + 1;
        self.plan.macs.saturating_add(steps.saturating_mul(STEP_MACS))
    }

    pub(crate) fn peak_bytes(&self) -> u64 {
        self.plan.peak_bytes
    }

    pub(crate) fn is_static(&self) -> bool {
        self.plan.is_static()
    }

    /// Type of an output, if it is known before the pass.
    pub(crate) fn output(&self, output: usize) -> Option<&ValueType> {
        self.outputs.get(output)?.as_ref()
    }

    /// Types of all outputs, if they are known before the pass.
    pub(crate) fn outputs(&self) -> Option<Vec<ValueType>> {
        self.outputs.iter().cloned().collect()
    }

    /// The truth value that an output always is.
    pub(crate) fn truth(&self, output: usize) -> Option<bool> {
        self.truths.get(output).copied().flatten()
    }

    /// Whether the plan is for inputs of these types.
    pub(crate) fn fits(&self, inputs: &[&Tensor]) -> bool {
        let same = |(ty, tensor): (&ValueType, &&Tensor)| *ty == ValueType::of(tensor);
        self.plan.inputs.len() == inputs.len() && self.plan.inputs.iter().zip(inputs).all(same)
    }

    /// Go through the body once. The cost that is known has been paid.
    pub(crate) fn run(
        &self,
        inputs: &[&Tensor],
        captures: &[Option<&Tensor>],
        call: &Call<'_>,
    ) -> Result<Vec<Returned>, Fault> {
        let program = program(&self.body, captures, &self.captures, call.cpu, call.budget.limits());
        let held = call.budget.held();
        let outputs = self.plan.run_within(&program, inputs, call.pool, call.budget).map_err(inside)?;
        call.budget.release(call.budget.held().saturating_sub(held));
        Ok(outputs)
    }

    /// As [`Self::run`], and pay for it.
    pub(crate) fn run_late(
        &self,
        inputs: &[&Tensor],
        captures: &[Option<&Tensor>],
        call: &Call<'_>,
    ) -> Result<Vec<Returned>, Fault> {
        call.budget.spend(self.macs())?;
        call.budget.hold(self.peak_bytes())?;
        let outputs = self.run(inputs, captures, call)?;
        call.budget.release(self.peak_bytes());
        Ok(outputs)
    }
}

impl Plan {
    fn truth(&self, program: &Program<'_>, source: Ref) -> Option<bool> {
        match self.operand(program, source)??.constant?.data() {
            TensorData::Bool(values) => values.first().copied(),
            _ => None,
        }
    }
}

fn program<'p>(
    body: &'p Body,
    captures: &'p [Option<&'p Tensor>],
    types: &'p [ValueType],
    cpu: &'p Cpu,
    limits: &'p Limits,
) -> Program<'p> {
    Program {
        cpu,
        graph: &body.graph,
        weights: Weights::Taken(captures),
        weight_types: types,
        statics: &[],
        packed: &[],
        limits,
    }
}

/// An error of a body, as a fault of its node.
fn inside(error: Error) -> Fault {
    match error {
        Error::Node { node, name, operator, fault } => Fault::Body { node, name, operator, fault },
        other => Fault::Table { what: "body", problem: other.to_string() },
    }
}
