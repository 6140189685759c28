//! ArrayFeatureExtractor: some columns of a table. FeatureVectorizer: tables side by side.

use nabla_types::tensor::{Dtype, TensorData};

use super::super::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};
use super::NUMBERS;
use crate::Fault;
use crate::graph::attributes::fault;

/// Entries of the last dimension, chosen by indices.
pub(super) fn columns(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, indices) = (scope.input(0)?, scope.typed(1, &[Dtype::I64], "INT64")?);
    let Some(length) = x.shape.last().copied() else {
        return Err(misfit("input of ArrayFeatureExtractor", "a last dimension", x));
    };
    // One row gives [1, n], as ONNX Runtime has it.
    let mut shape = if x.rank() == 1 { vec![1, 0] } else { x.shape.clone() };
    let (last, count) = (shape.len() - 1, indices.elements());
    if count == 0 {
        return Err(Fault::Table { what: "indices", problem: "expected at least one, got none".to_owned() });
    }
    shape[last] = count;
    let output = scope.value(x.dtype, shape)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let place = |index: &i64| {
            let place = usize::try_from(*index).ok().filter(|place| *place < length);
            let problem = || format!("expected indices below {length}, got {index}");
            place.ok_or_else(|| Fault::Table { what: "indices", problem: problem() })
        };
        let places: Vec<usize> = call.slice::<i64>(1)?.iter().map(place).collect::<Result<_, _>>()?;
        let x = call.input(0)?;
        Ok(vec![dispatch!(x.dtype(), T => T::wrap(take(call.slice::<T>(0)?, length, &places)))])
    });
    Ok(Prepared::one(output, kernel).scratch_bytes((count as u64).saturating_mul(8)))
}

fn take<T: Element>(x: &[T], length: usize, places: &[usize]) -> Vec<T> {
    let rows = x.chunks_exact(length.max(1));
    rows.flat_map(|row| places.iter().map(|place| row[*place].clone())).collect()
}

/// All inputs side by side as f32; each is cut or filled with zeros to its width.
pub(super) fn vectorizer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let count = scope.operands.len();
    scope.arity(count.max(1), count, 1)?;
    let given = scope.attributes.ints("inputdimensions")?;
    let mut widths = Vec::with_capacity(count);
    let mut rows = None;
    for input in 0..count {
        let x = scope.typed(input, NUMBERS, "FP32, FP64, INT64 or INT32")?;
        let (of_rows, length) = match x.shape[..] {
            [length] => (1, length),
            [rows, length] => (rows, length),
            _ => return Err(misfit("input of FeatureVectorizer", "[features] or [rows, features]", x)),
        };
        if *rows.get_or_insert(of_rows) != of_rows {
            return Err(misfit("input of FeatureVectorizer", "as many rows as the first", x));
        }
        let width = given.get(input).map_or(Ok(length), |width| usize::try_from(*width));
        widths.push((length, width.map_err(|_| fault("inputdimensions", "sizes", "a negative number"))?));
    }
    if !given.is_empty() && given.len() != count {
        return Err(fault("inputdimensions", &format!("{count} sizes"), &given.len().to_string()));
    }
    let total = widths.iter().fold(0_usize, |sum, (_, width)| sum.saturating_add(*width));
    let rows = rows.unwrap_or(0);
    let output = scope.value(Dtype::F32, vec![rows, total])?;
    let elements = output.elements();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut out = vec![0.0; elements];
        let mut start = 0;
        for (input, (length, width)) in widths.iter().copied().enumerate() {
            let used = length.min(width);
            for row in 0..rows {
                let to = &mut out[row * total + start..][..used];
                copy(call.input(input)?.data(), row * length, to);
            }
            start += width;
        }
        Ok(vec![TensorData::F32(out)])
    });
    Ok(Prepared::one(output, kernel))
}

/// Numbers from `start` on as f32, rounded to nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounded to nearest")]
fn copy(from: &TensorData, start: usize, to: &mut [f32]) {
    let end = start + to.len();
    match from {
        TensorData::F32(v) => to.copy_from_slice(&v[start..end]),
        TensorData::F64(v) => to.iter_mut().zip(&v[start..end]).for_each(|(to, x)| *to = *x as f32),
        TensorData::I64(v) => to.iter_mut().zip(&v[start..end]).for_each(|(to, x)| *to = *x as f32),
        TensorData::I32(v) => to.iter_mut().zip(&v[start..end]).for_each(|(to, x)| *to = *x as f32),
        _ => {}
    }
}
