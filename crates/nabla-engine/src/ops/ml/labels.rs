//! LabelEncoder and CategoryMapper: tables from key to value.
//!
//! Canonical inputs of a LabelEncoder: what to encode, keys `[n]`, values `[n]`, the default `[1]`; texts are
//! attributes instead (`keys_strings`, `values_strings`, `default_string`).

use std::collections::HashMap;
use std::hash::Hash;

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Element, FnKernel, Prepared, Scope, dispatch};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;

/// Types of keys and values.
const TYPES: &[Dtype] = &[Dtype::String, Dtype::I64, Dtype::F32, Dtype::I32, Dtype::I16, Dtype::F64];
const TYPES_TEXT: &str = "BYTES, INT64, INT32, INT16, FP32 or FP64";
/// What a look-up costs, in multiply-adds.
const LOOK_UP_MACS: u64 = 16;

/// Opset 1 numbered a list of texts: that is a CategoryMapper. Later ones have two lists, each in one of
/// several forms.
pub(super) fn import_encoder(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if let Some(classes) = upload.take_texts("classes_strings")? {
        let numbers = (0_i64..).take(classes.len()).collect();
        upload.set_ints("cats_int64s", numbers)?;
        upload.set_texts("cats_strings", classes)?;
        upload.rename("CategoryMapper");
        return import_mapper(upload);
    }
    let keys = take_list(upload, "keys")?;
    let values = take_list(upload, "values")?;
    let default = take_default(upload, &values)?;
    for (name, input, list) in [("keys", 1, keys), ("values", 2, values)] {
        match list {
            TensorData::String(texts) => upload.set_texts(&format!("{name}_strings"), texts)?,
            list => upload.set_input(name, input, Tensor::new(vec![list.len() as u64], list)?)?,
        }
    }
    match default {
        TensorData::String(mut texts) => upload.set_text("default_string", &texts.swap_remove(0)),
        default => upload.set_input("default", 3, Tensor::new(vec![1], default)?),
    }
}

/// One of the forms of a list.
fn take_list(upload: &mut Upload<'_>, of: &str) -> Result<TensorData, Fault> {
    let tensor = upload.take_tensor(&format!("{of}_tensor")).map(|tensor| tensor.data().clone());
    let found = [
        tensor,
        upload.take_ints(&format!("{of}_int64s"))?.map(TensorData::I64),
        upload.take_floats(&format!("{of}_floats"))?.map(TensorData::F32),
        upload.take_texts(&format!("{of}_strings"))?.map(TensorData::String),
    ];
    let mut found: Vec<TensorData> = found.into_iter().flatten().filter(|list| !list.is_empty()).collect();
    match (found.pop(), found.is_empty()) {
        (Some(list), true) if TYPES.contains(&list.dtype()) => Ok(list),
        (Some(list), true) => Err(fault(of, TYPES_TEXT, list.dtype().name())),
        (Some(_), false) => Err(fault(of, "one list", "several")),
        (None, _) => Err(fault(of, "a list with an entry", "nothing")),
    }
}

/// The default of the values' type, one element.
fn take_default(upload: &mut Upload<'_>, values: &TensorData) -> Result<TensorData, Fault> {
    let int = upload.take_int("default_int64")?.unwrap_or(-1);
    let text = upload.take_text("default_string")?.unwrap_or("_Unused".to_owned());
    let float = upload.take_float("default_float")?.unwrap_or(-0.0);
    if let Some(tensor) = upload.take_tensor("default_tensor") {
        if tensor.dtype() == values.dtype() && tensor.data().len() == 1 {
            return Ok(tensor.data().clone());
        }
        let expected = format!("one {}", values.dtype());
        let got = format!("{} {:?}", tensor.dtype(), tensor.shape());
        return Err(fault("default_tensor", &expected, &got));
    }
    Ok(match values.dtype() {
        Dtype::String => TensorData::String(vec![text]),
        Dtype::F32 => TensorData::F32(vec![float]),
        Dtype::F64 => TensorData::F64(vec![f64::from(float)]),
        Dtype::I32 => TensorData::I32(vec![i32::try_from(int).unwrap_or(-1)]),
        Dtype::I16 => TensorData::I16(vec![i16::try_from(int).unwrap_or(-1)]),
        _ => TensorData::I64(vec![int]),
    })
}

/// The value of each key, or the default. Of equal keys the first counts; floats are compared by value, NaN
/// with NaN.
pub(super) fn encoder(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 4, 1)?;
    let x = scope.typed(0, TYPES, TYPES_TEXT)?;
    let keys = list(scope, 1, "keys_strings")?;
    let values = list(scope, 2, "values_strings")?;
    if keys.dtype() != x.dtype || keys.is_empty() || keys.len() != values.len() {
        let expected = format!("keys of {} and a value for each", x.dtype);
        let got = format!("{} {} and {} values", keys.len(), keys.dtype(), values.len());
        return Err(Fault::Table { what: "keys", problem: format!("expected {expected}, got {got}") });
    }
    let default = match scope.optional(3) {
        Some(_) => scope.constant(3, "default")?.data().clone(),
        None => TensorData::String(vec![scope.attributes.text("default_string")?.to_owned()]),
    };
    if default.dtype() != values.dtype() || default.len() != 1 {
        let got = format!("{} {}", default.len(), default.dtype());
        return Err(fault("default", &format!("one {}", values.dtype()), &got));
    }
    let output = scope.value(values.dtype(), x.shape.clone())?;
    let table = Table::of(&keys);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let places = table.places(call.input(0)?.data());
        Ok(vec![dispatch!(values.dtype(), T => {
            let (Some(values), Some([default])) = (T::slice(&values), T::slice(&default)) else {
                return Err(fault("values", "one type", "several"));
            };
            T::wrap(chosen(&places, values, default))
        })])
    });
    let count = x.count();
    Ok(Prepared::one(output, kernel)
        .macs(count.saturating_mul(LOOK_UP_MACS))
        .scratch_bytes(count.saturating_mul(16)))
}

fn chosen<T: Element>(places: &[Option<usize>], values: &[T], default: &T) -> Vec<T> {
    places.iter().map(|at| at.map_or(default, |at| &values[at]).clone()).collect()
}

/// A list as a constant, or as texts.
fn list(scope: &Scope<'_>, input: usize, texts: &str) -> Result<TensorData, Fault> {
    match scope.optional(input) {
        Some(_) => Ok(scope.constant(input, "table of a LabelEncoder")?.data().clone()),
        None => Ok(TensorData::String(scope.attributes.texts(texts)?.to_vec())),
    }
}

/// Places of keys.
#[derive(Debug)]
enum Table {
    Texts(HashMap<String, usize>),
    /// Integers as they are, floats as their bits.
    Numbers(HashMap<i64, usize>),
}

impl Table {
    /// Of equal keys the first counts.
    fn of(keys: &TensorData) -> Self {
        match keys {
            TensorData::String(v) => Self::Texts(first(v.iter().cloned())),
            keys => Self::Numbers(first(numbers(keys).into_iter())),
        }
    }

    fn places(&self, keys: &TensorData) -> Vec<Option<usize>> {
        match (self, keys) {
            (Self::Texts(table), TensorData::String(v)) => {
                v.iter().map(|key| table.get(key).copied()).collect()
            }
            (Self::Numbers(table), keys) => numbers(keys).iter().map(|key| table.get(key).copied()).collect(),
            (Self::Texts(_), keys) => vec![None; keys.len()],
        }
    }
}

fn first<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut table = HashMap::new();
    for (place, key) in keys.enumerate() {
        table.entry(key).or_insert(place);
    }
    table
}

/// Numbers by which keys are the same.
fn numbers(keys: &TensorData) -> Vec<i64> {
    match keys {
        TensorData::I64(v) => v.clone(),
        TensorData::I32(v) => v.iter().map(|key| i64::from(*key)).collect(),
        TensorData::I16(v) => v.iter().map(|key| i64::from(*key)).collect(),
        TensorData::F32(v) => v.iter().map(|key| float(f64::from(*key))).collect(),
        TensorData::F64(v) => v.iter().map(|key| float(*key)).collect(),
        _ => Vec::new(),
    }
}

/// Equal for equal floats: one zero, one NaN.
fn float(x: f64) -> i64 {
    if x.is_nan() { i64::MAX } else { (x + 0.0).to_bits().cast_signed() }
}

pub(super) fn import_mapper(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_int("default_int64", -1)?;
    upload.default_text("default_string", "_Unused")
}

/// Texts to integers or integers to texts, whichever comes in. Of equal keys the last counts.
pub(super) fn mapper(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, &[Dtype::String, Dtype::I64], "BYTES or INT64")?;
    let (ints, texts) = (scope.attributes.ints("cats_int64s")?, scope.attributes.texts("cats_strings")?);
    if ints.len() != texts.len() {
        return Err(fault("cats_strings", &format!("{} texts", ints.len()), &texts.len().to_string()));
    }
    let default_int = scope.attributes.int("default_int64")?;
    let default_text = scope.attributes.text("default_string")?.to_owned();
    let (macs, pairs) =
        (x.count().saturating_mul(LOOK_UP_MACS), ints.iter().copied().zip(texts.iter().cloned()));
    if x.dtype == Dtype::String {
        let table: HashMap<String, i64> = pairs.map(|(int, text)| (text, int)).collect();
        let output = scope.value(Dtype::I64, x.shape.clone())?;
        let kernel = FnKernel(move |call: &Call<'_>| {
            let found = |text: &String| table.get(text).copied().unwrap_or(default_int);
            Ok(vec![TensorData::I64(call.slice::<String>(0)?.iter().map(found).collect())])
        });
        return Ok(Prepared::one(output, kernel).macs(macs));
    }
    let table: HashMap<i64, String> = pairs.collect();
    let output = scope.value(Dtype::String, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let found = |int: &i64| table.get(int).unwrap_or(&default_text).clone();
        Ok(vec![TensorData::String(call.slice::<i64>(0)?.iter().map(found).collect())])
    });
    Ok(Prepared::one(output, kernel).macs(macs))
}
