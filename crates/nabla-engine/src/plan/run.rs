//! Running a plan.

use std::sync::Arc;

use nabla_types::tensor::Tensor;

use super::{
    Budget, Plan, Pool, Program, Returned, Slot, Static, Step, Tail, TailCall, ValueType, check_count,
};
use crate::graph::Ref;
use crate::ops::{Call, Kernel, Operand, Scope};
use crate::{Error, Fault};

/// A value during a run.
enum Value {
    Empty,
    Made(Tensor),
    Constant(Arc<Tensor>),
}

impl Value {
    fn get(&self) -> Option<&Tensor> {
        match self {
            Self::Empty => None,
            Self::Made(tensor) => Some(tensor),
            Self::Constant(tensor) => Some(tensor),
        }
    }
}

impl Plan {
    /// Run on inputs of the planned types, in the graph's order.
    pub(crate) fn run(
        &self,
        program: &Program<'_>,
        inputs: &[&Tensor],
        pool: &Pool,
    ) -> Result<Vec<Tensor>, Error> {
        let budget = Budget::new(program.limits, self.macs, self.peak_bytes);
        let outputs = self.run_within(program, inputs, pool, &budget)?.into_iter();
        let own = |output| match output {
            Returned::Made(tensor) => tensor,
            Returned::Input(index) => inputs[index].clone(),
        };
        Ok(outputs.map(own).collect())
    }

    /// As [`Self::run`], as part of a run with this budget.
    pub(super) fn run_within(
        &self,
        program: &Program<'_>,
        inputs: &[&Tensor],
        pool: &Pool,
        budget: &Budget<'_>,
    ) -> Result<Vec<Returned>, Error> {
        let constant = |slot: &Slot| match slot {
            Slot::Constant(tensor, _) => Value::Constant(tensor.clone()),
            _ => Value::Empty,
        };
        let mut values: Vec<Value> = self.values.iter().map(constant).collect();
        for step in &self.steps {
            if let Some(renamed) = step.take_over(&mut values) {
                values[step.outputs.start] =
                    Value::Made(renamed.map_err(|fault| program.graph.at(step.node, fault))?);
                continue;
            }
            let outputs = {
                let take = |source: &Ref| match source {
                    Ref::Absent => None,
                    Ref::Input(index) => inputs.get(*index as usize).copied(),
                    Ref::Weight(index) => program.weight(*index),
                    Ref::Value(index) => values.get(*index as usize).and_then(Value::get),
                };
                let taken: Vec<_> = step.inputs.iter().map(take).collect();
                self.step(program, step, &taken, pool, budget)
                    .map_err(|fault| program.graph.at(step.node, fault))?
            };
            for (slot, output) in step.outputs.clone().zip(outputs) {
                values[slot] = Value::Made(output);
            }
            for freed in &step.frees {
                if let Value::Made(tensor) = std::mem::replace(&mut values[*freed], Value::Empty) {
                    if matches!(self.values[*freed], Slot::Unknown) {
                        budget.release(ValueType::of(&tensor).bytes());
                    }
                    pool.give(tensor);
                }
            }
        }
        self.returned(program, inputs, values)
    }

    fn returned(
        &self,
        program: &Program<'_>,
        inputs: &[&Tensor],
        mut values: Vec<Value>,
    ) -> Result<Vec<Returned>, Error> {
        let sources: Vec<Ref> = program.graph.outputs.iter().map(|(_, source)| *source).collect();
        let mut outputs = Vec::with_capacity(sources.len());
        for (place, source) in sources.iter().enumerate() {
            let found =
                match *source {
                    Ref::Absent => None,
                    Ref::Input(index) => inputs.get(index as usize).map(|_| Returned::Input(index as usize)),
                    Ref::Weight(index) => program.weight(index).cloned().map(Returned::Made),
                    Ref::Value(index) if sources[place + 1..].contains(source) => {
                        values.get(index as usize).and_then(Value::get).cloned().map(Returned::Made)
                    }
                    Ref::Value(index) => values.get_mut(index as usize).and_then(|value| {
                        match std::mem::replace(value, Value::Empty) {
                            Value::Empty => None,
                            Value::Made(tensor) => Some(Returned::Made(tensor)),
                            Value::Constant(tensor) => Some(Returned::Made(tensor.as_ref().clone())),
                        }
                    }),
                };
            let name = || program.graph.outputs[place].0.name.clone();
            outputs
                .push(found.ok_or_else(|| Error::Graph { problem: "an output was not made", name: name() })?);
        }
        Ok(outputs)
    }

    fn step(
        &self,
        program: &Program<'_>,
        step: &Step,
        inputs: &[Option<&Tensor>],
        pool: &Pool,
        budget: &Budget<'_>,
    ) -> Result<Vec<Tensor>, Fault> {
        let packed = program.packed(step.node);
        match &step.ready {
            Some(ready) => {
                let outputs = &ready.outputs;
                let (own, joined) =
                    inputs.split_at(step.inputs.len() - ready.tail.as_ref().map_or(0, Tail::inputs));
                let tail = ready.tail.as_ref().map(|tail| TailCall::new(tail, joined, program.cpu.isa()));
                let tail = tail.as_ref();
                call(
                    ready.kernel.as_ref(),
                    &Call { cpu: program.cpu, inputs: own, outputs, packed, pool, tail, budget },
                )
            }
            None => late(program, step, inputs, pool, budget),
        }
    }
}

impl Step {
    /// The input under its new shape, if this step only renames a value that nobody needs afterwards.
    fn take_over(&self, values: &mut [Value]) -> Option<Result<Tensor, Fault>> {
        let ready = self.ready.as_ref().filter(|ready| ready.kernel.renames())?;
        let Some(Ref::Value(source)) = self.inputs.first() else { return None };
        let source = *source as usize;
        if self.frees != [source] || !matches!(values.get(source), Some(Value::Made(_))) {
            return None;
        }
        match std::mem::replace(&mut values[source], Value::Empty) {
            Value::Made(tensor) => {
                let (_, data) = tensor.into_parts();
                Some(Tensor::new(ready.outputs[0].wide(), data).map_err(Fault::from))
            }
            _ => None,
        }
    }
}

/// Prepare a node with every operand known, charge it, and run it.
fn late(
    program: &Program<'_>,
    step: &Step,
    inputs: &[Option<&Tensor>],
    pool: &Pool,
    budget: &Budget<'_>,
) -> Result<Vec<Tensor>, Fault> {
    let node = &program.graph.nodes[step.node];
    // A weight that only lives on in packed form still has its type.
    let ty = |(source, tensor): (&Ref, &Option<&Tensor>)| match (source, tensor) {
        (_, Some(tensor)) => Some(ValueType::of(tensor)),
        (Ref::Weight(index), None) => program.weight_types.get(*index as usize).cloned(),
        (Ref::Value(index), None) => match program.statics.get(*index as usize) {
            Some(Static::Packed(ty)) => Some(ty.clone()),
            _ => None,
        },
        _ => None,
    };
    let types: Vec<_> = node.inputs.iter().zip(inputs).map(ty).collect();
    let operands =
        types.iter().zip(inputs).map(|(ty, tensor)| Some(Operand { ty: ty.as_ref()?, constant: *tensor }));
    let packed = program.packed(step.node);
    let scope = Scope {
        attributes: node.attributes.reader(),
        operands: operands.collect(),
        outputs: node.outputs as usize,
        limits: program.limits,
        packed,
    };
    let tail = None;
    if node.operator.is_flow() {
        let call = Call { cpu: program.cpu, inputs, outputs: &[], packed, pool, tail, budget };
        let outputs = node.operator.flow(&scope, &call)?;
        check_count(outputs.len(), node)?;
        for output in &outputs {
            budget.hold(ValueType::of(output).bytes())?;
        }
        return Ok(outputs);
    }
    let prepared = node.operator.prepare(&scope)?;
    check_count(prepared.outputs.len(), node)?;
    budget.charge(&prepared.outputs, prepared.macs, prepared.scratch_bytes)?;
    let outputs = &prepared.outputs;
    call(prepared.kernel.as_ref(), &Call { cpu: program.cpu, inputs, outputs, packed, pool, tail, budget })
}

/// Run a kernel and give its outputs their shapes.
pub(super) fn call(kernel: &dyn Kernel, call: &Call<'_>) -> Result<Vec<Tensor>, Fault> {
    let outputs = kernel.run(call)?;
    if outputs.len() != call.outputs.len() {
        return Err(Fault::Arity { what: "outputs", expected: "as many as planned", got: outputs.len() });
    }
    call.outputs.iter().zip(outputs).map(|(ty, data)| Ok(Tensor::new(ty.wide(), data)?)).collect()
}
