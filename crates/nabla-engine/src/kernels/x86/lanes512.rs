//! Products with blocks: sixteen outputs in one register.

use std::arch::x86_64::{__m128i, _mm_cvtsi32_si128};
use std::arch::x86_64::{
    __m512, __m512i, _MM_HINT_T0, _mm_loadu_si128, _mm_prefetch, _mm256_loadu_si256, _mm512_and_si512,
    _mm512_cvtepi8_epi32, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32, _mm512_cvtph_ps, _mm512_dpbusd_epi32,
    _mm512_fmadd_ps, _mm512_loadu_si512, _mm512_mul_ps, _mm512_or_si512, _mm512_set1_epi8, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_sll_epi16, _mm512_srl_epi16, _mm512_storeu_ps,
};

use super::super::blocks::lanes::{Lanes, Leaf, Quads, WIDTH};
use super::Avx512;

/// How far bits must move, as shifts want it.
#[inline(always)]
fn count(bits: usize) -> __m128i {
    // SAFETY: x86-64 has SSE2.
    unsafe { _mm_cvtsi32_si128(i32::try_from(bits).unwrap_or(16)) }
}

impl Lanes for Avx512 {
    type Bytes = __m512i;
    type Small = __m512i;
    type Ints = __m512i;
    type Floats = __m512;

    const TOKENS: usize = 8;

    fn leaf<T: Leaf>(self, leaf: T) -> T::Out {
        Self::leaf(self, leaf)
    }

    #[inline(always)]
    fn bytes(self, quads: &Quads) -> __m512i {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(quads.as_ptr().cast()) }
    }

    /// The instruction wants one factor unsigned: weights stay with 128 added, which this takes off.
    #[inline(always)]
    fn start_bytes(self, total: i32) -> __m512i {
        self.ints(-128 * total)
    }

    #[inline(always)]
    fn dot_bytes(self, sums: __m512i, bytes: __m512i, word: [i8; 4]) -> __m512i {
        self.dot_small(sums, bytes, word)
    }

    #[inline(always)]
    fn nibbles(self, quads: &Quads) -> [__m512i; 2] {
        let both = self.bytes(quads);
        // SAFETY: the token in `self` exists, so the processor has AVX-512 BW.
        unsafe {
            let low = _mm512_set1_epi8(15);
            [_mm512_and_si512(both, low), _mm512_and_si512(_mm512_srl_epi16(both, count(4)), low)]
        }
    }

    #[inline(always)]
    fn with_high(self, nibbles: __m512i, quads: &Quads, part: usize) -> __m512i {
        let high = self.bytes(quads);
        // SAFETY: the token in `self` exists, so the processor has AVX-512 BW.
        unsafe {
            let high = match part {
                0 | 1 => _mm512_sll_epi16(high, count(4 - 2 * part)),
                _ => _mm512_srl_epi16(high, count(2 * part - 4)),
            };
            _mm512_or_si512(nibbles, _mm512_and_si512(high, _mm512_set1_epi8(0x30)))
        }
    }

    #[inline(always)]
    fn dot_small(self, sums: __m512i, small: __m512i, word: [i8; 4]) -> __m512i {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 VNNI.
        unsafe {
            _mm512_dpbusd_epi32(sums, small, self.ints(i32::from_ne_bytes(word.map(i8::cast_unsigned))))
        }
    }

    #[inline(always)]
    fn ints(self, value: i32) -> __m512i {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_set1_epi32(value) }
    }

    #[inline(always)]
    fn floats_of(self, ints: __m512i) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_cvtepi32_ps(ints) }
    }

    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_set1_ps(value) }
    }

    #[inline(always)]
    fn halves(self, halves: &[u8; 2 * WIDTH]) -> __m512 {
        // SAFETY: the token exists; the reference covers the 32 bytes, and the load needs no alignment.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(halves.as_ptr().cast())) }
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; WIDTH]) -> __m512 {
        // SAFETY: the token exists; the reference covers the 16 bytes, and the load needs no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; WIDTH]) -> __m512 {
        // SAFETY: the token exists; the reference covers the 16 bytes, and the load needs no alignment.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().cast()))) }
    }

    #[inline(always)]
    fn multiply(self, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_mul_ps(a, b) }
    }

    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, sum: __m512) -> __m512 {
        // SAFETY: the token in `self` exists, so the processor has AVX-512 F.
        unsafe { _mm512_fmadd_ps(a, b, sum) }
    }

    #[inline(always)]
    fn write(self, floats: __m512, to: &mut [f32; WIDTH]) {
        // SAFETY: the token exists; the reference covers the 64 bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), floats) }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: the token exists, and with it SSE; a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
