//! The greatest element under a window.
//!
//! # Rules
//! - NaN wins over everything. Padding takes no part; a window that sees nothing but padding gives the least
//!   value of the type (`-inf`).
//! - Rows of the window are folded first, column by column, then the columns: an element replaces the
//!   greatest so
//!   far if it is greater or NaN. With indices, elements are visited in row-major order instead; the orders
//!   differ
//!   only in the sign of a zero.

use half::{bf16, f16};
use nabla_types::tensor::{Dtype, TensorData};

use super::Pooling;
use crate::Fault;
use crate::kernels::{Body, Fma};
use crate::ops::window::SPATIAL_MAX;
use crate::ops::{Call, Element, Kernel, Prepared, Scope, dispatch};

const TYPES: &[Dtype] = &[
    Dtype::F32,
    Dtype::F64,
    Dtype::F16,
    Dtype::BF16,
    Dtype::I8,
    Dtype::U8,
    Dtype::I16,
    Dtype::U16,
    Dtype::I32,
    Dtype::U32,
    Dtype::I64,
    Dtype::U64,
];

pub(super) fn max_pool(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 1, 1, 2)?;
    let x = scope.typed(0, TYPES, "a number")?;
    let columns_first = scope.attributes.flag_or("storage_order", false)?;
    let pooling = Pooling::read(scope, x)?;
    let mut outputs = vec![scope.value(x.dtype, pooling.shape.clone())?];
    if scope.outputs == 2 {
        outputs.push(scope.value(Dtype::I64, pooling.shape.clone())?);
    }
    let macs = outputs[0].count().saturating_mul(pooling.taps()).saturating_mul(2);
    let scratch = x.shape.last().map_or(0, |wide| *wide as u64).saturating_mul(64);
    let indices = scope.outputs == 2;
    Ok(Prepared::new(outputs, MaxPool { pooling, indices, columns_first }).macs(macs).scratch_bytes(scratch))
}

/// An element that has an order.
trait Ordered: Element + Copy {
    const LEAST: Self;
    /// Whether `self` replaces `best`.
    fn wins(self, best: Self) -> bool;
}

macro_rules! ordered {
    ($($type:ty => $least:expr),*) => {$(
        impl Ordered for $type {
            const LEAST: Self = $least;
            #[inline(always)]
            #[allow(clippy::eq_op, clippy::allow_attributes, reason = "only NaN differs from itself")]
            fn wins(self, best: Self) -> bool {
                self > best || self != self
            }
        }
    )*};
}

ordered!(
    f32 => f32::NEG_INFINITY, f64 => f64::NEG_INFINITY, f16 => f16::NEG_INFINITY, bf16 => bf16::NEG_INFINITY,
    i8 => i8::MIN, u8 => 0, i16 => i16::MIN, u16 => 0, i32 => i32::MIN, u32 => 0, i64 => i64::MIN, u64 => 0
);

#[derive(Debug)]
struct MaxPool {
    pooling: Pooling,
    indices: bool,
    /// Indices count down columns first.
    columns_first: bool,
}

impl Kernel for MaxPool {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let dtype = call.input(0)?.dtype();
        dispatch!(dtype, T: number => {
            if self.indices { self.with_indices::<T>(call) } else { Ok(vec![T::wrap(self.values::<T>(call)?)]) }
        }, else Err(Fault::Dtype { input: 0, expected: "a number", got: dtype }))
    }
}

impl MaxPool {
    fn values<T: Ordered>(&self, call: &Call<'_>) -> Result<Vec<T>, Fault> {
        let (x, pooling) = (call.slice::<T>(0)?, &self.pooling);
        let mut out = vec![T::LEAST; call.elements(0)];
        let (area, image_area) = (pooling.area(), pooling.image_area());
        let [_, high, wide] = pooling.out;
        call.cpu.chunks(&mut out, area, 1 << 13, |plane, out| {
            let x = &x[plane * image_area..(plane + 1) * image_area];
            let mut tallest = vec![T::LEAST; pooling.window.image[SPATIAL_MAX - 1]];
            for (row, out) in out.chunks_mut(wide.max(1)).enumerate() {
                let rows = pooling.rows(row / high, row % high);
                call.cpu.isa().run(MaxRow { pooling, x, rows: &rows, tallest: &mut tallest, out });
            }
        });
        Ok(out)
    }

    fn with_indices<T: Ordered>(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, pooling) = (call.slice::<T>(0)?, &self.pooling);
        let (image_area, [deep, high, wide]) = (pooling.image_area(), pooling.window.image);
        let count = call.elements(0);
        let (mut values, mut indices) = (Vec::with_capacity(count), Vec::with_capacity(count));
        for plane in 0..count / pooling.area().max(1) {
            let x = &x[plane * image_area..(plane + 1) * image_area];
            for position in 0..pooling.area() {
                let (best, at) = self.visit(x, position);
                let at = if self.columns_first {
                    let (z, y, x) = (at / (high * wide), at / wide % high, at % wide);
                    (x * high + y) * deep + z
                } else {
                    at
                };
                values.push(best);
                indices.push(i64::try_from(plane * image_area + at).unwrap_or(i64::MAX));
            }
        }
        Ok(vec![T::wrap(values), TensorData::I64(indices)])
    }

    /// The greatest element at a position, and where it is.
    fn visit<T: Ordered>(&self, x: &[T], position: usize) -> (T, usize) {
        let [_, high, wide] = self.pooling.out;
        let (row, column) = (position / wide, position % wide);
        let (mut best, mut at, mut seen) = (T::LEAST, 0, false);
        for start in self.pooling.rows(row / high, row % high) {
            let taps = 0..self.pooling.window.kernel[SPATIAL_MAX - 1];
            for place in taps.filter_map(|tap| self.pooling.source(SPATIAL_MAX - 1, column, tap)) {
                let value = x[start + place];
                // The first NaN stays.
                #[allow(clippy::eq_op, clippy::allow_attributes, reason = "only NaN differs from itself")]
                if !seen || (value.wins(best) && !best.wins(best)) {
                    (best, at, seen) = (value, start + place, true);
                }
            }
        }
        (best, at)
    }
}

/// One row of the output.
struct MaxRow<'a, T> {
    pooling: &'a Pooling,
    x: &'a [T],
    rows: &'a [usize],
    tallest: &'a mut [T],
    out: &'a mut [T],
}

impl<T: Ordered> Body for MaxRow<'_, T> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { pooling, x, rows, tallest, out } = self;
        let wide = tallest.len();
        let mut first = true;
        for start in rows {
            let row = &x[*start..*start + wide];
            if first {
                tallest.copy_from_slice(row);
            } else {
                for (best, x) in tallest.iter_mut().zip(row) {
                    *best = if x.wins(*best) { *x } else { *best };
                }
            }
            first = false;
        }
        out.fill(T::LEAST);
        if first {
            return;
        }
        let stride = pooling.window.strides[SPATIAL_MAX - 1];
        for tap in 0..pooling.window.kernel[SPATIAL_MAX - 1] {
            let (columns, source) = pooling.columns(tap);
            if columns.is_empty() {
                continue;
            }
            let (out, x) = (&mut out[columns], &tallest[source..]);
            match stride {
                1 => {
                    for (best, x) in out.iter_mut().zip(x) {
                        *best = if x.wins(*best) { *x } else { *best };
                    }
                }
                2 => {
                    let (last, out) = match out.split_last_mut() {
                        Some(pair) => pair,
                        None => continue,
                    };
                    for (best, [x, _]) in out.iter_mut().zip(x.as_chunks::<2>().0) {
                        *best = if x.wins(*best) { *x } else { *best };
                    }
                    let x = x[2 * out.len()];
                    *last = if x.wins(*last) { x } else { *last };
                }
                _ => {
                    for (best, x) in out.iter_mut().zip(x.iter().step_by(stride)) {
                        *best = if x.wins(*best) { *x } else { *best };
                    }
                }
            }
        }
    }
}
