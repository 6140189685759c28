//! Operators that move or rename elements and compute nothing.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Call, FnKernel, Kernel, Prepared, Scope, misfit, sizes};
use crate::graph::attributes::fault;
use crate::onnx::upload::{Argument, Upload};
use crate::{Dim, Fault};

/// Apply one expression to the elements of any type.
macro_rules! each {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            TensorData::F32($v) => TensorData::F32($body),
            TensorData::F64($v) => TensorData::F64($body),
            TensorData::I64($v) => TensorData::I64($body),
            TensorData::I32($v) => TensorData::I32($body),
            TensorData::I8($v) => TensorData::I8($body),
            TensorData::U8($v) => TensorData::U8($body),
            TensorData::Bool($v) => TensorData::Bool($body),
            TensorData::String($v) => TensorData::String($body),
        }
    };
}
pub(crate) use each;

/// A copy of an element: cheap for numbers, a new text for texts.
pub(crate) fn copy<T: Clone>(element: &T) -> T {
    element.clone()
}

/// The single input, under another name.
pub(crate) fn alias_identity(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    upload.required(0)
}

/// Inference only: the input as it is.
pub(crate) fn alias_dropout(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    if upload.outputs > 1 {
        return Err(Fault::Arity {
            what: "outputs",
            expected: "1 (the mask is for training)",
            got: upload.outputs,
        });
    }
    for name in ["ratio", "seed", "is_test"] {
        upload.ignore(name);
    }
    if let Some(mode) = upload.take_constant(2, "training_mode")?
        && matches!(mode.data(), TensorData::Bool(v) if v.contains(&true))
    {
        return Err(fault("training_mode", "false", "true"));
    }
    upload.required(0)
}

/// Scores as a tensor, not as a list of maps from label to score.
pub(crate) fn alias_zip_map(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    upload.ignore("classlabels_int64s");
    upload.ignore("classlabels_strings");
    upload.required(0)
}

/// A constant, whichever attribute it is given in.
pub(crate) fn alias_constant(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    let tensor = if let Some(tensor) = upload.take_tensor("value") {
        return Ok(Argument::Constant(tensor));
    } else if let Some(value) = upload.take_float("value_float")? {
        Tensor::f32(&[], vec![value])
    } else if let Some(value) = upload.take_int("value_int")? {
        Tensor::i64(&[], vec![value])
    } else if let Some(values) = upload.take_floats("value_floats")? {
        Tensor::f32(&[values.len() as u64], values)
    } else if let Some(values) = upload.take_ints("value_ints")? {
        Tensor::i64(&[values.len() as u64], values)
    } else {
        return Err(fault("value", "a tensor, float, integer or list of them", "nothing of these"));
    };
    Ok(Argument::Constant(tensor?.into()))
}

pub(crate) fn rewrite_flatten(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let ty = upload.ty(0)?;
    let axis = match upload.take_int("axis")?.unwrap_or(1) {
        axis if i64::try_from(ty.rank()).is_ok_and(|rank| rank == axis) => ty.rank(),
        axis => upload.axis("axis", axis, ty.rank())?,
    };
    if ty.batched() && axis != 1 {
        return Err(Fault::MixesBatch { what: "flattening the batch into another dimension" });
    }
    let product =
        |sizes: Vec<u64>| Dim::Fixed(sizes.iter().fold(1_u64, |count, size| count.saturating_mul(*size)));
    let outer = if ty.batched() { Dim::Batch } else { product(ty.concrete(1)[..axis].to_vec()) };
    set_shape(upload, &[outer, product(ty.concrete(1)[axis..].to_vec())])
}

pub(crate) fn rewrite_squeeze(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let ty = upload.ty(0)?;
    let axes = take_axes(upload, ty.rank())?;
    let drops = |index: usize, dim: Dim| match &axes {
        Some(axes) => axes.contains(&index),
        None => dim == Dim::Fixed(1),
    };
    let mut shape = Vec::new();
    for (index, dim) in ty.shape.iter().enumerate() {
        if !drops(index, *dim) {
            shape.push(*dim);
        } else if *dim != Dim::Fixed(1) {
            return Err(misfit("input of Squeeze", format!("size 1 at dimension {index}"), &ty));
        }
    }
    set_shape(upload, &shape)
}

pub(crate) fn rewrite_unsqueeze(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let ty = upload.ty(0)?;
    let count = match upload.peek_ints("axes")? {
        Some(axes) => axes.len(),
        None => upload.peek_constant_len(1),
    };
    let rank = ty.rank() + count;
    let axes = take_axes(upload, rank)?.ok_or_else(|| fault("axes", "a list of axes", "nothing"))?;
    let mut dims = ty.shape.iter();
    let mut shape = Vec::new();
    for index in 0..rank {
        let dim = if axes.contains(&index) { Some(&Dim::Fixed(1)) } else { dims.next() };
        shape.push(*dim.ok_or_else(|| fault("axes", "each axis once", "one of them twice"))?);
    }
    if dims.next().is_some() {
        return Err(fault("axes", "each axis once", "one of them twice"));
    }
    set_shape(upload, &shape)
}

/// Axes from the attribute (older) or the constant input (newer).
fn take_axes(upload: &mut Upload<'_>, rank: usize) -> Result<Option<Vec<usize>>, Fault> {
    let given = match upload.take_ints("axes")? {
        Some(axes) => Some(axes),
        None => upload.take_constant_ints(1, "axes")?,
    };
    given.map(|axes| axes.iter().map(|axis| upload.axis("axes", *axis, rank)).collect()).transpose()
}

/// `0` copies a size, `-1` is whatever is left; the batch may be named by either.
pub(crate) fn import_reshape(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let ty = upload.ty(0)?;
    let wanted =
        upload.take_constant_ints(1, "shape")?.ok_or(Fault::NotConstant { input: 1, what: "shape" })?;
    let zero_is_size = upload.take_int("allowzero")?.unwrap_or(0) != 0;
    let mut shape: Vec<Option<Dim>> = Vec::new();
    for (index, size) in wanted.iter().enumerate() {
        shape.push(match u64::try_from(*size) {
            Ok(0) if !zero_is_size => {
                let copied = ty.shape.get(index).copied();
                Some(copied.ok_or_else(|| {
                    fault("shape", "0 only where the input has a size", &format!("{wanted:?}"))
                })?)
            }
            Ok(size) => Some(Dim::Fixed(size)),
            Err(_) if *size == -1 => None,
            Err(_) => return Err(fault("shape", "sizes, 0 or -1", &format!("{wanted:?}"))),
        });
    }
    if shape.iter().filter(|dim| dim.is_none()).count() > 1 {
        return Err(fault("shape", "-1 at most once", &format!("{wanted:?}")));
    }
    let known = shape.iter().flatten().map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 });
    let known = known.fold(1_u64, u64::saturating_mul);
    let batch_is_placed = shape.contains(&Some(Dim::Batch));
    let rest = match (ty.batched() && !batch_is_placed, shape.first(), ty.row_elements().checked_div(known)) {
        (true, Some(None), _) => Dim::Batch,
        (true, ..) => {
            let hint = "let the first entry of the shape be 0 or -1";
            return Err(Fault::Unsupported { what: format!("reshaping a batch to {wanted:?}"), hint });
        }
        (false, _, Some(left)) => Dim::Fixed(left),
        (false, _, None) => Dim::Fixed(0),
    };
    let shape: Vec<Dim> = shape.into_iter().map(|dim| dim.unwrap_or(rest)).collect();
    set_shape(upload, &shape)
}

/// The canonical reshape: every size in numbers, the batch as -1.
fn set_shape(upload: &mut Upload<'_>, shape: &[Dim]) -> Result<(), Fault> {
    let size = |dim: &Dim| match dim {
        Dim::Batch => Ok(-1),
        Dim::Fixed(size) => {
            i64::try_from(*size).map_err(|_| fault("shape", "sizes below 2^63", &size.to_string()))
        }
    };
    let shape = shape.iter().map(size).collect::<Result<Vec<i64>, Fault>>()?;
    upload.rename("Reshape");
    upload.set_ints("shape", shape)
}

/// The same elements in another shape.
pub(crate) fn reshape(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let wanted = scope.attributes.ints("shape")?;
    let dim = |size: &i64| match u64::try_from(*size) {
        Ok(size) => Ok(Dim::Fixed(size)),
        Err(_) if *size == -1 => Ok(Dim::Batch),
        Err(_) => Err(fault("shape", "sizes, or -1 for the batch", &size.to_string())),
    };
    let output = scope.value(x.dtype, wanted.iter().map(dim).collect::<Result<_, _>>()?)?;
    if output.row_elements() != x.row_elements() || output.batched() != x.batched() {
        return Err(misfit(
            "input of Reshape",
            format!("as many elements as {wanted:?}, batch first or nowhere"),
            x,
        ));
    }
    Ok(Prepared::one(output, FnKernel(|call: &Call<'_>| Ok(vec![call.input(0)?.data().clone()]))))
}

pub(crate) fn import_transpose(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let rank = i64::try_from(upload.ty(0)?.rank()).unwrap_or(0);
    if upload.peek_ints("perm")?.is_none() {
        upload.set_ints("perm", (0..rank).rev().collect())?;
    }
    Ok(())
}

/// Dimension `i` of the output is dimension `perm[i]` of the input.
pub(crate) fn transpose(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let given = scope.attributes.ints("perm")?;
    let order: Vec<usize> = given.iter().filter_map(|axis| usize::try_from(*axis).ok()).collect();
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..x.rank()) || given.len() != x.rank() {
        return Err(fault("perm", &format!("each of the {} axes once", x.rank()), &format!("{given:?}")));
    }
    let output = scope.value(x.dtype, order.iter().map(|axis| x.shape[*axis]).collect())?;
    Ok(Prepared::one(output, Transpose { order }).scratch_bytes(x.row_elements().saturating_mul(8)))
}

#[derive(Debug)]
struct Transpose {
    order: Vec<usize>,
}

impl Kernel for Transpose {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = call.input(0)?;
        let shape = sizes(x.shape());
        let mut strides = vec![1; shape.len()];
        for index in (1..shape.len()).rev() {
            strides[index - 1] = strides[index] * shape[index];
        }
        let walk: Vec<(usize, usize)> =
            self.order.iter().map(|axis| (shape[*axis], strides[*axis])).collect();
        let places = places(&walk, x.data().len());
        Ok(vec![each!(x.data(), v => places.iter().map(|place| copy(&v[*place])).collect())])
    }
}

/// Offsets of all elements, walking dimensions of `(size, stride)` in row-major order.
fn places(walk: &[(usize, usize)], count: usize) -> Vec<usize> {
    let mut counters = vec![0; walk.len()];
    let mut at = 0;
    let mut places = Vec::with_capacity(count);
    for _ in 0..count {
        places.push(at);
        for (counter, (size, stride)) in counters.iter_mut().zip(walk).rev() {
            *counter += 1;
            at += stride;
            if *counter < *size {
                break;
            }
            at -= stride * size;
            *counter = 0;
        }
    }
    places
}

pub(crate) fn import_concat(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let rank = upload.ty(0)?.rank();
    let axis = upload.take_int("axis")?.ok_or_else(|| fault("axis", "an integer", "nothing"))?;
    let axis = upload.axis("axis", axis, rank)?;
    upload.set_index("axis", axis)
}

/// Inputs one after the other along one dimension.
pub(crate) fn concat(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, usize::MAX, 1)?;
    let first = scope.input(0)?;
    let axis = scope.attributes.index("axis", first.rank())?;
    let mut shape = first.shape.clone();
    let mut length = 0_u64;
    for input in 0..scope.operands.len() {
        let next = scope.typed(input, &[first.dtype], "the type of input 0")?;
        let Some(Dim::Fixed(size)) = next.shape.get(axis) else {
            return Err(Fault::MixesBatch { what: "joining along the batch" });
        };
        length = length.saturating_add(*size);
        shape[axis] = Dim::Fixed(*size);
        if next.shape != shape {
            return Err(misfit("an input of Concat", "the shape of input 0 but for the axis", next));
        }
    }
    shape[axis] = Dim::Fixed(length);
    Ok(Prepared::one(scope.value(first.dtype, shape)?, Concat { axis }))
}

#[derive(Debug)]
struct Concat {
    axis: usize,
}

impl Kernel for Concat {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let outer: usize = call.sizes(0)[..self.axis].iter().product();
        let inputs = (0..call.inputs.len()).map(|input| call.input(input)).collect::<Result<Vec<_>, _>>()?;
        let first = inputs.first().map(|tensor| tensor.dtype());
        let datas: Vec<&TensorData> = inputs.iter().map(|tensor| tensor.data()).collect();
        Ok(vec![match first.unwrap_or(Dtype::F32) {
            Dtype::F32 => {
                TensorData::F32(join(&datas, outer, |d| if let TensorData::F32(v) = d { v } else { &[] }))
            }
            Dtype::F64 => {
                TensorData::F64(join(&datas, outer, |d| if let TensorData::F64(v) = d { v } else { &[] }))
            }
            Dtype::I64 => {
                TensorData::I64(join(&datas, outer, |d| if let TensorData::I64(v) = d { v } else { &[] }))
            }
            Dtype::I32 => {
                TensorData::I32(join(&datas, outer, |d| if let TensorData::I32(v) = d { v } else { &[] }))
            }
            Dtype::I8 => {
                TensorData::I8(join(&datas, outer, |d| if let TensorData::I8(v) = d { v } else { &[] }))
            }
            Dtype::U8 => {
                TensorData::U8(join(&datas, outer, |d| if let TensorData::U8(v) = d { v } else { &[] }))
            }
            Dtype::Bool => {
                TensorData::Bool(join(&datas, outer, |d| if let TensorData::Bool(v) = d { v } else { &[] }))
            }
            Dtype::String => {
                TensorData::String(join(
                    &datas,
                    outer,
                    |d| if let TensorData::String(v) = d { v } else { &[] },
                ))
            }
        }])
    }
}

/// `outer` rounds of one piece from each input.
fn join<'a, T: Clone + 'a>(
    inputs: &[&'a TensorData],
    outer: usize,
    of: impl Fn(&'a TensorData) -> &'a [T],
) -> Vec<T> {
    let slices: Vec<&[T]> = inputs.iter().map(|data| of(data)).collect();
    let mut joined = Vec::with_capacity(slices.iter().map(|slice| slice.len()).sum());
    for round in 0..outer {
        for slice in &slices {
            let piece = slice.len() / outer;
            joined.extend_from_slice(&slice[round * piece..(round + 1) * piece]);
        }
    }
    joined
}
