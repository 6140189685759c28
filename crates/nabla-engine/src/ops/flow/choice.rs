//! `If`: one of two bodies.
//!
//! Where the condition is known to the planner, only the chosen body is planned. Else both are; if they make values
//! of the same types, the cost of the dearer one is paid, if not, the node waits for the run.

use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Passes, captures, owned, prepared, waits};
use crate::Fault;
use crate::graph::Body;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Kernel, Prepared, Scope, misfit};
use crate::plan::Pass;

/// Captures follow the condition.
const CAPTURES: usize = 1;
const BRANCHES: [&str; 2] = ["else_branch", "then_branch"];

pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    for name in BRANCHES {
        let (inputs, outputs) = upload.body(name)?;
        if inputs != 0 || outputs != upload.outputs {
            return Err(Fault::Arity {
                what: "outputs",
                expected: "those of both branches",
                got: upload.outputs,
            });
        }
    }
    upload.capture_from(CAPTURES)
}

fn bodies<'a>(scope: &Scope<'a>) -> Result<[&'a Arc<Body>; 2], Fault> {
    let condition = scope.typed(0, &[Dtype::Bool], "BOOL")?;
    if condition.elements() != 1 {
        return Err(misfit("condition of If", "one element", condition));
    }
    let bodies = [scope.attributes.body(BRANCHES[0])?, scope.attributes.body(BRANCHES[1])?];
    match bodies.iter().find(|body| body.inputs != 0 || body.outputs() != scope.outputs) {
        None => Ok(bodies),
        Some(_) => {
            Err(Fault::Arity { what: "outputs", expected: "those of both branches", got: scope.outputs })
        }
    }
}

pub(super) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let bodies = bodies(scope)?;
    let plan = |body| Pass::new(body, Vec::new(), captures(scope, CAPTURES), scope.limits);
    let known = scope.scalar::<bool>(0, "condition of If");
    if let Ok(chosen) = known {
        let pass = plan(bodies[usize::from(chosen)])?;
        let outputs = pass.outputs().ok_or_else(|| waits(0))?;
        let all = prepared(scope, &pass, 1, outputs)?;
        return Ok(all.with_kernel(Choice { passes: vec![pass] }));
    }
    // A branch that is wrong for these shapes may be one that is not taken for them.
    let (Ok(one), Ok(other)) = (plan(bodies[0]), plan(bodies[1])) else { return Err(waits(0)) };
    let outputs = one.outputs().filter(|outputs| other.outputs().as_ref() == Some(outputs));
    let outputs = outputs.ok_or_else(|| waits(0))?;
    let all = [prepared(scope, &one, 1, outputs.clone())?, prepared(scope, &other, 1, outputs)?];
    let [first, second] = all;
    let (macs, scratch) = (first.macs.max(second.macs), first.scratch_bytes.max(second.scratch_bytes));
    let open = first.open || second.open;
    let both = Prepared { open, ..first.macs(macs).scratch_bytes(scratch) };
    Ok(both.with_kernel(Choice { passes: vec![one, other] }))
}

pub(super) fn run(scope: &Scope<'_>, call: &Call<'_>) -> Result<Vec<Tensor>, Fault> {
    let chosen = usize::from(scope.scalar::<bool>(0, "condition of If")?);
    let body = bodies(scope)?[chosen];
    Ok(owned(Passes::late(body, scope, call, CAPTURES).run(&[], call)?, &[]))
}

/// The chosen body, or both.
#[derive(Debug)]
struct Choice {
    passes: Vec<Pass>,
}

impl Kernel for Choice {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let condition = call.slice::<bool>(0)?.first() == Some(&true);
        let pass = &self.passes[usize::from(condition).min(self.passes.len() - 1)];
        let outputs = owned(Passes::ready(pass, call, CAPTURES).run(&[], call)?, &[]);
        Ok(outputs.into_iter().map(|tensor| tensor.into_parts().1).collect())
    }
}
