//! Sums, products, norms, the greatest and the least along any dimensions.
//!
//! Terms are taken in row-major order of the reduced dimensions. Floats: [`crate::kernels::rows`] gives the
//! order of additions. FP16 and BF16 compute as f32.

use std::fmt::Debug;

use nabla_types::tensor::{Dtype, TensorData};

use super::numbers::{Integer, Number, Ordered};
use super::unary::SOME;
use super::{Call, FnKernel, Operator, Prepared, Scope, axis, dispatch, widened};
use crate::Fault;
use crate::kernels::Isa;
use crate::kernels::elementwise::{Operands, Step, Unary, run_steps};
use crate::kernels::{math, rows};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("ReduceL1", import, |scope| prepare(scope, Kind::L1)),
    Operator::node("ReduceL2", import, |scope| prepare(scope, Kind::L2)),
    Operator::node("ReduceLogSum", import, |scope| prepare(scope, Kind::LogSum)),
    Operator::node("ReduceLogSumExp", import, |scope| prepare(scope, Kind::LogSumExp)),
    Operator::node("ReduceMax", import, |scope| prepare(scope, Kind::Max)),
    Operator::node("ReduceMean", import, |scope| prepare(scope, Kind::Mean)),
    Operator::node("ReduceMin", import, |scope| prepare(scope, Kind::Min)),
    Operator::node("ReduceProd", import, |scope| prepare(scope, Kind::Product)),
    Operator::node("ReduceSum", import, |scope| prepare(scope, Kind::Sum)),
    Operator::node("ReduceSumSquare", import, |scope| prepare(scope, Kind::SumSquares)),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    L1,
    L2,
    LogSum,
    LogSumExp,
    Max,
    Mean,
    Min,
    Product,
    Sum,
    SumSquares,
}

/// Axes are an attribute before opset 18 (sums: 13) and an input since.
fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("axes", 1)
}

fn prepare(scope: &Scope<'_>, kind: Kind) -> Result<Prepared, Fault> {
    scope.arity(1, 2, 1)?;
    let x = scope.input(0)?;
    let keep = scope.attributes.flag_or("keepdims", true)?;
    let nothing = scope.attributes.flag_or("noop_with_empty_axes", false)?;
    let axes = scope.optional_ints(1, "axes")?.unwrap_or_default();
    let mut reduced = vec![axes.is_empty() && !nothing; x.rank()];
    for given in axes {
        reduced[axis("axes", given, x.rank())?] = true;
    }
    let dims = || x.shape.iter().zip(&reduced);
    let shape: Vec<usize> = if keep {
        dims().map(|(size, reduced)| if *reduced { 1 } else { *size }).collect()
    } else {
        dims().filter(|(_, reduced)| !**reduced).map(|(size, _)| *size).collect()
    };
    widened(scope, |scope| {
        let x = scope.input(0)?;
        let gather = kind == Kind::LogSumExp;
        let groups = Groups::new(&x.shape, &reduced, gather);
        let macs = x.count().saturating_mul(if gather { SOME + 4 } else { 2 });
        // Gathered elements; for some reductions of integers, f64 or wide sums.
        let wide = if matches!(x.dtype, Dtype::F32 | Dtype::F64) { 0 } else { x.count().saturating_mul(16) };
        let scratch = x.bytes().saturating_add(wide);
        let output = scope.value(x.dtype, shape)?;
        Ok(kernel(output, kind, groups)?.macs(macs).scratch_bytes(scratch))
    })
}

fn kernel(output: ValueType, kind: Kind, groups: Groups) -> Result<Prepared, Fault> {
    let dtype = output.dtype;
    dispatch!(dtype, E: [F32 F64] => {
        Ok(Prepared::one(output, FnKernel(move |call: &Call<'_>| floats::<E>(call, kind, &groups))))
    }, else dispatch!(dtype, E: integer => {
        Ok(Prepared::one(output, FnKernel(move |call: &Call<'_>| integers::<E>(call, kind, &groups))))
    }, else match (dtype, kind) {
        (Dtype::Bool, Kind::Max | Kind::Min) => Ok(Prepared::one(output, FnKernel(move |call: &Call<'_>| {
            let x = groups.gathered(call.slice::<bool>(0)?);
            let out = groups.ends(&x, kind == Kind::Max, call.elements(0));
            Ok(vec![TensorData::Bool(out)])
        }))),
        (got, _) => Err(Fault::Dtype { input: 0, expected: "a number", got }),
    }))
}

/// Which elements are reduced together: `length` of them that lie `stride` apart, once they are gathered.
#[derive(Debug, Clone)]
struct Groups {
    length: usize,
    stride: usize,
    /// Dimensions (size, step) in the order in which elements are gathered; `None` if they lie well already.
    order: Option<Vec<(usize, usize)>>,
}

impl Groups {
    /// With `gather`, groups lie in one piece each.
    fn new(shape: &[usize], reduced: &[bool], gather: bool) -> Self {
        // Neighbours of one kind become one dimension: (size, step, reduced).
        let mut runs: Vec<(usize, usize, bool)> = Vec::new();
        let mut step = 1_usize;
        for (size, reduced) in shape.iter().zip(reduced).rev().filter(|(size, _)| **size != 1) {
            match runs.last_mut() {
                Some(run) if run.2 == *reduced => run.0 = run.0.saturating_mul(*size),
                _ => runs.push((*size, step, *reduced)),
            }
            step = step.saturating_mul(*size);
        }
        runs.reverse();
        let length =
            shape.iter().zip(reduced).filter(|(_, reduced)| **reduced).map(|(size, _)| *size).product();
        let kinds: Vec<bool> = runs.iter().map(|run| run.2).collect();
        match kinds.as_slice() {
            [] | [_] | [false, true] => Self { length, stride: 1, order: None },
            [true, false] | [false, true, false] if !gather => {
                Self { length, stride: runs.last().map_or(1, |run| run.0), order: None }
            }
            _ => {
                let of = |kind: bool| runs.iter().filter(move |run| run.2 == kind).map(|run| (run.0, run.1));
                Self { length, stride: 1, order: Some(of(false).chain(of(true)).collect()) }
            }
        }
    }

    /// The elements in groups.
    fn gathered<'a, T: Copy>(&self, x: &'a [T]) -> std::borrow::Cow<'a, [T]> {
        let Some(order) = &self.order else { return x.into() };
        let mut out = Vec::with_capacity(x.len());
        let Some(((inner, step), outer)) = order.split_last().filter(|_| !x.is_empty()) else {
            return out.into();
        };
        let mut counters = vec![0_usize; outer.len()];
        let mut at = 0;
        loop {
            out.extend(x[at..].iter().step_by(*step).take(*inner).copied());
            let mut level = outer.len();
            loop {
                if level == 0 {
                    return out.into();
                }
                level -= 1;
                let (size, step) = outer[level];
                counters[level] += 1;
                at += step;
                if counters[level] < size {
                    break;
                }
                at -= step * size;
                counters[level] = 0;
            }
        }
    }

    /// Fold each group of gathered elements; `count` outputs.
    fn fold<T: Copy, A: Copy>(&self, x: &[T], count: usize, start: A, f: impl Fn(A, T) -> A) -> Vec<A> {
        if x.is_empty() {
            return vec![start; count];
        }
        let mut out = Vec::with_capacity(count);
        for block in x.chunks_exact(self.length * self.stride) {
            for offset in 0..self.stride {
                out.push(block[offset..].iter().step_by(self.stride).fold(start, |sum, x| f(sum, *x)));
            }
        }
        out
    }

    /// The greatest or the least of each group.
    fn ends<T: Ordered>(&self, x: &[T], greatest: bool, count: usize) -> Vec<T> {
        if greatest {
            self.fold(x, count, T::ENDS[0], T::most)
        } else {
            self.fold(x, count, T::ENDS[1], T::least)
        }
    }
}

fn floats<T: Float>(call: &Call<'_>, kind: Kind, groups: &Groups) -> Result<Vec<TensorData>, Fault> {
    let x = groups.gathered(call.slice::<T>(0)?);
    let mut out = call.space::<T>(call.elements(0));
    of_floats(call.cpu.isa(), kind, groups, &x, &mut out);
    Ok(vec![T::wrap(out)])
}

/// Reduce gathered floats.
fn of_floats<T: Float>(isa: Isa, kind: Kind, groups: &Groups, x: &[T], out: &mut [T]) {
    use rows::Reduction;
    let reduction = match kind {
        Kind::L1 => Reduction::SumAbs,
        Kind::L2 | Kind::SumSquares => Reduction::SumSquares,
        Kind::LogSum | Kind::Sum => Reduction::Sum,
        Kind::Max => Reduction::Max,
        Kind::Mean => Reduction::Mean,
        Kind::Min => Reduction::Min,
        Kind::Product => Reduction::Product,
        Kind::LogSumExp => return T::log_sum_exp(isa, x, groups.length, out),
    };
    T::reduce(isa, reduction, x, groups, out);
    match kind {
        Kind::L2 => T::roots(isa, out),
        Kind::LogSum => T::logarithms(isa, out),
        _ => {}
    }
}

/// What the two float types do in their own ways.
trait Float: Number {
    fn reduce(isa: Isa, reduction: rows::Reduction, x: &[Self], groups: &Groups, out: &mut [Self]);
    fn roots(isa: Isa, x: &mut [Self]);
    fn logarithms(isa: Isa, x: &mut [Self]);
    fn log_sum_exp(isa: Isa, x: &[Self], length: usize, out: &mut [Self]);
}

impl Float for f32 {
    fn reduce(isa: Isa, reduction: rows::Reduction, x: &[Self], groups: &Groups, out: &mut [Self]) {
        rows::reduce(isa, reduction, x, groups.length, groups.stride, out);
    }

    fn roots(isa: Isa, x: &mut [Self]) {
        run_steps(isa, &[Step::Unary(Unary::Sqrt)], x, Operands::default());
    }

    fn logarithms(isa: Isa, x: &mut [Self]) {
        run_steps(isa, &[Step::Unary(Unary::Ln)], x, Operands::default());
    }

    fn log_sum_exp(isa: Isa, x: &[Self], length: usize, out: &mut [Self]) {
        rows::log_sum_exp(isa, x, length, out);
    }
}

impl Float for f64 {
    fn reduce(isa: Isa, reduction: rows::Reduction, x: &[Self], groups: &Groups, out: &mut [Self]) {
        rows::reduce(isa, reduction, x, groups.length, groups.stride, out);
    }

    fn roots(_: Isa, x: &mut [Self]) {
        x.iter_mut().for_each(|x| *x = x.sqrt());
    }

    fn logarithms(_: Isa, x: &mut [Self]) {
        x.iter_mut().for_each(|x| *x = math::f64::ln(*x));
    }

    fn log_sum_exp(isa: Isa, x: &[Self], length: usize, out: &mut [Self]) {
        if length == 0 {
            out.fill(Self::NEG_INFINITY);
            return;
        }
        let mut powers = Vec::with_capacity(length);
        for (row, out) in x.chunks_exact(length).zip(out) {
            let (mut most, mut sum) = ([0.0], [0.0]);
            rows::reduce(isa, rows::Reduction::Max, row, length, 1, &mut most);
            powers.clear();
            powers.extend(row.iter().map(|x| math::f64::exp(x - most[0])));
            rows::reduce(isa, rows::Reduction::Sum, &powers, length, 1, &mut sum);
            *out = if most[0].is_infinite() { most[0] } else { most[0] + math::f64::ln(sum[0]) };
        }
    }
}

/// Sums and products wrap. A mean is the exact sum divided by the count, toward zero (of nothing: 0). Roots
/// and logarithms are those of f64, toward zero, saturating.
fn integers<T: Integer>(call: &Call<'_>, kind: Kind, groups: &Groups) -> Result<Vec<TensorData>, Fault> {
    let (x, count) = (groups.gathered(call.slice::<T>(0)?), call.elements(0));
    let fold = |start: T, f: fn(T, T) -> T| groups.fold(&x, count, start, f);
    Ok(vec![T::wrap(match kind {
        Kind::L1 => fold(T::ZERO, |sum, x| sum.plus(x.size())),
        Kind::Sum => fold(T::ZERO, T::plus),
        Kind::SumSquares => fold(T::ZERO, |sum, x| sum.plus(x.times(x))),
        Kind::Product => fold(T::ONE, T::times),
        Kind::Max | Kind::Min => groups.ends(&x, kind == Kind::Max, count),
        Kind::Mean => {
            let length = i128::try_from(groups.length).unwrap_or(1).max(1);
            let sums = groups.fold(&x, count, 0_i128, |sum, x| sum + x.i128());
            sums.into_iter().map(|sum| T::from_i128(sum / length)).collect()
        }
        Kind::L2 | Kind::LogSum | Kind::LogSumExp => {
            let wide: Vec<f64> = x.iter().map(|x| Number::f64(*x)).collect();
            let mut out = vec![0.0_f64; count];
            of_floats(call.cpu.isa(), kind, groups, &wide, &mut out);
            out.into_iter().map(T::from_f64).collect()
        }
    })])
}
