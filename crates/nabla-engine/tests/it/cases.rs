//! Cases that the Python scripts write: models and tensors in base64.

use base64::Engine as _;
use nabla_types::tensor::{Dtype, NamedTensor, Tensor, TensorData};
use serde_json::Value;

pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD.decode(value.as_str().expect("base64")).expect("base64")
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "FLOAT" => Dtype::F32,
        "DOUBLE" => Dtype::F64,
        "FLOAT16" => Dtype::F16,
        "BFLOAT16" => Dtype::BF16,
        "INT64" => Dtype::I64,
        "INT32" => Dtype::I32,
        "INT16" => Dtype::I16,
        "INT8" => Dtype::I8,
        "UINT64" => Dtype::U64,
        "UINT32" => Dtype::U32,
        "UINT16" => Dtype::U16,
        "UINT8" => Dtype::U8,
        "BOOL" => Dtype::Bool,
        "STRING" => Dtype::String,
        _ => return None,
    })
}

/// A tensor of the file, or why this engine has no such thing.
pub(crate) fn tensor(value: &Value) -> Result<NamedTensor, String> {
    // A list of maps, from ZipMap: here a table of their values, whose keys are the classes.
    let value = if value["maps"].is_object() { &value["maps"]["values"] } else { value };
    let name = value["name"].as_str().unwrap_or_default();
    let of = value["dtype"].as_str().ok_or("a value that is no tensor")?;
    let dtype = dtype(of).ok_or_else(|| format!("element type {of}"))?;
    let shape: Vec<u64> = value["shape"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
    let data = if dtype == Dtype::String {
        let texts = value["data"].as_array().unwrap().iter();
        TensorData::String(texts.map(|text| text.as_str().unwrap().to_owned()).collect())
    } else {
        TensorData::from_le_bytes(dtype, &bytes(&value["data"])).unwrap()
    };
    Ok(NamedTensor::new(name, Tensor::new(shape, data).unwrap()))
}

/// Elements as f64, or `None` for texts.
fn numbers(data: &TensorData) -> Option<Vec<f64>> {
    Some(match data {
        TensorData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::F64(v) => v.clone(),
        TensorData::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
        TensorData::BF16(v) => v.iter().map(|x| x.to_f64()).collect(),
        _ => return None,
    })
}

/// Shapes, types and bits of other types must agree; floats as near as `atol + rtol * |want|`.
pub(crate) fn compare(got: &Tensor, want: &Tensor, rtol: f64, atol: f64, random: bool) -> Result<(), String> {
    if got.dtype() != want.dtype() || got.shape() != want.shape() {
        let shown = |t: &Tensor| format!("{} {:?}", t.dtype(), t.shape());
        return Err(format!("expected {}, got {}", shown(want), shown(got)));
    }
    if random {
        return Ok(());
    }
    let (Some(a), Some(b)) = (numbers(got.data()), numbers(want.data())) else {
        return if got == want {
            Ok(())
        } else {
            Err(format!("expected {:?}, got {:?}", want.data(), got.data()))
        };
    };
    for (index, (x, y)) in a.iter().zip(&b).enumerate() {
        let close = (x.is_nan() && y.is_nan()) || x == y || (x - y).abs() <= atol + rtol * y.abs();
        if !close {
            return Err(format!("element {index}: expected {y}, got {x}"));
        }
    }
    Ok(())
}
