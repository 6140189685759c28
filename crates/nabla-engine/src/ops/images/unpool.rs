//! The partial inverse of a maximum pool: elements go back to where they were.

use nabla_types::tensor::{Dtype, TensorData};

use crate::Fault;
use crate::ops::real::sizes_or;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};

/// Elements keep their bits; of several for one place the last stays. All else is `+0`.
pub(super) fn max(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let x = scope.float(0)?;
    let indices = scope.typed(1, &[Dtype::I64], "INT64")?;
    if indices.shape != x.shape || x.rank() < 3 {
        return Err(misfit("indices of MaxUnpool", format!("{:?}, 3 dimensions or more", x.shape), indices));
    }
    let rank = x.rank() - 2;
    let kernel = scope.attributes.ints("kernel_shape")?;
    if kernel.is_empty() {
        return Err(crate::graph::attributes::fault("kernel_shape", "sizes", "nothing"));
    }
    let kernel_shape = sizes_or(scope, "kernel_shape", rank, 1, 1)?;
    let strides = sizes_or(scope, "strides", rank, 1, 1)?;
    let pads = sizes_or(scope, "pads", 2 * rank, 0, 0)?;
    let mut inferred = x.shape[..2].to_vec();
    for axis in 0..rank {
        let spread = x.shape[axis + 2]
            .saturating_sub(1)
            .saturating_mul(strides[axis])
            .saturating_add(kernel_shape[axis]);
        let size = spread.checked_sub(pads[axis] + pads[axis + rank]);
        inferred.push(size.ok_or_else(|| misfit("input of MaxUnpool", "more than the padding", x))?);
    }
    let inner = scope.value(x.dtype, inferred.clone())?;
    let shape = match scope.optional_ints(2, "output shape")? {
        None => inferred.clone(),
        Some(given) => {
            let sizes: Option<Vec<usize>> = given.iter().map(|size| usize::try_from(*size).ok()).collect();
            let fits = |sizes: &Vec<usize>| {
                sizes.len() == inferred.len()
                    && sizes.iter().zip(&inferred).all(|(size, least)| size >= least)
            };
            sizes.filter(fits).ok_or_else(|| Fault::Shape {
                what: "output shape of MaxUnpool",
                expected: format!("{inferred:?} or more"),
                got: format!("{:?}", &given[..given.len().min(9)]),
            })?
        }
    };
    let output = scope.value(x.dtype, shape)?;
    let macs = inner.count();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let fault = Fault::Dtype { input: 0, expected: "a float type", got: call.input(0)?.dtype() };
        dispatch!(call.input(0)?.dtype(), T: float => unpool::<T>(call, &inferred), else Err(fault))
    });
    let scratch = inner.bytes();
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

fn unpool<T: Element>(call: &Call<'_>, inferred: &[usize]) -> Result<Vec<TensorData>, Fault> {
    let count: usize = inferred.iter().product();
    let mut inner = vec![T::default(); count];
    for (value, index) in call.slice::<T>(0)?.iter().zip(call.slice::<i64>(1)?) {
        let slot = usize::try_from(*index).ok().and_then(|index| inner.get_mut(index));
        *slot.ok_or_else(|| Fault::Shape {
            what: "index of MaxUnpool",
            expected: format!("0 to {count} - 1"),
            got: index.to_string(),
        })? = value.clone();
    }
    let shape = call.shape(0);
    if shape == inferred || inner.is_empty() {
        inner.resize(call.elements(0), T::default());
        return Ok(vec![T::wrap(inner)]);
    }
    let mut output = vec![T::default(); call.elements(0)];
    let width = inferred[inferred.len() - 1];
    for (line, from) in inner.chunks_exact(width).enumerate() {
        let mut rest = line;
        let mut to = 0;
        let mut stride = shape[shape.len() - 1];
        for (size, own) in shape.iter().zip(inferred).rev().skip(1) {
            to += rest % own * stride;
            rest /= own;
            stride *= size;
        }
        output[to..to + width].clone_from_slice(from);
    }
    Ok(vec![T::wrap(output)])
}
