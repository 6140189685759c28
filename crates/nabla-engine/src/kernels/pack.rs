//! Matrices in the order in which tiles read them.
//!
//! The right-hand matrix becomes panels of sixteen columns, the same for every instruction set, so that they
//! may be stored. The left-hand one becomes tiles of rows, whose height is the instruction set's.

use super::buffer::{Aligned, Buffer};
use super::dot::WIDTH;
use super::{Body, Fma, Isa};

/// Panels that are filled beside each other.
const BESIDE: usize = 8;

/// The right-hand matrix `[k, n]`, cut in panels of [`WIDTH`] columns, each k lanes, zeros beyond the last
/// column.
#[derive(Debug, Clone, Default)]
pub(crate) struct Panels {
    k: usize,
    n: usize,
    data: Buffer,
}

/// Panels that somebody else keeps, such as scratch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PanelsRef<'a> {
    pub(crate) k: usize,
    pub(crate) n: usize,
    pub(crate) lanes: &'a [f32],
}

/// An f32 matrix in any order: element `(i, j)` at `i * row_stride + j * column_stride`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> Strided<'a> {
    /// Rows one after the other.
    pub(crate) fn rows(data: &'a [f32], columns: usize) -> Self {
        Self { data, row_stride: columns, column_stride: 1 }
    }

    /// The transpose of a matrix whose rows lie one after the other.
    pub(crate) fn transposed(data: &'a [f32], columns: usize) -> Self {
        Self { data, row_stride: 1, column_stride: columns }
    }
}

impl Panels {
    /// Bytes of the panels of a `[k, n]` matrix.
    pub(crate) fn bytes(k: u64, n: u64) -> u64 {
        n.checked_next_multiple_of(WIDTH as u64).unwrap_or(u64::MAX).saturating_mul(k).saturating_mul(4)
    }

    /// Elements of the panels of a `[k, n]` matrix, for scratch.
    pub(crate) fn elements(k: usize, n: usize) -> usize {
        n.div_ceil(WIDTH) * WIDTH * k
    }

    pub(crate) fn pack(isa: Isa, k: usize, n: usize, source: Strided<'_>) -> Self {
        let mut bytes = Aligned::zeroed::<f32>(Self::elements(k, n));
        pack_right(isa, k, n, source, bytes.as_mut());
        Self { k, n, data: Buffer::new(bytes) }
    }

    /// Panels that were packed before; `None` if the buffer has another size.
    pub(crate) fn from_buffer(k: usize, n: usize, data: Buffer) -> Option<Self> {
        let expected = Self::bytes(k as u64, n as u64);
        (data.as_bytes().len() as u64 == expected).then_some(Self { k, n, data })
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.data
    }

    pub(crate) fn view(&self) -> PanelsRef<'_> {
        PanelsRef { k: self.k, n: self.n, lanes: self.data.as_f32() }
    }
}

impl<'a> PanelsRef<'a> {
    /// Pack into scratch of at least [`Panels::elements`].
    pub(crate) fn pack(isa: Isa, k: usize, n: usize, source: Strided<'_>, scratch: &'a mut [f32]) -> Self {
        let lanes = &mut scratch[..Panels::elements(k, n)];
        pack_right(isa, k, n, source, lanes);
        Self { k, n, lanes }
    }
}

/// Order a right-hand matrix; `lanes` may hold anything before.
fn pack_right(isa: Isa, k: usize, n: usize, source: Strided<'_>, lanes: &mut [f32]) {
    if k == 0 {
        return;
    }
    let lanes = lanes.as_chunks_mut::<WIDTH>().0;
    let whole = n / WIDTH * k;
    let (lanes, last) = lanes.split_at_mut(whole);
    for (row, lane) in last.iter_mut().enumerate() {
        *lane = [0.0; WIDTH];
        for (column, slot) in (n / WIDTH * WIDTH..n).zip(lane) {
            *slot = source.data[row * source.row_stride + column * source.column_stride];
        }
    }
    if source.column_stride == 1 {
        isa.run(PackRows { k, source, lanes });
        return;
    }
    for (panel, lanes) in lanes.chunks_exact_mut(k).enumerate() {
        let data = &source.data[panel * WIDTH * source.column_stride..];
        interleave::<WIDTH>(isa, data, source.column_stride, source.row_stride, lanes);
    }
}

/// Whole panels of a matrix whose rows lie together.
struct PackRows<'a, 's> {
    k: usize,
    source: Strided<'s>,
    lanes: &'a mut [[f32; WIDTH]],
}

impl Body for PackRows<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { k, source, lanes } = self;
        for (block, lanes) in lanes.chunks_mut(BESIDE * k).enumerate() {
            let first = block * BESIDE * WIDTH;
            for row in 0..k {
                let data = &source.data[row * source.row_stride + first..];
                // Several panels at a time, so that a row is read in longer pieces.
                for (lane, data) in lanes.iter_mut().skip(row).step_by(k).zip(data.as_chunks().0) {
                    *lane = *data;
                }
            }
        }
    }
}

/// `out[step][i] = data[i * stride + step * step_stride]`.
fn interleave<const R: usize>(
    isa: Isa,
    data: &[f32],
    stride: usize,
    step_stride: usize,
    out: &mut [[f32; R]],
) {
    for (block, out) in out.chunks_mut(WIDTH).enumerate() {
        let data = &data[block * WIDTH * step_stride..];
        match out.first_chunk_mut() {
            Some(out) if step_stride == 1 => isa.transpose(data, stride, out),
            _ => {
                for (step, slots) in out.iter_mut().enumerate() {
                    for (i, slot) in slots.iter_mut().enumerate() {
                        *slot = data[i * stride + step * step_stride];
                    }
                }
            }
        }
    }
}

/// How rows are cut in tiles: as few as possible, of heights that differ by one at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heights {
    rows: usize,
    count: usize,
}

impl Heights {
    pub(crate) fn new(rows: usize, rows_max: usize) -> Self {
        Self { rows, count: rows.div_ceil(rows_max) }
    }

    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// The first row of a tile; of the tile behind the last, the number of rows.
    pub(crate) fn start(self, tile: usize) -> usize {
        let count = self.count.max(1);
        self.rows / count * tile + tile.min(self.rows % count)
    }

    pub(crate) fn rows(self, tile: usize) -> std::ops::Range<usize> {
        self.start(tile)..self.start(tile + 1)
    }

    /// The tallest.
    pub(crate) fn tallest(self) -> usize {
        self.rows.div_ceil(self.count.max(1))
    }
}

/// Left-hand matrices `[m, k]`, one per group, in tiles of rows: tile by tile, step by step, one unit per
/// row.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tiles {
    pub(crate) groups: usize,
    pub(crate) m: usize,
    pub(crate) k: usize,
    /// Height of the tallest tile, as the instruction set has it.
    pub(crate) rows_max: usize,
    pub(crate) data: Buffer,
}

impl Tiles {
    /// Bytes of tiles of f32.
    pub(crate) fn bytes(groups: u64, m: u64, k: u64) -> u64 {
        groups.saturating_mul(m).saturating_mul(k).saturating_mul(4)
    }

    /// Pack `groups` matrices `[m, k]` that lie one after the other.
    pub(crate) fn pack(isa: Isa, groups: usize, m: usize, k: usize, source: &[f32]) -> Self {
        let rows_max = isa.float_rows();
        let mut bytes = Aligned::zeroed::<f32>(groups * m * k);
        let heights = Heights::new(m, rows_max);
        let out: &mut [f32] = bytes.as_mut();
        for group in 0..groups {
            let from = group * m * k;
            let source = Strided::rows(&source[from..from + m * k], k);
            for tile in 0..heights.count() {
                let rows = heights.rows(tile);
                let part = from + rows.start * k..from + rows.end * k;
                pack_left(isa, source, rows, k, &mut out[part]);
            }
        }
        Self { groups, m, k, rows_max, data: Buffer::new(bytes) }
    }

    /// Tiles that were packed before for this instruction set; `None` if the buffer has another size.
    pub(crate) fn from_buffer(isa: Isa, groups: usize, m: usize, k: usize, data: Buffer) -> Option<Self> {
        let expected = Self::bytes(groups as u64, m as u64, k as u64);
        (data.as_bytes().len() as u64 == expected).then(|| Self {
            groups,
            m,
            k,
            rows_max: isa.float_rows(),
            data,
        })
    }

    pub(crate) fn heights(&self) -> Heights {
        Heights::new(self.m, self.rows_max)
    }
}

/// One tile: `out[step][row]`.
pub(crate) fn pack_left(
    isa: Isa,
    source: Strided<'_>,
    rows: std::ops::Range<usize>,
    k: usize,
    out: &mut [f32],
) {
    if k == 0 {
        return;
    }
    let (stride, step) = (source.row_stride, source.column_stride);
    let data = &source.data[rows.start * stride..];
    match rows.len() {
        1 if step == 1 => out[..k].copy_from_slice(&data[..k]),
        1 => interleave::<1>(isa, data, stride, step, out.as_chunks_mut().0),
        2 => interleave::<2>(isa, data, stride, step, out.as_chunks_mut().0),
        3 => interleave::<3>(isa, data, stride, step, out.as_chunks_mut().0),
        4 => interleave::<4>(isa, data, stride, step, out.as_chunks_mut().0),
        5 => interleave::<5>(isa, data, stride, step, out.as_chunks_mut().0),
        6 => interleave::<6>(isa, data, stride, step, out.as_chunks_mut().0),
        7 => interleave::<7>(isa, data, stride, step, out.as_chunks_mut().0),
        8 => interleave::<8>(isa, data, stride, step, out.as_chunks_mut().0),
        9 => interleave::<9>(isa, data, stride, step, out.as_chunks_mut().0),
        10 => interleave::<10>(isa, data, stride, step, out.as_chunks_mut().0),
        11 => interleave::<11>(isa, data, stride, step, out.as_chunks_mut().0),
        12 => interleave::<12>(isa, data, stride, step, out.as_chunks_mut().0),
        13 => interleave::<13>(isa, data, stride, step, out.as_chunks_mut().0),
        _ => interleave::<14>(isa, data, stride, step, out.as_chunks_mut().0),
    }
}
