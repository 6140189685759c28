//! Matrix products of levels.

use std::borrow::Cow;

use nabla_types::tensor::{Dtype, TensorData};

use super::{
    NONE, Places, byte_input, byte_output, bytes, check_scale, constant_bytes, zero, zero_of, zeros,
};
use crate::Fault;
use crate::kernels::Isa;
use crate::kernels::int8::{Bytes, PanelsI8, ProductI8};
use crate::kernels::quant::{Levels, RequantizeEach};
use crate::ops::matmul::{Sizes, Stack};
use crate::ops::quantize::floats;
use crate::ops::{Call, Kernel, Packed, Prepared, Scope, misfit};
use crate::plan::ValueType;

const INTEGER: Places = Places {
    a_scale: NONE,
    a_zero: 2,
    b: 1,
    b_scale: NONE,
    b_zero: 3,
    bias: NONE,
    y_scale: NONE,
    y_zero: NONE,
};
const LINEAR: Places =
    Places { a_scale: 1, a_zero: 2, b: 3, b_scale: 4, b_zero: 5, bias: NONE, y_scale: 6, y_zero: 7 };
const GEMM: Places =
    Places { a_scale: 1, a_zero: 2, b: 3, b_scale: 4, b_zero: 5, bias: 6, y_scale: 7, y_zero: 8 };

/// The sums as they are.
pub(super) fn matmul_integer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 4, 1)?;
    prepare(scope, INTEGER, Dtype::I32, [false, false])
}

pub(super) fn qlinear_matmul(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(8, 8, 1)?;
    prepare(scope, LINEAR, byte_input(scope, 7)?.dtype, [false, false])
}

/// Levels, or reals if the scale of the output is not given.
pub(super) fn qgemm(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(6, 9, 1)?;
    let dtype = match scope.optional(GEMM.y_scale) {
        Some(_) => scope.optional(GEMM.y_zero).map_or(Dtype::U8, |zero| zero.ty.dtype),
        None => Dtype::F32,
    };
    if dtype != Dtype::F32 && !super::BYTES.contains(&dtype) {
        return Err(Fault::Dtype { input: GEMM.y_zero, expected: "INT8 or UINT8", got: dtype });
    }
    let transposed = [scope.attributes.flag_or("transA", false)?, scope.attributes.flag_or("transB", false)?];
    for input in [0, GEMM.b] {
        let ty = byte_input(scope, input)?;
        if ty.rank() != 2 {
            return Err(misfit("a matrix of QGemm", "2 dimensions", ty));
        }
    }
    prepare(scope, GEMM, dtype, transposed)
}

fn prepare(
    scope: &Scope<'_>,
    places: Places,
    dtype: Dtype,
    transposed: [bool; 2],
) -> Result<Prepared, Fault> {
    let turned = |ty: &ValueType, turn: bool| {
        let mut ty = ty.clone();
        if turn {
            ty.shape.reverse();
        }
        ty
    };
    let (a, b) = (byte_input(scope, 0)?, byte_input(scope, places.b)?);
    let (stack, shape) = Stack::new(&turned(a, transposed[0]), &turned(b, transposed[1]))?;
    let Sizes { m, k, n } = stack.sizes;
    let rows = stack.count().saturating_mul(m);
    check_scale(scope, (places.a_scale, places.a_zero), a.dtype, &[1, m, rows])?;
    check_scale(scope, (places.b_scale, places.b_zero), b.dtype, &[1, n])?;
    let zero_type = if dtype == Dtype::F32 { Dtype::U8 } else { dtype };
    if dtype != Dtype::F32 {
        check_scale(scope, (places.y_scale, places.y_zero), zero_type, &[1])?;
    }
    let mut bias_steps = None;
    if scope.optional(places.bias).is_some() {
        bias_steps = Some(repeat(scope.typed(places.bias, &[Dtype::I32], "INT32")?, m, n)?);
    }
    let output = scope.value(dtype, shape)?;
    let outer = &b.shape[..b.rank().saturating_sub(2)];
    let panels =
        scope.packed.and_then(|packed| PanelsI8::from_buffers(k, n, b.dtype == Dtype::I8, &packed.buffers));
    let macs = output.count().saturating_mul(k as u64);
    let fresh = if panels.is_some() { 0 } else { PanelsI8::bytes(k as u64, n as u64) };
    let scratch =
        output.count().saturating_mul(8).saturating_add(a.count().saturating_mul(2)).saturating_add(fresh);
    let kernel = Product {
        tall: outer.iter().all(|size| *size == 1),
        places,
        alpha: if places.bias == NONE { 1.0 } else { scope.attributes.float_or("alpha", 1.0)? },
        transposed,
        bias_steps,
        panels,
        dtype,
        stack,
    };
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

/// Steps of the bias along rows and columns.
fn repeat(c: &ValueType, m: usize, n: usize) -> Result<[usize; 2], Fault> {
    let (rows, columns) = match c.shape[..] {
        [] => (1, 1),
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => (0, 0),
    };
    if (rows != 1 && rows != m) || (columns != 1 && columns != n) {
        return Err(misfit("C of QGemm", format!("a shape that repeats to [{m}, {n}]"), c));
    }
    Ok([if rows == 1 { 0 } else { columns }, usize::from(columns != 1)])
}

/// A constant matrix on the right.
pub(super) fn pack(
    scope: &Scope<'_>,
    isa: Isa,
    input: usize,
    transposed: bool,
) -> Result<Option<Packed>, Fault> {
    let Some((source, shape)) = constant_bytes(scope, input) else {
        return Ok(None);
    };
    let [outer @ .., rows, columns] = shape.as_slice() else {
        return Ok(None);
    };
    if outer.iter().any(|size| *size != 1) || (transposed && !outer.is_empty()) {
        return Ok(None);
    }
    let panels = right(isa, source, *rows, *columns, transposed);
    Ok(Some(Packed { buffers: panels.buffers(), replaces: vec![input] }))
}

/// Panels of a stored matrix.
fn right(isa: Isa, source: Bytes<'_>, rows: usize, columns: usize, transposed: bool) -> PanelsI8 {
    if transposed {
        PanelsI8::pack(isa, columns, rows, source, 1, columns)
    } else {
        PanelsI8::pack(isa, rows, columns, source, columns, 1)
    }
}

#[derive(Debug)]
struct Product {
    stack: Stack,
    /// One matrix on the right meets all on the left.
    tall: bool,
    places: Places,
    alpha: f32,
    transposed: [bool; 2],
    bias_steps: Option<[usize; 2]>,
    panels: Option<PanelsI8>,
    dtype: Dtype,
}

impl Kernel for Product {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let count = call.elements(0);
        if self.dtype == Dtype::I32 {
            let mut sums = vec![0; count];
            self.sums(call, &mut sums)?;
            return Ok(vec![TensorData::I32(sums)]);
        }
        let mut scratch = call.cpu.shelf().take::<i32>(count);
        let sums = &mut scratch.as_mut::<i32>()[..count];
        sums.fill(0);
        self.sums(call, sums)?;
        self.add_bias(call, sums);
        let n = self.stack.sizes.n;
        let isa = call.cpu.isa();
        if self.dtype == Dtype::F32 {
            let mut out = call.f32s(count);
            let multipliers = self.multipliers(call, 1.0)?;
            for ((row, out), sums) in out.chunks_mut(n.max(1)).enumerate().zip(sums.chunks(n.max(1))) {
                for ((to, sum), multiplier) in out.iter_mut().zip(sums).zip(multipliers.row(row)) {
                    #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
                    let sum = *sum as f32;
                    *to = sum * multiplier;
                }
            }
            return Ok(vec![TensorData::F32(out)]);
        }
        let multipliers = self.multipliers(call, super::scale(call, self.places.y_scale)?)?;
        let levels = Levels::of_byte(self.dtype == Dtype::I8, zero(call, self.places.y_zero));
        let sums = &*sums;
        let data = byte_output(self.dtype, count, |out| {
            call.cpu.chunks(out, n.max(1), 1 << 15, |row, out| {
                let sums = &sums[row * n..row * n + out.len()];
                isa.run(RequantizeEach { sums, multipliers: multipliers.row(row), levels, out });
            });
            Ok(())
        })?;
        Ok(vec![data])
    }
}

/// Factors of the sums, by column, and by row if rows differ.
struct Multipliers {
    all: Vec<f32>,
    columns: usize,
    rows: usize,
}

impl Multipliers {
    fn row(&self, row: usize) -> &[f32] {
        &self.all[row % self.rows * self.columns..][..self.columns]
    }
}

impl Product {
    fn multipliers(&self, call: &Call<'_>, y: f32) -> Result<Multipliers, Fault> {
        let (a, b) = (floats(call.input(self.places.a_scale)?), floats(call.input(self.places.b_scale)?));
        let columns = self.stack.sizes.n;
        let mut all = Vec::with_capacity(a.len().saturating_mul(columns));
        for a in a.iter() {
            all.extend((0..columns).map(|j| ((self.alpha * a) * b[if b.len() == 1 { 0 } else { j }]) / y));
        }
        Ok(Multipliers { all, columns, rows: a.len().max(1) })
    }

    fn add_bias(&self, call: &Call<'_>, sums: &mut [i32]) {
        let Some([down, across]) = self.bias_steps else { return };
        let Some(TensorData::I32(bias)) = call.optional(self.places.bias).map(|bias| bias.data()) else {
            return;
        };
        for (row, sums) in sums.chunks_mut(self.stack.sizes.n.max(1)).enumerate() {
            for (column, sum) in sums.iter_mut().enumerate() {
                *sum = sum.wrapping_add(bias[row * down + column * across]);
            }
        }
    }

    fn sums(&self, call: &Call<'_>, sums: &mut [i32]) -> Result<(), Fault> {
        let Sizes { m, k, n } = self.stack.sizes;
        if sums.is_empty() {
            return Ok(());
        }
        let isa = call.cpu.isa();
        let a = bytes(call, 0)?;
        let turned = if self.transposed[0] { Some(transpose(a.raw(), k, m)) } else { None };
        let a = match (&turned, a) {
            (None, a) => a,
            (Some(raw), Bytes::Unsigned(_)) => Bytes::Unsigned(raw),
            (Some(raw), Bytes::Signed(_)) => Bytes::Signed(bytemuck::cast_slice(raw)),
        };
        let (zero_a, zero_b) = (zeros(call, self.places.a_zero), zeros(call, self.places.b_zero));
        let rows = self.stack.count() * m;
        let zero_a =
            if zero_a.len() == 1 { zero_a } else { zero_a.iter().copied().cycle().take(rows).collect() };
        let product = |m: usize, a, first_row: usize, b: &PanelsI8, c: &mut [i32]| {
            let zero_a = if zero_a.len() == 1 { &zero_a[..] } else { &zero_a[first_row..first_row + m] };
            let (zero_a, zero_b) = (zero_of(zero_a), zero_of(&zero_b));
            ProductI8 { m, a, zero_a, b, zero_b, c, stride: n, epilogue: None }.run(call.cpu);
        };
        let [rows_of_b, columns_of_b] = if self.transposed[1] { [n, k] } else { [k, n] };
        if self.tall {
            let panels = match &self.panels {
                Some(panels) => Cow::Borrowed(panels),
                None => {
                    let b = bytes(call, self.places.b)?;
                    Cow::Owned(right(isa, b, rows_of_b, columns_of_b, self.transposed[1]))
                }
            };
            product(rows, a, 0, &panels, sums);
            return Ok(());
        }
        let b = bytes(call, self.places.b)?;
        for (index, c) in sums.chunks_mut(m * n).enumerate() {
            let (at_a, at_b) = self.stack.pair(index);
            let panels = right(isa, part(b, at_b * k * n, k * n), k, n, false);
            product(m, part(a, at_a * m * k, m * k), index * m, &panels, c);
        }
        Ok(())
    }
}

fn part(bytes: Bytes<'_>, first: usize, length: usize) -> Bytes<'_> {
    match bytes {
        Bytes::Unsigned(all) => Bytes::Unsigned(&all[first..first + length]),
        Bytes::Signed(all) => Bytes::Signed(&all[first..first + length]),
    }
}

/// A stored `[rows, columns]` matrix as `[columns, rows]`.
fn transpose(source: &[u8], rows: usize, columns: usize) -> Vec<u8> {
    (0..rows * columns).map(|at| source[at % rows * columns + at / rows]).collect()
}
