//! Operators on levels as ONNX Runtime's quantiser writes them: element by element, pooled, joined.
//!
//! # Rules
//! - Functions of one level go through a table of the 256 levels: `level(f((q - zero_x) * scale_x) /
//!   scale_y)`.

use nabla_types::tensor::{Dtype, TensorData};

use super::identity::plain;
use super::pool::Pooling;
use super::qproducts::{byte_input, byte_output, bytes, check_scale, scale, zero};
use super::window::SPATIAL_MAX;
use super::{Call, FnKernel, Kernel, Operator, Prepared, Scope, axis, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::math;
use crate::kernels::quant::{AddLevels, Levels, MultiplyLevels, Quantize, Steps, SumSteps};
use crate::kernels::rows::{RowRule, rows_in_place};
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::microsoft("QLinearAdd", plain, |scope| pairs(scope, Pair::Add)),
    Operator::microsoft("QLinearAveragePool", plain, average),
    Operator::microsoft("QLinearConcat", plain, concat),
    Operator::microsoft("QLinearGlobalAveragePool", plain, global_average),
    Operator::microsoft("QLinearLeakyRelu", plain, leaky_relu),
    Operator::microsoft("QLinearMul", plain, |scope| pairs(scope, Pair::Multiply)),
    Operator::microsoft("QLinearSigmoid", plain, |scope| table(scope, math::sigmoid)),
    Operator::microsoft("QLinearSoftmax", plain, softmax),
];

/// Elements that a thread takes at a time.
const GRAIN: usize = 1 << 15;

#[derive(Debug, Clone, Copy)]
enum Pair {
    Add,
    Multiply,
}

/// `A, scale, zero, B, scale, zero, scale of C, zero of C`.
fn pairs(scope: &Scope<'_>, pair: Pair) -> Result<Prepared, Fault> {
    scope.arity(7, 8, 1)?;
    let (a, b) = (byte_input(scope, 0)?, byte_input(scope, 3)?);
    scope.typed(3, &[a.dtype], "the type of input 0")?;
    for (places, dtype) in [((1, 2), a.dtype), ((4, 5), b.dtype), ((6, 7), a.dtype)] {
        check_scale(scope, places, dtype, &[1])?;
    }
    let shape = broadcast(a, b)?;
    let output = scope.value(a.dtype, shape)?;
    let macs = output.count().saturating_mul(2);
    let scratch = output.count().saturating_mul(2);
    let repeats = [spread(a, &output), spread(b, &output)];
    Ok(Prepared::one(output, Pairs { pair, repeats }).macs(macs).scratch_bytes(scratch))
}

fn broadcast(a: &ValueType, b: &ValueType) -> Result<Vec<usize>, Fault> {
    let rank = a.rank().max(b.rank());
    let size = |ty: &ValueType, at: usize| (at + ty.rank()).checked_sub(rank).map_or(1, |at| ty.shape[at]);
    let mut shape = Vec::with_capacity(rank);
    for at in 0..rank {
        shape.push(match (size(a, at), size(b, at)) {
            (x, y) if x == y || y == 1 => x,
            (1, y) => y,
            _ => return Err(misfit("input 3", format!("a shape that meets {:?}", a.shape), b)),
        });
    }
    Ok(shape)
}

/// Sizes of the output and the steps of an operand along them; `None` if it has the same shape.
fn spread(ty: &ValueType, output: &ValueType) -> Option<Vec<[usize; 2]>> {
    if ty.elements() == output.elements() {
        return None;
    }
    let mut step = 1;
    let mut steps = vec![[1, 0]; output.rank()];
    for (index, slot) in steps.iter_mut().enumerate().rev() {
        let size = (index + ty.rank()).checked_sub(output.rank()).map_or(1, |at| ty.shape[at]);
        *slot = [output.shape[index], if size == 1 { 0 } else { step }];
        step *= size;
    }
    Some(steps)
}

/// An operand repeated to the output.
fn repeated(source: &[u8], steps: &[[usize; 2]], count: usize) -> Vec<u8> {
    let mut index = vec![0; steps.len()];
    let mut at = 0;
    let mut out = Vec::with_capacity(count);
    for _ in 0..count {
        out.push(source[at]);
        for (place, [size, step]) in index.iter_mut().zip(steps).rev() {
            *place += 1;
            at += step;
            if *place < *size {
                break;
            }
            at -= step * size;
            *place = 0;
        }
    }
    out
}

#[derive(Debug)]
struct Pairs {
    pair: Pair,
    repeats: [Option<Vec<[usize; 2]>>; 2],
}

impl Kernel for Pairs {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (a, b) = (bytes(call, 0)?, bytes(call, 3)?);
        let (count, signed) = (call.elements(0), a.signed());
        let [wide_a, wide_b] = [(a, &self.repeats[0]), (b, &self.repeats[1])]
            .map(|(x, steps)| steps.as_ref().map(|steps| repeated(x.raw(), steps, count)));
        let a = Steps::new(wide_a.as_deref().unwrap_or(a.raw()), signed, zero(call, 2));
        let b = Steps::new(wide_b.as_deref().unwrap_or(b.raw()), signed, zero(call, 5));
        let (scale_a, scale_b, scale_y) = (scale(call, 1)?, scale(call, 4)?, scale(call, 6)?);
        let levels = Levels::of_byte(signed, zero(call, 7));
        let isa = call.cpu.isa();
        let data = byte_output(call.input(0)?.dtype(), count, |out| {
            call.cpu.chunks(out, GRAIN, 2 * GRAIN, |chunk, out| {
                let (a, b) = (a.part(chunk * GRAIN, out.len()), b.part(chunk * GRAIN, out.len()));
                match self.pair {
                    Pair::Add => {
                        let scales = [scale_a / scale_y, scale_b / scale_y];
                        isa.run(AddLevels { a, b, scales, levels, out });
                    }
                    Pair::Multiply => {
                        let scale = (scale_a * scale_b) / scale_y;
                        isa.run(MultiplyLevels { a, b, scale, levels, out });
                    }
                }
            });
            Ok(())
        })?;
        Ok(vec![data])
    }
}

/// Check `X, scale, zero, scale of Y, zero of Y`; gives X.
fn one<'a>(scope: &Scope<'a>) -> Result<&'a ValueType, Fault> {
    scope.arity(4, 5, 1)?;
    let x = byte_input(scope, 0)?;
    check_scale(scope, (1, 2), x.dtype, &[1])?;
    check_scale(scope, (3, 4), x.dtype, &[1])?;
    Ok(x)
}

fn table(scope: &Scope<'_>, f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Result<Prepared, Fault> {
    let x = one(scope)?;
    let output = scope.value(x.dtype, x.shape.clone())?;
    Ok(Prepared::one(
        output,
        FnKernel(move |call: &Call<'_>| {
            let x = bytes(call, 0)?;
            let places = [(1, 2), (3, 4)];
            let table = levels_table(call, x.signed(), places, &f)?;
            let data = byte_output(call.input(0)?.dtype(), x.raw().len(), |out| {
                look_up(&table, x.raw(), out);
                Ok(())
            })?;
            Ok(vec![data])
        }),
    ))
}

fn look_up(table: &[u8; 256], x: &[u8], out: &mut [u8]) {
    for (to, byte) in out.iter_mut().zip(x) {
        *to = table[usize::from(*byte)];
    }
}

/// For each byte, the byte that it becomes.
fn levels_table(
    call: &Call<'_>,
    signed: bool,
    [(scale_x, zero_x), (scale_y, zero_y)]: [(usize, usize); 2],
    f: &dyn Fn(f32) -> f32,
) -> Result<[u8; 256], Fault> {
    let (from, scale_x) = (zero(call, zero_x), scale(call, scale_x)?);
    let levels = Levels::of_byte(signed, zero(call, zero_y));
    let raw: Vec<u8> = (0..=255).collect();
    let steps = Steps::new(&raw, signed, from);
    #[expect(clippy::cast_precision_loss, reason = "9 bits are exact")]
    let reals: Vec<f32> = (0..256).map(|byte| f(steps.at(byte) as f32 * scale_x)).collect();
    let mut out = [0; 256];
    call.cpu.isa().run(Quantize { x: &reals, scale: scale(call, scale_y)?, levels, out: &mut out });
    Ok(out)
}

/// `alpha * x` below zero.
fn leaky_relu(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let alpha = scope.attributes.float_or("alpha", 0.01)?;
    table(scope, move |x| if x < 0.0 { alpha * x } else { x })
}

/// Reals, softmax, levels.
fn softmax(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = one(scope)?;
    let coerced = scope.attributes.int_or("opset", 13)? < 13;
    let at = scope.attributes.axis_or("axis", if coerced { 1 } else { -1 }, x.rank())?;
    let inner: usize = x.shape[at + 1..].iter().product();
    let (length, stride) = if coerced { (x.shape[at] * inner, 1) } else { (x.shape[at], inner) };
    let output = scope.value(x.dtype, x.shape.clone())?;
    let (macs, scratch) = (x.count().saturating_mul(8), x.count().saturating_mul(4));
    let kernel = FnKernel(move |call: &Call<'_>| {
        let (x, isa) = (bytes(call, 0)?, call.cpu.isa());
        let steps = Steps::new(x.raw(), x.signed(), zero(call, 2));
        let scale_x = scale(call, 1)?;
        #[expect(clippy::cast_precision_loss, reason = "9 bits are exact")]
        let mut reals: Vec<f32> = (0..x.raw().len()).map(|index| steps.at(index) as f32 * scale_x).collect();
        if !reals.is_empty() {
            rows_in_place(isa, RowRule::Softmax, &mut reals, length, stride);
        }
        let (scale, levels) = (scale(call, 3)?, Levels::of_byte(x.signed(), zero(call, 4)));
        let data = byte_output(call.input(0)?.dtype(), reals.len(), |out| {
            isa.run(Quantize { x: &reals, scale, levels, out });
            Ok(())
        })?;
        Ok(vec![data])
    });
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

fn channels_first(scope: &Scope<'_>) -> Result<(), Fault> {
    match scope.attributes.int_or("channels_last", 0)? {
        0 => Ok(()),
        got => Err(fault("channels_last", "0", &got.to_string())),
    }
}

/// An exact sum as f32.
#[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
fn real(sum: i64) -> f32 {
    sum as f32
}

/// `scale_x / (scale_y * count)`.
#[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
fn mean_factor(scale_x: f32, scale_y: f32, count: usize) -> f32 {
    scale_x / (scale_y * count as f32)
}

/// Exact sum of a plane, times `scale_x / (scale_y * area)`.
fn global_average(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = one(scope)?;
    channels_first(scope)?;
    if x.rank() < 3 {
        return Err(misfit("input of QLinearGlobalAveragePool", "3 dimensions or more", x));
    }
    let mut shape = x.shape.clone();
    shape[2..].fill(1);
    let area: usize = x.shape[2..].iter().product();
    let output = scope.value(x.dtype, shape)?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let x = bytes(call, 0)?;
        let steps = Steps::new(x.raw(), x.signed(), zero(call, 2));
        let factor = mean_factor(scale(call, 1)?, scale(call, 3)?, area);
        let levels = Levels::of_byte(x.signed(), zero(call, 4));
        let data = byte_output(call.input(0)?.dtype(), call.elements(0), |out| {
            for (plane, to) in out.iter_mut().enumerate() {
                let sum = call.cpu.isa().run(SumSteps(steps.part(plane * area, area)));
                *to = byte(levels.level(real(sum) * factor));
            }
            Ok(())
        })?;
        Ok(vec![data])
    });
    Ok(Prepared::one(output, kernel).macs(x.count()))
}

/// The low byte of a level.
fn byte(level: i32) -> u8 {
    <u8 as crate::kernels::quant::Stored>::low(level)
}

/// Exact sums of windows, times `scale_x / (scale_y * count)`; a tap in the padding is 0.
fn average(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = one(scope)?;
    channels_first(scope)?;
    let padding = scope.attributes.flag_or("count_include_pad", false)?;
    let pooling = Pooling::read(scope, x)?;
    let output = scope.value(x.dtype, pooling.shape.clone())?;
    let macs = output.count().saturating_mul(pooling.taps());
    let scratch = (pooling.area() as u64).saturating_mul(8);
    let kernel = FnKernel(move |call: &Call<'_>| {
        let x = bytes(call, 0)?;
        let steps = Steps::new(x.raw(), x.signed(), zero(call, 2));
        let (scale_x, scale_y) = (scale(call, 1)?, scale(call, 3)?);
        let levels = Levels::of_byte(x.signed(), zero(call, 4));
        let (counts, area) = (pooling.counts(padding), pooling.area());
        let data = byte_output(call.input(0)?.dtype(), call.elements(0), |out| {
            for (index, to) in out.iter_mut().enumerate() {
                let (plane, position) = (index / area, index % area);
                let sum = window_sum(&pooling, steps, plane * pooling.image_area(), position);
                *to = byte(levels.level(real(sum) * mean_factor(scale_x, scale_y, counts[position])));
            }
            Ok(())
        })?;
        Ok(vec![data])
    });
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

fn window_sum(pooling: &Pooling, steps: Steps<'_>, first: usize, position: usize) -> i64 {
    let [_, high, wide] = pooling.out;
    let (row, column) = (position / wide, position % wide);
    let axis = SPATIAL_MAX - 1;
    let mut sum = 0_i64;
    for start in pooling.rows(row / high, row % high) {
        let taps = 0..pooling.window.kernel[axis];
        for at in taps.filter_map(|tap| pooling.source(axis, column, tap)) {
            sum += i64::from(steps.at(first + start + at));
        }
    }
    sum
}

/// `scale of Y, zero of Y`, then `X, scale, zero` of each part; levels of a part become levels of Y by a
/// table.
fn concat(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let count = scope.operands.len();
    if count < 5 || !(count - 2).is_multiple_of(3) || scope.outputs != 1 {
        let expected = "2, and 3 for each part, and 1 output";
        return Err(Fault::Arity { what: "inputs", expected, got: count });
    }
    let first = byte_input(scope, 2)?;
    check_scale(scope, (0, 1), first.dtype, &[1])?;
    let at = axis("axis", scope.attributes.int("axis")?, first.rank())?;
    let mut shape = first.shape.clone();
    shape[at] = 0;
    let mut lengths = Vec::new();
    for input in (2..count).step_by(3) {
        let part = scope.typed(input, &[first.dtype], "the type of the first part")?;
        check_scale(scope, (input + 1, input + 2), first.dtype, &[1])?;
        let same = |(index, size): (usize, &usize)| index == at || first.shape[index] == *size;
        if part.rank() != first.rank() || !part.shape.iter().enumerate().all(same) {
            return Err(misfit(
                "a part of QLinearConcat",
                format!("{:?} but for axis {at}", first.shape),
                part,
            ));
        }
        shape[at] = shape[at].saturating_add(part.shape[at]);
        lengths.push(part.shape[at..].iter().product::<usize>());
    }
    let output = scope.value(first.dtype, shape)?;
    let whole: usize = lengths.iter().sum();
    let kernel = FnKernel(move |call: &Call<'_>| {
        let dtype = call.input(2)?.dtype();
        let data = byte_output(dtype, call.elements(0), |out| {
            let mut from = 0;
            for (index, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
                let input = 2 + 3 * index;
                let places = [(input + 1, input + 2), (0, 1)];
                let table = levels_table(call, dtype == Dtype::I8, places, &|x| x)?;
                let rows = bytes(call, input)?.raw().chunks(*length);
                for (out, row) in out.chunks_mut(whole).zip(rows) {
                    look_up(&table, row, &mut out[from..from + length]);
                }
                from += length;
            }
            Ok(())
        })?;
        Ok(vec![data])
    });
    Ok(Prepared::one(output, kernel))
}
