//! Operators that treat every element of one f32 tensor alone.

use nabla_types::tensor::TensorData;

use super::{FnKernel, Prepared, Scope};
use crate::Fault;
use crate::kernels::{Body, Fma, math};
use crate::onnx::upload::Upload;

/// What an exponential costs, in multiply-adds.
const FUNCTION_MACS: u64 = 16;

/// A node without attributes.
#[expect(clippy::unnecessary_wraps, reason = "the shape of every import")]
pub(crate) fn plain(_: &mut Upload<'_>) -> Result<(), Fault> {
    Ok(())
}

pub(crate) fn abs(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, 0, f32::abs)
}

pub(crate) fn neg(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, 0, |x| -x)
}

pub(crate) fn sqrt(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, FUNCTION_MACS, math::sqrt)
}

pub(crate) fn exp(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, FUNCTION_MACS, math::exp)
}

pub(crate) fn ln(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, FUNCTION_MACS, math::ln)
}

pub(crate) fn erf(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, 2 * FUNCTION_MACS, math::erf)
}

pub(crate) fn tanh(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, FUNCTION_MACS, math::tanh)
}

pub(crate) fn sigmoid(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, FUNCTION_MACS, math::sigmoid)
}

/// `x` above zero, NaN for NaN, else `+0`.
pub(crate) fn relu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    map(scope, 0, |x| if x > 0.0 || x.is_nan() { x } else { 0.0 })
}

pub(crate) fn import_leaky(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_float("alpha", 0.01)
}

/// `alpha * x` below zero, else `x`.
pub(crate) fn leaky(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let alpha = scope.attributes.float("alpha")?;
    map(scope, 0, move |x| if x < 0.0 { alpha * x } else { x })
}

/// Bounds are attributes before opset 11 and inputs since.
pub(crate) fn import_clip(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset >= 11 {
        for (input, name) in [(1, "min"), (2, "max")] {
            if let Some(bound) = upload.take_constant(input, name)? {
                let bound = upload.scalar_f32(&bound, input)?;
                upload.set_float(name, bound)?;
            }
        }
    }
    upload.default_float("min", f32::MIN)?;
    upload.default_float("max", f32::MAX)
}

/// `min` below it, then `max` above it; NaN stays.
pub(crate) fn clip(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let (min, max) = (scope.attributes.float("min")?, scope.attributes.float("max")?);
    map(scope, 0, move |x| {
        let raised = if x < min { min } else { x };
        if raised > max { max } else { raised }
    })
}

/// One output of the input's shape, `f` of every element.
fn map(
    scope: &Scope<'_>,
    macs: u64,
    f: impl Fn(f32) -> f32 + Copy + Send + Sync + 'static,
) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let ty = scope.f32(0)?;
    let kernel = FnKernel(move |call: &super::Call<'_>| {
        Ok(vec![TensorData::F32(call.isa.run(Map { x: call.f32(0)?, f }))])
    });
    Ok(Prepared::one(ty.clone(), kernel).macs(ty.row_elements().saturating_mul(macs)))
}

/// `f` of every element.
pub(crate) struct Map<'a, G> {
    pub(crate) x: &'a [f32],
    pub(crate) f: G,
}

impl<G: Fn(f32) -> f32> Body for Map<'_, G> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        self.x.iter().map(|x| (self.f)(*x)).collect()
    }
}
