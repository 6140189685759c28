//! Sums, means and the place of the greatest along dimensions.

use nabla_types::tensor::{Dtype, TensorData};

use super::pool::as_f32;
use super::{Call, Kernel, Prepared, Scope, sizes};
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;
use crate::{Dim, Fault};

/// Axes are an attribute at first and an input later; either way they become a sorted attribute.
pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let rank = upload.ty(0)?.rank();
    let given = match upload.take_ints("axes")? {
        Some(axes) => Some(axes),
        None => upload.take_constant_ints(1, "axes")?,
    };
    let noop = upload.take_int("noop_with_empty_axes")?.unwrap_or(0) != 0;
    let mut axes = Vec::new();
    for axis in given.unwrap_or_default() {
        axes.push(upload.axis("axes", axis, rank)?);
    }
    if axes.is_empty() && !noop {
        axes = (0..rank).collect();
    }
    axes.sort_unstable();
    axes.dedup();
    upload.set_indices("axes", &axes)?;
    upload.default_int("keepdims", 1)
}

pub(crate) fn sum(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    reduce(scope, false)
}

/// The sum divided by the count.
pub(crate) fn mean(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    reduce(scope, true)
}

fn reduce(scope: &Scope<'_>, mean: bool) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.f32(0)?;
    let axes = scope.attributes.ints("axes")?;
    let mut reduced = vec![false; x.rank()];
    for axis in axes {
        let slot = usize::try_from(*axis).ok().and_then(|axis| reduced.get_mut(axis));
        *slot.ok_or_else(|| fault("axes", &format!("axes below {}", x.rank()), &axis.to_string()))? = true;
    }
    let shape = reduced_shape(x, &reduced, scope.attributes.flag("keepdims")?)?;
    let output = scope.value(Dtype::F32, shape)?;
    Ok(Prepared::one(output, Reduce { reduced, mean }).macs(x.row_elements()))
}

fn reduced_shape(x: &ValueType, reduced: &[bool], keep: bool) -> Result<Vec<Dim>, Fault> {
    if x.batched() && reduced[0] {
        return Err(Fault::MixesBatch { what: "reducing over the batch" });
    }
    let dims = x.shape.iter().zip(reduced);
    Ok(if keep {
        dims.map(|(dim, reduced)| if *reduced { Dim::Fixed(1) } else { *dim }).collect()
    } else {
        dims.filter(|(_, reduced)| !**reduced).map(|(dim, _)| *dim).collect()
    })
}

#[derive(Debug)]
struct Reduce {
    reduced: Vec<bool>,
    mean: bool,
}

impl Kernel for Reduce {
    /// Elements are visited in row-major order, so every sum is one chain in that order.
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let shape = sizes(call.input(0)?.shape());
        let mut strides = vec![0; shape.len()];
        let mut step = 1;
        for (index, size) in shape.iter().enumerate().rev().filter(|(index, _)| !self.reduced[*index]) {
            strides[index] = step;
            step *= size;
        }
        let mut sums = vec![0.0_f32; call.elements(0)];
        let mut counters = vec![0; shape.len()];
        let mut at = 0;
        for value in call.f32(0)? {
            sums[at] += value;
            for index in (0..shape.len()).rev() {
                counters[index] += 1;
                at += strides[index];
                if counters[index] < shape[index] {
                    break;
                }
                at -= strides[index] * shape[index];
                counters[index] = 0;
            }
        }
        if self.mean {
            let count: usize =
                shape.iter().zip(&self.reduced).filter(|(_, r)| **r).map(|(size, _)| *size).product();
            sums.iter_mut().for_each(|sum| *sum /= as_f32(count));
        }
        Ok(vec![TensorData::F32(sums)])
    }
}

pub(crate) fn import_arg_max(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let rank = upload.ty(0)?.rank();
    let axis = upload.take_axis("axis", 0, rank)?;
    upload.set_index("axis", axis)?;
    upload.default_int("select_last_index", 0)?;
    upload.default_int("keepdims", 1)
}

/// Index of the greatest; of equals the first, or the last if `select_last_index`. NaN is never greater.
pub(crate) fn arg_max(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.f32(0)?;
    let axis = scope.attributes.index("axis", x.rank())?;
    let last = scope.attributes.flag("select_last_index")?;
    let reduced: Vec<bool> = (0..x.rank()).map(|index| index == axis).collect();
    let shape = reduced_shape(x, &reduced, scope.attributes.flag("keepdims")?)?;
    if x.shape[axis] == Dim::Fixed(0) {
        return Err(super::misfit("input of ArgMax", "a dimension that is not empty", x));
    }
    let output = scope.value(Dtype::I64, shape)?;
    Ok(Prepared::one(output, ArgMax { axis, last }).macs(x.row_elements()))
}

#[derive(Debug)]
struct ArgMax {
    axis: usize,
    last: bool,
}

impl Kernel for ArgMax {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let shape = sizes(call.input(0)?.shape());
        let stride: usize = shape[self.axis + 1..].iter().product();
        let mut places = Vec::with_capacity(call.elements(0));
        for block in call.f32(0)?.chunks_exact((shape[self.axis] * stride).max(1)) {
            for offset in 0..stride {
                let (mut place, mut most) = (0_i64, block[offset]);
                for (index, value) in (0..).zip(block[offset..].iter().step_by(stride)) {
                    if *value > most || (self.last && *value == most) {
                        (place, most) = (index, *value);
                    }
                }
                places.push(place);
            }
        }
        Ok(vec![TensorData::I64(places)])
    }
}
