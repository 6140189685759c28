//! Conversion between element types.

use nabla_types::tensor::{Dtype, TensorData};

use super::{Call, Kernel, Prepared, Scope};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::proto;
use crate::onnx::upload::Upload;

/// The ONNX type number becomes our type code.
pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ignore("saturate");
    upload.ignore("round_mode");
    let to = upload.take_int("to")?.unwrap_or(0);
    let dtype = u64::try_from(to).ok().and_then(proto::dtype);
    let dtype = dtype.ok_or_else(|| fault("to", proto::DTYPES_TEXT, &format!("type {to}")))?;
    upload.set_int("to", i64::from(dtype.code()))
}

/// Numbers to numbers. To a float: nearest, ties to even. A float to an integer: toward zero, saturating,
/// NaN to 0. Integers to narrower ones: the low bits. To a truth value: whether it is not zero.
pub(crate) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let code = scope.attributes.int("to")?;
    let to = u8::try_from(code).ok().and_then(Dtype::from_code);
    let to = to.ok_or_else(|| fault("to", "a type code from 1 to 8", &code.to_string()))?;
    if x.dtype != to && (x.dtype == Dtype::String || to == Dtype::String) {
        let hint = "keep text and numbers apart";
        return Err(Fault::Unsupported { what: format!("casting {} to {to}", x.dtype), hint });
    }
    Ok(Prepared::one(scope.value(to, x.shape.clone())?, Cast { to }))
}

#[derive(Debug)]
struct Cast {
    to: Dtype,
}

impl Kernel for Cast {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        Ok(vec![cast(call.input(0)?.data(), self.to)])
    }
}

/// Rust's `as` is the rule above, for every pair.
macro_rules! to {
    ($v:ident, $to:expr, $zero:expr) => {
        match $to {
            Dtype::F32 => TensorData::F32($v.iter().map(|x| *x as f32).collect()),
            Dtype::F64 => TensorData::F64($v.iter().map(|x| *x as f64).collect()),
            Dtype::I64 => TensorData::I64($v.iter().map(|x| *x as i64).collect()),
            Dtype::I32 => TensorData::I32($v.iter().map(|x| *x as i32).collect()),
            Dtype::I8 => TensorData::I8($v.iter().map(|x| *x as i8).collect()),
            Dtype::U8 => TensorData::U8($v.iter().map(|x| *x as u8).collect()),
            Dtype::Bool => TensorData::Bool($v.iter().map(|x| *x != $zero).collect()),
            Dtype::String => TensorData::String(Vec::new()),
        }
    };
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::cast_lossless,
    reason = "these conversions are the operator"
)]
pub(crate) fn cast(data: &TensorData, to: Dtype) -> TensorData {
    match data {
        TensorData::F32(v) => to!(v, to, 0.0),
        TensorData::F64(v) => to!(v, to, 0.0),
        TensorData::I64(v) => to!(v, to, 0),
        TensorData::I32(v) => to!(v, to, 0),
        TensorData::I8(v) => to!(v, to, 0),
        TensorData::U8(v) => to!(v, to, 0),
        TensorData::Bool(v) => {
            let bytes: Vec<u8> = v.iter().map(|x| u8::from(*x)).collect();
            to!(bytes, to, 0)
        }
        TensorData::String(v) => TensorData::String(v.clone()),
    }
}
