//! Products of f32 matrices: one chain of fused multiply-adds per output, over k in order.
//!
//! # Rules
//! - The chain starts from `+0`; the bias is added after it, with one rounding; then comes the epilogue.
//! - An output is the same bits alone, in any batch, on any number of threads.

use super::DotBody;
use super::dot::Dot;
use super::matrix::{Finish, Matrix};
use super::pack::{Heights, PanelsRef, Strided, pack_left};
use super::threads::Cpu;
use super::tile::Bias;

/// `c[m, n] = a[m, k] * b[k, n] + bias`, then the epilogue on each finished piece of a row.
pub(crate) struct Product<'a> {
    pub(crate) m: usize,
    /// In any order; packed on the way.
    pub(crate) a: Strided<'a>,
    /// Gives k and n.
    pub(crate) b: PanelsRef<'a>,
    pub(crate) c: &'a mut [f32],
    /// Elements between rows of `c`.
    pub(crate) stride: usize,
    pub(crate) bias: Bias<'a, f32>,
    /// Row, first column, finished values; called once for each value, while it is in cache.
    pub(crate) epilogue: Option<Finish<'a, f32>>,
}

impl Product<'_> {
    pub(crate) fn run(self, cpu: &Cpu) {
        cpu.isa().with_float(OnCpu { product: self, cpu });
    }
}

struct OnCpu<'a, 'p> {
    product: Product<'p>,
    cpu: &'a Cpu,
}

impl DotBody<f32, f32> for OnCpu<'_, '_> {
    type Result = ();

    fn run<D: Dot<Unit = f32, Out = f32>>(self, dot: D) {
        let Product { m, a, b, c, stride, bias, epilogue } = self.product;
        let isa = self.cpu.isa();
        let pack = |rows, out: &mut [f32]| pack_left(isa, a, rows, b.k, out);
        let matrix = Matrix {
            n: b.n,
            k: b.k,
            heights: Heights::new(m, D::ROWS),
            left: &pack,
            right: b.lanes,
            bias,
            finish: epilogue,
        };
        matrix.run(dot, self.cpu, c, stride);
    }
}
