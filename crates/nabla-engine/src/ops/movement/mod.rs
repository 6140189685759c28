//! Operators that move, choose, and make elements. None of them computes with floats, but for the sums of
//! `Col2Im` and the scatters, and the areas of `NonMaxSuppression`.
//!
//! # Rules
//! - Sizes that come from inputs and attributes are bounded by [`Scope::value`] before anything is allocated.
//! - An index counts from the end if it is negative; outside its dimension it is a [`Fault`], never a panic.
//! - Where the size of the output depends on values (`NonZero`, `Unique`, ...), `prepare` asks for them as
//!   constants, which makes the node late, and counts; the kernel writes.

use std::borrow::Cow;

use nabla_types::tensor::TensorData;

use super::identity::plain;
use super::{Call, ONNX, Operator, Scope};
use crate::graph::attributes::fault;
use crate::{Fault, Limits};

mod boxes;
mod columns;
pub(super) mod copy;
mod gather;
mod join;
mod make;
mod number;
mod pad;
pub(super) mod rearrange;
mod scatter;
mod select;

#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::refused("Bernoulli", ONNX, RANDOM),
    Operator::node("CenterCropPad", plain, pad::center_crop_pad),
    Operator::node("Col2Im", plain, columns::col2im),
    Operator::node("Compress", plain, select::compress),
    Operator::node("Concat", plain, join::concat),
    Operator::node("ConstantOfShape", make::import_constant_of_shape, make::constant_of_shape),
    Operator::node("DepthToSpace", plain, rearrange::depth_to_space),
    Operator::node("Expand", plain, rearrange::expand),
    Operator::node("EyeLike", plain, make::eye_like),
    Operator::node("Gather", plain, gather::gather),
    Operator::node("GatherElements", plain, gather::gather_elements),
    Operator::node("GatherND", plain, gather::gather_nd),
    Operator::refused("Multinomial", ONNX, RANDOM),
    Operator::node("NonMaxSuppression", plain, boxes::non_max_suppression),
    Operator::node("NonZero", plain, select::non_zero),
    Operator::node("OneHot", plain, make::one_hot),
    Operator::node("Pad", pad::import_pad, pad::pad),
    Operator::refused("RandomNormal", ONNX, RANDOM),
    Operator::refused("RandomNormalLike", ONNX, RANDOM),
    Operator::refused("RandomUniform", ONNX, RANDOM),
    Operator::refused("RandomUniformLike", ONNX, RANDOM),
    Operator::node("Range", plain, make::range),
    Operator::node("ReverseSequence", plain, make::reverse_sequence),
    Operator::rewrite("Scatter", scatter::import_scatter),
    Operator::node("ScatterElements", plain, scatter::scatter_elements),
    Operator::node("ScatterND", plain, scatter::scatter_nd),
    Operator::node("Slice", rearrange::import_slice, rearrange::slice),
    Operator::node("SpaceToDepth", plain, rearrange::space_to_depth),
    Operator::node("Split", rearrange::import_split, rearrange::split),
    Operator::node("TensorScatter", plain, scatter::tensor_scatter),
    Operator::node("Tile", plain, rearrange::tile),
    Operator::node("TopK", select::import_top_k, select::top_k),
    Operator::node("Transpose", plain, rearrange::transpose),
    Operator::node("Trilu", plain, make::trilu),
    Operator::node("Unique", plain, select::unique),
];

/// Why random numbers are refused.
const RANDOM: &str = "an answer that is drawn at random cannot be checked again; \
                      draw the numbers outside the model and give them as an input";

/// A size as an integer; sizes are far below 2^63.
fn int(size: usize) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// Known integers that are sizes.
fn sizes_input(scope: &Scope<'_>, input: usize, what: &'static str) -> Result<Vec<usize>, Fault> {
    let given = scope.ints(input, what)?;
    let sizes: Option<Vec<usize>> = given.iter().map(|size| usize::try_from(*size).ok()).collect();
    sizes.ok_or_else(|| fault(what, "sizes from 0", &format!("{:?}", &given[..given.len().min(9)])))
}

/// The elements of an input of indices: INT64, or INT32 made wide.
fn indices<'a>(call: &Call<'a>, input: usize) -> Result<Cow<'a, [i64]>, Fault> {
    match call.input(input)?.data() {
        TensorData::I64(v) => Ok(Cow::Borrowed(v)),
        TensorData::I32(v) => Ok(Cow::Owned(v.iter().map(|x| i64::from(*x)).collect())),
        other => Err(Fault::Dtype { input, expected: "INT64 or INT32", got: other.dtype() }),
    }
}

/// An index below `size`, counted from the end if it is negative.
fn position(what: &'static str, index: i64, size: usize) -> Result<usize, Fault> {
    let from_start = if index < 0 { index.checked_add(int(size)) } else { Some(index) };
    from_start.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < size).ok_or_else(|| Fault::Shape {
        what,
        expected: format!("an index from -{size} to {size} - 1"),
        got: index.to_string(),
    })
}

/// Refuse what `prepare` itself would have to compute at more cost than a run may have.
fn afford(limits: &Limits, macs: u64, bytes: u64) -> Result<(), Fault> {
    for (what, got, max) in [
        ("multiply-adds of a node", macs, limits.macs_max),
        ("bytes of a node", bytes, limits.peak_bytes_max),
    ] {
        if got > max {
            return Err(Fault::Shape { what, expected: format!("at most {max}"), got: got.to_string() });
        }
    }
    Ok(())
}
