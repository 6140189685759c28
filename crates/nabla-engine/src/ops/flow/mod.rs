//! Operators with bodies: `If`, `Loop`, `Scan`.
//!
//! # Rules
//! - A body is planned for what is known. Where that gives the number of passes and the types of everything, the
//!   cost of all passes is known before the run. Else the node waits for the run: passes are planned as their
//!   types come, and each pays before it begins.
//! - A body sees its inputs and what the node hands on from around it, nothing else: passes share no state.
//!
//! # When things go wrong
//! A fault inside of a body names the node there, and the node that it is the body of. A loop that goes on for
//! longer than the limits allow ends as soon as it passes them.

use std::borrow::Cow;
use std::sync::Arc;

use nabla_types::tensor::Tensor;

use super::{Call, FnKernel, Operand, Operator, Prepared, Scope, dispatch};
use crate::Fault;
use crate::graph::Body;
use crate::plan::{Pass, Returned, ValueType, at_most};

mod choice;
mod pieces;
mod repeat;
mod scan;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::with_bodies("If", choice::import, choice::prepare, choice::run),
    Operator::with_bodies("Loop", repeat::import, repeat::prepare, repeat::run),
    Operator::with_bodies("Scan", scan::import, scan::prepare, scan::run),
];

/// What the planner waits for.
fn waits(input: usize) -> Fault {
    Fault::NotConstant { input, what: "what settles the passes through a body" }
}

/// Operands that a body takes from around its node: those from `first` on.
fn captures<'s, 'a>(scope: &'s Scope<'a>, first: usize) -> &'s [Option<Operand<'a>>] {
    scope.operands.get(first..).unwrap_or_default()
}

/// Passes through one body.
struct Passes<'p> {
    captures: &'p [Option<&'p Tensor>],
    plans: Plans<'p>,
}

enum Plans<'p> {
    /// One for all passes; they are paid for.
    Ready(&'p Pass),
    /// Made as types come; the last one is kept.
    Late { body: &'p Arc<Body>, captures: &'p [Option<Operand<'p>>], last: Option<Pass> },
}

impl<'p> Passes<'p> {
    /// Captures begin at input `first`.
    fn ready(pass: &'p Pass, call: &Call<'p>, first: usize) -> Self {
        Self { captures: call.inputs.get(first..).unwrap_or_default(), plans: Plans::Ready(pass) }
    }

    fn late(body: &'p Arc<Body>, scope: &'p Scope<'_>, call: &Call<'p>, first: usize) -> Self {
        let plans = Plans::Late { body, captures: captures(scope, first), last: None };
        Self { captures: call.inputs.get(first..).unwrap_or_default(), plans }
    }

    /// The next pass.
    fn run(&mut self, inputs: &[&Tensor], call: &Call<'_>) -> Result<Vec<Returned>, Fault> {
        let (body, captures, last) = match &mut self.plans {
            Plans::Ready(pass) => return pass.run(inputs, self.captures, call),
            Plans::Late { body, captures, last } => (*body, *captures, last),
        };
        let pass = match last.take().filter(|pass| pass.fits(inputs)) {
            Some(pass) => pass,
            None => {
                let types = inputs.iter().map(|tensor| ValueType::of(tensor)).collect();
                Pass::planned_late(body, types, captures, call)?
            }
        };
        last.insert(pass).run_late(inputs, self.captures, call)
    }

    /// Take memory for what passes leave; that of planned passes is in the plan.
    fn hold(&self, bytes: u64, call: &Call<'_>) -> Result<(), Fault> {
        if let Plans::Late { .. } = self.plans { call.budget.hold(bytes) } else { Ok(()) }
    }

    fn release(&self, bytes: u64, call: &Call<'_>) {
        if let Plans::Late { .. } = self.plans {
            call.budget.release(bytes);
        }
    }

    /// Put the new values in the place of the old ones.
    fn carry(
        &self,
        values: &mut Carried<'_>,
        changed: Vec<Option<Tensor>>,
        call: &Call<'_>,
    ) -> Result<(), Fault> {
        for (value, change) in values.iter_mut().zip(changed) {
            let Some(tensor) = change else { continue };
            self.hold(ValueType::of(&tensor).bytes(), call)?;
            if let Cow::Owned(old) = std::mem::replace(value, Cow::Owned(tensor)) {
                self.release(ValueType::of(&old).bytes(), call);
                call.pool.give(old);
            }
        }
        Ok(())
    }

    /// Type of an output of a pass that never comes, for inputs of these types.
    fn output(&mut self, output: usize, inputs: Vec<ValueType>, call: &Call<'_>) -> Result<ValueType, Fault> {
        let found = match &self.plans {
            Plans::Ready(pass) => pass.output(output).cloned(),
            Plans::Late { body, captures, .. } => {
                Pass::planned_late(body, inputs, captures, call)?.output(output).cloned()
            }
        };
        found.ok_or_else(|| Fault::Unsupported {
            what: "an output of no pass whose shape only a pass would tell".to_owned(),
            hint: "export with fixed shapes in the body",
        })
    }
}

/// Values that go from one pass to the next.
type Carried<'p> = Vec<Cow<'p, Tensor>>;

/// The first values.
fn carried<'p>(given: &[Option<&'p Tensor>]) -> Result<Carried<'p>, Fault> {
    let missing = Fault::Arity { what: "inputs", expected: "a first value of each", got: given.len() };
    given.iter().map(|value| value.map(Cow::Borrowed)).collect::<Option<_>>().ok_or(missing)
}

/// What a pass made, as values of their own.
fn owned(outputs: impl IntoIterator<Item = Returned>, inputs: &[&Tensor]) -> Vec<Tensor> {
    let own = |output| match output {
        Returned::Made(tensor) => tensor,
        Returned::Input(index) => inputs[index].clone(),
    };
    outputs.into_iter().map(own).collect()
}

/// What becomes of the carried values, which were the inputs from `first` on; `None` if one stays.
fn changed(
    outputs: impl IntoIterator<Item = Returned>,
    first: usize,
    inputs: &[&Tensor],
) -> Vec<Option<Tensor>> {
    let change = |(place, output)| match output {
        Returned::Made(tensor) => Some(tensor),
        Returned::Input(index) if index == first + place => None,
        Returned::Input(index) => Some(inputs[index].clone()),
    };
    outputs.into_iter().enumerate().map(change).collect()
}

/// Bytes of values of these types.
fn bytes<'t>(types: impl IntoIterator<Item = &'t ValueType>) -> u64 {
    types.into_iter().map(ValueType::bytes).fold(0, u64::saturating_add)
}

/// A node all of whose passes are planned: what comes out and what it costs, without its kernel.
fn prepared(scope: &Scope<'_>, pass: &Pass, count: u64, outputs: Vec<ValueType>) -> Result<Prepared, Fault> {
    let macs = count.saturating_mul(pass.macs());
    at_most("multiply-adds of all passes", macs, scope.limits.macs_max)?;
    // Old and new values, and the pieces beside what they become.
    let scratch = pass.peak_bytes().saturating_add(bytes(&outputs).saturating_mul(2));
    let open = !pass.is_static();
    Ok(Prepared {
        open,
        ..Prepared::new(outputs, FnKernel(|_: &Call<'_>| Ok(Vec::new()))).macs(macs).scratch_bytes(scratch)
    })
}
