//! Matrix products.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::binary::{Pair, Rule, apply, broadcast, fits_into};
use super::{Call, FnKernel, Kernel, Prepared, Scope, misfit, sizes};
use crate::kernels::Isa;
use crate::kernels::gemm::{Gemm, Panels, gemm_i32};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;
use crate::{Dim, Fault};

pub(crate) fn import_gemm(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_float("alpha", 1.0)?;
    upload.default_float("beta", 1.0)?;
    upload.default_int("transA", 0)?;
    upload.default_int("transB", 0)
}

/// `alpha * (A' B') + beta * C`: the chain over k first, then one multiplication, one product, one sum.
pub(crate) fn gemm(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let (a, b) = (scope.f32(0)?, scope.f32(1)?);
    for (what, ty) in [("A of Gemm", a), ("B of Gemm", b)] {
        if ty.rank() != 2 {
            return Err(misfit(what, "2 dimensions", ty));
        }
    }
    let kernel = GemmKernel {
        alpha: scope.attributes.float("alpha")?,
        beta: scope.attributes.float("beta")?,
        transpose_a: scope.attributes.flag("transA")?,
        transpose_b: scope.attributes.flag("transB")?,
        packed: None,
    };
    let [m, k] = turned(a, kernel.transpose_a);
    let [k_of_b, n] = turned(b, kernel.transpose_b);
    let (Dim::Fixed(depth), Dim::Fixed(columns), true) = (k, n, k == k_of_b) else {
        return Err(mixed_or_misfit(k, k_of_b, n, b));
    };
    let output = scope.value(Dtype::F32, vec![m, n])?;
    if let Some(c) = scope.optional(2) {
        scope.f32(2)?;
        fits_into("C of Gemm", c.ty, &output)?;
    }
    let macs = output.row_elements().saturating_mul(depth);
    let scratch = Panels::bytes(depth, columns)
        .saturating_add(a.row_elements().saturating_mul(4))
        .saturating_add(output.row_elements().saturating_mul(4));
    let constant = scope.optional(1).is_some_and(|b| b.constant.is_some());
    let loaded = if constant { Panels::bytes(depth, columns) } else { 0 };
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch).loaded_bytes(loaded))
}

fn turned(ty: &ValueType, transpose: bool) -> [Dim; 2] {
    if transpose { [ty.shape[1], ty.shape[0]] } else { [ty.shape[0], ty.shape[1]] }
}

fn mixed_or_misfit(k: Dim, k_of_b: Dim, n: Dim, b: &ValueType) -> Fault {
    if [k, k_of_b, n].contains(&Dim::Batch) {
        return Fault::MixesBatch { what: "a matrix product over or across the batch" };
    }
    misfit("B of a matrix product", format!("{k} rows, as A has columns"), b)
}

#[derive(Debug)]
struct GemmKernel {
    alpha: f32,
    beta: f32,
    transpose_a: bool,
    transpose_b: bool,
    packed: Option<Panels>,
}

impl GemmKernel {
    fn pack(&self, b: &Tensor) -> Panels {
        let (values, shape) = (b.as_f32().unwrap_or_default(), sizes(b.shape()));
        let (rows, columns) = (shape[0], shape[1]);
        if self.transpose_b {
            Panels::pack(columns, rows, values, 1, columns)
        } else {
            Panels::pack(rows, columns, values, columns, 1)
        }
    }
}

impl Kernel for GemmKernel {
    fn load(&mut self, constants: &[Option<&Tensor>]) {
        self.packed = constants.get(1).copied().flatten().map(|b| self.pack(b));
    }

    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let fresh;
        let panels = match &self.packed {
            Some(panels) => panels,
            None => {
                fresh = self.pack(call.input(1)?);
                &fresh
            }
        };
        let shape = call.sizes(0);
        let (m, n) = (shape[0], shape[1]);
        let turned;
        let mut a = call.f32(0)?;
        if self.transpose_a {
            turned = transposed(a, panels.k, m);
            a = &turned;
        }
        let mut c = product(call.isa, m, a, panels);
        if self.alpha.to_bits() != 1.0_f32.to_bits() {
            c.iter_mut().for_each(|sum| *sum *= self.alpha);
        }
        if let Some(addend) = call.inputs.get(2).copied().flatten() {
            let mut scaled = addend.as_f32().unwrap_or_default().to_vec();
            if self.beta.to_bits() != 1.0_f32.to_bits() {
                scaled.iter_mut().for_each(|x| *x *= self.beta);
            }
            let pair = Pair { a: &[m, n], b: &sizes(addend.shape()), out: &[m, n] };
            c = apply(call.isa, Rule::Add, &c, &scaled, &pair)?;
        }
        Ok(vec![TensorData::F32(c)])
    }
}

/// `a[k, m]` as `[m, k]`.
fn transposed(a: &[f32], k: usize, m: usize) -> Vec<f32> {
    (0..m * k).map(|index| a[index % k * m + index / k]).collect()
}

fn product(isa: Isa, m: usize, a: &[f32], panels: &Panels) -> Vec<f32> {
    let Panels { k, n, lanes } = panels;
    let mut c = vec![0.0; m * n];
    isa.run(Gemm { m, a, k: *k, n: *n, b: lanes, c: &mut c, stride_c: *n });
    c
}

/// `[.., m, k] * [.., k, n]`, outer dimensions broadcast.
pub(crate) fn matmul(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 2, 1)?;
    let shapes = product_shapes(scope, scope.f32(0)?, scope.f32(1)?, Dtype::F32)?;
    let output = shapes.output;
    let macs = output.row_elements().saturating_mul(shapes.k);
    let scratch = Panels::bytes(shapes.k, shapes.n);
    let constant = scope.optional(1).is_some_and(|b| b.constant.is_some());
    let loaded = if constant { scratch } else { 0 };
    // Panels of one matrix, and where each pair of matrices starts.
    let scratch = scratch.saturating_add(output.row_elements().saturating_mul(32));
    let kernel = MatMulKernel { packed: None };
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch).loaded_bytes(loaded))
}

struct ProductShapes {
    output: ValueType,
    k: u64,
    n: u64,
}

fn product_shapes(
    scope: &Scope<'_>,
    a: &ValueType,
    b: &ValueType,
    dtype: Dtype,
) -> Result<ProductShapes, Fault> {
    if a.rank() == 0 || b.rank() == 0 {
        return Err(misfit("a matrix product", "at least 1 dimension", if a.rank() == 0 { a } else { b }));
    }
    let k = a.shape[a.rank() - 1];
    let (k_of_b, n) = match b.shape[..] {
        [k] => (k, Dim::Fixed(1)),
        [.., k, n] => (k, n),
        [] => (k, Dim::Fixed(1)),
    };
    let (Dim::Fixed(depth), Dim::Fixed(columns), true) = (k, n, k == k_of_b) else {
        return Err(mixed_or_misfit(k, k_of_b, n, b));
    };
    let outer = |ty: &ValueType| ty.shape[..ty.rank().saturating_sub(2)].to_vec();
    let mut shape = broadcast(&outer(a), &outer(b))?;
    if a.rank() > 1 {
        shape.push(a.shape[a.rank() - 2]);
    }
    if b.rank() > 1 {
        shape.push(n);
    }
    Ok(ProductShapes { output: scope.value(dtype, shape)?, k: depth, n: columns })
}

#[derive(Debug)]
struct MatMulKernel {
    /// `b`, if it is a constant matrix.
    packed: Option<Panels>,
}

impl Kernel for MatMulKernel {
    fn load(&mut self, constants: &[Option<&Tensor>]) {
        let b = constants.get(1).copied().flatten().filter(|b| b.shape().len() == 2);
        self.packed = b.map(|b| {
            let shape = sizes(b.shape());
            Panels::pack(shape[0], shape[1], b.as_f32().unwrap_or_default(), shape[1], 1)
        });
    }

    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (a, b) = (call.f32(0)?, call.f32(1)?);
        if let Some(panels) = &self.packed {
            let rows = call.elements(0).checked_div(panels.n).unwrap_or(0);
            return Ok(vec![TensorData::F32(product(call.isa, rows, a, panels))]);
        }
        if call.elements(0) == 0 {
            return Ok(vec![TensorData::F32(Vec::new())]);
        }
        let walk = Matrices::new(&sizes(call.input(0)?.shape()), &sizes(call.input(1)?.shape()));
        let mut out = Vec::with_capacity(call.elements(0));
        for (at_a, at_b) in walk.offsets() {
            let panels = Panels::pack(walk.k, walk.n, &b[at_b..at_b + walk.k * walk.n], walk.n, 1);
            out.extend(product(call.isa, walk.m, &a[at_a..at_a + walk.m * walk.k], &panels));
        }
        Ok(vec![TensorData::F32(out)])
    }
}

/// How the matrices of two broadcast stacks meet.
struct Matrices {
    m: usize,
    k: usize,
    n: usize,
    outer_a: Vec<usize>,
    outer_b: Vec<usize>,
}

impl Matrices {
    fn new(a: &[usize], b: &[usize]) -> Self {
        let k = a[a.len() - 1];
        let m = if a.len() > 1 { a[a.len() - 2] } else { 1 };
        let n = if b.len() > 1 { b[b.len() - 1] } else { 1 };
        let outer = |shape: &[usize]| shape[..shape.len().saturating_sub(2)].to_vec();
        Self { m, k, n, outer_a: outer(a), outer_b: outer(b) }
    }

    /// Where each pair of matrices starts.
    fn offsets(&self) -> Vec<(usize, usize)> {
        let rank = self.outer_a.len().max(self.outer_b.len());
        let at =
            |shape: &[usize], index: usize| (index + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
        let mut pairs = vec![(0, 0)];
        for index in 0..rank {
            let (a, b) = (at(&self.outer_a, index), at(&self.outer_b, index));
            let count = if a == 1 { b } else { a };
            let next = |(x, y): (usize, usize)| {
                (0..count)
                    .map(move |i| (x * a + if a == 1 { 0 } else { i }, y * b + if b == 1 { 0 } else { i }))
            };
            pairs = pairs.into_iter().flat_map(next).collect();
        }
        pairs.into_iter().map(|(x, y)| (x * self.m * self.k, y * self.k * self.n)).collect()
    }
}

/// Bytes to INT32, exact modulo 2^32; zero points are scalars.
pub(crate) fn matmul_integer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    const BYTES: &[Dtype] = &[Dtype::I8, Dtype::U8];
    scope.arity(2, 4, 1)?;
    let (a, b) = (scope.typed(0, BYTES, "INT8 or UINT8")?, scope.typed(1, BYTES, "INT8 or UINT8")?);
    for input in [2, 3] {
        if let Some(zero) = scope.optional(input) {
            scope.typed(input, BYTES, "INT8 or UINT8")?;
            if zero.ty.batched() || zero.ty.row_elements() != 1 {
                return Err(misfit("zero point of MatMulInteger", "one element", zero.ty));
            }
        }
    }
    let shapes = product_shapes(scope, a, b, Dtype::I32)?;
    let macs = shapes.output.row_elements().saturating_mul(shapes.k);
    let scratch = a.row_elements().saturating_add(b.row_elements()).saturating_mul(4);
    let scratch = scratch.saturating_add(shapes.output.row_elements().saturating_mul(32));
    Ok(Prepared::one(shapes.output, FnKernel(run_integer)).macs(macs).scratch_bytes(scratch))
}

fn run_integer(call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
    if call.elements(0) == 0 {
        return Ok(vec![TensorData::I32(Vec::new())]);
    }
    let zero = |input: usize| match call.inputs.get(input).copied().flatten() {
        Some(tensor) => bytes_as_i32(tensor, 0).map(|values| values.first().copied().unwrap_or(0)),
        None => Ok(0),
    };
    let a = bytes_as_i32(call.input(0)?, zero(2)?)?;
    let b = bytes_as_i32(call.input(1)?, zero(3)?)?;
    let walk = Matrices::new(&sizes(call.input(0)?.shape()), &sizes(call.input(1)?.shape()));
    let mut out = vec![0; call.elements(0)];
    let size = walk.m * walk.n;
    for (index, (at_a, at_b)) in walk.offsets().into_iter().enumerate() {
        let c = &mut out[index * size..(index + 1) * size];
        gemm_i32(walk.m, walk.k, walk.n, &a[at_a..], &b[at_b..], c);
    }
    Ok(vec![TensorData::I32(out)])
}

/// Bytes less the zero point.
fn bytes_as_i32(tensor: &Tensor, zero: i32) -> Result<Vec<i32>, Fault> {
    match tensor.data() {
        TensorData::I8(v) => Ok(v.iter().map(|x| i32::from(*x) - zero).collect()),
        TensorData::U8(v) => Ok(v.iter().map(|x| i32::from(*x) - zero).collect()),
        other => Err(Fault::Dtype { input: 0, expected: "INT8 or UINT8", got: other.dtype() }),
    }
}
