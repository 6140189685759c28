//! Pools: what lies under a moving window, in one number.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData, bf16_from_f64, f16_from_f64};

use super::identity::plain;
use super::window::{SPATIAL_MAX, Window};
use super::{Call, Element, FnKernel, Kernel, Operator, Prepared, Scope, dispatch, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::rows::{Reduction, reduce};
use crate::kernels::{Body, Fma, Isa, math};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

mod max;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("AveragePool", plain, average),
    Operator::node("GlobalAveragePool", plain, |scope| global(scope, Summary::Average { padding: false })),
    Operator::node("GlobalLpPool", import_power, |scope| global(scope, Summary::Power { p: power(scope)? })),
    Operator::node("GlobalMaxPool", plain, |scope| global(scope, Summary::Max)),
    Operator::node("LpPool", import_power, |scope| pool(scope, Summary::Power { p: power(scope)? })),
    Operator::node("MaxPool", plain, max::max_pool),
];

const FLOATS: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16];

/// A window and where it stops.
#[derive(Debug, Clone)]
pub(crate) struct Pooling {
    pub(crate) window: Window,
    pub(crate) out: [usize; SPATIAL_MAX],
    /// Sizes of the output.
    pub(crate) shape: Vec<usize>,
}

impl Pooling {
    /// Read the attributes of a pool over this input.
    pub(crate) fn read(scope: &Scope<'_>, x: &ValueType) -> Result<Self, Fault> {
        let spatial = x.rank().wrapping_sub(2);
        if !(1..=SPATIAL_MAX).contains(&spatial) {
            return Err(misfit("input of a pool", "[batch, channels, 1 to 3 sizes]", x));
        }
        let given = scope.attributes.ints("kernel_shape")?;
        let size = |v: &i64| usize::try_from(*v).ok().filter(|v| (1..=1 << 20).contains(v));
        let kernel: Option<Vec<usize>> = given.iter().map(size).collect();
        let kernel = kernel.ok_or_else(|| fault("kernel_shape", "sizes from 1 to 2^20", "others"))?;
        let window = Window::read(scope, &kernel, &x.shape[2..])?;
        let ceil = scope.attributes.flag_or("ceil_mode", false)?;
        let mut out = [0; SPATIAL_MAX];
        for (axis, out) in out.iter_mut().enumerate() {
            *out = positions(&window, axis, ceil)
                .ok_or_else(|| misfit("input of a pool", "an image at least as large as the window", x))?;
        }
        let mut shape = x.shape[..2].to_vec();
        shape.extend(&out[SPATIAL_MAX - spatial..]);
        Ok(Self { window, out, shape })
    }

    pub(crate) fn taps(&self) -> u64 {
        self.window.kernel.iter().map(|size| *size as u64).fold(1, u64::saturating_mul)
    }

    pub(crate) fn image_area(&self) -> usize {
        self.window.image.iter().product()
    }

    pub(crate) fn area(&self) -> usize {
        self.out.iter().product()
    }

    /// Coordinate of the image under a tap; none in the padding.
    #[inline]
    pub(crate) fn source(&self, axis: usize, position: usize, tap: usize) -> Option<usize> {
        let place = position * self.window.strides[axis] + tap * self.window.dilations[axis];
        place.checked_sub(self.window.pads_begin[axis]).filter(|place| *place < self.window.image[axis])
    }

    /// Positions along the last axis whose tap lies on the image, and the source of the first.
    pub(crate) fn columns(&self, tap: usize) -> (std::ops::Range<usize>, usize) {
        let axis = SPATIAL_MAX - 1;
        let (stride, pad) = (self.window.strides[axis], self.window.pads_begin[axis]);
        let place = tap * self.window.dilations[axis];
        let from = pad.saturating_sub(place).div_ceil(stride).min(self.out[axis]);
        let end = (self.window.image[axis] + pad).saturating_sub(place).div_ceil(stride).min(self.out[axis]);
        let source = (from * stride + place).saturating_sub(pad);
        (from..end.max(from), source)
    }

    /// Taps along an axis at a position that lie on the image, or on image and padding.
    fn covered(&self, axis: usize, position: usize, padding: bool) -> usize {
        if !padding {
            return (0..self.window.kernel[axis])
                .filter(|tap| self.source(axis, position, *tap).is_some())
                .count();
        }
        let padded = self.window.image[axis] + self.window.pads_begin[axis] + self.window.pads_end[axis];
        let start = position * self.window.strides[axis];
        (0..self.window.kernel[axis]).filter(|tap| start + tap * self.window.dilations[axis] < padded).count()
    }

    /// Number of taps that count at every position of the output plane.
    pub(crate) fn counts(&self, padding: bool) -> Vec<usize> {
        let of = |axis: usize| (0..self.out[axis]).map(move |at| self.covered(axis, at, padding));
        let [z, y, x]: [Vec<usize>; 3] = [of(0).collect(), of(1).collect(), of(2).collect()];
        let mut counts = Vec::with_capacity(self.area());
        for z in &z {
            for y in &y {
                counts.extend(x.iter().map(|x| z * y * x));
            }
        }
        counts
    }

    /// Rows of the image under the window, for one row of the output: the start of each and its taps.
    pub(crate) fn rows(&self, z: usize, y: usize) -> Vec<usize> {
        let [_, high, wide] = self.window.image;
        let mut rows = Vec::new();
        for z in (0..self.window.kernel[0]).filter_map(|tap| self.source(0, z, tap)) {
            for y in (0..self.window.kernel[1]).filter_map(|tap| self.source(1, y, tap)) {
                rows.push((z * high + y) * wide);
            }
        }
        rows
    }
}

/// Positions along an axis. Rounding up, a window that would begin behind image and leading padding is left
/// out.
fn positions(window: &Window, axis: usize, ceil: bool) -> Option<usize> {
    let size = window.image[axis];
    let reach = (window.kernel[axis] - 1) * window.dilations[axis] + 1;
    let padded = size + window.pads_begin[axis] + window.pads_end[axis];
    let stride = window.strides[axis];
    let room = padded.checked_sub(reach)?;
    if !ceil {
        return Some(room / stride + 1);
    }
    let last = room.div_ceil(stride);
    Some(if last * stride >= size + window.pads_begin[axis] { last } else { last + 1 })
}

/// What becomes of the taps.
#[derive(Debug, Clone, Copy)]
enum Summary {
    Max,
    /// Whether taps in the padding count, too.
    Average {
        padding: bool,
    },
    Power {
        p: i64,
    },
}

/// The power is a float in the first version.
fn import_power(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset >= 2 {
        return Ok(());
    }
    let given = upload.take_float("p")?.unwrap_or(2.0);
    #[expect(clippy::cast_possible_truncation, reason = "other powers are refused")]
    let whole = given as i64;
    #[expect(clippy::cast_precision_loss, reason = "a power that is not the same is refused")]
    if (whole as f32).to_bits() != given.to_bits() {
        return Err(fault("p", "a whole number", &given.to_string()));
    }
    upload.set_int("p", whole)
}

fn power(scope: &Scope<'_>) -> Result<i64, Fault> {
    match scope.attributes.int_or("p", 2)? {
        p if (1..=1 << 20).contains(&p) => Ok(p),
        got => Err(fault("p", "a power from 1 to 2^20", &got.to_string())),
    }
}

fn average(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let padding = scope.attributes.flag_or("count_include_pad", false)?;
    pool(scope, Summary::Average { padding })
}

fn pool(scope: &Scope<'_>, summary: Summary) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, FLOATS, "a float")?;
    let pooling = Pooling::read(scope, x)?;
    let output = scope.value(x.dtype, pooling.shape.clone())?;
    let macs = output.count().saturating_mul(pooling.taps());
    let scratch = (pooling.area() as u64).saturating_mul(16);
    Ok(Prepared::one(output, Pool { pooling, summary }).macs(macs).scratch_bytes(scratch))
}

/// Arithmetic of a pool: f64 for FP64, f32 for all others, rounded once.
trait Float: Element + Copy {
    type Sum: crate::kernels::rows::reduce::Real + Default;
    fn wide(self) -> Self::Sum;
    fn narrow(sum: Self::Sum) -> Self;
    fn quotient(sum: Self::Sum, count: usize) -> Self::Sum;
    /// `|x|^p`.
    fn power(x: Self::Sum, p: i64) -> Self::Sum;
    fn root(sum: Self::Sum, p: i64) -> Self::Sum;
    fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
}

macro_rules! pool_float {
    ($type:ty, $sum:ident, $wide:expr, $narrow:expr) => {
        impl Float for $type {
            type Sum = $sum;
            #[inline(always)]
            fn wide(self) -> $sum {
                $wide(self)
            }
            #[inline(always)]
            fn narrow(sum: $sum) -> Self {
                $narrow(sum)
            }
            #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
            fn quotient(sum: $sum, count: usize) -> $sum {
                sum / count as $sum
            }
            #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
            fn power(x: $sum, p: i64) -> $sum {
                match p {
                    1 => x.abs(),
                    2 => x * x,
                    _ => math::$sum::pow(x.abs(), p as $sum),
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
            fn root(sum: $sum, p: i64) -> $sum {
                match p {
                    1 => sum,
                    2 => sum.sqrt(),
                    _ => math::$sum::pow(sum, 1.0 / p as $sum),
                }
            }
            #[inline(always)]
            fn add(a: $sum, b: $sum) -> $sum {
                a + b
            }
        }
    };
}

pool_float!(f32, f32, |x| x, |x| x);
pool_float!(f64, f64, |x| x, |x| x);
pool_float!(f16, f32, |x: f16| x.to_f32(), |x: f32| f16_from_f64(f64::from(x)));
pool_float!(bf16, f32, |x: bf16| x.to_f32(), |x: f32| bf16_from_f64(f64::from(x)));

#[derive(Debug)]
struct Pool {
    pooling: Pooling,
    summary: Summary,
}

impl Kernel for Pool {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let dtype = call.input(0)?.dtype();
        dispatch!(dtype, T: float => Ok(vec![T::wrap(self.sums::<T>(call)?)]),
            else Err(Fault::Dtype { input: 0, expected: "a float", got: dtype }))
    }
}

impl Pool {
    fn sums<T: Float>(&self, call: &Call<'_>) -> Result<Vec<T>, Fault> {
        let (x, pooling) = (call.slice::<T>(0)?, &self.pooling);
        let isa = call.cpu.isa();
        let mut out = vec![T::default(); call.elements(0)];
        let (area, image_area) = (pooling.area(), pooling.image_area());
        let counts = match self.summary {
            Summary::Average { padding } => pooling.counts(padding),
            _ => Vec::new(),
        };
        let grain = (1 << 15) / usize::try_from(pooling.taps()).unwrap_or(usize::MAX).max(1);
        call.cpu.chunks(&mut out, area, grain, |plane, out| {
            let x = &x[plane * image_area..(plane + 1) * image_area];
            let mut sums = vec![T::Sum::default(); area];
            self.plane::<T>(isa, x, &mut sums);
            for (index, (to, sum)) in out.iter_mut().zip(&sums).enumerate() {
                *to = T::narrow(match self.summary {
                    Summary::Power { p } => T::root(*sum, p),
                    _ => T::quotient(*sum, counts.get(index).copied().unwrap_or(1)),
                });
            }
        });
        Ok(out)
    }

    /// Sum the taps of every position in row-major order.
    fn plane<T: Float>(&self, isa: Isa, x: &[T], sums: &mut [T::Sum]) {
        let pooling = &self.pooling;
        let [_, high, wide] = pooling.out;
        let power = if let Summary::Power { p } = self.summary { Some(p) } else { None };
        let stride = pooling.window.strides[SPATIAL_MAX - 1];
        for (row, sums) in sums.chunks_mut(wide.max(1)).enumerate() {
            for start in pooling.rows(row / high, row % high) {
                for tap in 0..pooling.window.kernel[SPATIAL_MAX - 1] {
                    let (columns, source) = pooling.columns(tap);
                    if columns.is_empty() {
                        continue;
                    }
                    let x = &x[start + source..];
                    isa.run(AddTap::<T> { x, stride, power, sums: &mut sums[columns] });
                }
            }
        }
    }
}

struct AddTap<'a, T: Float> {
    x: &'a [T],
    stride: usize,
    power: Option<i64>,
    sums: &'a mut [T::Sum],
}

impl<T: Float> Body for AddTap<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { x, stride, power, sums } = self;
        match (power, stride) {
            (Some(p), _) => {
                for (sum, x) in sums.iter_mut().zip(x.iter().step_by(stride)) {
                    *sum = T::add(*sum, T::power(x.wide(), p));
                }
            }
            (None, 1) => {
                for (sum, x) in sums.iter_mut().zip(x) {
                    *sum = T::add(*sum, x.wide());
                }
            }
            _ => {
                for (sum, x) in sums.iter_mut().zip(x.iter().step_by(stride)) {
                    *sum = T::add(*sum, x.wide());
                }
            }
        }
    }
}

/// One number for each plane; sums are striped.
fn global(scope: &Scope<'_>, summary: Summary) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.typed(0, FLOATS, "a float")?;
    if x.rank() < 2 {
        return Err(misfit("input of a global pool", "2 dimensions or more", x));
    }
    let mut shape = x.shape.clone();
    shape[2..].fill(1);
    let output = scope.value(x.dtype, shape)?;
    let area: usize = x.shape[2..].iter().product();
    let (dtype, macs) = (x.dtype, x.count());
    let scratch = x.count().saturating_mul(4);
    let kernel = FnKernel(move |call: &Call<'_>| {
        dispatch!(dtype, T: float => Ok(vec![T::wrap(global_planes::<T>(call, summary, area)?)]),
            else Err(Fault::Dtype { input: 0, expected: "a float", got: dtype }))
    });
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

fn global_planes<T: Float>(call: &Call<'_>, summary: Summary, area: usize) -> Result<Vec<T>, Fault> {
    let x = call.slice::<T>(0)?;
    let rule = match summary {
        Summary::Max => Reduction::Max,
        Summary::Average { .. } => Reduction::Mean,
        Summary::Power { .. } => Reduction::Sum,
    };
    let mut out = vec![T::default(); call.elements(0)];
    let grain = (1_usize << 15).div_ceil(area.max(1));
    call.cpu.chunks(&mut out, 1, grain, |plane, out| {
        let plane = &x[plane * area..(plane + 1) * area];
        let mut sum = [T::Sum::default()];
        let prepared: Vec<T::Sum> = match summary {
            Summary::Power { p } => plane.iter().map(|x| T::power(x.wide(), p)).collect(),
            _ => plane.iter().map(|x| x.wide()).collect(),
        };
        reduce(call.cpu.isa(), rule, &prepared, area, 1, &mut sum);
        let value = if let Summary::Power { p } = summary { T::root(sum[0], p) } else { sum[0] };
        if let Some(to) = out.first_mut() {
            *to = T::narrow(value);
        }
    });
    Ok(out)
}

#[cfg(test)]
mod tests;
