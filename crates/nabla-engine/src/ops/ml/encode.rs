//! Imputer and OneHotEncoder.

use std::collections::HashMap;

use nabla_types::tensor::{Dtype, TensorData};

use super::super::{Call, FnKernel, Prepared, Scope};
use super::NUMBERS;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;

pub(super) fn import_imputer(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_float("replaced_value_float", 0.0)?;
    upload.default_int("replaced_value_int64", 0)
}

/// Elements that equal one value (NaN equals NaN) are replaced: by one value, or by one per column.
pub(super) fn imputer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, NUMBERS, "FP32, FP64, INT64 or INT32")?;
    let floats = scope.attributes.floats("imputed_value_floats")?.to_vec();
    let ints = scope.attributes.ints("imputed_value_int64s")?.to_vec();
    let float = scope.attributes.float("replaced_value_float")?;
    let int = scope.attributes.int("replaced_value_int64")?;
    let is_float = matches!(x.dtype, Dtype::F32 | Dtype::F64);
    let columns = x.shape.last().copied().unwrap_or(1).max(1);
    let given = if is_float { floats.len() } else { ints.len() };
    if given != 1 && given != columns {
        let name = if is_float { "imputed_value_floats" } else { "imputed_value_int64s" };
        return Err(fault(name, &format!("1 or {columns} values"), &given.to_string()));
    }
    let small: Vec<i32> = ints.iter().map(|value| i32::try_from(*value).unwrap_or(0)).collect();
    if x.dtype == Dtype::I32 && ints.iter().zip(&small).any(|(int, small)| *int != i64::from(*small)) {
        return Err(fault("imputed_value_int64s", "values that fit INT32", "a greater one"));
    }
    let wide: Vec<f64> = floats.iter().map(|value| f64::from(*value)).collect();
    let is_same = move |x: f64| x == f64::from(float) || (x.is_nan() && float.is_nan());
    let kernel = FnKernel(move |call: &Call<'_>| {
        Ok(vec![match call.input(0)?.data() {
            TensorData::F32(v) => TensorData::F32(replaced(v, &floats, |x| is_same(f64::from(x)))),
            TensorData::F64(v) => TensorData::F64(replaced(v, &wide, is_same)),
            TensorData::I64(v) => TensorData::I64(replaced(v, &ints, |x| x == int)),
            TensorData::I32(v) => TensorData::I32(replaced(v, &small, |x| i64::from(x) == int)),
            other => return Err(Fault::Dtype { input: 0, expected: "numbers", got: other.dtype() }),
        }])
    });
    Ok(Prepared::one(x.clone(), kernel).macs(x.count()))
}

fn replaced<T: Copy>(x: &[T], by: &[T], is_replaced: impl Fn(T) -> bool) -> Vec<T> {
    let by = by.iter().cycle();
    x.iter().zip(by).map(|(x, by)| if is_replaced(*x) { *by } else { *x }).collect()
}

pub(super) fn import_one_hot(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_int("zeros", 1)
}

/// One more dimension: 1 at the place of the category, else 0. Floats are cut to integers. Of equal
/// categories the last counts. Without `zeros` an unknown category fails the run.
pub(super) fn one_hot(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let types = [NUMBERS, &[Dtype::String]].concat();
    let x = scope.typed(0, &types, "BYTES, FP32, FP64, INT64 or INT32")?;
    let (ints, texts) = (scope.attributes.ints("cats_int64s")?, scope.attributes.texts("cats_strings")?);
    if ints.is_empty() == texts.is_empty() {
        return Err(fault("cats_int64s or cats_strings", "exactly one list", "none or both"));
    }
    if texts.is_empty() == (x.dtype == Dtype::String) {
        let expected = if texts.is_empty() { "numbers, as the categories are" } else { "BYTES" };
        return Err(Fault::Dtype { input: 0, expected, got: x.dtype });
    }
    let allows_unknown = scope.attributes.int("zeros")? != 0;
    let count = ints.len().max(texts.len());
    let mut shape = x.shape.clone();
    shape.push(count);
    let output = scope.value(Dtype::F32, shape)?;
    let (elements, scratch_bytes) = (output.elements(), x.count().saturating_mul(16));
    let ints: HashMap<i64, usize> = ints.iter().enumerate().map(|(at, key)| (*key, at)).collect();
    let texts: HashMap<String, usize> = texts.iter().enumerate().map(|(at, key)| (key.clone(), at)).collect();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let places = places(call.input(0)?.data(), &ints, &texts);
        let mut out = vec![0.0; elements];
        for (row, place) in out.chunks_exact_mut(count).zip(places) {
            match place {
                Some(place) => row[place] = 1.0,
                None if allows_unknown => {}
                None => {
                    return Err(Fault::Table { what: "categories", problem: "an unknown one".to_owned() });
                }
            }
        }
        Ok(vec![TensorData::F32(out)])
    });
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(16)).scratch_bytes(scratch_bytes))
}

#[expect(clippy::cast_possible_truncation, reason = "toward zero, saturating")]
fn places(x: &TensorData, ints: &HashMap<i64, usize>, texts: &HashMap<String, usize>) -> Vec<Option<usize>> {
    let place = |key: i64| ints.get(&key).copied();
    match x {
        TensorData::String(v) => v.iter().map(|key| texts.get(key).copied()).collect(),
        TensorData::I64(v) => v.iter().map(|key| place(*key)).collect(),
        TensorData::I32(v) => v.iter().map(|key| place(i64::from(*key))).collect(),
        TensorData::F32(v) => v.iter().map(|key| place(*key as i64)).collect(),
        TensorData::F64(v) => v.iter().map(|key| place(*key as i64)).collect(),
        _ => Vec::new(),
    }
}
