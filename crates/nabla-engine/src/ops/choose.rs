//! Operators that choose between elements: by a condition, or by bounds.

use nabla_types::tensor::{Dtype, TensorData};

use super::broadcast::{Each, Walk, broadcast};
use super::identity::plain;
use super::numbers::Ordered;
use super::{
    Call, Element, ElementwiseForm, FnKernel, FormKernel, Operator, Prepared, Scope, dispatch, misfit,
};
use crate::Fault;
use crate::kernels::elementwise::Unary;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] =
    &[Operator::node("Clip", import_clip, clip), Operator::node("Where", plain, choose)];

/// The second input where the first is true, else the third.
fn choose(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let condition = scope.typed(0, &[Dtype::Bool], "BOOL")?;
    let x = scope.input(1)?;
    let y = scope.typed(2, &[x.dtype], "the type of input 1")?;
    let shape = broadcast(&broadcast(&condition.shape, &x.shape)?, &y.shape)?;
    let walk = Walk::new([&condition.shape, &x.shape, &y.shape], &shape);
    let output = scope.value(x.dtype, shape)?;
    Ok(dispatch!(x.dtype, E => {
        Prepared::one(output, FnKernel(move |call: &Call<'_>| Ok(vec![E::wrap(chosen::<E>(call, &walk)?)])))
    }))
}

fn chosen<T: Element>(call: &Call<'_>, walk: &Walk<3>) -> Result<Vec<T>, Fault> {
    let (condition, x, y) = (call.slice::<bool>(0)?, call.slice::<T>(1)?, call.slice::<T>(2)?);
    let mut out = call.space::<T>(call.elements(0));
    let [by_condition, by_x, by_y] = walk.steps;
    walk.each(|at, length, [at_condition, at_x, at_y]| {
        let out = &mut out[at..at + length];
        if by_condition == 0 {
            let (from, at, step) = if condition[at_condition] { (x, at_x, by_x) } else { (y, at_y, by_y) };
            match step {
                0 => out.fill(from[at].clone()),
                _ => out.clone_from_slice(&from[at..at + length]),
            }
            return;
        }
        let condition = &condition[at_condition..at_condition + length];
        match by_x {
            0 => out.fill(x[at_x].clone()),
            _ => out.clone_from_slice(&x[at_x..at_x + length]),
        }
        // The others are put over it.
        let others = out.iter_mut().zip(condition);
        match by_y {
            0 => others.filter(|(_, holds)| !**holds).for_each(|(out, _)| out.clone_from(&y[at_y])),
            _ => {
                for ((out, holds), y) in others.zip(&y[at_y..at_y + length]) {
                    if !holds {
                        out.clone_from(y);
                    }
                }
            }
        }
    });
    Ok(out)
}

/// Bounds are attributes before opset 11 and inputs since.
fn import_clip(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.float_to_input("min", 1)?;
    upload.float_to_input("max", 2)
}

/// `min` below it, then `max` above it; NaN stays. Bounds that are not given are the least and the
/// greatest finite element.
fn clip(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 3, 1)?;
    let x = scope.input(0)?;
    for (input, what) in [(1, "lower bound of Clip"), (2, "upper bound of Clip")] {
        // Before opset 11 bounds are f32 whatever the input is.
        let Some(bound) = scope.optional(input) else { continue };
        scope.typed(input, &[x.dtype, Dtype::F32], "the type of input 0")?;
        if bound.ty.elements() != 1 {
            return Err(misfit(what, "one element", bound.ty));
        }
    }
    dispatch!(x.dtype, E: number => Ok(Prepared::one(x.clone(), clip_kernel::<E>(scope, x)?)), else {
        Err(Fault::Dtype { input: 0, expected: "a number", got: x.dtype })
    })
}

fn clip_kernel<T: Ordered>(scope: &Scope<'_>, x: &ValueType) -> Result<impl super::Kernel + use<T>, Fault> {
    let known = |input: usize| match scope.optional(input) {
        None => Some(None),
        Some(operand) => operand.constant.map(|tensor| Some(tensor.data())),
    };
    let step = match (x.dtype, known(1), known(2)) {
        (Dtype::F32, Some(low), Some(high)) => {
            Some(Unary::Clip(bound::<f32>(low, 0)?, bound::<f32>(high, 1)?))
        }
        _ => None,
    };
    let run = |call: &Call<'_>| {
        let given = |input: usize| call.optional(input).map(|tensor| tensor.data());
        let (low, high) = (bound::<T>(given(1), 0)?, bound::<T>(given(2), 1)?);
        let x = call.slice::<T>(0)?;
        let mut out = call.space::<T>(x.len());
        let limit = move |x: &T| {
            let raised = if *x < low { low } else { *x };
            if raised > high { high } else { raised }
        };
        call.cpu.isa().run(Each { x, out: &mut out, f: limit });
        Ok(vec![T::wrap(out)])
    };
    Ok(FormKernel { form: step.map(ElementwiseForm::Unary), run })
}

/// A bound of the type of the input, or an f32 that is cast to it.
fn bound<T: Ordered>(data: Option<&TensorData>, end: usize) -> Result<T, Fault> {
    let Some(data) = data else { return Ok(T::FINITE[end]) };
    let cast = if data.dtype() == T::DTYPE { None } else { Some(super::cast::cast(data, T::DTYPE)?) };
    match T::slice(cast.as_ref().unwrap_or(data)) {
        Some([bound]) => Ok(*bound),
        _ => Err(Fault::Dtype {
            input: end + 1,
            expected: "one element of the type of input 0",
            got: data.dtype(),
        }),
    }
}
