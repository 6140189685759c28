//! Operators that give what they are given: under another name, in another shape, as another type's shape.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Call, Kernel, ONNX, ONNX_ML, Operator, Prepared, Scope, axis, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::{Argument, Upload};

pub(super) static OPERATORS: &[Operator] = &[
    Operator::alias("Constant", ONNX, constant),
    Operator::alias("Dropout", ONNX, dropout),
    Operator::node("Flatten", plain, flatten),
    Operator::alias("Identity", ONNX, identity),
    Operator::node("Reshape", import_reshape, reshape),
    Operator::node("Shape", plain, shape),
    Operator::node("Size", plain, size),
    Operator::node("Squeeze", import_axes, squeeze),
    Operator::node("Unsqueeze", import_axes, unsqueeze),
    Operator::alias("ZipMap", ONNX_ML, zip_map),
];

/// A node whose attributes are canonical as they are.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every import")]
pub(crate) fn plain(_: &mut Upload<'_>) -> Result<(), Fault> {
    Ok(())
}

/// The single input, under another name.
fn identity(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    upload.required(0)
}

/// Inference only: the input as it is.
fn dropout(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    if upload.outputs > 1 {
        let expected = "1 (the mask is for training)";
        return Err(Fault::Arity { what: "outputs", expected, got: upload.outputs });
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
fn zip_map(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
    upload.ignore("classlabels_int64s");
    upload.ignore("classlabels_strings");
    upload.required(0)
}

/// A constant, whichever attribute it is given in.
fn constant(upload: &mut Upload<'_>) -> Result<Argument, Fault> {
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
    } else if let Some(value) = upload.take_text("value_string")? {
        Tensor::new(Vec::new(), TensorData::String(vec![value]))
    } else if let Some(values) = upload.take_texts("value_strings")? {
        Tensor::new(vec![values.len() as u64], TensorData::String(values))
    } else {
        return Err(fault("value", "a tensor, float, integer, text or list of them", "nothing of these"));
    };
    Ok(Argument::Constant(tensor?.into()))
}

/// The same elements in another shape.
fn reshaped(scope: &Scope<'_>, shape: Vec<usize>) -> Result<Prepared, Fault> {
    let x = scope.input(0)?;
    let output = scope.value(x.dtype, shape)?;
    if output.elements() != x.elements() {
        let expected = format!("as many elements as {:?}", output.shape);
        return Err(misfit("input of a reshape", expected, x));
    }
    Ok(Prepared::one(output, Renamed))
}

/// The elements of the input as they are.
#[derive(Debug)]
struct Renamed;

impl Kernel for Renamed {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        Ok(vec![call.input(0)?.data().clone()])
    }

    fn renames(&self) -> bool {
        true
    }
}

fn flatten(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let at = match scope.attributes.int_or("axis", 1)? {
        end if usize::try_from(end).is_ok_and(|end| end == x.rank()) => x.rank(),
        from => axis("axis", from, x.rank())?,
    };
    reshaped(scope, vec![x.shape[..at].iter().product(), x.shape[at..].iter().product()])
}

/// The shape is an attribute before opset 5 and an input since.
fn import_reshape(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("shape", 1)
}

/// `0` copies a size (unless `allowzero`), `-1` is whatever is left.
fn reshape(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let wanted = scope.ints(1, "shape")?;
    let zero_is_size = scope.attributes.flag_or("allowzero", false)?;
    let misplaced =
        |expected: &str| fault("shape", expected, &format!("{:?}", &wanted[..wanted.len().min(9)]));
    let mut shape = Vec::with_capacity(wanted.len().min(9));
    let mut open = None;
    for (index, size) in wanted.iter().enumerate().take(9) {
        shape.push(match usize::try_from(*size) {
            Ok(0) if !zero_is_size => {
                *x.shape.get(index).ok_or_else(|| misplaced("0 only where the input has a size"))?
            }
            Ok(size) => size,
            Err(_) if *size == -1 && open.is_none() => {
                open = Some(index);
                1
            }
            Err(_) => return Err(misplaced("sizes, 0, or -1 once")),
        });
    }
    if let Some(open) = open {
        let known = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        let known = known.ok_or_else(|| misplaced("sizes whose product fits"))?;
        shape[open] = x.elements().checked_div(known).unwrap_or(0);
    }
    reshaped(scope, shape)
}

/// Axes are an attribute before opset 13 and an input since.
fn import_axes(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ints_to_input("axes", 1)
}

fn squeeze(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 2, 1)?;
    let x = scope.input(0)?;
    let mut drops: Vec<bool> = x.shape.iter().map(|size| *size == 1).collect();
    if let Some(axes) = scope.optional_ints(1, "axes")? {
        drops.fill(false);
        for given in axes {
            let at = axis("axes", given, x.rank())?;
            if x.shape[at] != 1 {
                return Err(misfit("input of Squeeze", format!("size 1 at dimension {at}"), x));
            }
            drops[at] = true;
        }
    }
    let kept = x.shape.iter().zip(&drops).filter(|(_, drop)| !**drop).map(|(size, _)| *size);
    reshaped(scope, kept.collect())
}

fn unsqueeze(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let axes = scope.ints(1, "axes")?;
    let rank = x.rank() + axes.len().min(16);
    let mut added = vec![false; rank];
    for given in axes {
        let at = axis("axes", given, rank)?;
        if std::mem::replace(&mut added[at], true) {
            return Err(fault("axes", "each axis once", "one of them twice"));
        }
    }
    let mut sizes = x.shape.iter();
    let size = |added: &bool| if *added { 1 } else { sizes.next().copied().unwrap_or(1) };
    reshaped(scope, added.iter().map(size).collect())
}

/// The sizes from `start` to `end`, clamped.
fn shape(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let rank = i64::try_from(x.rank()).unwrap_or(0);
    let clamp = |at: i64| usize::try_from(if at < 0 { at.saturating_add(rank) } else { at }.clamp(0, rank));
    let start = clamp(scope.attributes.int_or("start", 0)?).unwrap_or(0);
    let end = clamp(scope.attributes.int_or("end", rank)?).unwrap_or(0).max(start);
    let sizes: Vec<i64> = x.shape[start..end].iter().map(|size| i64::try_from(*size).unwrap_or(0)).collect();
    Ok(Prepared::known(vec![Tensor::i64(&[sizes.len() as u64], sizes)?]))
}

fn size(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let count = i64::try_from(scope.input(0)?.elements()).unwrap_or(0);
    Ok(Prepared::known(vec![Tensor::i64(&[], vec![count])?]))
}

/// A dtype by its ONNX number, as an attribute gives it.
pub(crate) fn dtype_attribute(scope: &Scope<'_>, name: &str, default: Option<Dtype>) -> Result<Dtype, Fault> {
    if !scope.attributes.has(name)
        && let Some(default) = default
    {
        return Ok(default);
    }
    let number = scope.attributes.int(name)?;
    u64::try_from(number)
        .ok()
        .and_then(crate::onnx::proto::dtype)
        .ok_or_else(|| fault(name, "a supported element type", &format!("number {number}")))
}
