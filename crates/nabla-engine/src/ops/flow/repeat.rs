//! `Loop`: passes as long as a count is not reached and a condition holds.

use std::borrow::Cow;
use std::sync::Arc;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::pieces::{Pile, Side, piled};
use super::{Passes, captures, carried, changed, owned, prepared, waits};
use crate::Fault;
use crate::graph::{Body, Ref};
use crate::onnx::upload::Upload;
use crate::ops::{Call, Kernel, Prepared, Scope, misfit};
use crate::plan::{Pass, ValueType};

/// Inputs of node and body in front of the carried values: a count (in the body: the number of the pass) and a
/// condition. Outputs of the body: a condition.
const HEAD: usize = 2;
/// Values are piled up along a new first dimension.
const FRONT: Side = Side { axis: 0, reversed: false };

/// Number and condition come into the body with the ranks that it states: 0, or 1 with one element.
const RANKS: &str = "ranks";

pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let (inputs, outputs) = upload.body("body")?;
    let ranks = [0, 1].map(|input| i64::from(upload.body_ranks.get(input) == Some(&1)));
    if ranks != [0, 0] {
        upload.set_ints(RANKS, ranks.to_vec())?;
    }
    upload.capture_from(inputs.max(HEAD))?;
    upload.all_outputs(outputs.saturating_sub(1))
}

#[derive(Debug, Clone)]
struct Repeat {
    body: Arc<Body>,
    carried: usize,
    piled: usize,
    ranks: [usize; 2],
}

impl Repeat {
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let body = scope.attributes.body("body")?;
        let ranks = match scope.attributes.ints(RANKS)? {
            [] => [0, 0],
            [number @ (0 | 1), condition @ (0 | 1)] if [number, condition] != [&0, &0] => {
                [*number, *condition].map(|rank| usize::from(rank == 1))
            }
            other => {
                let got = format!("{other:?}").chars().take(40).collect::<String>();
                return Err(crate::graph::attributes::fault(RANKS, "two numbers of 0 or 1", &got));
            }
        };
        let arity = |what, got| Fault::Arity { what, expected: "as the operator has them", got };
        let carried = (body.inputs as usize).checked_sub(HEAD);
        let carried = carried.ok_or_else(|| arity("inputs of the body", body.inputs as usize))?;
        let piled = body.outputs().checked_sub(carried + 1);
        let piled = piled.ok_or_else(|| arity("outputs of the body", body.outputs()))?;
        if scope.outputs != carried + piled {
            return Err(arity("outputs", scope.outputs));
        }
        for (input, dtype, expected) in [(0, Dtype::I64, "INT64"), (1, Dtype::Bool, "BOOL")] {
            if scope.optional(input).is_some() && scope.typed(input, &[dtype], expected)?.elements() != 1 {
                return Err(misfit("count or condition of Loop", "one element", scope.input(input)?));
            }
        }
        Ok(Self { body: body.clone(), carried, piled, ranks })
    }

    /// Input at which captures begin.
    fn first_capture(&self) -> usize {
        HEAD + self.carried
    }

    /// Types of what the first pass takes.
    fn types(&self, scope: &Scope<'_>) -> Result<Vec<ValueType>, Fault> {
        let head = |dtype, rank| ValueType { dtype, shape: vec![1; rank] };
        let mut types = vec![head(Dtype::I64, self.ranks[0]), head(Dtype::Bool, self.ranks[1])];
        for value in 0..self.carried {
            types.push(scope.input(HEAD + value)?.clone());
        }
        Ok(types)
    }

    /// All passes: `count` at most. `types` are those of what the first one takes.
    fn run(
        &self,
        mut passes: Passes<'_>,
        types: &[ValueType],
        bounds: Bounds,
        call: &Call<'_>,
    ) -> Result<Vec<Tensor>, Fault> {
        let held = call.budget.held();
        let mut values = carried(call.inputs.get(HEAD..self.first_capture()).unwrap_or_default())?;
        let mut piles: Vec<Pile> = (0..self.piled).map(|_| Pile::new()).collect();
        let mut condition = self.head(self.ranks[1], TensorData::Bool(vec![bounds.begins]))?;
        let mut number = 0;
        while bounds.count.is_none_or(|count| number < count) && truth(&condition)? {
            let place = self.head(self.ranks[0], TensorData::I64(vec![number]))?;
            let inputs: Vec<&Tensor> =
                [&place, &condition].into_iter().chain(values.iter().map(Cow::as_ref)).collect();
            let mut outputs = passes.run(&inputs, call)?;
            let pieces = owned(outputs.split_off((1 + self.carried).min(outputs.len())), &inputs);
            let next = changed(outputs.drain(1.min(outputs.len())..), HEAD, &inputs);
            let goes_on = owned(outputs, &inputs).pop();
            passes.carry(&mut values, next, call)?;
            for (pile, piece) in piles.iter_mut().zip(pieces) {
                passes.hold(ValueType::of(&piece).bytes(), call)?;
                pile.push(piece)?;
            }
            condition = goes_on.ok_or(Fault::Arity { what: "outputs", expected: "a condition", got: 0 })?;
            number += 1;
        }
        let mut outputs: Vec<Tensor> = values.into_iter().map(Cow::into_owned).collect();
        for (index, pile) in piles.into_iter().enumerate() {
            let ty = match pile.ty() {
                Some(ty) => ty,
                None => passes.output(1 + self.carried + index, types.to_vec(), call)?,
            };
            let whole = piled(&ty, FRONT.axis, pile.count(), call.budget.limits())?;
            passes.hold(whole.bytes(), call)?;
            outputs.push(pile.join(&ty, FRONT, &whole)?);
        }
        call.budget.release(call.budget.held().saturating_sub(held));
        Ok(outputs)
    }

    fn head(&self, rank: usize, data: TensorData) -> Result<Tensor, Fault> {
        Ok(Tensor::new(vec![1; rank], data)?)
    }

    /// Whether the condition stays as it is before the first pass, or is true after each pass of these types.
    fn goes_on(&self, pass: &Pass) -> bool {
        let source = self.body.graph.outputs.first().map(|(_, source)| *source);
        source == Some(Ref::Input(1)) || pass.truth(0) == Some(true)
    }
}

/// What ends the passes from outside.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Most passes.
    count: Option<i64>,
    /// Whether there is a first pass.
    begins: bool,
}

impl Bounds {
    /// Those of a node whose count and condition are known.
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let given = |input: usize| scope.optional(input).is_some();
        let count = given(0).then(|| scope.scalar::<i64>(0, "count of Loop")).transpose()?;
        let begins = given(1).then(|| scope.scalar::<bool>(1, "condition of Loop")).transpose()?;
        Ok(Self { count: count.map(|count| count.max(0)), begins: begins.unwrap_or(true) })
    }
}

fn truth(condition: &Tensor) -> Result<bool, Fault> {
    match condition.data() {
        TensorData::Bool(values) if values.len() == 1 => Ok(values[0]),
        _ => Err(misfit("condition of a pass", "one truth value", &ValueType::of(condition))),
    }
}

pub(super) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let repeat = Repeat::read(scope)?;
    let bounds = Bounds::read(scope)?;
    let types = repeat.types(scope)?;
    let pass = Pass::new(&repeat.body, types.clone(), captures(scope, repeat.first_capture()), scope.limits)?;
    let made = pass.outputs().ok_or_else(|| waits(HEAD))?;
    let (carried, pieces) = made[1..].split_at(repeat.carried);
    let count = match bounds {
        Bounds { begins: false, .. } | Bounds { count: Some(0), .. } => 0,
        // A value that grows is followed during the run; so is a condition, which may follow from its size.
        _ if *carried != types[HEAD..] => return Err(waits(HEAD)),
        _ if !repeat.goes_on(&pass) => return Err(waits(1)),
        Bounds { count: Some(count), .. } => count.unsigned_abs(),
        Bounds { count: None, .. } => {
            let problem = "neither a count nor a condition ends it".to_owned();
            return Err(Fault::Table { what: "Loop", problem });
        }
    };
    let mut outputs = types[HEAD..].to_vec();
    for ty in pieces {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        outputs.push(piled(ty, FRONT.axis, count, scope.limits)?);
    }
    let all = prepared(scope, &pass, count, outputs)?;
    Ok(all.with_kernel(RepeatKernel { repeat, bounds, types, pass }))
}

pub(super) fn run(scope: &Scope<'_>, call: &Call<'_>) -> Result<Vec<Tensor>, Fault> {
    let repeat = Repeat::read(scope)?;
    let passes = Passes::late(&repeat.body, scope, call, repeat.first_capture());
    repeat.run(passes, &repeat.types(scope)?, Bounds::read(scope)?, call)
}

#[derive(Debug)]
struct RepeatKernel {
    repeat: Repeat,
    bounds: Bounds,
    types: Vec<ValueType>,
    pass: Pass,
}

impl Kernel for RepeatKernel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let passes = Passes::ready(&self.pass, call, self.repeat.first_capture());
        let outputs = self.repeat.run(passes, &self.types, self.bounds, call)?;
        Ok(outputs.into_iter().map(|tensor| tensor.into_parts().1).collect())
    }
}
