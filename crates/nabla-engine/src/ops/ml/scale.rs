//! Scaler, Normalizer and Binarizer.

use nabla_types::tensor::{Dtype, TensorData};

use super::super::{Call, FnKernel, Prepared, Scope};
use super::{NUMBERS, as_f32, features, striped};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::math;
use crate::onnx::upload::Upload;

pub(super) fn import_scaler(upload: &mut Upload<'_>) -> Result<(), Fault> {
    for (name, neutral) in [("offset", 0.0), ("scale", 1.0)] {
        if upload.peek_floats(name)?.is_none_or(<[f32]>::is_empty) {
            let _ = upload.take_floats(name)?;
            upload.set_floats(name, vec![neutral])?;
        }
    }
    Ok(())
}

/// `(x - offset) * scale`, per feature or for all.
pub(super) fn scaler(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let (_, count) = features(scope)?;
    let mut tables = Vec::new();
    for name in ["offset", "scale"] {
        let values = scope.attributes.floats(name)?;
        tables.push(match values {
            [value] => vec![*value; count],
            values if values.len() == count => values.to_vec(),
            other => return Err(fault(name, &format!("1 or {count} floats"), &other.len().to_string())),
        });
    }
    let x = scope.input(0)?;
    let output = scope.value(Dtype::F32, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let x = as_f32(call)?;
        let mut scaled = call.f32s(x.len());
        for (from, to) in x.chunks_exact(count).zip(scaled.chunks_exact_mut(count)) {
            let columns = from.iter().zip(tables[0].iter().zip(&tables[1]));
            to.iter_mut().zip(columns).for_each(|(to, (x, (offset, scale)))| *to = (x - offset) * scale);
        }
        Ok(vec![TensorData::F32(scaled)])
    });
    let scratch_bytes = x.count().saturating_mul(4).saturating_add((count as u64).saturating_mul(8));
    Ok(Prepared::one(output, kernel).macs(x.count()).scratch_bytes(scratch_bytes))
}

pub(super) fn import_normalizer(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_text("norm", "MAX")
}

/// Each row divided by its greatest value, its sum of sizes, or its length. A norm of zero leaves the row.
pub(super) fn normalizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let (_, count) = features(scope)?;
    let norm: fn(&[f32]) -> f32 = match scope.attributes.text("norm")? {
        "MAX" => |row| row.iter().fold(f32::MIN, |most, x| if *x > most { *x } else { most }),
        "L1" => |row| striped(row, f32::abs),
        "L2" => |row| math::sqrt(striped(row, |x| x * x)),
        got => return Err(fault("norm", "MAX, L1 or L2", got)),
    };
    let x = scope.input(0)?;
    let output = scope.value(Dtype::F32, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut values = as_f32(call)?.into_owned();
        for row in values.chunks_exact_mut(count) {
            let size = norm(row);
            if size != 0.0 {
                row.iter_mut().for_each(|x| *x /= size);
            }
        }
        Ok(vec![TensorData::F32(values)])
    });
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(2)))
}

pub(super) fn import_binarizer(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_float("threshold", 0.0)
}

/// 1 above the threshold, else 0 (also for NaN), in the type of the input. Integers are compared in f64.
#[expect(clippy::cast_precision_loss, reason = "rounded to nearest")]
pub(super) fn binarizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, NUMBERS, "FP32, FP64, INT64 or INT32")?;
    let threshold = scope.attributes.float("threshold")?;
    let wide = f64::from(threshold);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let above = |is_above: bool| i32::from(is_above);
        Ok(vec![match call.input(0)?.data() {
            TensorData::F32(v) => {
                TensorData::F32(v.iter().map(|x| if *x > threshold { 1.0 } else { 0.0 }).collect())
            }
            TensorData::F64(v) => TensorData::F64(v.iter().map(|x| f64::from(above(*x > wide))).collect()),
            TensorData::I64(v) => TensorData::I64(v.iter().map(|x| i64::from(*x as f64 > wide)).collect()),
            TensorData::I32(v) => TensorData::I32(v.iter().map(|x| above(f64::from(*x) > wide)).collect()),
            other => return Err(Fault::Dtype { input: 0, expected: "numbers", got: other.dtype() }),
        }])
    });
    Ok(Prepared::one(x.clone(), kernel).macs(x.count()))
}
