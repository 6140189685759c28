//! Linear quantisation.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::{Call, Kernel, Prepared, Scope, misfit};
use crate::kernels::math;
use crate::onnx::upload::Upload;
use crate::{Dim, Fault};

pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.require_int("block_size", 0)?;
    upload.require_int("output_dtype", 0)?;
    upload.require_int("precision", 0)?;
    upload.ignore("saturate");
    let rank = upload.ty(0)?.rank();
    let scalar = upload.ty(1)?.rank() == 0;
    let axis = if scalar {
        upload.ignore("axis");
        0
    } else {
        upload.take_axis("axis", 1, rank)?
    };
    upload.set_index("axis", axis)
}

/// `x / scale`, rounded to the nearest integer (ties to even), plus the zero point, saturated.
pub(crate) fn quantize(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = scope.f32(0)?;
    let dtype = match scope.optional(2) {
        Some(zero) => zero.ty.dtype,
        None => Dtype::U8,
    };
    prepare(scope, x, dtype, true)
}

/// `(q - zero point) * scale`.
pub(crate) fn dequantize(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = scope.typed(0, &[Dtype::I8, Dtype::U8, Dtype::I32], "INT8, UINT8 or INT32")?;
    prepare(scope, x, Dtype::F32, false)
}

fn prepare(
    scope: &Scope<'_>,
    x: &crate::plan::ValueType,
    dtype: Dtype,
    to_integers: bool,
) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let scale = scope.f32(1)?;
    scope.constant(1, "scale")?;
    let axis = scope.attributes.index("axis", x.rank().max(1))?;
    let whole = scale.rank() == 0 || (scale.rank() == 1 && scale.row_elements() == 1);
    let per_axis = scale.rank() == 1 && x.shape.get(axis) == scale.shape.first();
    if !whole && !per_axis {
        return Err(misfit("scale", format!("one element, or one per entry of axis {axis}"), scale));
    }
    if let Some(zero) = scope.optional(2) {
        let expected = if to_integers { dtype } else { x.dtype };
        scope.typed(2, &[expected], "INT8 or UINT8, as the quantised tensor")?;
        scope.typed(2, &[Dtype::I8, Dtype::U8, Dtype::I32], "INT8, UINT8 or INT32")?;
        scope.constant(2, "zero point")?;
        if zero.ty.row_elements() != scale.row_elements() {
            return Err(misfit("zero point", "as many elements as the scale", zero.ty));
        }
    }
    if to_integers && !matches!(dtype, Dtype::I8 | Dtype::U8) {
        return Err(Fault::Dtype { input: 2, expected: "INT8 or UINT8", got: dtype });
    }
    let inner = x.shape.iter().skip(axis + 1).map(|dim| if let Dim::Fixed(size) = dim { *size } else { 1 });
    let inner = usize::try_from(inner.fold(1_u64, u64::saturating_mul)).unwrap_or(usize::MAX);
    let output = scope.value(dtype, x.shape.clone())?;
    let macs = x.row_elements().saturating_mul(2);
    let scratch = x.row_elements().saturating_mul(4).saturating_add(scale.row_elements().saturating_mul(4));
    Ok(Prepared::one(output, Quantize { inner, to: dtype }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct Quantize {
    /// Neighbours that share a scale, if there are several scales.
    inner: usize,
    to: Dtype,
}

impl Kernel for Quantize {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, scales) = (call.input(0)?, call.f32(1)?);
        let zeros = match call.inputs.get(2).copied().flatten() {
            Some(zero) => integers(zero),
            None => vec![0; scales.len()],
        };
        let of = |index: usize| if scales.len() == 1 { 0 } else { index / self.inner % scales.len() };
        let output = match (self.to, x.data()) {
            (Dtype::I8, TensorData::F32(v)) => TensorData::I8(levels(
                v,
                |i| (scales[of(i)], zeros[of(i)]),
                i32::from(i8::MIN),
                |q| i8::try_from(q).ok(),
            )),
            (Dtype::U8, TensorData::F32(v)) => {
                TensorData::U8(levels(v, |i| (scales[of(i)], zeros[of(i)]), 0, |q| u8::try_from(q).ok()))
            }
            _ => {
                let levels = integers(x);
                let real = |(i, q): (usize, &i32)| nearest_f32(q.wrapping_sub(zeros[of(i)])) * scales[of(i)];
                TensorData::F32(levels.iter().enumerate().map(real).collect())
            }
        };
        Ok(vec![output])
    }
}

/// Quantised levels; 256 of them from `least` up. NaN becomes the zero point.
#[expect(clippy::cast_possible_truncation, reason = "saturates, as specified")]
fn levels<T: Default>(
    x: &[f32],
    parameters: impl Fn(usize) -> (f32, i32),
    least: i32,
    narrow: impl Fn(i32) -> Option<T>,
) -> Vec<T> {
    let level = |(index, value): (usize, &f32)| {
        let (scale, zero) = parameters(index);
        let rounded = math::round_ties_even(value / scale) as i32;
        narrow(rounded.saturating_add(zero).clamp(least, least + 255)).unwrap_or_default()
    };
    x.iter().enumerate().map(level).collect()
}

fn integers(tensor: &Tensor) -> Vec<i32> {
    match tensor.data() {
        TensorData::I8(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::U8(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::I32(v) => v.clone(),
        _ => Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
fn nearest_f32(x: i32) -> f32 {
    x as f32
}
