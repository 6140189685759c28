//! Scaler and Normalizer.

use nabla_types::tensor::{Dtype, TensorData};

use super::super::{Call, FnKernel, Prepared, Scope};
use super::{as_f32, features};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::math;
use crate::onnx::upload::Upload;

pub(crate) fn import_scaler(upload: &mut Upload<'_>) -> Result<(), Fault> {
    for (name, neutral) in [("offset", 0.0), ("scale", 1.0)] {
        if upload.peek_floats(name)?.is_none_or(|values| values.is_empty()) {
            let _ = upload.take_floats(name)?;
            upload.set_floats(name, vec![neutral])?;
        }
    }
    Ok(())
}

/// `(x - offset) * scale`, per feature or for all.
pub(crate) fn scaler(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let (_, count) = features(scope)?;
    let mut tables = Vec::new();
    for name in ["offset", "scale"] {
        let values = scope.attributes.floats(name)?;
        tables.push(match values {
            values if values.len() == 1 || values.len() == count => values.to_vec(),
            other => return Err(fault(name, &format!("1 or {count} floats"), &other.len().to_string())),
        });
    }
    let x = scope.input(0)?;
    let output = scope.value(Dtype::F32, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let table = tables[0].iter().cycle().zip(tables[1].iter().cycle());
        let scaled =
            as_f32(call)?.iter().zip(table).map(|(x, (offset, scale))| (x - offset) * scale).collect();
        Ok(vec![TensorData::F32(scaled)])
    });
    Ok(Prepared::one(output, kernel).macs(x.row_elements()).scratch_bytes(x.row_elements().saturating_mul(4)))
}

pub(crate) fn import_normalizer(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_text("norm", "MAX")
}

/// Each row divided by its greatest value, its sum of sizes, or its length. A norm of zero leaves the row.
pub(crate) fn normalizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let (_, count) = features(scope)?;
    let norm: fn(&[f32]) -> f32 = match scope.attributes.text("norm")? {
        "MAX" => |row| row.iter().fold(f32::MIN, |most, x| if *x > most { *x } else { most }),
        "L1" => |row| row.iter().fold(0.0, |sum, x| sum + x.abs()),
        "L2" => |row| math::sqrt(row.iter().fold(0.0, |sum, x| sum + x * x)),
        got => return Err(fault("norm", "MAX, L1 or L2", got)),
    };
    let x = scope.input(0)?;
    let output = scope.value(Dtype::F32, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut values = as_f32(call)?.into_owned();
        for row in values.chunks_exact_mut(count.max(1)) {
            let size = norm(row);
            if size != 0.0 {
                row.iter_mut().for_each(|x| *x /= size);
            }
        }
        Ok(vec![TensorData::F32(values)])
    });
    Ok(Prepared::one(output, kernel).macs(x.row_elements().saturating_mul(2)))
}
