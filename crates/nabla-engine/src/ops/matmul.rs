//! Matrix products of floats and integers.

use nabla_types::tensor::{Dtype, TensorData};

use super::{Call, Kernel, Operator, Packed, Prepared, Scope, dispatch, misfit, sizes};
use crate::Fault;
use crate::kernels::matrix::Finish;
use crate::kernels::pack::{Panels, PanelsRef, Strided};
use crate::kernels::product::Product;
use crate::kernels::tile::Bias;
use crate::kernels::{Cpu, Isa};
use crate::onnx::upload::Upload;
use crate::ops::identity::plain;
use crate::plan::{TailCall, ValueType};

mod plain_product;
use plain_product::{Chain, product_of};

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("Gemm", import_gemm, gemm).packed(pack_gemm),
    Operator::node("MatMul", plain, matmul).packed(pack_matmul),
];

/// Steps below which stacked products are not shared between threads.
const SHARED_STEPS: usize = 1 << 17;

fn import_gemm(upload: &mut Upload<'_>) -> Result<(), Fault> {
    // Broadcasting was a choice before opset 7.
    upload.ignore("broadcast");
    upload.default_float("alpha", 1.0)?;
    upload.default_float("beta", 1.0)?;
    upload.default_int("transA", 0)?;
    upload.default_int("transB", 0)
}

/// Matrices `[m, k] * [k, n]` of which either may be stored transposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) m: usize,
    pub(crate) k: usize,
    pub(crate) n: usize,
}

fn turned(ty: &ValueType, transpose: bool) -> [usize; 2] {
    if transpose { [ty.shape[1], ty.shape[0]] } else { [ty.shape[0], ty.shape[1]] }
}

/// `alpha * (A' B') + beta * C`: the chain over k first, then one multiplication, one product, one sum.
fn gemm(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    for (what, ty) in [("A of Gemm", a), ("B of Gemm", b)] {
        if ty.rank() != 2 {
            return Err(misfit(what, "2 dimensions", ty));
        }
    }
    same_type(scope)?;
    let (transpose_a, transpose_b) = (scope.attributes.flag("transA")?, scope.attributes.flag("transB")?);
    let ([m, k], [k_of_b, n]) = (turned(a, transpose_a), turned(b, transpose_b));
    if k != k_of_b {
        return Err(misfit("B of a matrix product", format!("{k} rows, as A has columns"), b));
    }
    let output = scope.value(a.dtype, vec![m, n])?;
    let mut c_strides = None;
    if let Some(c) = scope.optional(2) {
        if c.ty.dtype != a.dtype {
            return Err(Fault::Dtype { input: 2, expected: "the type of A", got: c.ty.dtype });
        }
        c_strides = Some(repeat(c.ty, m, n)?);
    }
    let kernel = GemmKernel {
        alpha: scope.attributes.float("alpha")?,
        beta: scope.attributes.float("beta")?,
        transpose_a,
        transpose_b,
        sizes: Sizes { m, k, n },
        c_strides,
        panels: panels(scope, k, n),
    };
    let is_float = matches!(a.dtype, Dtype::F32 | Dtype::F64 | Dtype::F16 | Dtype::BF16);
    if !is_float && !kernel.plain_scale() {
        let hint = "multiply before or after the product";
        return Err(Fault::Unsupported { what: "a factor other than 1 for integers".to_owned(), hint });
    }
    let macs = output.count().saturating_mul(k as u64);
    let scratch = scratch(k, n, scope.packed.is_some(), a);
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

fn same_type(scope: &Scope<'_>) -> Result<(), Fault> {
    const PRODUCTS: &[Dtype] =
        &[Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16, Dtype::I32, Dtype::I64, Dtype::U32, Dtype::U64];
    let a = scope.typed(0, PRODUCTS, "a float, or an integer of 32 or 64 bits")?;
    scope.typed(1, &[a.dtype], "the type of input 0")?;
    Ok(())
}

/// Steps of C along rows and columns.
fn repeat(c: &ValueType, m: usize, n: usize) -> Result<[usize; 2], Fault> {
    let misfits = || misfit("C of Gemm", format!("a shape that repeats to [{m}, {n}]"), c);
    let (rows, columns) = match c.shape[..] {
        [] => (1, 1),
        [columns] => (1, columns),
        [rows, columns] => (rows, columns),
        _ => return Err(misfits()),
    };
    if (rows != 1 && rows != m) || (columns != 1 && columns != n) {
        return Err(misfits());
    }
    Ok([if rows == 1 { 0 } else { columns }, usize::from(columns != 1)])
}

fn panels(scope: &Scope<'_>, k: usize, n: usize) -> Option<Panels> {
    Panels::from_buffer(k, n, scope.packed?.buffers.first()?.clone())
}

/// Panels of B, unless they are packed, and A as the kernels read it.
fn scratch(k: usize, n: usize, packed: bool, a: &ValueType) -> u64 {
    let b = if packed { 0 } else { Panels::bytes(k as u64, n as u64).saturating_mul(2) };
    b.saturating_add(a.count().saturating_mul(8).min(4 << 20))
}

fn pack_gemm(scope: &Scope<'_>, isa: Isa) -> Result<Option<Packed>, Fault> {
    let transpose = scope.attributes.flag("transB")?;
    let b = scope.optional(1).and_then(|operand| operand.constant);
    let Some((b, shape)) = b.and_then(|b| Some((b.as_f32()?, sizes(b.shape())))) else {
        return Ok(None);
    };
    let [rows, columns] = shape[..] else {
        return Ok(None);
    };
    let panels = if transpose {
        Panels::pack(isa, columns, rows, Strided::transposed(b, columns))
    } else {
        Panels::pack(isa, rows, columns, Strided::rows(b, columns))
    };
    Ok(Some(Packed::one(panels.buffer().clone(), 1)))
}

/// A constant matrix on the right.
fn pack_matmul(scope: &Scope<'_>, isa: Isa) -> Result<Option<Packed>, Fault> {
    let b = scope.optional(1).and_then(|operand| operand.constant);
    let Some((values, shape)) = b.and_then(|b| Some((b.as_f32()?, sizes(b.shape())))) else {
        return Ok(None);
    };
    let [outer @ .., rows, columns] = shape.as_slice() else {
        return Ok(None);
    };
    if outer.iter().any(|size| *size != 1) {
        return Ok(None);
    }
    let panels = Panels::pack(isa, *rows, *columns, Strided::rows(values, *columns));
    Ok(Some(Packed::one(panels.buffer().clone(), 1)))
}

#[derive(Debug)]
struct GemmKernel {
    alpha: f32,
    beta: f32,
    transpose_a: bool,
    transpose_b: bool,
    sizes: Sizes,
    c_strides: Option<[usize; 2]>,
    panels: Option<Panels>,
}

impl GemmKernel {
    fn plain_scale(&self) -> bool {
        self.alpha.to_bits() == 1.0_f32.to_bits() && self.beta.to_bits() == 1.0_f32.to_bits()
    }

    fn run_f32(&self, call: &Call<'_>) -> Result<Vec<f32>, Fault> {
        let Sizes { m, k, n } = self.sizes;
        let a = call.f32(0)?;
        let a = if self.transpose_a { Strided::transposed(a, m) } else { Strided::rows(a, k) };
        let mut out = call.f32s(m * n);
        let c = call.optional(2).and_then(|c| c.as_f32()).zip(self.c_strides);
        let (mut bias, mut late) = (Bias::None, None);
        match c {
            Some((c, [0, 1])) if self.plain_scale() => bias = Bias::Columns(c),
            Some((c, [1, 0])) if self.plain_scale() => bias = Bias::Rows(c),
            other => late = other,
        }
        let plain = late.is_none() && self.plain_scale();
        let tail = call.tail;
        let finish = |row: usize, column: usize, piece: &mut [f32]| {
            if !plain {
                self.scale_and_add(late, row, column, piece);
            }
            if let Some(tail) = tail {
                tail.apply(row * n + column, piece);
            }
        };
        let wanted = !plain || call.tail.is_some();
        let epilogue = wanted.then_some(&finish as Finish<'_, f32>);
        let b = match &self.panels {
            Some(_) => Strided::rows(&[], 0),
            None if self.transpose_b => Strided::transposed(call.f32(1)?, k),
            None => Strided::rows(call.f32(1)?, n),
        };
        with_panels(call.cpu, self.panels.as_ref(), k, n, b, |panels| {
            Product { m, a, b: panels, c: &mut out, stride: n, bias, epilogue }.run(call.cpu);
        });
        Ok(out)
    }

    fn scale_and_add(&self, c: Option<(&[f32], [usize; 2])>, row: usize, column: usize, piece: &mut [f32]) {
        if self.alpha.to_bits() != 1.0_f32.to_bits() {
            piece.iter_mut().for_each(|sum| *sum *= self.alpha);
        }
        let Some((c, [down, across])) = c else { return };
        let scaled = self.beta.to_bits() != 1.0_f32.to_bits();
        for (index, sum) in piece.iter_mut().enumerate() {
            let addend = c[row * down + (column + index) * across];
            *sum += if scaled { addend * self.beta } else { addend };
        }
    }
}

/// Panels that are packed already, or packed now into scratch.
fn with_panels(
    cpu: &Cpu,
    packed: Option<&Panels>,
    k: usize,
    n: usize,
    b: Strided<'_>,
    use_them: impl FnOnce(PanelsRef<'_>),
) {
    match packed {
        Some(panels) => use_them(panels.view()),
        None => {
            let mut scratch = cpu.shelf().take::<f32>(Panels::elements(k, n));
            use_them(PanelsRef::pack(cpu.isa(), k, n, b, scratch.as_mut()));
        }
    }
}

impl Kernel for GemmKernel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let dtype = call.input(0)?.dtype();
        if dtype == Dtype::F32 {
            return Ok(vec![TensorData::F32(self.run_f32(call)?)]);
        }
        let Sizes { m, k, n } = self.sizes;
        let walk = |rows: usize, columns: usize, transposed: bool| {
            if transposed { [1, rows] } else { [columns, 1] }
        };
        let chain =
            Chain { sizes: self.sizes, a: walk(m, k, self.transpose_a), b: walk(k, n, self.transpose_b) };
        let addend = self.c_strides.map(|strides| (2, strides));
        let data = dispatch!(dtype, T: [F64 F16 BF16 I32 I64 U32 U64] => {
            plain_product::gemm::<T>(call, &chain, (self.alpha, self.beta), addend)?
        }, else return Err(Fault::Dtype { input: 0, expected: "a float or an integer", got: dtype }));
        Ok(vec![data])
    }

    fn takes_tail(&self) -> Option<usize> {
        Some(self.sizes.n.max(1))
    }
}

/// `[.., m, k] * [.., k, n]`, outer dimensions broadcast.
fn matmul(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    same_type(scope)?;
    let (a, b) = (scope.input(0)?, scope.input(1)?);
    let (stack, shape) = Stack::new(a, b)?;
    let output = scope.value(a.dtype, shape)?;
    let Sizes { k, n, .. } = stack.sizes;
    let macs = output.count().saturating_mul(k as u64);
    let panels = panels(scope, k, n);
    let scratch = scratch(k, n, panels.is_some(), a).saturating_mul(2);
    Ok(Prepared::one(output, MatMul { stack, panels }).macs(macs).scratch_bytes(scratch))
}

/// How the matrices of two broadcast stacks meet.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) sizes: Sizes,
    /// Sizes of the outer dimensions of the output, and the steps of A and B along them, in matrices.
    outer: Vec<[usize; 3]>,
}

impl Stack {
    /// The stack, and the shape of the output.
    pub(crate) fn new(a: &ValueType, b: &ValueType) -> Result<(Self, Vec<usize>), Fault> {
        if a.rank() == 0 || b.rank() == 0 {
            let empty = if a.rank() == 0 { a } else { b };
            return Err(misfit("a matrix product", "at least 1 dimension", empty));
        }
        let (outer_a, m, k) = match a.shape[..] {
            [ref outer @ .., m, k] => (outer, m, k),
            [k] => (&[][..], 1, k),
            [] => (&[][..], 1, 1),
        };
        let (outer_b, k_of_b, n) = match b.shape[..] {
            [ref outer @ .., k, n] => (outer, k, n),
            [k] => (&[][..], k, 1),
            [] => (&[][..], 1, 1),
        };
        if k != k_of_b {
            return Err(misfit("B of a matrix product", format!("{k} rows, as A has columns"), b));
        }
        let rank = outer_a.len().max(outer_b.len());
        let mut outer = vec![[1, 0, 0]; rank];
        let (mut step_a, mut step_b) = (1, 1);
        for (index, slot) in outer.iter_mut().enumerate().rev() {
            let at = |shape: &[usize]| (index + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
            let (x, y) = (at(outer_a), at(outer_b));
            if x != y && x != 1 && y != 1 {
                return Err(misfit("B of a matrix product", format!("outer sizes that meet {outer_a:?}"), b));
            }
            let size = if x == 1 { y } else { x };
            *slot = [size, if x == 1 { 0 } else { step_a }, if y == 1 { 0 } else { step_b }];
            (step_a, step_b) = (step_a * x, step_b * y);
        }
        let mut shape: Vec<usize> = outer.iter().map(|[size, ..]| *size).collect();
        if a.rank() > 1 {
            shape.push(m);
        }
        if b.rank() > 1 {
            shape.push(n);
        }
        Ok((Self { sizes: Sizes { m, k, n }, outer }, shape))
    }

    /// Number of products.
    pub(crate) fn count(&self) -> usize {
        self.outer.iter().map(|[size, ..]| *size).product()
    }

    /// Which matrices of A and B the product `index` is of.
    pub(crate) fn pair(&self, mut index: usize) -> (usize, usize) {
        let (mut a, mut b) = (0, 0);
        for [size, step_a, step_b] in self.outer.iter().rev() {
            let at = index % size;
            (a, b) = (a + at * step_a, b + at * step_b);
            index /= size;
        }
        (a, b)
    }

    /// Whether all matrices of A meet one B: then they are one tall matrix.
    fn is_tall(&self) -> bool {
        self.outer.iter().all(|[size, _, step_b]| *size == 1 || *step_b == 0)
            && (0..self.count().min(2)).all(|index| self.pair(index).0 == index)
            && self
                .outer
                .iter()
                .rev()
                .try_fold(1, |expected, [size, step_a, _]| {
                    (*size == 1 || *step_a == expected).then_some(expected * size)
                })
                .is_some()
    }
}

#[derive(Debug)]
struct MatMul {
    stack: Stack,
    panels: Option<Panels>,
}

impl Kernel for MatMul {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let dtype = call.input(0)?.dtype();
        if dtype == Dtype::F32 {
            return Ok(vec![TensorData::F32(self.run_f32(call)?)]);
        }
        let data = dispatch!(dtype, T: [F64 F16 BF16 I32 I64 U32 U64] => {
            product_of::<T>(call, &self.stack)?
        }, else return Err(Fault::Dtype { input: 0, expected: "a float or an integer", got: dtype }));
        Ok(vec![data])
    }

    fn takes_tail(&self) -> Option<usize> {
        Some(self.stack.sizes.n.max(1))
    }
}

impl MatMul {
    fn run_f32(&self, call: &Call<'_>) -> Result<Vec<f32>, Fault> {
        let Sizes { m, k, n } = self.stack.sizes;
        let a = call.f32(0)?;
        let mut out = call.f32s(call.elements(0));
        if out.is_empty() {
            return Ok(out);
        }
        if self.stack.is_tall() {
            let b =
                if self.panels.is_some() { Strided::rows(&[], 0) } else { Strided::rows(call.f32(1)?, n) };
            with_panels(call.cpu, self.panels.as_ref(), k, n, b, |panels| {
                let rows = self.stack.count() * m;
                finish_product(call.cpu, rows, Strided::rows(a, k), panels, (0, call.tail), &mut out);
            });
            return Ok(out);
        }
        let (stack, tail, b) = (&self.stack, call.tail, call.f32(1)?);
        let steps = stack.count().saturating_mul(m * n).saturating_mul(k);
        if stack.count() > 1 && steps >= SHARED_STEPS {
            let alone = call.cpu.alone();
            call.cpu.chunks(&mut out, m * n, 0, |index, c| stacked(&alone, stack, index, (a, b), tail, c));
        } else {
            let products = out.chunks_mut(m * n).enumerate();
            products.for_each(|(index, c)| stacked(call.cpu, stack, index, (a, b), tail, c));
        }
        Ok(out)
    }
}

/// One product of a stack.
fn stacked(
    cpu: &Cpu,
    stack: &Stack,
    index: usize,
    (a, b): (&[f32], &[f32]),
    tail: Option<&TailCall<'_>>,
    c: &mut [f32],
) {
    let Sizes { m, k, n } = stack.sizes;
    let (at_a, at_b) = stack.pair(index);
    let b = Strided::rows(&b[at_b * k * n..][..k * n], n);
    with_panels(cpu, None, k, n, b, |panels| {
        let a = Strided::rows(&a[at_a * m * k..][..m * k], k);
        finish_product(cpu, m, a, panels, (index * m * n, tail), c);
    });
}

/// A product, and the tail on outputs that begin at place `first`.
fn finish_product(
    cpu: &Cpu,
    m: usize,
    a: Strided<'_>,
    b: PanelsRef<'_>,
    (first, tail): (usize, Option<&TailCall<'_>>),
    c: &mut [f32],
) {
    let n = b.n;
    let finish = tail.map(|tail| {
        move |row: usize, column: usize, piece: &mut [f32]| tail.apply(first + row * n + column, piece)
    });
    let epilogue = finish.as_ref().map(|f| f as Finish<'_, f32>);
    Product { m, a, b, c, stride: n, bias: Bias::None, epilogue }.run(cpu);
}
