//! Products and convolutions of levels: exact sums in integers, then one rounding.
//!
//! # Rules
//! - Sums are exact modulo 2^32. A bias is added to them in INT32.
//! - `level(sum * m)` with `m = ((alpha * scale_a) * scale_b) / scale_y` in f32, each step rounded; the sum
//!   is first
//!   rounded to f32.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::identity::plain;
use super::quantize::{floats, integers};
use super::{Call, Operator, Packed, Scope, sizes};
use crate::Fault;
use crate::kernels::Isa;
use crate::kernels::int8::{Bytes, Zero};
use crate::plan::ValueType;

mod conv;
mod matmul;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("ConvInteger", plain, conv::conv_integer).packed(|scope, isa| conv::pack(scope, isa, 1)),
    Operator::node("MatMulInteger", plain, matmul::matmul_integer)
        .packed(|scope, isa| matmul::pack(scope, isa, 1, false)),
    Operator::microsoft("QGemm", plain, matmul::qgemm).packed(pack_qgemm),
    Operator::node("QLinearConv", plain, conv::qlinear_conv).packed(|scope, isa| conv::pack(scope, isa, 3)),
    Operator::node("QLinearMatMul", plain, matmul::qlinear_matmul)
        .packed(|scope, isa| matmul::pack(scope, isa, 3, false)),
];

pub(crate) const BYTES: &[Dtype] = &[Dtype::I8, Dtype::U8];
pub(crate) const SCALES: &[Dtype] = &[Dtype::F32, Dtype::F16, Dtype::BF16];

fn pack_qgemm(scope: &Scope<'_>, isa: Isa) -> Result<Option<Packed>, Fault> {
    matmul::pack(scope, isa, 3, scope.attributes.flag_or("transB", false)?)
}

/// Where an operator has its inputs; [`NONE`] where it has none.
#[derive(Debug, Clone, Copy)]
struct Places {
    a_scale: usize,
    a_zero: usize,
    b: usize,
    b_scale: usize,
    b_zero: usize,
    bias: usize,
    y_scale: usize,
    y_zero: usize,
}

const NONE: usize = usize::MAX;

/// A type of bytes.
pub(crate) fn byte_input<'a>(scope: &Scope<'a>, input: usize) -> Result<&'a ValueType, Fault> {
    scope.typed(input, BYTES, "INT8 or UINT8")
}

/// Check a scale and its zero point, if it has one, whose type is given.
pub(crate) fn check_scale(
    scope: &Scope<'_>,
    (scale, zero): (usize, usize),
    dtype: Dtype,
    counts: &[usize],
) -> Result<(), Fault> {
    let fits = |ty: &ValueType| counts.contains(&ty.elements());
    if scale != NONE {
        let ty = scope.typed(scale, SCALES, "FP32, FP16 or BFLOAT16")?;
        if !fits(ty) {
            return Err(super::misfit("scale", format!("one of {counts:?} elements"), ty));
        }
    }
    if scope.optional(zero).is_some() {
        let ty = scope.typed(zero, &[dtype], "the type of the levels")?;
        if !fits(ty) {
            return Err(super::misfit("zero point", format!("one of {counts:?} elements"), ty));
        }
    }
    Ok(())
}

/// Zero points of a call; 0 if they are not given.
pub(crate) fn zeros(call: &Call<'_>, input: usize) -> Vec<i32> {
    call.optional(input).map_or_else(|| vec![0], integers)
}

pub(crate) fn zero(call: &Call<'_>, input: usize) -> i32 {
    zeros(call, input).first().copied().unwrap_or(0)
}

pub(crate) fn scale(call: &Call<'_>, input: usize) -> Result<f32, Fault> {
    Ok(floats(call.input(input)?).first().copied().unwrap_or(0.0))
}

fn zero_of(zeros: &[i32]) -> Zero<'_> {
    if let [one] = zeros { Zero::One(*one) } else { Zero::Each(zeros) }
}

/// The bytes of a tensor, if it has bytes.
pub(crate) fn bytes_of(tensor: &Tensor) -> Option<Bytes<'_>> {
    match tensor.data() {
        TensorData::I8(v) => Some(Bytes::Signed(v)),
        TensorData::U8(v) => Some(Bytes::Unsigned(v)),
        _ => None,
    }
}

pub(crate) fn bytes<'a>(call: &Call<'a>, input: usize) -> Result<Bytes<'a>, Fault> {
    let tensor = call.input(input)?;
    bytes_of(tensor).ok_or(Fault::Dtype { input, expected: "INT8 or UINT8", got: tensor.dtype() })
}

/// Bytes of this type, filled.
pub(crate) fn byte_output(
    dtype: Dtype,
    count: usize,
    fill: impl FnOnce(&mut [u8]) -> Result<(), Fault>,
) -> Result<TensorData, Fault> {
    if dtype == Dtype::I8 {
        let mut out = vec![0_i8; count];
        fill(bytemuck::cast_slice_mut(&mut out))?;
        return Ok(TensorData::I8(out));
    }
    let mut out = vec![0_u8; count];
    fill(&mut out)?;
    Ok(TensorData::U8(out))
}

/// A constant operand of bytes, with its shape.
fn constant_bytes<'a>(scope: &Scope<'a>, input: usize) -> Option<(Bytes<'a>, Vec<usize>)> {
    let tensor = scope.optional(input)?.constant?;
    Some((bytes_of(tensor)?, sizes(tensor.shape())))
}

#[cfg(test)]
mod tests;
