//! Sixteen lanes in two registers; products of bytes by widening to 16 bits, which never saturates.

use std::arch::x86_64::{
    __m256, __m256i, _mm256_add_epi32, _mm256_add_ps, _mm256_and_si256, _mm256_fmadd_ps, _mm256_loadu_ps,
    _mm256_loadu_si256, _mm256_madd_epi16, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps,
    _mm256_setzero_ps, _mm256_setzero_si256, _mm256_slli_epi16, _mm256_srai_epi16, _mm256_srli_epi16,
    _mm256_storeu_ps, _mm256_storeu_si256,
};

use super::super::Body;
use super::super::dot::{Dot, Leaf, WIDTH};
use super::super::tile::{self, Call};
use super::{Avx2, Built};

/// f32 chains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Float(pub(super) Avx2);

impl Dot for Float {
    type Unit = f32;
    type Out = f32;
    type Word = __m256;
    type Lane = [__m256; 2];
    type Sum = [__m256; 2];

    const ROWS: usize = 6;

    fn panels(rows: usize, left: usize) -> usize {
        tile::narrow_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        tile::narrow(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        self.0.leaf(leaf)
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        self.0.leaf(Built(body))
    }

    #[inline(always)]
    fn zero(self) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_setzero_ps(); 2] }
    }

    #[inline(always)]
    fn splat(self, unit: f32) -> __m256 {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { _mm256_set1_ps(unit) }
    }

    #[inline(always)]
    fn load(self, lane: &[f32; WIDTH]) -> [__m256; 2] {
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        unsafe { [_mm256_loadu_ps(lane.as_ptr()), _mm256_loadu_ps(lane.as_ptr().add(8))] }
    }

    #[inline(always)]
    fn step(self, word: __m256, lane: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has FMA.
        unsafe { [_mm256_fmadd_ps(word, lane[0], sum[0]), _mm256_fmadd_ps(word, lane[1], sum[1])] }
    }

    #[inline(always)]
    fn read(self, from: &[f32; WIDTH]) -> [__m256; 2] {
        self.load(from)
    }

    #[inline(always)]
    fn write(self, sum: [__m256; 2], to: &mut [f32; WIDTH]) {
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), sum[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), sum[1]);
        }
    }

    #[inline(always)]
    fn add(self, sum: [__m256; 2], addend: &[f32; WIDTH]) -> [__m256; 2] {
        let addend = self.load(addend);
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_add_ps(sum[0], addend[0]), _mm256_add_ps(sum[1], addend[1])] }
    }
}

/// Exact sums of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bytes<const LEFT_SIGNED: bool>(pub(super) Avx2);

impl<const LEFT_SIGNED: bool> Bytes<LEFT_SIGNED> {
    /// Bytes 0 and 2 of each four, and bytes 1 and 3, as 16-bit numbers.
    #[inline(always)]
    fn split(self, bytes: __m256i, signed: bool) -> [__m256i; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe {
            if signed {
                [_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(bytes)), _mm256_srai_epi16::<8>(bytes)]
            } else {
                [_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(bytes)]
            }
        }
    }
}

impl<const LEFT_SIGNED: bool> Dot for Bytes<LEFT_SIGNED> {
    type Unit = [u8; 4];
    type Out = i32;
    type Word = [__m256i; 2];
    type Lane = [[__m256i; 2]; 2];
    type Sum = [__m256i; 2];

    const ROWS: usize = 4;

    fn panels(rows: usize, left: usize) -> usize {
        tile::narrow_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        tile::narrow(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        self.0.leaf(leaf)
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        self.0.leaf(Built(body))
    }

    #[inline(always)]
    fn zero(self) -> [__m256i; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_setzero_si256(); 2] }
    }

    #[inline(always)]
    fn splat(self, unit: [u8; 4]) -> [__m256i; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        let all = unsafe { _mm256_set1_epi32(i32::from_ne_bytes(unit)) };
        self.split(all, LEFT_SIGNED)
    }

    #[inline(always)]
    fn load(self, lane: &[[u8; 4]; WIDTH]) -> [[__m256i; 2]; 2] {
        let at = lane.as_ptr();
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        let halves = unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())] };
        [self.split(halves[0], !LEFT_SIGNED), self.split(halves[1], !LEFT_SIGNED)]
    }

    #[inline(always)]
    fn step(self, word: [__m256i; 2], lane: [[__m256i; 2]; 2], mut sum: [__m256i; 2]) -> [__m256i; 2] {
        for half in 0..2 {
            for pair in 0..2 {
                // SAFETY: the token in `self` exists, so the processor has AVX2. Two products of 8-bit
                // numbers and their sum fit 32 bits, so the instruction is exact.
                unsafe {
                    sum[half] = _mm256_add_epi32(sum[half], _mm256_madd_epi16(word[pair], lane[half][pair]));
                }
            }
        }
        sum
    }

    #[inline(always)]
    fn read(self, from: &[i32; WIDTH]) -> [__m256i; 2] {
        let at = from.as_ptr();
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(8).cast())] }
    }

    #[inline(always)]
    fn write(self, sum: [__m256i; 2], to: &mut [i32; WIDTH]) {
        let at = to.as_mut_ptr();
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        unsafe {
            _mm256_storeu_si256(at.cast(), sum[0]);
            _mm256_storeu_si256(at.add(8).cast(), sum[1]);
        }
    }

    #[inline(always)]
    fn add(self, sum: [__m256i; 2], addend: &[i32; WIDTH]) -> [__m256i; 2] {
        let addend = self.read(addend);
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_add_epi32(sum[0], addend[0]), _mm256_add_epi32(sum[1], addend[1])] }
    }
}
