//! Samples at the points of a grid, and grids of an affine map.

use nabla_types::tensor::{Dtype, TensorData};

use super::taps::cubic;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::onnx::upload::Upload;
use crate::ops::real::{FLOATS, FLOATS_WORDS, FloatKernel, Floats, Real, cost, widest};
use crate::ops::{Call, Element, Kernel, Prepared, Scope, dispatch, misfit};

/// Opset 16 had other names for the modes.
pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if let Some(mode) = upload.take_text("mode")? {
        upload.set_text(
            "mode",
            match mode.as_str() {
                "bilinear" => "linear",
                "bicubic" => "cubic",
                other => other,
            },
        )?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Nearest,
    Linear,
    Cubic,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// Points are brought to elements in the arithmetic type; nearest is to even. A chain over the taps of each
/// dimension in order from `+0`, the last dimension innermost.
pub(super) fn sample(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let (x, grid) = (scope.input(0)?, scope.float(1)?);
    let mode = match scope.attributes.text_or("mode", "linear")? {
        "nearest" => Mode::Nearest,
        "linear" => Mode::Linear,
        "cubic" => Mode::Cubic,
        other => return Err(fault("mode", "nearest, linear or cubic", other)),
    };
    let padding = match scope.attributes.text_or("padding_mode", "zeros")? {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(fault("padding_mode", "zeros, border or reflection", other)),
    };
    let align_corners = scope.attributes.flag_or("align_corners", false)?;
    if mode != Mode::Nearest && !FLOATS.contains(&x.dtype) {
        return Err(Fault::Dtype { input: 0, expected: FLOATS_WORDS, got: x.dtype });
    }
    let fits = x.rank() >= 3 && grid.rank() == x.rank() && grid.shape[0] == x.shape[0];
    if !fits || grid.shape.last() != Some(&(x.rank() - 2)) {
        return Err(misfit("grid of GridSample", format!("points for an input of {:?}", x.shape), grid));
    }
    let mut shape = x.shape[..2].to_vec();
    shape.extend(&grid.shape[1..grid.rank() - 1]);
    let output = scope.value(x.dtype, shape)?;
    if output.elements() > 0 && x.elements() == 0 {
        return Err(misfit("input of GridSample", "elements to sample", x));
    }
    let rank = x.rank() - 2;
    let width: u64 = match mode {
        Mode::Nearest => 1,
        Mode::Linear => 2,
        Mode::Cubic => 4,
    };
    let macs = output.count().saturating_mul(width.saturating_pow(u32::try_from(rank).unwrap_or(8)) + 8);
    let macs = macs.saturating_add(grid.count().saturating_mul(32));
    let rule = Rule { mode, padding, align_corners, shape: x.shape.clone() };
    let dtype = widest(scope);
    Ok(if mode == Mode::Nearest {
        Prepared::one(output, Nearest { rule, dtype })
    } else {
        Prepared::one(output, Floats { dtype, kernel: rule })
    }
    .macs(macs))
}

#[derive(Debug)]
struct Rule {
    mode: Mode,
    padding: Padding,
    align_corners: bool,
    shape: Vec<usize>,
}

/// Up to four neighbours along one dimension: their index (or none) and weight.
#[derive(Debug, Clone, Copy)]
struct Neighbours<R> {
    taps: [(Option<usize>, R); 4],
    count: usize,
}

impl Rule {
    /// A point of the grid from -1 to 1 as a coordinate of the input, before it is rounded.
    #[inline(always)]
    fn place<R: Real>(&self, point: R, size: usize) -> R {
        let (one, two, size) = (R::ONE, R::of(2.0), R::count(size));
        match self.align_corners {
            true => (point + one) / two * (size - one),
            false => ((point + one) * size - one) / two,
        }
    }

    /// The least and the greatest coordinate.
    #[inline(always)]
    fn borders(&self, size: usize) -> [f64; 2] {
        let last = R64::count(size) - 1.0;
        if self.align_corners { [0.0, last] } else { [-0.5, last + 0.5] }
    }

    /// Bring a coordinate that is outside to the border, or reflect it.
    #[inline(always)]
    fn bound(&self, x: f64, size: usize) -> f64 {
        let [least, most] = self.borders(size);
        match self.padding {
            Padding::Border if x < least || x > most => x.clamp(0.0, R64::count(size) - 1.0),
            Padding::Reflection if x < least => reflect(least - x, least, most, false),
            Padding::Reflection if x > most => reflect(x - most, least, most, true),
            _ => x,
        }
    }

    /// The element at an index that may be outside.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked or clamped")]
    fn element(&self, index: f64, size: usize) -> Option<usize> {
        let last = R64::count(size) - 1.0;
        match self.padding {
            Padding::Zeros => (0.0..=last).contains(&index).then_some(index as usize),
            Padding::Border => Some(index.clamp(0.0, last) as usize),
            Padding::Reflection => Some((self.bound(index, size).clamp(0.0, last)) as usize),
        }
    }

    #[inline(always)]
    fn neighbours<R: Real>(&self, point: R, size: usize) -> Neighbours<R> {
        let x = self.place(point, size).wide();
        // At the border every neighbour of a cubic is brought back by itself, as PyTorch does it.
        let free = self.mode == Mode::Cubic && self.padding == Padding::Border;
        let x = if free { x } else { R::of(self.bound(x, size)).wide() };
        let down = x.floor();
        let ratio = R::of(x - down);
        let mut taps = [(None, R::ZERO); 4];
        let weights = match self.mode {
            Mode::Cubic => cubic_of(ratio),
            _ => [R::ONE - ratio, ratio, R::ZERO, R::ZERO],
        };
        let (first, count) = if self.mode == Mode::Cubic { (down - 1.0, 4) } else { (down, 2) };
        for (index, (tap, weight)) in taps.iter_mut().zip(weights).enumerate().take(count) {
            *tap = (self.element(first + R64::count(index), size), weight);
        }
        Neighbours { taps, count }
    }
}

/// f64, for its functions.
type R64 = f64;

/// Weights of four neighbours in the arithmetic type.
#[inline(always)]
fn cubic_of<R: Real>(x: R) -> [R; 4] {
    let a = R::of(-0.75);
    if size_of::<R>() == 4 {
        #[expect(clippy::cast_possible_truncation, reason = "it is an f32")]
        return cubic(x.wide() as f32, -0.75).map(R::of_f32);
    }
    let (one, two, three, four, five, eight) =
        (R::ONE, R::of(2.0), R::of(3.0), R::of(4.0), R::of(5.0), R::of(8.0));
    let y = one - x;
    let far = |x: R| ((a * x - five * a) * x + eight * a) * x - four * a;
    let near = |x: R| ((a + two) * x - (a + three)) * x * x + one;
    [far(x + one), near(x), near(y), far(y + one)]
}

/// Reflect a coordinate that is `beyond` a border, as often as it takes.
#[inline(always)]
fn reflect(beyond: f64, least: f64, most: f64, upper: bool) -> f64 {
    let range = most - least;
    if range <= 0.0 || beyond.is_nan() {
        return least;
    }
    let times = (beyond / range).floor();
    let rest = (beyond - times * range).clamp(0.0, range);
    let even = times - 2.0 * (times / 2.0).floor() == 0.0;
    if even == upper { most - rest } else { least + rest }
}

impl FloatKernel for Rule {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, grid) = (R::input(call, 0)?, R::input(call, 1)?);
        let (sizes, channels) = (&self.shape[2..], self.shape[1]);
        let area: usize = sizes.iter().product();
        let mut output = R::memory(call, call.elements(0));
        let points = output.len().checked_div(self.shape[0] * channels).unwrap_or(0);
        let mut around = vec![Neighbours { taps: [(None, R::ZERO); 4], count: 0 }; sizes.len()];
        let (mut offsets, mut values) = (Vec::new(), Vec::new());
        for index in 0..if output.is_empty() { 0 } else { self.shape[0] * points } {
            let (row, at) = (index / points, index % points);
            // The last coordinate of a point is the first dimension.
            let point = grid[index * sizes.len()..(index + 1) * sizes.len()].iter().rev();
            for ((around, point), size) in around.iter_mut().zip(point).zip(sizes) {
                *around = self.neighbours(*point, *size);
            }
            combine(&around, sizes, &mut offsets);
            for channel in 0..channels {
                let plane = row * channels + channel;
                let own = &x[plane * area..(plane + 1) * area];
                values.clear();
                values.extend(offsets.iter().map(|offset| offset.map_or(R::ZERO, |offset| own[offset])));
                output[plane * points + at] = mix::<R, F>(&mut values, &around);
            }
        }
        Ok(vec![output])
    }
}

/// Where the neighbours of a point are, in row-major order; `None` outside.
fn combine<R>(around: &[Neighbours<R>], sizes: &[usize], offsets: &mut Vec<Option<usize>>) {
    offsets.clear();
    offsets.push(Some(0));
    for (own, size) in around.iter().zip(sizes) {
        let with = |base: &Option<usize>, element: Option<usize>| Some((*base)? * size + element?);
        *offsets = offsets
            .iter()
            .flat_map(|base| own.taps[..own.count].iter().map(move |(element, _)| with(base, *element)))
            .collect();
    }
}

/// One chain over the neighbours along each dimension, the last first.
#[inline(always)]
fn mix<R: Real, F: Fma>(values: &mut [R], around: &[Neighbours<R>]) -> R {
    let mut left = values.len();
    for own in around.iter().rev() {
        left /= own.count;
        for to in 0..left {
            let mut sum = R::ZERO;
            for (tap, (_, weight)) in own.taps[..own.count].iter().enumerate() {
                sum = R::chain::<F>(*weight, values[to * own.count + tap], sum);
            }
            values[to] = sum;
        }
    }
    values[0]
}

/// The element nearest to each point.
#[derive(Debug)]
struct Nearest {
    rule: Rule,
    /// What points are computed in.
    dtype: Dtype,
}

impl Kernel for Nearest {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let elements =
            if self.dtype == Dtype::F64 { self.elements::<f64>(call)? } else { self.elements::<f32>(call)? };
        let Rule { shape, .. } = &self.rule;
        let area: usize = shape[2..].iter().product();
        let points = elements.len().checked_div(shape[0]).unwrap_or(0);
        Ok(vec![dispatch!(call.input(0)?.dtype(), T => {
            let x = call.slice::<T>(0)?;
            let mut output = Vec::with_capacity(call.elements(0));
            for plane in 0..if points == 0 { 0 } else { shape[0] * shape[1] } {
                let own = &elements[plane / shape[1] * points..][..points];
                let value = |element: &Option<usize>| {
                    element.and_then(|at| x.get(plane * area + at).cloned()).unwrap_or_default()
                };
                output.extend(own.iter().map(value));
            }
            T::wrap(output)
        })])
    }
}

impl Nearest {
    /// For each point of each row, where its element is.
    fn elements<R: Real>(&self, call: &Call<'_>) -> Result<Vec<Option<usize>>, Fault> {
        let grid = R::input(call, 1)?;
        let sizes = &self.rule.shape[2..];
        let element = |point: &[R]| {
            point.iter().rev().zip(sizes).try_fold(0, |at, (point, size)| {
                let x = self.rule.place(*point, *size).wide().round_ties_even();
                let x = self.rule.bound(x, *size).trunc();
                self.rule.element(x, *size).map(|element| at * size + element)
            })
        };
        Ok(grid.chunks_exact(sizes.len()).map(element).collect())
    }
}

/// Points `theta * (x, y, 1)` (or `x, y, z, 1`), one chain in this order.
pub(super) fn affine(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let theta = scope.float(0)?;
    let size = scope.ints(1, "size of the grid")?;
    let align_corners = scope.attributes.flag_or("align_corners", false)?;
    let sizes: Option<Vec<usize>> = size.iter().map(|size| usize::try_from(*size).ok()).collect();
    let sizes = sizes.filter(|sizes| (4..=5).contains(&sizes.len())).ok_or_else(|| Fault::Shape {
        what: "size of the grid",
        expected: "4 or 5 sizes".to_owned(),
        got: format!("{:?}", &size[..size.len().min(8)]),
    })?;
    let rank = sizes.len() - 2;
    scope.float_shaped(0, "theta of AffineGrid", &[sizes[0], rank, rank + 1])?;
    let mut shape = vec![sizes[0]];
    shape.extend(&sizes[2..]);
    shape.push(rank);
    let output = scope.value(theta.dtype, shape)?;
    let macs = output.count().saturating_mul(4);
    let kernel = Affine { sizes: sizes[2..].to_vec(), align_corners };
    let scratch = cost(&output.shape).saturating_mul(2);
    Ok(Prepared::one(output, Floats { dtype: theta.dtype, kernel }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct Affine {
    sizes: Vec<usize>,
    align_corners: bool,
}

impl FloatKernel for Affine {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let theta = R::input(call, 0)?;
        let rank = self.sizes.len();
        let line = |size: usize| -> Vec<R> {
            let two = R::of(2.0);
            let place = |at: usize| match (self.align_corners, size) {
                // A single point lies in the middle.
                (_, 1) => R::ZERO,
                (true, _) => R::count(at) * (two / R::count(size - 1)) - R::ONE,
                (false, _) => (R::count(at) * two + R::ONE) / R::count(size) - R::ONE,
            };
            (0..size).map(place).collect()
        };
        let lines: Vec<Vec<R>> = self.sizes.iter().map(|size| line(*size)).collect();
        let area: usize = self.sizes.iter().product();
        let mut output = Vec::with_capacity(call.elements(0));
        let mut point = vec![R::ONE; rank + 1];
        for theta in theta.chunks_exact(rank * (rank + 1)) {
            for index in 0..area {
                let mut rest = index;
                for (slot, line) in lines.iter().rev().enumerate() {
                    point[slot] = line[rest % line.len()];
                    rest /= line.len();
                }
                for row in theta.chunks_exact(rank + 1) {
                    let mut sum = R::ZERO;
                    for (a, b) in row.iter().zip(&point) {
                        sum = R::chain::<F>(*a, *b, sum);
                    }
                    output.push(sum);
                }
            }
        }
        Ok(vec![output])
    }
}
