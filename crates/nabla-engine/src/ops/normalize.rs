//! Batch normalisation and softmax.

use nabla_types::tensor::{Tensor, TensorData};

use super::{Call, Kernel, Prepared, Scope, misfit, sizes};
use crate::Fault;
use crate::kernels::{Body, Fma, math};
use crate::onnx::upload::Upload;

pub(crate) fn import_batch(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_float("epsilon", 1e-5)?;
    upload.ignore("momentum");
    for (name, allowed) in [("training_mode", 0), ("spatial", 1)] {
        upload.require_int(name, allowed)?;
    }
    Ok(())
}

/// `(x - mean) * (scale / sqrt(variance + epsilon)) + bias`, each step rounded.
pub(crate) fn batch(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(5, 5, 1)?;
    let x = scope.f32(0)?;
    if x.rank() < 2 {
        return Err(misfit("input of BatchNormalization", "2 dimensions or more", x));
    }
    let channels = sizes(&x.fixed(1)?)[0];
    let names = ["scale", "bias", "mean", "variance"];
    for (input, what) in (1..).zip(names) {
        scope.constant_f32(input, what, channels)?;
    }
    let epsilon = scope.attributes.float("epsilon")?;
    let kernel = BatchKernel { epsilon, factors: Vec::new() };
    Ok(Prepared::one(x.clone(), kernel).macs(x.row_elements()).loaded_bytes(channels as u64 * 4))
}

#[derive(Debug)]
struct BatchKernel {
    epsilon: f32,
    /// `scale / sqrt(variance + epsilon)` of each channel.
    factors: Vec<f32>,
}

impl Kernel for BatchKernel {
    fn load(&mut self, constants: &[Option<&Tensor>]) {
        let table = |input: usize| constants.get(input).copied().flatten().and_then(Tensor::as_f32);
        let pairs = table(1).unwrap_or_default().iter().zip(table(4).unwrap_or_default());
        self.factors = pairs.map(|(scale, variance)| scale / math::sqrt(variance + self.epsilon)).collect();
    }

    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, shape) = (call.f32(0)?, call.sizes(0));
        let (bias, mean) = (call.f32(2)?, call.f32(3)?);
        let area: usize = shape[2..].iter().product();
        let channels = mean.iter().zip(&self.factors).zip(bias).cycle();
        let mut output = Vec::with_capacity(x.len());
        for (plane, ((mean, factor), bias)) in x.chunks_exact(area.max(1)).zip(channels) {
            output.extend(plane.iter().map(|x| (x - mean) * factor + bias));
        }
        Ok(vec![TensorData::F32(output)])
    }
}

/// Before opset 13 the softmax runs over all dimensions from `axis` on; since then over `axis` alone.
pub(crate) fn import_softmax(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let rank = upload.ty(0)?.rank();
    let (default, to_end) = if upload.opset >= 13 { (-1, false) } else { (1, true) };
    let axis = upload.take_axis("axis", default, rank)?;
    let last = axis + 1 == rank;
    upload.set_index("axis", axis)?;
    upload.set_int("to_end", i64::from(to_end && !last))
}

/// `e^(x - max) / sum`: the greatest first, then one chain of sums in order, then one division each.
pub(crate) fn softmax(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    soft(scope, false)
}

/// `(x - max) - ln(sum)`.
pub(crate) fn log_softmax(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    soft(scope, true)
}

fn soft(scope: &Scope<'_>, logarithm: bool) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.f32(0)?;
    let axis = scope.attributes.index("axis", x.rank())?;
    let to_end = scope.attributes.flag("to_end")?;
    if axis == 0 && x.batched() {
        return Err(Fault::MixesBatch { what: "a softmax over the batch" });
    }
    let kernel = Soft { axis, to_end, logarithm };
    Ok(Prepared::one(x.clone(), kernel).macs(x.row_elements().saturating_mul(20)))
}

#[derive(Debug)]
struct Soft {
    axis: usize,
    to_end: bool,
    logarithm: bool,
}

impl Kernel for Soft {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let shape = call.sizes(0);
        let end = if self.to_end { shape.len() } else { self.axis + 1 };
        let length: usize = shape[self.axis..end].iter().product();
        let stride: usize = shape[end..].iter().product();
        let body = SoftBody { x: call.f32(0)?, length, stride, logarithm: self.logarithm };
        Ok(vec![TensorData::F32(call.isa.run(body))])
    }
}

/// Softmax over groups of `length` elements, `stride` apart.
pub(crate) struct SoftBody<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) length: usize,
    pub(crate) stride: usize,
    pub(crate) logarithm: bool,
}

impl Body for SoftBody<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        let Self { x, length, stride, logarithm } = self;
        let mut output = x.to_vec();
        if length == 0 || stride == 0 {
            return output;
        }
        let mut exponentials = vec![0.0_f32; length];
        for block in output.chunks_exact_mut(length * stride) {
            for offset in 0..stride {
                let mut most = block[offset];
                for value in block[offset..].iter().step_by(stride) {
                    most = if *value > most { *value } else { most };
                }
                for (e, value) in exponentials.iter_mut().zip(block[offset..].iter().step_by(stride)) {
                    *e = math::exp(*value - most);
                }
                let sum = exponentials.iter().fold(0.0_f32, |sum, e| sum + e);
                let ln_sum = math::ln(sum);
                for (value, e) in block[offset..].iter_mut().step_by(stride).zip(&exponentials) {
                    *value = if logarithm { (*value - most) - ln_sum } else { e / sum };
                }
            }
        }
        output
    }
}
