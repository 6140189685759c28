//! Products of bytes, exact modulo 2^32.
//!
//! Inside, the left matrix is unsigned and the right one signed, as the instructions want it: the other kind
//! is moved by 128, together with its zero point. What moving and zero points change is a matter of the sums
//! of rows and of columns:
//!
//! `sum (a - za)(b - zb) = sum a b - za * sum b - zb * (sum a - k * za)`
//!
//! # Rules
//! - Nothing saturates; every step wraps modulo 2^32, so the order of terms does not matter.

use std::ops::Range;
use std::sync::Arc;

use super::buffer::{Aligned, Buffer};
use super::dot::{Dot, WIDTH};
use super::matrix::{Finish, Matrix};
use super::pack::Heights;
use super::threads::Cpu;
use super::tile::Bias;
use super::{Body, DotBody, Fma, Isa};

/// Neighbours along k in one unit.
pub(crate) const QUAD: usize = 4;
/// What moves a byte between signed and unsigned: its value changes by 128.
pub(crate) const MOVE: u8 = 0x80;

/// Bytes of either kind.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bytes<'a> {
    Unsigned(&'a [u8]),
    Signed(&'a [i8]),
}

impl<'a> Bytes<'a> {
    pub(crate) fn raw(self) -> &'a [u8] {
        match self {
            Self::Unsigned(bytes) => bytes,
            Self::Signed(bytes) => bytemuck::cast_slice(bytes),
        }
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Self::Signed(_))
    }
}

/// Zero points of a matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Zero<'a> {
    One(i32),
    /// One per row of the left matrix, or per column of the right one.
    Each(&'a [i32]),
}

impl Zero<'_> {
    #[inline(always)]
    fn at(self, index: usize) -> i32 {
        match self {
            Self::One(zero) => zero,
            Self::Each(zeros) => zeros[index],
        }
    }

    /// Whether every one is this number.
    pub(crate) fn is_all(self, number: i32) -> bool {
        match self {
            Self::One(zero) => zero == number,
            Self::Each(zeros) => zeros.iter().all(|zero| *zero == number),
        }
    }
}

/// The right-hand matrix `[k, n]`: panels of 16 columns, four neighbours along k together, and the sum of
/// each column. Bytes are signed inside.
#[derive(Debug, Clone, Default)]
pub(crate) struct PanelsI8 {
    k: usize,
    n: usize,
    /// Whether the source was; if not, values here are 128 less.
    signed: bool,
    data: Buffer,
    sums: Arc<[i32]>,
}

impl PanelsI8 {
    /// The panels and the sums, to be kept.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        vec![self.data.clone(), sums_buffer(&self.sums)]
    }

    /// What [`Self::buffers`] gave; `None` if they have another size.
    pub(crate) fn from_buffers(k: usize, n: usize, signed: bool, buffers: &[Buffer]) -> Option<Self> {
        let [data, sums] = buffers else { return None };
        let lanes = n.checked_next_multiple_of(WIDTH)?.checked_mul(k.checked_next_multiple_of(QUAD)?)?;
        let sums: Arc<[i32]> = sums.view().into();
        (data.as_bytes().len() == lanes && sums.len() == n).then(|| Self {
            k,
            n,
            signed,
            data: data.clone(),
            sums,
        })
    }

    /// Bytes of the panels and sums of a `[k, n]` matrix.
    pub(crate) fn bytes(k: u64, n: u64) -> u64 {
        let lanes = n.checked_next_multiple_of(WIDTH as u64).unwrap_or(u64::MAX);
        let depth = k.checked_next_multiple_of(QUAD as u64).unwrap_or(u64::MAX);
        lanes.saturating_mul(depth).saturating_add(n.saturating_mul(4))
    }

    /// Element `(i, j)` of the matrix is at `i * row_stride + j * column_stride`.
    pub(crate) fn pack(
        isa: Isa,
        k: usize,
        n: usize,
        source: Bytes<'_>,
        row_stride: usize,
        column_stride: usize,
    ) -> Self {
        let mut data = Aligned::zeroed::<u8>(n.next_multiple_of(WIDTH) * k.next_multiple_of(QUAD));
        let flip = if source.signed() { 0 } else { MOVE };
        let pack = PackRight {
            source: source.raw(),
            flip,
            k,
            n,
            row_stride,
            column_stride,
            lanes: data.as_mut(),
            sums: vec![0; n],
        };
        let sums = isa.run(pack).into();
        Self { k, n, signed: source.signed(), data: Buffer::new(data), sums }
    }
}

/// Sums as bytes to be kept.
pub(crate) fn sums_buffer(sums: &[i32]) -> Buffer {
    let mut bytes = Aligned::zeroed::<i32>(sums.len());
    bytes.as_mut().copy_from_slice(sums);
    Buffer::new(bytes)
}

struct PackRight<'a, 's> {
    source: &'s [u8],
    flip: u8,
    k: usize,
    n: usize,
    row_stride: usize,
    column_stride: usize,
    lanes: &'a mut [[u8; QUAD]],
    sums: Vec<i32>,
}

impl Body for PackRight<'_, '_> {
    type Out = Vec<i32>;

    #[inline(always)]
    fn run<F: Fma>(mut self) -> Vec<i32> {
        let steps = self.k.div_ceil(QUAD);
        if steps == 0 {
            return self.sums;
        }
        for (panel, lanes) in self.lanes.chunks_exact_mut(steps * WIDTH).enumerate() {
            let first = panel * WIDTH;
            for column in first..(first + WIDTH).min(self.n) {
                let mut sum = 0_i32;
                let column_at = column * self.column_stride;
                for row in 0..self.k {
                    let byte = self.source[row * self.row_stride + column_at] ^ self.flip;
                    lanes[row / QUAD * WIDTH + column - first][row % QUAD] = byte;
                    sum = sum.wrapping_add(i32::from(byte.cast_signed()));
                }
                self.sums[column] = sum;
            }
        }
        self.sums
    }
}

/// `c[m, n] = (a - zero_a)[m, k] * (b - zero_b)[k, n]`, then the epilogue on each finished piece of a row.
pub(crate) struct ProductI8<'a> {
    pub(crate) m: usize,
    /// Rows of k bytes, one after the other.
    pub(crate) a: Bytes<'a>,
    pub(crate) zero_a: Zero<'a>,
    /// Gives k and n.
    pub(crate) b: &'a PanelsI8,
    pub(crate) zero_b: Zero<'a>,
    pub(crate) c: &'a mut [i32],
    /// Elements between rows of `c`.
    pub(crate) stride: usize,
    /// Row, first column, finished values.
    pub(crate) epilogue: Option<Finish<'a, i32>>,
}

impl ProductI8<'_> {
    pub(crate) fn run(self, cpu: &Cpu) {
        cpu.isa().with_bytes::<false, _>(OnCpu { product: self, cpu });
    }
}

struct OnCpu<'a, 'p> {
    product: ProductI8<'p>,
    cpu: &'a Cpu,
}

impl DotBody<[u8; QUAD], i32> for OnCpu<'_, '_> {
    type Result = ();

    fn run<D: Dot<Unit = [u8; QUAD], Out = i32>>(self, dot: D) {
        let ProductI8 { m, a, zero_a, b, zero_b, c, stride, epilogue } = self.product;
        let k = b.k;
        let left = LeftBytes { bytes: a.raw(), flip: if a.signed() { MOVE } else { 0 }, k };
        let moved_a = if a.signed() { 128 } else { 0 };
        let moved_b = if b.signed { 0 } else { -128 };
        let plain_b = zero_b.is_all(-moved_b);
        let row_sums: Vec<i32> = if plain_b { Vec::new() } else { dot.body(RowSums { left, rows: m }) };
        let finish = |row: usize, column: usize, values: &mut [i32]| {
            let zero = zero_a.at(row).wrapping_add(moved_a);
            let sums = &b.sums[column..column + values.len()];
            let rest = match row_sums.get(row) {
                Some(sum) => sum.wrapping_sub(wrap(k).wrapping_mul(zero)),
                None => 0,
            };
            dot.body(Correct { values, zero, sums, zero_b, column, moved_b, rest });
            if let Some(epilogue) = epilogue {
                epilogue(row, column, values);
            }
        };
        let pack = |rows: Range<usize>, out: &mut [[u8; QUAD]]| dot.body(PackLeft { left, rows, out });
        let matrix = Matrix {
            n: b.n,
            k: k.div_ceil(QUAD),
            heights: Heights::new(m, D::ROWS),
            left: &pack,
            right: b.data.view(),
            bias: Bias::None,
            finish: Some(&finish),
        };
        matrix.run(dot, self.cpu, c, stride);
    }
}

/// A count as a factor modulo 2^32.
#[expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "arithmetic is modulo 2^32")]
pub(crate) fn wrap(count: usize) -> i32 {
    count as i32
}

/// The left matrix, made unsigned by `flip`.
#[derive(Clone, Copy)]
struct LeftBytes<'a> {
    bytes: &'a [u8],
    flip: u8,
    k: usize,
}

struct PackLeft<'a, 'b> {
    left: LeftBytes<'a>,
    rows: Range<usize>,
    out: &'b mut [[u8; QUAD]],
}

impl Body for PackLeft<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let LeftBytes { bytes, flip, k } = self.left;
        let height = self.rows.len();
        for (index, row) in self.rows.enumerate() {
            let (quads, rest) = bytes[row * k..(row + 1) * k].as_chunks::<QUAD>();
            let mut slots = self.out.iter_mut().skip(index).step_by(height);
            for (quad, slot) in quads.iter().zip(slots.by_ref()) {
                *slot = quad.map(|byte| byte ^ flip);
            }
            if let (false, Some(slot)) = (rest.is_empty(), slots.next()) {
                *slot = [0; QUAD];
                for (to, byte) in slot.iter_mut().zip(rest) {
                    *to = byte ^ flip;
                }
            }
        }
    }
}

struct RowSums<'a> {
    left: LeftBytes<'a>,
    rows: usize,
}

impl Body for RowSums<'_> {
    type Out = Vec<i32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<i32> {
        let LeftBytes { bytes, flip, k } = self.left;
        let one = |row: usize| {
            let row = &bytes[row * k..(row + 1) * k];
            row.iter().fold(0_i32, |sum, byte| sum.wrapping_add(i32::from(byte ^ flip)))
        };
        (0..self.rows).map(one).collect()
    }
}

struct Correct<'a, 's> {
    values: &'a mut [i32],
    zero: i32,
    sums: &'s [i32],
    zero_b: Zero<'s>,
    column: usize,
    moved_b: i32,
    rest: i32,
}

impl Body for Correct<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { values, zero, sums, zero_b, column, moved_b, rest } = self;
        if zero != 0 {
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = value.wrapping_sub(zero.wrapping_mul(*sum));
            }
        }
        match zero_b {
            _ if rest == 0 => {}
            Zero::One(zero) => {
                let term = zero.wrapping_add(moved_b).wrapping_mul(rest);
                values.iter_mut().for_each(|value| *value = value.wrapping_sub(term));
            }
            Zero::Each(zeros) => {
                for (value, zero) in values.iter_mut().zip(&zeros[column..]) {
                    *value = value.wrapping_sub(zero.wrapping_add(moved_b).wrapping_mul(rest));
                }
            }
        }
    }
}
