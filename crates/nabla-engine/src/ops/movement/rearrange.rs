//! Operators that are one strided copy of their first input per output: other order, parts, repetitions.
//!
//! # Rules
//! - Which elements go where is settled by `prepare`; what it depends on is asked for as a constant.
//! - `Slice` clamps, everything else refuses what does not fit.

use nabla_types::tensor::TensorData;

use super::copy::{StridedCopy, fresh, steps};
use super::{int, sizes_input};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::ops::{Call, Element, Kernel, Prepared, Scope, axis, dispatch, misfit};
use crate::plan::ValueType;

/// Outputs that are copies of parts of input 0, one each.
#[derive(Debug)]
struct Rearrange {
    copies: Vec<StridedCopy>,
}

impl Kernel for Rearrange {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        dispatch!(call.input(0)?.dtype(), T => {
            let source = call.slice::<T>(0)?;
            let one = |(output, copy): (usize, &StridedCopy)| {
                let mut target = fresh::<T>(call, call.elements(output));
                copy.run_on(call.cpu, source, &mut target);
                T::wrap(target)
            };
            Ok(self.copies.iter().enumerate().map(one).collect())
        })
    }
}

/// One output of this shape: from this element of the input, with these sizes and steps.
fn rearranged(
    scope: &Scope<'_>,
    shape: Vec<usize>,
    from: usize,
    sizes: &[(usize, isize)],
) -> Result<Prepared, Fault> {
    let output = scope.value(scope.input(0)?.dtype, shape)?;
    // Sizes of an empty output are not bounded together.
    let copy = if output.elements() == 0 {
        StridedCopy::dense(0, &[(0, 0)])
    } else {
        StridedCopy::dense(from, sizes)
    };
    Ok(Prepared::one(output, Rearrange { copies: vec![copy] }))
}

/// Dimensions in the order of `perm`; reversed if it is not given.
pub(super) fn transpose(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let given = scope.attributes.optional_ints("perm")?;
    let permutation: Vec<usize> = match given {
        None => (0..x.rank()).rev().collect(),
        Some(given) => {
            let index = |at: &i64| usize::try_from(*at).ok().filter(|at| *at < x.rank());
            let found: Option<Vec<usize>> = given.iter().map(index).collect();
            let mut sorted = found.clone().unwrap_or_default();
            sorted.sort_unstable();
            let whole = sorted.iter().copied().eq(0..x.rank());
            found.filter(|_| whole).ok_or_else(|| {
                let shown = format!("{:?}", &given[..given.len().min(9)]);
                fault("perm", &format!("each dimension below {} once", x.rank()), &shown)
            })?
        }
    };
    permuted(scope, &x.shape, &permutation, permutation.iter().map(|at| x.shape[*at]).collect())
}

/// The input seen with sizes `seen`, its dimensions in another order, as `shape`.
fn permuted(
    scope: &Scope<'_>,
    seen: &[usize],
    permutation: &[usize],
    shape: Vec<usize>,
) -> Result<Prepared, Fault> {
    let from = steps(seen);
    let sizes: Vec<_> = permutation.iter().map(|at| (seen[*at], from[*at])).collect();
    rearranged(scope, shape, 0, &sizes)
}

/// Sizes of an image tensor, its side of blocks, and whether columns come before depth (CRD).
fn blocks(scope: &Scope<'_>) -> Result<([usize; 4], usize, bool), Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let shape = x.shape.as_slice().try_into();
    let shape = shape.map_err(|_| misfit("input", "four dimensions [N, C, H, W]", x))?;
    let side = scope.attributes.int("blocksize")?;
    let side = usize::try_from(side).ok().filter(|side| (1..=1 << 14).contains(side));
    let side = side.ok_or_else(|| fault("blocksize", "a size from 1 to 16384", "another"))?;
    match scope.attributes.text_or("mode", "DCR")? {
        "DCR" => Ok((shape, side, false)),
        "CRD" => Ok((shape, side, true)),
        other => Err(fault("mode", "DCR or CRD", other)),
    }
}

/// Channels become blocks of the image.
pub(super) fn depth_to_space(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let ([n, c, h, w], side, columns_first) = blocks(scope)?;
    if c % (side * side) != 0 {
        return Err(misfit("input of DepthToSpace", "channels in whole blocks", scope.input(0)?));
    }
    let depth = c / (side * side);
    let (tall, wide) = (product(scope, h, side)?, product(scope, w, side)?);
    let shape = vec![n, depth, tall, wide];
    if columns_first {
        permuted(scope, &[n, depth, side, side, h, w], &[0, 1, 4, 2, 5, 3], shape)
    } else {
        permuted(scope, &[n, side, side, depth, h, w], &[0, 3, 4, 1, 5, 2], shape)
    }
}

/// Blocks of the image become channels.
pub(super) fn space_to_depth(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let ([n, c, h, w], side, columns_first) = blocks(scope)?;
    if h % side != 0 || w % side != 0 {
        return Err(misfit("input of SpaceToDepth", "an image of whole blocks", scope.input(0)?));
    }
    let shape = vec![n, product(scope, c, side * side)?, h / side, w / side];
    let order = if columns_first { [0, 1, 3, 5, 2, 4] } else { [0, 3, 5, 1, 2, 4] };
    permuted(scope, &[n, c, h / side, side, w / side, side], &order, shape)
}

/// A size times another, which a hostile model may make too large.
fn product(scope: &Scope<'_>, a: usize, b: usize) -> Result<usize, Fault> {
    a.checked_mul(b).ok_or_else(|| Fault::Shape {
        what: "size of a value",
        expected: format!("at most {} elements", scope.limits.elements_max),
        got: format!("{a} times {b}"),
    })
}

/// Starts, ends and axes are attributes before opset 10 and inputs since.
pub(super) fn import_slice(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("starts", 1)?;
    upload.ints_to_input("ends", 2)?;
    upload.ints_to_input("axes", 3)
}

/// Part of a dimension: first index, number of indices, step.
struct Cut {
    first: usize,
    count: usize,
    step: isize,
}

/// Bounds are counted from the end if negative, then clamped.
fn cut(size: usize, start: i64, end: i64, step: i64) -> Result<Cut, Fault> {
    let size = int(size);
    let from_start = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (start, end) = (from_start(start), from_start(end));
    let (first, covered) = match step {
        0 => return Err(fault("steps", "a step other than 0", "0")),
        1.. => {
            let first = start.clamp(0, size);
            (first, end.clamp(0, size) - first)
        }
        _ if size == 0 => (0, 0),
        _ => {
            let first = start.clamp(0, size - 1);
            (first, first - end.clamp(-1, size - 1))
        }
    };
    let covered = u64::try_from(covered).unwrap_or(0);
    let count = usize::try_from(covered.div_ceil(step.unsigned_abs())).unwrap_or(usize::MAX);
    // A step that is taken is shorter than the dimension.
    let step = if count > 1 { isize::try_from(step).unwrap_or(0) } else { 0 };
    Ok(Cut { first: usize::try_from(first).unwrap_or(0), count, step })
}

pub(super) fn slice(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 5, 1)?;
    let x = scope.input(0)?;
    let (starts, ends) = (scope.ints(1, "starts")?, scope.ints(2, "ends")?);
    let axes = scope.optional_ints(3, "axes")?;
    let steps_given = scope.optional_ints(4, "steps")?;
    let count = starts.len();
    let wrong = |len: Option<usize>| len.is_some_and(|len| len != count);
    let (axes_len, steps_len) = (axes.as_ref().map(Vec::len), steps_given.as_ref().map(Vec::len));
    if count > x.rank() || ends.len() != count || wrong(axes_len) || wrong(steps_len) {
        let expected = "starts, ends, axes and steps of one length, at most that of the rank";
        return Err(misfit("parameters of Slice", expected, x));
    }
    let strides = steps(&x.shape);
    let mut shape = x.shape.clone();
    let mut from_steps = strides.clone();
    let mut from = 0;
    let mut done = vec![false; x.rank()];
    for index in 0..count {
        let at = axis("axes", axes.as_ref().map_or(int(index), |axes| axes[index]), x.rank())?;
        if std::mem::replace(&mut done[at], true) {
            return Err(fault("axes", "each axis once", "one of them twice"));
        }
        let step = steps_given.as_ref().map_or(1, |steps| steps[index]);
        let cut = cut(x.shape[at], starts[index], ends[index], step)?;
        shape[at] = cut.count;
        from_steps[at] = strides[at] * cut.step;
        if cut.count > 0 {
            from += cut.first * strides[at].unsigned_abs();
        }
    }
    let sizes: Vec<_> = shape.iter().copied().zip(from_steps).collect();
    rearranged(scope, shape, from, &sizes)
}

/// Sizes of 1 repeat; shapes are aligned at the end.
pub(super) fn expand(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let wanted = sizes_input(scope, 1, "shape")?;
    let sizes = broadcast(x, &wanted)?;
    rearranged(scope, sizes.iter().map(|(size, _)| *size).collect(), 0, &sizes)
}

/// The sizes that `x` and `wanted` have together, and the steps of `x` in them.
pub(crate) fn broadcast(x: &ValueType, wanted: &[usize]) -> Result<Vec<(usize, isize)>, Fault> {
    let rank = x.rank().max(wanted.len());
    let strides = steps(&x.shape);
    let mut sizes = Vec::with_capacity(rank);
    for at in 0..rank {
        let own = (at + x.rank()).checked_sub(rank).map(|at| (x.shape[at], strides[at]));
        let asked = (at + wanted.len()).checked_sub(rank).map_or(1, |at| wanted[at]);
        sizes.push(match own {
            None | Some((1, _)) => (asked, 0),
            Some((size, step)) if asked == 1 || asked == size => (size, step),
            Some(_) => {
                let shown = format!("{:?}", &wanted[..wanted.len().min(9)]);
                return Err(misfit("input to repeat", format!("a shape that fits {shown}"), x));
            }
        });
    }
    Ok(sizes)
}

/// Every dimension again and again.
pub(super) fn tile(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let repeats = sizes_input(scope, 1, "repeats")?;
    if repeats.len() != x.rank() {
        return Err(misfit(
            "input of Tile",
            format!("{} dimensions, as there are repeats", repeats.len()),
            x,
        ));
    }
    let mut shape = Vec::with_capacity(x.rank());
    let mut sizes = Vec::with_capacity(2 * x.rank());
    for ((size, repeat), step) in x.shape.iter().zip(&repeats).zip(steps(&x.shape)) {
        shape.push(product(scope, *size, *repeat)?);
        sizes.extend([(*repeat, 0), (*size, step)]);
    }
    rearranged(scope, shape, 0, &sizes)
}

/// The sizes are an attribute before opset 13; without sizes the parts are equal.
pub(super) fn import_split(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("split", 1)?;
    if upload.required(1).is_ok() {
        return Ok(());
    }
    let parts = upload.take_int("num_outputs")?.unwrap_or(i64::try_from(upload.outputs).unwrap_or(0));
    upload.set_int("num_outputs", parts)?;
    // Since opset 18 the last part may be smaller.
    upload.set_int("equal", i64::from(upload.opset < 18))
}

/// Sizes of the parts, as far as there are outputs.
fn parts(scope: &Scope<'_>, size: usize) -> Result<Vec<usize>, Fault> {
    let wrong = |expected: String| Fault::Shape { what: "parts of Split", expected, got: format!("{size}") };
    if scope.optional(1).is_some() {
        let mut parts = sizes_input(scope, 1, "split")?;
        if parts.iter().try_fold(0_usize, |sum, part| sum.checked_add(*part)) != Some(size) {
            return Err(wrong("sizes that add up to the dimension".to_owned()));
        }
        if parts.len() < scope.outputs {
            return Err(wrong("a size for each output".to_owned()));
        }
        parts.truncate(scope.outputs);
        return Ok(parts);
    }
    let equal = scope.attributes.flag_or("equal", false)?;
    let count = scope.attributes.int("num_outputs")?;
    let count = usize::try_from(count).ok().filter(|count| *count >= scope.outputs && *count > 0);
    let count = count.ok_or_else(|| fault("num_outputs", "the number of outputs", "another"))?;
    let part = size.div_ceil(count);
    let before_last = part.checked_mul(count - 1).filter(|sum| *sum <= size);
    match before_last {
        Some(sum) if !equal || size - sum == part => {
            let all = (0..scope.outputs).map(|at| if at + 1 == count { size - sum } else { part });
            Ok(all.collect())
        }
        _ => Err(wrong(format!("a dimension that {count} parts divide"))),
    }
}

pub(super) fn split(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 2, 1, usize::MAX)?;
    let x = scope.input(0)?;
    let at = scope.attributes.axis_or("axis", 0, x.rank())?;
    let strides = steps(&x.shape);
    let (mut outputs, mut copies, mut first) = (Vec::new(), Vec::new(), 0);
    for part in parts(scope, x.shape[at])? {
        let mut shape = x.shape.clone();
        shape[at] = part;
        let sizes: Vec<_> = shape.iter().copied().zip(strides.iter().copied()).collect();
        copies.push(StridedCopy::dense(first * strides[at].unsigned_abs(), &sizes));
        outputs.push(scope.value(x.dtype, shape)?);
        first += part;
    }
    Ok(Prepared::new(outputs, Rearrange { copies }))
}
