//! ArrayFeatureExtractor: some columns of a table.

use nabla_types::tensor::TensorData;

use super::super::shape::{copy, each};
use super::super::{Call, FnKernel, Prepared, Scope, misfit, sizes};
use crate::onnx::upload::Upload;
use crate::{Dim, Fault};

#[expect(clippy::unnecessary_wraps, reason = "the shape of every import")]
pub(crate) fn import(_: &mut Upload<'_>) -> Result<(), Fault> {
    Ok(())
}

/// Entries of the last dimension, chosen by constant indices.
pub(crate) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let x = scope.input(0)?;
    let Some(Dim::Fixed(length)) = x.shape.last() else {
        return Err(misfit("input of ArrayFeatureExtractor", "a last dimension of fixed size", x));
    };
    let indices = scope.constant(1, "indices")?;
    let (length, chosen) = (usize::try_from(*length).unwrap_or(0), indices.as_i64().unwrap_or_default());
    let in_range = |index: &i64| usize::try_from(*index).is_ok_and(|index| index < length);
    if chosen.is_empty() || !chosen.iter().all(in_range) {
        let expected = format!("INT64 indices below {length}");
        return Err(Fault::Table {
            what: "indices",
            problem: format!("expected {expected}, got others or none"),
        });
    }
    // One row gives [1, n], as ONNX Runtime has it.
    let mut shape = if x.rank() == 1 { vec![Dim::Fixed(1), Dim::Fixed(0)] } else { x.shape.clone() };
    let last = shape.len() - 1;
    shape[last] = Dim::Fixed(chosen.len() as u64);
    let output = scope.value(x.dtype, shape)?;
    let scratch = (chosen.len() as u64).saturating_mul(8);
    let kernel = FnKernel(|call: &Call<'_>| {
        let x = call.input(0)?;
        let chosen = call.input(1)?.as_i64().unwrap_or_default();
        let places: Vec<usize> = chosen.iter().filter_map(|index| usize::try_from(*index).ok()).collect();
        let length = sizes(x.shape()).last().copied().unwrap_or(1).max(1);
        Ok(vec![each!(x.data(), v => {
            v.chunks_exact(length).flat_map(|row| places.iter().map(|place| copy(&row[*place]))).collect()
        })])
    });
    Ok(Prepared::one(output, kernel).scratch_bytes(scratch))
}
