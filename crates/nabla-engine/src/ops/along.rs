//! Operators along one dimension: softmax, running sums and products, the place of the greatest.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::identity::plain;
use super::numbers::{Number, Ordered};
use super::unary::SOME;
use super::{Call, Element, FnKernel, Operator, Prepared, Scope, axis, dispatch, misfit, widened};
use crate::Fault;
use crate::kernels::{math, rows};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("ArgMax", plain, |scope| arg(scope, true)),
    Operator::node("ArgMin", plain, |scope| arg(scope, false)),
    Operator::node("CumProd", plain, |scope| running(scope, true)),
    Operator::node("CumSum", plain, |scope| running(scope, false)),
    Operator::node("Hardmax", import_softmax, hardmax),
    Operator::node("LogSoftmax", import_softmax, |scope| soft(scope, rows::RowRule::LogSoftmax)),
    Operator::node("Softmax", import_softmax, |scope| soft(scope, rows::RowRule::Softmax)),
];

/// Groups of `length` elements that lie `stride` apart.
#[derive(Debug, Clone, Copy)]
struct Lines {
    length: usize,
    stride: usize,
}

impl Lines {
    /// The dimensions from `from` to before `to`.
    fn new(shape: &[usize], from: usize, to: usize) -> Self {
        Self { length: shape[from..to].iter().product(), stride: shape[to..].iter().product() }
    }

    /// Call `f` with the place of the first element of every group.
    fn each(self, elements: usize, mut f: impl FnMut(usize)) {
        let block = self.length.saturating_mul(self.stride);
        for start in (0..elements).step_by(block.max(1)) {
            (start..start + self.stride).for_each(&mut f);
        }
    }

    /// Places of the group that begins at `first`.
    fn places(self, first: usize) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.length).map(move |index| first + index * self.stride)
    }
}

/// Before opset 13 a softmax runs over all dimensions from `axis` on; since then over `axis` alone.
fn import_softmax(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset >= 13 {
        return upload.default_int("axis", -1);
    }
    upload.default_int("axis", 1)?;
    upload.set_int("to_end", 1)
}

fn softmax_lines(scope: &Scope<'_>) -> Result<Lines, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let from = scope.attributes.axis_or("axis", -1, x.rank())?;
    let to = if scope.attributes.flag_or("to_end", false)? { x.rank() } else { from + 1 };
    Ok(Lines::new(&x.shape, from, to))
}

/// Elements that a thread takes at a time.
const SHARE: usize = 1 << 13;

fn soft(scope: &Scope<'_>, rule: rows::RowRule) -> Result<Prepared, Fault> {
    let lines = softmax_lines(scope)?;
    widened(scope, |scope| {
        let x = scope.input(0)?;
        let macs = x.count().saturating_mul(SOME + 4);
        let scratch = (lines.length as u64).saturating_mul(16);
        let Lines { length, stride } = lines;
        let prepared = match x.dtype {
            Dtype::F32 => Prepared::one(
                x.clone(),
                FnKernel(move |call: &Call<'_>| {
                    let x = call.f32(0)?;
                    let (mut out, isa) = (call.f32s(x.len()), call.cpu.isa());
                    let share = (length * stride).max(1);
                    let share = share * (SHARE / share).max(1);
                    call.cpu.chunks(&mut out, share, 2 * SHARE, |index, out| {
                        rows::rows(isa, rule, &x[index * share..][..out.len()], out, length, stride);
                    });
                    Ok(vec![TensorData::F32(out)])
                }),
            ),
            Dtype::F64 => Prepared::one(
                x.clone(),
                FnKernel(move |call: &Call<'_>| {
                    Ok(vec![TensorData::F64(soft_f64(call, lines, rule == rows::RowRule::LogSoftmax)?)])
                }),
            ),
            got => return Err(Fault::Dtype { input: 0, expected: "a float type", got }),
        };
        Ok(prepared.macs(macs).scratch_bytes(scratch))
    })
}

/// As [`rows::RowRule`] says it of f32.
fn soft_f64(call: &Call<'_>, lines: Lines, logarithm: bool) -> Result<Vec<f64>, Fault> {
    let (x, isa) = (call.slice::<f64>(0)?, call.cpu.isa());
    let mut out = vec![0.0; x.len()];
    let mut row: Vec<f64> = Vec::with_capacity(lines.length);
    lines.each(x.len(), |first| {
        row.clear();
        row.extend(lines.places(first).map(|at| x[at]));
        let (mut most, mut sum) = ([0.0], [0.0]);
        rows::reduce(isa, rows::Reduction::Max, &row, lines.length, 1, &mut most);
        row.iter_mut().for_each(|x| *x = math::f64::exp(*x - most[0]));
        rows::reduce(isa, rows::Reduction::Sum, &row, lines.length, 1, &mut sum);
        let (factor, ln_sum) = (1.0 / sum[0], if logarithm { math::f64::ln(sum[0]) } else { 0.0 });
        for (at, power) in lines.places(first).zip(&row) {
            out[at] = if logarithm { (x[at] - most[0]) - ln_sum } else { power * factor };
        }
    });
    Ok(out)
}

/// 1 at the first of the greatest of each group, else 0.
fn hardmax(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let lines = softmax_lines(scope)?;
    widened(scope, |scope| {
        let x = scope.input(0)?;
        dispatch!(x.dtype, E: [F32 F64] => Ok(Prepared::one(x.clone(), FnKernel(move |call: &Call<'_>| {
            let x = call.slice::<E>(0)?;
            let mut out = vec![E::ZERO; x.len()];
            lines.each(x.len(), |first| {
                let place = extreme(x, lines, first, |a, b| a > b);
                out[first + place * lines.stride] = E::ONE;
            });
            Ok(vec![E::wrap(out)])
        })).macs(x.count())), else Err(Fault::Dtype { input: 0, expected: "a float type", got: x.dtype }))
    })
}

/// Index within its group of the first element that no later one beats.
fn extreme<T: Copy>(x: &[T], lines: Lines, first: usize, beats: impl Fn(T, T) -> bool) -> usize {
    let mut best = (0, x[first]);
    for (index, at) in lines.places(first).enumerate() {
        if beats(x[at], best.1) {
            best = (index, x[at]);
        }
    }
    best.0
}

/// Index of the greatest (least); of equals the first, or the last if `select_last_index`. NaN beats nothing
/// and is not beaten.
fn arg(scope: &Scope<'_>, greatest: bool) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let at = scope.attributes.axis_or("axis", 0, x.rank())?;
    let last = scope.attributes.flag_or("select_last_index", false)?;
    let mut shape = x.shape.clone();
    if scope.attributes.flag_or("keepdims", true)? {
        shape[at] = 1;
    } else {
        shape.remove(at);
    }
    let lines = Lines::new(&x.shape, at, at + 1);
    if lines.length == 0 {
        return Err(misfit("input of ArgMax or ArgMin", "a dimension that is not empty", x));
    }
    let output = scope.value(i64::DTYPE, shape)?;
    dispatch!(x.dtype, E: number => {
        let kernel = FnKernel(move |call: &Call<'_>| {
            Ok(vec![TensorData::I64(places::<E>(call, lines, greatest, last)?)])
        });
        Ok(Prepared::one(output, kernel).macs(x.count()))
    }, else Err(Fault::Dtype { input: 0, expected: "a number", got: x.dtype }))
}

fn places<T: Ordered>(call: &Call<'_>, lines: Lines, greatest: bool, last: bool) -> Result<Vec<i64>, Fault> {
    let x = call.slice::<T>(0)?;
    let mut out = Vec::with_capacity(call.elements(0));
    lines.each(x.len(), |first| {
        let place = match (greatest, last) {
            (true, false) => extreme(x, lines, first, |a, b| a > b),
            (true, true) => extreme(x, lines, first, |a, b| a >= b),
            (false, false) => extreme(x, lines, first, |a, b| a < b),
            (false, true) => extreme(x, lines, first, |a, b| a <= b),
        };
        out.push(i64::try_from(place).unwrap_or(i64::MAX));
    });
    Ok(out)
}

/// Sums (products) of all elements so far along an axis, which is known when the node runs.
fn running(scope: &Scope<'_>, product: bool) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let exclusive = scope.attributes.flag_or("exclusive", false)?;
    let reverse = scope.attributes.flag_or("reverse", false)?;
    let at = scope.input(1)?;
    if at.elements() != 1 {
        return Err(misfit("axis", "one element", at));
    }
    widened(scope, |scope| {
        let x = scope.input(0)?;
        dispatch!(x.dtype, E: [F32 F64 I64 I32 I16 I8 U64 U32 U16 U8] => {
            let rule: (E, fn(E, E) -> E) = if product { (E::ONE, E::times) } else { (E::ZERO, E::plus) };
            let kernel = FnKernel(move |call: &Call<'_>| {
                Ok(vec![E::wrap(accumulated(call, rule, exclusive, reverse)?)])
            });
            Ok(Prepared::one(x.clone(), kernel).macs(x.count()))
        }, else Err(Fault::Dtype { input: 0, expected: "a number", got: x.dtype }))
    })
}

fn accumulated<T: Number>(
    call: &Call<'_>,
    (start, join): (T, fn(T, T) -> T),
    exclusive: bool,
    reverse: bool,
) -> Result<Vec<T>, Fault> {
    let x = call.slice::<T>(0)?;
    let shape = ValueType::of(call.input(0)?).shape;
    let at = axis("axis", axis_value(call.input(1)?)?, shape.len())?;
    let lines = Lines::new(&shape, at, at + 1);
    let mut out = vec![T::ZERO; x.len()];
    lines.each(x.len(), |first| {
        let mut sum = start;
        let mut step = |at: usize| {
            let next = join(sum, x[at]);
            out[at] = if exclusive { sum } else { next };
            sum = next;
        };
        if reverse {
            lines.places(first).rev().for_each(&mut step);
        } else {
            lines.places(first).for_each(&mut step);
        }
    });
    Ok(out)
}

fn axis_value(tensor: &Tensor) -> Result<i64, Fault> {
    match tensor.data() {
        TensorData::I64(v) if v.len() == 1 => Ok(v[0]),
        TensorData::I32(v) if v.len() == 1 => Ok(i64::from(v[0])),
        other => Err(Fault::Dtype { input: 1, expected: "one INT64 or INT32", got: other.dtype() }),
    }
}
