//! LabelEncoder: a table from key to value.

use std::collections::BTreeMap;

use nabla_types::tensor::{Dtype, TensorData};

use super::super::{Call, Kernel, Prepared, Scope};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;

/// Lists keep their ONNX names; the default becomes explicit.
pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 2 {
        let hint = "export with ai.onnx.ml opset 2 or newer";
        return Err(Fault::Unsupported { what: "LabelEncoder of opset 1".to_owned(), hint });
    }
    let int = upload.take_int("default_int64")?.unwrap_or(-1);
    let text = upload.take_text("default_string")?.unwrap_or("_Unused".to_owned());
    let float = upload.take_float("default_float")?.unwrap_or(-0.0);
    if upload.peek_ints("values_int64s")?.is_some() {
        upload.set_int("default_int64", int)
    } else if upload.peek_floats("values_floats")?.is_some() {
        upload.set_float("default_float", float)
    } else {
        upload.set_text("default_string", &text)
    }
}

/// The value of each key, or the default. Float keys are compared by value, NaN with NaN.
pub(crate) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let attributes = &scope.attributes;
    let (ints, floats) = (attributes.ints("keys_int64s")?, attributes.floats("keys_floats")?);
    let texts = attributes.texts("keys_strings")?;
    let keys: Vec<Key> = match x.dtype {
        Dtype::I64 => ints.iter().map(|key| Key::Int(*key)).collect(),
        Dtype::F32 => floats.iter().map(|key| Key::float(*key)).collect(),
        Dtype::String => texts.iter().map(|key| Key::Text(key.clone())).collect(),
        got => return Err(Fault::Dtype { input: 0, expected: "INT64, FP32 or BYTES", got }),
    };
    let (ints, floats) = (attributes.ints("values_int64s")?, attributes.floats("values_floats")?);
    let texts = attributes.texts("values_strings")?;
    let values = if ints.len() == keys.len() {
        Values::Ints(ints.to_vec(), attributes.int("default_int64")?)
    } else if floats.len() == keys.len() {
        Values::Floats(floats.to_vec(), attributes.float("default_float")?)
    } else if texts.len() == keys.len() {
        Values::Texts(texts.to_vec(), attributes.text("default_string")?.to_owned())
    } else {
        return Err(fault("values", &format!("{} values, one per key", keys.len()), "another number"));
    };
    // Of equal keys the first counts.
    let table = keys.into_iter().enumerate().rev().map(|(at, key)| (key, at)).collect();
    let output = scope.value(values.dtype(), x.shape.clone())?;
    let (macs, scratch) = (x.row_elements().saturating_mul(16), x.row_elements().saturating_mul(320));
    Ok(Prepared::one(output, Encoder { table, values }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Int(i64),
    Float(u32),
    Text(String),
}

impl Key {
    fn float(x: f32) -> Self {
        Self::Float(if x.is_nan() { 0x7fc0_0000 } else { (x + 0.0).to_bits() })
    }
}

#[derive(Debug)]
enum Values {
    Ints(Vec<i64>, i64),
    Floats(Vec<f32>, f32),
    Texts(Vec<String>, String),
}

impl Values {
    fn dtype(&self) -> Dtype {
        match self {
            Self::Ints(..) => Dtype::I64,
            Self::Floats(..) => Dtype::F32,
            Self::Texts(..) => Dtype::String,
        }
    }
}

#[derive(Debug)]
struct Encoder {
    table: BTreeMap<Key, usize>,
    values: Values,
}

impl Kernel for Encoder {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let places: Vec<Option<usize>> = match call.input(0)?.data() {
            TensorData::I64(v) => v.iter().map(|key| self.table.get(&Key::Int(*key)).copied()).collect(),
            TensorData::F32(v) => v.iter().map(|key| self.table.get(&Key::float(*key)).copied()).collect(),
            TensorData::String(v) => {
                v.iter().map(|key| self.table.get(&Key::Text(key.clone())).copied()).collect()
            }
            other => {
                return Err(Fault::Dtype { input: 0, expected: "INT64, FP32 or BYTES", got: other.dtype() });
            }
        };
        let places = places.into_iter();
        Ok(vec![match &self.values {
            Values::Ints(v, default) => {
                TensorData::I64(places.map(|at| at.map_or(*default, |at| v[at])).collect())
            }
            Values::Floats(v, default) => {
                TensorData::F32(places.map(|at| at.map_or(*default, |at| v[at])).collect())
            }
            Values::Texts(v, default) => {
                TensorData::String(places.map(|at| at.map_or(default, |at| &v[at]).clone()).collect())
            }
        }])
    }
}
