//! Conversion between element types.
//!
//! # Rules
//! - To a float: nearest, ties to even, once. A float to an integer: toward zero, saturating, NaN to 0.
//!   An integer to a narrower one: the low bits. To a truth value: whether it is not zero.
//! - A number as text is the shortest decimal that reads back as the same number; see [`float_text`].
//! - Text as a number: a decimal, with exponent or not, or `inf`, `nan` in any case. Other text fails the
//!   run.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "these conversions are the operator"
)]

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData, bf16_from_f64, f16_from_f64};

use super::identity::dtype_attribute;
use super::{Call, FnKernel, Operator, Prepared, Scope};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("BitCast", super::identity::plain, bit_cast),
    Operator::node("Cast", import_cast, prepare_cast),
    Operator::node("CastLike", import_cast, cast_like),
];

/// Two attributes that only say how to round to types that this engine does not have.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every import")]
fn import_cast(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ignore("saturate");
    upload.ignore("round_mode");
    Ok(())
}

fn prepare_cast(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    casting(scope, dtype_attribute(scope, "to", None)?)
}

fn cast_like(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    casting(scope, scope.input(1)?.dtype)
}

fn casting(scope: &Scope<'_>, to: Dtype) -> Result<Prepared, Fault> {
    let x = scope.input(0)?;
    if (x.dtype, to) == (Dtype::String, Dtype::Bool) {
        let hint = "compare the text with one that means true";
        return Err(Fault::Unsupported { what: "casting text to a truth value".to_owned(), hint });
    }
    let text = [x.dtype, to].contains(&Dtype::String);
    let macs = if text { x.count().saturating_mul(256) } else { 0 };
    let kernel = FnKernel(move |call: &Call<'_>| Ok(vec![cast(call.input(0)?.data(), to)?]));
    Ok(Prepared::one(ValueType { dtype: to, shape: x.shape.clone() }, kernel).macs(macs))
}

/// The same bits as another type of the same width.
fn bit_cast(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.input(0)?;
    let to = dtype_attribute(scope, "to", None)?;
    if x.dtype.size_bytes().is_none() || x.dtype.size_bytes() != to.size_bytes() {
        return Err(fault("to", &format!("a type as wide as {}", x.dtype), to.name()));
    }
    let kernel = FnKernel(move |call: &Call<'_>| {
        let bytes = call.input(0)?.data().to_le_bytes().unwrap_or_default();
        Ok(vec![TensorData::from_le_bytes(to, &bytes)?])
    });
    let scratch = x.bytes();
    Ok(Prepared::one(ValueType { dtype: to, shape: x.shape.clone() }, kernel).scratch_bytes(scratch))
}

/// The elements as another type, by the rules of this module.
pub(crate) fn cast(data: &TensorData, to: Dtype) -> Result<TensorData, Fault> {
    Ok(match data {
        same if same.dtype() == to => same.clone(),
        TensorData::F32(v) => Number::all(v, to),
        TensorData::F64(v) => Number::all(v, to),
        TensorData::F16(v) => Number::all(&v.iter().map(|x| x.to_f32()).collect::<Vec<f32>>(), to),
        TensorData::BF16(v) => Number::all(&v.iter().map(|x| x.to_f32()).collect::<Vec<f32>>(), to),
        TensorData::I64(v) => Number::all(v, to),
        TensorData::I32(v) => Number::all(v, to),
        TensorData::I16(v) => Number::all(v, to),
        TensorData::I8(v) => Number::all(v, to),
        TensorData::U64(v) => Number::all(v, to),
        TensorData::U32(v) => Number::all(v, to),
        TensorData::U16(v) => Number::all(v, to),
        TensorData::U8(v) => Number::all(v, to),
        TensorData::Bool(v) => Number::all(&v.iter().map(|x| u8::from(*x)).collect::<Vec<u8>>(), to),
        TensorData::String(v) => from_text(v, to)?,
    })
}

/// A number that is cast. Rust's `as` is the rule for all types that it knows.
trait Number: Copy {
    fn f16(self) -> f16;
    fn bf16(self) -> bf16;
    fn text(self) -> String;
    fn all(elements: &[Self], to: Dtype) -> TensorData;
}

macro_rules! number {
    ($($type:ty: $f16:expr, $bf16:expr, $text:expr;)*) => {$(
        impl Number for $type {
            fn f16(self) -> f16 {
                $f16(self)
            }
            fn bf16(self) -> bf16 {
                $bf16(self)
            }
            fn text(self) -> String {
                $text(self)
            }
            fn all(v: &[Self], to: Dtype) -> TensorData {
                match to {
                    Dtype::F32 => TensorData::F32(v.iter().map(|x| *x as f32).collect()),
                    Dtype::F64 => TensorData::F64(v.iter().map(|x| *x as f64).collect()),
                    Dtype::F16 => TensorData::F16(v.iter().map(|x| x.f16()).collect()),
                    Dtype::BF16 => TensorData::BF16(v.iter().map(|x| x.bf16()).collect()),
                    Dtype::I64 => TensorData::I64(v.iter().map(|x| *x as i64).collect()),
                    Dtype::I32 => TensorData::I32(v.iter().map(|x| *x as i32).collect()),
                    Dtype::I16 => TensorData::I16(v.iter().map(|x| *x as i16).collect()),
                    Dtype::I8 => TensorData::I8(v.iter().map(|x| *x as i8).collect()),
                    Dtype::U64 => TensorData::U64(v.iter().map(|x| *x as u64).collect()),
                    Dtype::U32 => TensorData::U32(v.iter().map(|x| *x as u32).collect()),
                    Dtype::U16 => TensorData::U16(v.iter().map(|x| *x as u16).collect()),
                    Dtype::U8 => TensorData::U8(v.iter().map(|x| *x as u8).collect()),
                    Dtype::Bool => TensorData::Bool(v.iter().map(|x| *x != 0 as $type).collect()),
                    Dtype::String => TensorData::String(v.iter().map(|x| x.text()).collect()),
                }
            }
        }
    )*};
}

number! {
    f32: f16::from_f32, bf16::from_f32, |x| float_text(&format!("{x:e}"), x);
    f64: f16_from_f64, bf16_from_f64, |x| float_text(&format!("{x:e}"), x);
    i64: |x| f16_from_f64(sticky(x)), |x| bf16_from_f64(sticky(x)), |x: i64| x.to_string();
    i32: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: i32| x.to_string();
    i16: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: i16| x.to_string();
    i8: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: i8| x.to_string();
    u64: |x| f16_from_f64(sticky(x)), |x| bf16_from_f64(sticky(x)), |x: u64| x.to_string();
    u32: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: u32| x.to_string();
    u16: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: u16| x.to_string();
    u8: |x| f16_from_f64(f64::from(x)), |x| bf16_from_f64(f64::from(x)), |x: u8| x.to_string();
}

/// An f64 that rounds to fewer bits as the integer does: what does not fit into 53 bits is kept as one odd
/// bit.
fn sticky(x: impl Into<i128>) -> f64 {
    let x: i128 = x.into();
    let size = x.unsigned_abs();
    let kept = if size >> 53 == 0 { size } else { (size >> 11 | u128::from(size & 0x7ff != 0)) << 11 };
    if x < 0 { -(kept as f64) } else { kept as f64 }
}

/// `NaN`, `INF`, `-INF`, or a decimal: plain from 1e-5 up to below 1e16, else with an exponent of two digits
/// or more (`1.5e+20`). `scientific` is the shortest decimal with an exponent.
fn float_text(scientific: &str, x: impl Into<f64> + std::fmt::Display) -> String {
    let plain = x.to_string();
    let value: f64 = x.into();
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF" } else { "-INF" }.to_owned();
    }
    match scientific
        .split_once('e')
        .and_then(|(digits, exponent)| Some((digits, exponent.parse::<i32>().ok()?)))
    {
        Some((digits, exponent)) if !(-5..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => plain,
    }
}

fn from_text(texts: &[String], to: Dtype) -> Result<TensorData, Fault> {
    let float = |text: &String| text.trim().parse::<f64>().map_err(|_| unreadable(text, to));
    macro_rules! integers {
        ($type:ty) => {
            texts.iter().map(|text| integer::<$type>(text, to)).collect::<Result<_, _>>()?
        };
    }
    Ok(match to {
        Dtype::F32 => {
            let read = |text: &String| text.trim().parse::<f32>().map_err(|_| unreadable(text, to));
            TensorData::F32(texts.iter().map(read).collect::<Result<_, _>>()?)
        }
        Dtype::F64 => TensorData::F64(texts.iter().map(float).collect::<Result<_, _>>()?),
        Dtype::F16 => {
            TensorData::F16(texts.iter().map(|t| float(t).map(f16_from_f64)).collect::<Result<_, _>>()?)
        }
        Dtype::BF16 => {
            TensorData::BF16(texts.iter().map(|t| float(t).map(bf16_from_f64)).collect::<Result<_, _>>()?)
        }
        Dtype::I64 => TensorData::I64(integers!(i64)),
        Dtype::I32 => TensorData::I32(integers!(i32)),
        Dtype::I16 => TensorData::I16(integers!(i16)),
        Dtype::I8 => TensorData::I8(integers!(i8)),
        Dtype::U64 => TensorData::U64(integers!(u64)),
        Dtype::U32 => TensorData::U32(integers!(u32)),
        Dtype::U16 => TensorData::U16(integers!(u16)),
        Dtype::U8 => TensorData::U8(integers!(u8)),
        Dtype::Bool | Dtype::String => return Err(unreadable("text", to)),
    })
}

/// An integer in decimal, or the integer part of a decimal fraction; it must be one of the type.
fn integer<T: std::str::FromStr + TryFrom<i128>>(text: &str, to: Dtype) -> Result<T, Fault> {
    let trimmed = text.trim();
    if let Ok(value) = trimmed.parse::<T>() {
        return Ok(value);
    }
    let value = trimmed.parse::<f64>().ok().filter(|value| value.is_finite());
    // Saturating: what is beyond i128 is beyond `T` as well.
    let whole = value.map(|value| value as i128);
    whole.and_then(|whole| T::try_from(whole).ok()).ok_or_else(|| unreadable(text, to))
}

fn unreadable(text: &str, to: Dtype) -> Fault {
    let shown: String = text.chars().take(40).collect();
    let hint = "only decimals that are in range, inf and nan are read";
    Fault::Unsupported { what: format!("casting the text {shown:?} to {to}"), hint }
}
