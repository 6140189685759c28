//! Operators that bring elements to a common mean and size.
//!
//! # Rules
//! - Over a group of elements, in row-major order: `mean = sum / n`, `variance = sum of (x - mean)^2 / n`,
//!   both sums striped; `f = 1 / sqrt(variance + epsilon)`, `((x - mean) * f) * scale + bias`, every step
//!   rounded.
//! - FP16 and BF16 compute in f32 and round once, whatever `stash_type` says.

use nabla_types::tensor::Dtype;

use super::identity::plain;
use super::real::{FUNCTION_MACS, FloatKernel, Floats, Real, widest};
use super::{Call, Operator, Prepared, Scope, axis, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("BatchNormalization", import_batch, batch),
    Operator::node("GroupNormalization", import_group, group),
    Operator::node("InstanceNormalization", import_instance, instance),
    Operator::node("LRN", plain, local_response),
    Operator::node("LayerNormalization", plain, layer),
    Operator::node("LpNormalization", plain, lp),
    Operator::node("MeanVarianceNormalization", plain, mean_variance),
    Operator::node("RMSNormalization", plain, root_mean_square),
];

/// Values of a scale or bias for every element of `shape`: itself if it has these sizes, else broadcast.
fn spread<R: Real>(values: &[R], from: &[usize], to: &[usize]) -> Vec<R> {
    let count: usize = to.iter().product();
    if values.len() == count {
        return values.to_vec();
    }
    let mut out = Vec::with_capacity(count);
    let mut place = vec![0; to.len()];
    let lead = to.len() - from.len().min(to.len());
    for _ in 0..count {
        let at = from
            .iter()
            .zip(&place[lead..])
            .fold(0, |at, (size, p)| at * size + if *size == 1 { 0 } else { *p });
        out.push(values[at]);
        for (p, size) in place.iter_mut().zip(to).rev() {
            *p += 1;
            if *p < *size {
                break;
            }
            *p = 0;
        }
    }
    out
}

/// Whether a shape broadcasts to another without changing it.
fn broadcasts(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len()
        && from.iter().rev().zip(to.iter().rev()).all(|(from, to)| from == to || *from == 1)
}

// Batch.

/// Inference unless `training_mode`; before opset 14 training was a matter of more outputs.
fn import_batch(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.require_int("spatial", 1)?;
    upload.ignore("is_test");
    upload.ignore("consumed_inputs");
    Ok(())
}

fn batch(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(5, 5, 1, 3)?;
    let x = scope.float(0)?;
    if x.rank() < 2 {
        return Err(misfit("input of BatchNormalization", "2 dimensions or more", x));
    }
    let channels = [x.shape[1]];
    for (input, what) in (1..).zip(["scale", "bias", "mean", "variance"]) {
        scope.float_shaped(input, what, &channels)?;
    }
    let epsilon = scope.attributes.float_or("epsilon", 1e-5)?;
    let momentum = scope.attributes.float_or("momentum", 0.9)?;
    let training = scope.attributes.flag_or("training_mode", false)?;
    if !training && scope.outputs > 1 {
        return Err(Fault::Arity {
            what: "outputs",
            expected: "1 without training_mode",
            got: scope.outputs,
        });
    }
    let mut outputs = vec![x.clone()];
    for input in [3, 4].into_iter().take(scope.outputs - 1) {
        outputs.push(scope.input(input)?.clone());
    }
    let momentum = training.then_some(momentum);
    let kernel = Batch { epsilon, momentum, shape: x.shape.clone() };
    Ok(Prepared::new(outputs, Floats { dtype: widest(scope), kernel }).macs(x.count().saturating_mul(4)))
}

#[derive(Debug)]
struct Batch {
    epsilon: f32,
    /// When training.
    momentum: Option<f32>,
    shape: Vec<usize>,
}

impl FloatKernel for Batch {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, scale, bias) = (R::input(call, 0)?, R::input(call, 1)?, R::input(call, 2)?);
        let (mut mean, mut variance) = (R::input(call, 3)?.into_owned(), R::input(call, 4)?.into_owned());
        let channels = self.shape[1];
        let area: usize = self.shape[2..].iter().product();
        let mut running = Vec::new();
        if let Some(momentum) = self.momentum {
            let momentum = R::of_f32(momentum);
            let (own_mean, own_variance) = channel_moments(&x, channels, area);
            let blend = |old: &R, new: &R| *old * momentum + *new * (R::ONE - momentum);
            for (old, new) in [(&mean, &own_mean), (&variance, &own_variance)] {
                running.push(old.iter().zip(new).map(|(old, new)| blend(old, new)).collect());
            }
            (mean, variance) = (own_mean, own_variance);
        }
        let epsilon = R::of_f32(self.epsilon);
        let factors: Vec<R> = scale.iter().zip(&variance).map(|(s, v)| *s / (*v + epsilon).sqrt()).collect();
        let mut output = R::memory(call, x.len());
        if area > 0 && channels > 0 {
            for (plane, (to, from)) in output.chunks_exact_mut(area).zip(x.chunks_exact(area)).enumerate() {
                let channel = plane % channels;
                let (mean, factor, bias) = (mean[channel], factors[channel], bias[channel]);
                for (to, x) in to.iter_mut().zip(from) {
                    *to = (*x - mean) * factor + bias;
                }
            }
        }
        let mut outputs = vec![output];
        outputs.extend(running.into_iter().take(call.outputs.len() - 1));
        Ok(outputs)
    }
}

/// Mean and variance of each channel over batch and area.
fn channel_moments<R: Real>(x: &[R], channels: usize, area: usize) -> (Vec<R>, Vec<R>) {
    let mut moments = (Vec::with_capacity(channels), Vec::with_capacity(channels));
    for channel in 0..channels {
        let planes = x.chunks_exact(area.max(1)).skip(channel).step_by(channels);
        let own: Vec<R> = planes.flatten().copied().collect();
        let (mean, variance) = moments_of(&own);
        moments.0.push(mean);
        moments.1.push(variance);
    }
    moments
}

/// Mean and variance.
#[inline(always)]
fn moments_of<R: Real>(values: &[R]) -> (R, R) {
    let count = R::count(values.len());
    let mean = R::sum_of(values, |x| x) / count;
    let variance = R::sum_of(values, |x| (x - mean) * (x - mean)) / count;
    (mean, variance)
}

// Groups, instances, layers: rows of adjacent elements.

/// Before opset 21 scale and bias are given for each group.
fn import_group(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 21 { upload.set_int("scale_per_group", 1) } else { Ok(()) }
}

fn import_instance(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ignore("consumed_inputs");
    Ok(())
}

fn group(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    stash(scope)?;
    let x = scope.input(0)?;
    let groups = scope.attributes.int("num_groups")?;
    let per_group = scope.attributes.flag_or("scale_per_group", false)?;
    let channels = x.shape.get(1).copied().unwrap_or(0);
    match usize::try_from(groups) {
        Ok(groups) if groups > 0 && channels.is_multiple_of(groups) => instances(scope, groups, per_group),
        _ => Err(fault("num_groups", &format!("a divisor of {channels}"), &groups.to_string())),
    }
}

fn instance(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let channels = scope.input(0)?.shape.get(1).copied().unwrap_or(0);
    instances(scope, channels, false)
}

fn instances(scope: &Scope<'_>, groups: usize, per_group: bool) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let x = scope.float(0)?;
    if x.rank() < 2 {
        return Err(misfit("input of a normalization over channels", "2 dimensions or more", x));
    }
    let channels = x.shape[1];
    let scales = if per_group { groups } else { channels };
    scope.float_shaped(1, "scale", &[scales])?;
    scope.float_shaped(2, "bias", &[scales])?;
    let epsilon = scope.attributes.float_or("epsilon", 1e-5)?;
    let area: usize = x.shape[2..].iter().product();
    let per_scale = if per_group { area * (channels / groups.max(1)) } else { area };
    let kernel = Instances { epsilon, columns: area * (channels / groups.max(1)), scales, per_scale };
    Ok(Prepared::one(x.clone(), Floats { dtype: widest(scope), kernel }).macs(x.count().saturating_mul(4)))
}

#[derive(Debug)]
struct Instances {
    epsilon: f32,
    /// Elements that share a mean.
    columns: usize,
    scales: usize,
    /// Elements that share a scale.
    per_scale: usize,
}

impl FloatKernel for Instances {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, scale, bias) = (R::input(call, 0)?, R::input(call, 1)?, R::input(call, 2)?);
        let mut output = R::memory(call, x.len());
        if x.is_empty() {
            return Ok(vec![output]);
        }
        let per_row = self.columns / self.per_scale;
        let rows = x.chunks_exact(self.columns).zip(output.chunks_exact_mut(self.columns));
        for (row, (from, to)) in rows.enumerate() {
            let (mean, variance) = moments_of(from);
            let f = R::ONE / (variance + R::of_f32(self.epsilon)).sqrt();
            let parts = from.chunks_exact(self.per_scale).zip(to.chunks_exact_mut(self.per_scale));
            for (part, (from, to)) in parts.enumerate() {
                let at = (row * per_row + part) % self.scales;
                let (scale, bias) = (scale[at], bias[at]);
                for (to, x) in to.iter_mut().zip(from) {
                    *to = ((*x - mean) * f) * scale + bias;
                }
            }
        }
        Ok(vec![output])
    }
}

/// The dtype of intermediate statistics.
fn stash(scope: &Scope<'_>) -> Result<Dtype, Fault> {
    match scope.attributes.int_or("stash_type", 1)? {
        1 => Ok(Dtype::F32),
        16 => Ok(Dtype::BF16),
        10 => Ok(Dtype::F16),
        11 => Ok(Dtype::F64),
        other => Err(fault("stash_type", "the number of a float type", &other.to_string())),
    }
}

fn layer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(2, 3, 1, 3)?;
    let stash = stash(scope)?;
    rows(scope, true, scope.float(0)?.dtype, stash)
}

fn root_mean_square(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let stash = stash(scope)?;
    rows(scope, false, scope.float(1)?.dtype, stash)
}

fn rows(scope: &Scope<'_>, centered: bool, dtype: Dtype, stash: Dtype) -> Result<Prepared, Fault> {
    let x = scope.float(0)?;
    let from = scope.attributes.axis_or("axis", -1, x.rank())?;
    let epsilon = scope.attributes.float_or("epsilon", 1e-5)?;
    for (input, what) in [(1, "scale"), (2, "bias")] {
        if scope.optional(input).is_some() && !broadcasts(&scope.float(input)?.shape, &x.shape) {
            return Err(misfit(
                what,
                format!("a shape that broadcasts to {:?}", x.shape),
                scope.float(input)?,
            ));
        }
    }
    let mut outputs = vec![scope.value(dtype, x.shape.clone())?];
    let mut reduced = x.shape.clone();
    reduced[from..].fill(1);
    for _ in 1..scope.outputs {
        outputs.push(scope.value(stash, reduced.clone())?);
    }
    let kernel = Rows { from, epsilon, centered, shape: x.shape.clone() };
    let macs = x.count().saturating_mul(4);
    let scratch = x.count().saturating_mul(16);
    let prepared = Prepared::new(outputs, Floats { dtype: widest(scope), kernel });
    Ok(prepared.macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct Rows {
    from: usize,
    epsilon: f32,
    /// Less the mean, or as it is.
    centered: bool,
    shape: Vec<usize>,
}

impl Rows {
    /// A scale or bias: of one row if it is the same for all, else of all.
    fn table<R: Real>(&self, call: &Call<'_>, input: usize) -> Result<Option<Vec<R>>, Fault> {
        let Some(values) = R::optional(call, input)? else {
            return Ok(None);
        };
        let shape = ValueType::of(call.input(input)?).shape;
        let row = &self.shape[self.from..];
        // Sizes of 1 in front broadcast to the rows; others differ from row to row.
        let surplus = shape.len().saturating_sub(row.len());
        let same = shape[..surplus].iter().all(|size| *size == 1);
        Ok(Some(match same {
            true => spread(&values, &shape[surplus..], row),
            false => spread(&values, &shape, &self.shape),
        }))
    }
}

impl FloatKernel for Rows {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let x = R::input(call, 0)?;
        let (scales, biases) = (self.table::<R>(call, 1)?.unwrap_or_default(), self.table::<R>(call, 2)?);
        let columns: usize = self.shape[self.from..].iter().product();
        let count: usize = self.shape[..self.from].iter().product();
        let mut output = R::memory(call, x.len());
        let (mut means, mut factors) = (R::zeros(count), R::zeros(count));
        let part = |table: &[R], row: usize| if table.len() > columns { row * columns } else { 0 };
        for row in 0..count {
            let from = &x[row * columns..(row + 1) * columns];
            let to = &mut output[row * columns..(row + 1) * columns];
            let (mean, variance) = match self.centered {
                true => moments_of(from),
                false => (R::ZERO, R::sum_of(from, |x| x * x) / R::count(columns)),
            };
            let f = R::ONE / (variance + R::of_f32(self.epsilon)).sqrt();
            (means[row], factors[row]) = (mean, f);
            let scale = &scales[part(&scales, row)..][..columns];
            for ((to, x), scale) in to.iter_mut().zip(from).zip(scale) {
                *to = ((*x - mean) * f) * *scale;
            }
            if let Some(biases) = &biases {
                for (to, bias) in to.iter_mut().zip(&biases[part(biases, row)..][..columns]) {
                    *to += *bias;
                }
            }
        }
        Ok(vec![output, means, factors].into_iter().take(call.outputs.len()).collect())
    }
}

// Groups along any axes.

/// Elements that differ only in some dimensions: where each group starts, and the offsets within.
#[derive(Debug)]
struct Groups {
    starts: Vec<usize>,
    offsets: Vec<usize>,
}

impl Groups {
    fn new(shape: &[usize], within: &[bool]) -> Self {
        let offsets = |inside: bool| {
            let mut offsets = vec![0];
            let mut stride = 1;
            let mut strides = vec![0; shape.len()];
            for (at, size) in shape.iter().enumerate().rev() {
                strides[at] = stride;
                stride *= size;
            }
            for ((size, stride), _) in shape.iter().zip(&strides).zip(within).filter(|(_, w)| **w == inside) {
                let steps = |base: &usize| (0..*size).map(|step| *base + step * stride).collect::<Vec<_>>();
                offsets = offsets.iter().flat_map(steps).collect();
            }
            offsets
        };
        Self { starts: offsets(false), offsets: offsets(true) }
    }
}

fn mean_variance(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.float(0)?;
    let mut within = vec![false; x.rank()];
    for given in scope.attributes.optional_ints("axes")?.unwrap_or(&[0, 2, 3]) {
        within[axis("axes", *given, x.rank())?] = true;
    }
    grouped(x, within, Measure::MeanVariance)
}

fn lp(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.float(0)?;
    let mut within = vec![false; x.rank()];
    within[scope.attributes.axis_or("axis", -1, x.rank())?] = true;
    match scope.attributes.int_or("p", 2)? {
        1 => grouped(x, within, Measure::Sizes),
        2 => grouped(x, within, Measure::Squares),
        other => Err(fault("p", "1 or 2", &other.to_string())),
    }
}

fn grouped(x: &ValueType, within: Vec<bool>, measure: Measure) -> Result<Prepared, Fault> {
    let kernel = Grouped { shape: x.shape.clone(), within, measure };
    let prepared = Prepared::one(x.clone(), Floats { dtype: x.dtype, kernel });
    Ok(prepared.macs(x.count().saturating_mul(4)).scratch_bytes(x.count().saturating_mul(16)))
}

#[derive(Debug)]
enum Measure {
    MeanVariance,
    Sizes,
    Squares,
}

#[derive(Debug)]
struct Grouped {
    shape: Vec<usize>,
    within: Vec<bool>,
    measure: Measure,
}

impl FloatKernel for Grouped {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let x = R::input(call, 0)?;
        let mut output = R::memory(call, x.len());
        let groups = Groups::new(&self.shape, &self.within);
        let mut own = R::zeros(groups.offsets.len());
        for start in &groups.starts {
            for (own, offset) in own.iter_mut().zip(&groups.offsets) {
                *own = x[start + offset];
            }
            let (mean, size) = match self.measure {
                Measure::MeanVariance => {
                    let (mean, variance) = moments_of(&own);
                    (mean, variance.sqrt() + R::of(1e-9))
                }
                Measure::Sizes => (R::ZERO, R::sum_of(&own, R::size)),
                Measure::Squares => (R::ZERO, R::sum_of(&own, |x| x * x).sqrt()),
            };
            for (own, offset) in own.iter().zip(&groups.offsets) {
                // A group of zeros stays so: there is nothing to divide by.
                output[start + offset] = if size == R::ZERO { R::ZERO } else { (*own - mean) / size };
            }
        }
        Ok(vec![output])
    }
}

fn local_response(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.float(0)?;
    if x.rank() < 2 {
        return Err(misfit("input of LRN", "2 dimensions or more", x));
    }
    let [alpha, beta, bias] = [("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0)]
        .map(|(name, default)| scope.attributes.float_or(name, default));
    let size = scope.attributes.int("size")?;
    let size = usize::try_from(size).ok().filter(|size| (1..=1 << 20).contains(size));
    let size = size.ok_or_else(|| fault("size", "1 to 2^20 channels", "another number"))?;
    let kernel = LocalResponse { alpha: alpha?, beta: beta?, bias: bias?, size, shape: x.shape.clone() };
    let near = size.min(x.shape[1]) as u64;
    let macs = x.count().saturating_mul(near + 4 * FUNCTION_MACS);
    Ok(Prepared::one(x.clone(), Floats { dtype: x.dtype, kernel }).macs(macs))
}

#[derive(Debug)]
struct LocalResponse {
    alpha: f32,
    beta: f32,
    bias: f32,
    size: usize,
    shape: Vec<usize>,
}

impl FloatKernel for LocalResponse {
    /// `x / (bias + alpha / size * sum of squares) ^ beta`.
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let x = R::input(call, 0)?;
        let channels = self.shape[1];
        let area: usize = self.shape[2..].iter().product();
        let (before, after) = ((self.size - 1) / 2, self.size / 2);
        let factor = R::of_f32(self.alpha) / R::count(self.size);
        let (bias, beta) = (R::of_f32(self.bias), f64::from(self.beta));
        let mut output = R::memory(call, x.len());
        for (index, (to, own)) in output.iter_mut().zip(x.iter()).enumerate() {
            let (plane, at) = (index / area, index % area);
            let channel = plane % channels;
            let first = channel.saturating_sub(before);
            let last = (channel + after + 1).min(channels);
            let base = (plane - channel) * area + at;
            let squares = (first..last).map(|channel| x[base + channel * area]).map(|x| x * x);
            let sum = R::sum(squares);
            let power = libm::pow((bias + factor * sum).wide(), beta);
            *to = *own / R::of(power);
        }
        Ok(vec![output])
    }
}
