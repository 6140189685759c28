//! Products with weights in blocks: bytes or less per weight, a scale for each block, as GGUF stores them.
//!
//! | module | what it holds |
//! |---|---|
//! | [`lanes`] | [`lanes::Lanes`]: sixteen outputs, the few instructions that differ |
//! | [`layout`] | [`layout::Layout`]: where levels and scales of a panel lie; packing from rows |
//! | [`tokens`] | [`tokens::Tokens`]: rows of the left matrix, as levels of a byte |
//! | [`tile`] | a few tokens times a few panels, all sums in registers |
//!
//! # Rules
//! - Each row of the left matrix becomes levels, in blocks of 32: `s = m / 127` with the greatest size `m`,
//!   level `= x * (1 / s)` rounded to the nearest integer, ties to even, between -127 and 127.
//! - Within a block products and sums of levels are exact integers. An output is one chain over the blocks
//!   in order, starting from `+0`: `sum = fma(integer, weight scale * s, sum)`, the product of scales rounded.
//! - Weights with a minimum (`q * a - b`) add a second link per block: `sum = fma(b, -(s * total), sum)`,
//!   `total` the sum of the block's levels.
//! - An output is the same bits alone, in any batch, on any number of threads.

use std::ops::Range;

use super::buffer::{Aligned, Buffer};
use super::threads::Cpu;

pub(crate) mod lanes;
pub(crate) mod layout;
#[cfg(test)]
mod tests;
mod tile;
pub(crate) mod tokens;

use lanes::{Lanes, LanesBody, WIDTH};
use layout::{Layout, Q4, Q4K, Q6K, Q8};
use tile::{Call, PANELS, tile};
use tokens::Tokens;

/// Multiply-adds below which threads cost more than they give.
const SHARED_MACS: usize = 1 << 18;
/// Panels that one thread computes at a time.
const GRAIN: usize = 4 * PANELS;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blocks {
    /// 32 bytes, one scale.
    Q8,
    /// 32 levels of four bits, one scale.
    Q4,
    /// 8 times 32 levels of four bits, each with a scale and a minimum of six bits.
    Q4K,
    /// 16 times 16 levels of six bits, each with a scale of a byte.
    Q6K,
}

impl Blocks {
    /// Weights of a block.
    pub(crate) const fn weights(self) -> usize {
        match self {
            Self::Q8 | Self::Q4 => 32,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// Bytes of a block in a file.
    pub(crate) const fn row_bytes(self) -> usize {
        match self {
            Self::Q8 => Q8::ROW_BYTES,
            Self::Q4 => Q4::ROW_BYTES,
            Self::Q4K => Q4K::ROW_BYTES,
            Self::Q6K => Q6K::ROW_BYTES,
        }
    }

    /// Bytes of a block of sixteen rows in a panel.
    const fn panel_bytes(self) -> usize {
        match self {
            Self::Q8 => Q8::PANEL_BYTES,
            Self::Q4 => Q4::PANEL_BYTES,
            Self::Q4K => Q4K::PANEL_BYTES,
            Self::Q6K => Q6K::PANEL_BYTES,
        }
    }
}

/// A matrix of weights `[n, k]` in panels of sixteen rows; rows beyond the last are zeros.
#[derive(Debug, Clone)]
pub(crate) struct BlockMatrix {
    blocks: Blocks,
    n: usize,
    k: usize,
    data: Buffer,
}

impl BlockMatrix {
    /// Bytes of the panels of `n` rows of `k` weights.
    pub(crate) fn bytes(blocks: Blocks, n: u64, k: u64) -> u64 {
        let per_panel = (k / blocks.weights() as u64).saturating_mul(blocks.panel_bytes() as u64);
        n.div_ceil(WIDTH as u64).saturating_mul(per_panel)
    }

    /// Pack `n` rows of `k` weights as a file has them; `None` if the bytes are not as many.
    pub(crate) fn pack(blocks: Blocks, n: usize, k: usize, rows: &[u8]) -> Option<Self> {
        if !k.is_multiple_of(blocks.weights()) {
            return None;
        }
        let row = k / blocks.weights() * blocks.row_bytes();
        if rows.len() != n.checked_mul(row)? {
            return None;
        }
        let mut data = Aligned::zeroed::<u8>(usize::try_from(Self::bytes(blocks, n as u64, k as u64)).ok()?);
        match blocks {
            Blocks::Q8 => layout::pack::<Q8>(rows, n, k, data.as_mut()),
            Blocks::Q4 => layout::pack::<Q4>(rows, n, k, data.as_mut()),
            Blocks::Q4K => layout::pack::<Q4K>(rows, n, k, data.as_mut()),
            Blocks::Q6K => layout::pack::<Q6K>(rows, n, k, data.as_mut()),
        }
        Some(Self { blocks, n, k, data: Buffer::new(data) })
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.data
    }

    /// Rows of the matrix: columns of a product.
    pub(crate) fn outputs(&self) -> usize {
        self.n
    }

    /// Columns of the matrix.
    pub(crate) fn inputs(&self) -> usize {
        self.k
    }

    /// `out[t, n] = tokens[t, k] * weights[n, k]`; rows of `out` lie `n` apart.
    ///
    /// # Panics
    /// If the tokens have another `k`, or `out` another size: a mistake of this crate, never of a model.
    pub(crate) fn product(&self, cpu: &Cpu, tokens: &Tokens, out: &mut [f32]) {
        assert!(tokens.k() == self.k && out.len() == tokens.count() * self.n, "sizes of a block product");
        if out.is_empty() {
            return;
        }
        match self.blocks {
            Blocks::Q8 => cpu.isa().with_lanes(Product::<Q8>::new(self, cpu, tokens, out)),
            Blocks::Q4 => cpu.isa().with_lanes(Product::<Q4>::new(self, cpu, tokens, out)),
            Blocks::Q4K => cpu.isa().with_lanes(Product::<Q4K>::new(self, cpu, tokens, out)),
            Blocks::Q6K => cpu.isa().with_lanes(Product::<Q6K>::new(self, cpu, tokens, out)),
        }
    }
}

struct Product<'a, 'c, F> {
    matrix: &'a BlockMatrix,
    cpu: &'a Cpu,
    tokens: &'a Tokens,
    out: &'c mut [f32],
    format: std::marker::PhantomData<fn() -> F>,
}

/// The columns of some panels, in every row of the output.
struct Part<'c> {
    panels: Range<usize>,
    rows: Vec<&'c mut [f32]>,
}

impl<'a, 'c, F: Layout> Product<'a, 'c, F> {
    fn new(matrix: &'a BlockMatrix, cpu: &'a Cpu, tokens: &'a Tokens, out: &'c mut [f32]) -> Self {
        Self { matrix, cpu, tokens, out, format: std::marker::PhantomData }
    }

    /// Columns are shared among threads: each reads its weights once.
    fn parts(out: &'c mut [f32], n: usize, per_part: usize) -> Vec<Part<'c>> {
        let panels = n.div_ceil(WIDTH);
        let rows = out.len() / n;
        let mut parts: Vec<Part<'c>> = (0..panels)
            .step_by(per_part)
            .map(|first| Part {
                panels: first..(first + per_part).min(panels),
                rows: Vec::with_capacity(rows),
            })
            .collect();
        for mut row in out.chunks_exact_mut(n) {
            for part in &mut parts {
                let width = ((part.panels.end - part.panels.start) * WIDTH).min(row.len());
                let (piece, rest) = row.split_at_mut(width);
                part.rows.push(piece);
                row = rest;
            }
        }
        parts
    }
}

impl<F: Layout> LanesBody for Product<'_, '_, F> {
    type Out = ();

    fn run<L: Lanes>(self, lanes: L) {
        let Self { matrix, cpu, tokens, out, .. } = self;
        let panels = matrix.n.div_ceil(WIDTH);
        let macs = tokens.count().saturating_mul(matrix.n).saturating_mul(matrix.k);
        let shared = cpu.threads() > 1 && macs >= SHARED_MACS;
        let per_part =
            if shared { (panels / (4 * cpu.threads())).next_multiple_of(GRAIN).max(GRAIN) } else { panels };
        let blocks = matrix.k / F::WEIGHTS;
        let data = matrix.data.as_bytes();
        let panel = |index: usize| &data[index * blocks * F::PANEL_BYTES..][..blocks * F::PANEL_BYTES];
        cpu.each(Self::parts(out, matrix.n, per_part), |mut part| {
            let origin = part.panels.start;
            for first in part.panels.clone().step_by(PANELS) {
                let second = (first + 1).min(part.panels.end - 1);
                let pair = [panel(first), panel(second)];
                let from = (first - origin) * WIDTH;
                tokens.each_tile(|rows, levels| {
                    tile::<L, F>(lanes, Call { panels: pair, levels, rows: &mut part.rows[rows], from });
                });
            }
        });
    }
}
