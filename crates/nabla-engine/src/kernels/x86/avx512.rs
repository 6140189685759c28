//! Sixteen lanes in one register; four products of bytes in one instruction.

use std::arch::x86_64::{
    __m512, __m512i, __mmask16, _MM_HINT_T1, _mm_prefetch, _mm512_add_epi32, _mm512_add_ps,
    _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_mask_storeu_epi32,
    _mm512_mask_storeu_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512,
    _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_unpackhi_ps,
    _mm512_unpacklo_ps,
};

use super::super::Body;
use super::super::dot::{Dot, Leaf, WIDTH};
use super::super::tile::{self, Call};
use super::{Avx512, Built};

/// f32 chains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Float(pub(super) Avx512);

impl Dot for Float {
    type Unit = f32;
    type Out = f32;
    type Word = __m512;
    type Lane = __m512;
    type Sum = __m512;

    const ROWS: usize = 14;

    fn panels(rows: usize, left: usize) -> usize {
        tile::wide_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        tile::wide(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        self.0.leaf(leaf)
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        self.0.leaf(Built(body))
    }

    #[inline(always)]
    fn zero(self) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_setzero_ps() }
    }

    #[inline(always)]
    fn splat(self, unit: f32) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_set1_ps(unit) }
    }

    #[inline(always)]
    fn load(self, lane: &[f32; WIDTH]) -> __m512 {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_ps(lane.as_ptr()) }
    }

    #[inline(always)]
    fn step(self, word: __m512, lane: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_fmadd_ps(word, lane, sum) }
    }

    #[inline(always)]
    fn read(self, from: &[f32; WIDTH]) -> __m512 {
        self.load(from)
    }

    #[inline(always)]
    fn write(self, sum: __m512, to: &mut [f32; WIDTH]) {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sum) }
    }

    #[inline(always)]
    fn write_part(self, lane: &[f32; WIDTH], skip: usize, to: &mut [f32]) {
        assert!(skip + to.len() <= WIDTH, "a part of one lane");
        let mask = part(skip, to.len());
        // SAFETY: the token exists; the reference covers the 64 bytes read. The store writes only the lanes
        // of the mask, which are the elements of `to` when lane 0 lies `skip` elements before it.
        unsafe {
            _mm512_mask_storeu_ps(to.as_mut_ptr().wrapping_sub(skip), mask, _mm512_loadu_ps(lane.as_ptr()))
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const Self::Unit) {
        // SAFETY: the token exists, and with it SSE; a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, sum: __m512, addend: &[f32; WIDTH]) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_add_ps(sum, self.load(addend)) }
    }
}

/// Exact sums of bytes: VNNI multiplies an unsigned byte with a signed one and never saturates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<const LEFT_SIGNED: bool>(pub(super) Avx512);

impl<const LEFT_SIGNED: bool> Dot for Bytes<LEFT_SIGNED> {
    type Unit = [u8; 4];
    type Out = i32;
    type Word = __m512i;
    type Lane = __m512i;
    type Sum = __m512i;

    const ROWS: usize = 14;

    fn panels(rows: usize, left: usize) -> usize {
        tile::wide_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        tile::wide(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        self.0.leaf(leaf)
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        self.0.leaf(Built(body))
    }

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    fn splat(self, unit: [u8; 4]) -> __m512i {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_set1_epi32(i32::from_ne_bytes(unit)) }
    }

    #[inline(always)]
    fn load(self, lane: &[[u8; 4]; WIDTH]) -> __m512i {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(lane.as_ptr().cast()) }
    }

    #[inline(always)]
    fn step(self, word: __m512i, lane: __m512i, sum: __m512i) -> __m512i {
        let (unsigned, signed) = if LEFT_SIGNED { (lane, word) } else { (word, lane) };
        // SAFETY: the token in `self` exists, so the processor has AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(sum, unsigned, signed) }
    }

    #[inline(always)]
    fn read(self, from: &[i32; WIDTH]) -> __m512i {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }

    #[inline(always)]
    fn write(self, sum: __m512i, to: &mut [i32; WIDTH]) {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), sum) }
    }

    #[inline(always)]
    fn write_part(self, lane: &[i32; WIDTH], skip: usize, to: &mut [i32]) {
        assert!(skip + to.len() <= WIDTH, "a part of one lane");
        let mask = part(skip, to.len());
        // SAFETY: the token exists; the reference covers the 64 bytes read. The store writes only the lanes
        // of the mask, which are the elements of `to` when lane 0 lies `skip` elements before it.
        unsafe {
            _mm512_mask_storeu_epi32(
                to.as_mut_ptr().wrapping_sub(skip),
                mask,
                _mm512_loadu_si512(lane.as_ptr().cast()),
            )
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const Self::Unit) {
        // SAFETY: the token exists, and with it SSE; a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(at.cast()) }
    }

    #[inline(always)]
    fn add(self, sum: __m512i, addend: &[i32; WIDTH]) -> __m512i {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_add_epi32(sum, self.read(addend)) }
    }
}

/// A mask of `length` lanes behind `skip` others.
#[inline(always)]
fn part(skip: usize, length: usize) -> __mmask16 {
    let lanes = if length >= WIDTH { u16::MAX } else { (1_u16 << length) - 1 };
    lanes << skip
}

/// Turn R rows of sixteen, which start `stride` apart, into columns.
#[target_feature(enable = "avx512f")]
pub(super) fn transpose<const R: usize>(rows: &[f32], stride: usize, columns: &mut [[f32; R]; WIDTH]) {
    let last = R.saturating_sub(1).checked_mul(stride).and_then(|start| rows.get(start..)?.get(..WIDTH));
    assert!(R > 0 && last.is_some(), "rows of sixteen");
    let load = |row: usize| {
        // Rows beyond the last are the last again, and dropped.
        let at = rows.as_ptr().wrapping_add(row.min(R - 1) * stride);
        // SAFETY: the last row starts `(R - 1) * stride` behind the first and has sixteen elements.
        unsafe { _mm512_loadu_ps(at) }
    };
    // Each round puts elements together that lie twice as far apart: 4 within, then 4 across quarters.
    let mut r = [_mm512_setzero_ps(); WIDTH];
    for quarter in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|row| load(4 * quarter + row));
        let (ab, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        r[4 * quarter] = _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd);
        r[4 * quarter + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd);
        r[4 * quarter + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high);
        r[4 * quarter + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high);
    }
    let mask = part(0, R);
    for column in 0..4 {
        let [a, b, c, d] = [0, 4, 8, 12].map(|row| r[row + column]);
        let (ab, ab_high) = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0xdd>(a, b));
        let (cd, cd_high) = (_mm512_shuffle_f32x4::<0x88>(c, d), _mm512_shuffle_f32x4::<0xdd>(c, d));
        let turned = [
            _mm512_shuffle_f32x4::<0x88>(ab, cd),
            _mm512_shuffle_f32x4::<0x88>(ab_high, cd_high),
            _mm512_shuffle_f32x4::<0xdd>(ab, cd),
            _mm512_shuffle_f32x4::<0xdd>(ab_high, cd_high),
        ];
        for (quarter, lanes) in turned.into_iter().enumerate() {
            // SAFETY: the reference covers the R elements, and the mask lets no others be written.
            unsafe { _mm512_mask_storeu_ps(columns[4 * quarter + column].as_mut_ptr(), mask, lanes) }
        }
    }
}
