//! Products with blocks: sixteen outputs in two registers.

use std::arch::x86_64::{
    __m128i, __m256, __m256i, _MM_HINT_T0, _mm_cvtsi32_si128, _mm_loadl_epi64, _mm_loadu_si128, _mm_prefetch,
    _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi32, _mm256_cvtph_ps, _mm256_fmadd_ps, _mm256_loadu_si256, _mm256_madd_epi16,
    _mm256_maddubs_epi16, _mm256_mul_ps, _mm256_or_si256, _mm256_set1_epi8, _mm256_set1_epi16,
    _mm256_set1_epi32, _mm256_set1_ps, _mm256_sign_epi8, _mm256_sll_epi16, _mm256_srl_epi16,
    _mm256_storeu_ps, _mm256_xor_si256,
};

use super::super::blocks::lanes::{Lanes, Leaf, Quads, WIDTH};
use super::Avx2;

/// How far bits must move, as shifts want it.
#[inline(always)]
fn count(bits: usize) -> __m128i {
    // SAFETY: x86-64 has SSE2.
    unsafe { _mm_cvtsi32_si128(i32::try_from(bits).unwrap_or(16)) }
}

#[inline(always)]
fn word_of(word: [i8; 4]) -> i32 {
    i32::from_ne_bytes(word.map(i8::cast_unsigned))
}

/// Both halves of 64 bytes.
#[inline(always)]
fn load(_: Avx2, quads: &Quads) -> [__m256i; 2] {
    let at = quads.as_ptr();
    // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
    unsafe { [_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast())] }
}

impl Lanes for Avx2 {
    type Bytes = [__m256i; 2];
    type Small = [__m256i; 2];
    type Ints = [__m256i; 2];
    type Floats = [__m256; 2];

    const TOKENS: usize = 4;

    fn leaf<T: Leaf>(self, leaf: T) -> T::Out {
        Self::leaf(self, leaf)
    }

    #[inline(always)]
    fn bytes(self, quads: &Quads) -> [__m256i; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        load(self, quads).map(|half| unsafe { _mm256_xor_si256(half, _mm256_set1_epi8(-128)) })
    }

    #[inline(always)]
    fn start_bytes(self, _: i32) -> [__m256i; 2] {
        self.ints(0)
    }

    /// The instruction adds pairs of products in 16 bits: sizes of weights are at most 128 and those of words
    /// at most 127, so that a pair is at most 32512 and never saturates. The word takes the weight's sign.
    #[inline(always)]
    fn dot_bytes(self, mut sums: [__m256i; 2], bytes: [__m256i; 2], word: [i8; 4]) -> [__m256i; 2] {
        for (sum, bytes) in sums.iter_mut().zip(bytes) {
            // SAFETY: the token in `self` exists, so the processor has AVX2.
            unsafe {
                let words = _mm256_sign_epi8(_mm256_set1_epi32(word_of(word)), bytes);
                let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(bytes), words);
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        sums
    }

    #[inline(always)]
    fn nibbles(self, quads: &Quads) -> [[__m256i; 2]; 2] {
        let both = load(self, quads);
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe {
            let low = _mm256_set1_epi8(15);
            [
                both.map(|half| _mm256_and_si256(half, low)),
                both.map(|half| _mm256_and_si256(_mm256_srl_epi16(half, count(4)), low)),
            ]
        }
    }

    #[inline(always)]
    fn with_high(self, mut nibbles: [__m256i; 2], quads: &Quads, part: usize) -> [__m256i; 2] {
        for (nibbles, high) in nibbles.iter_mut().zip(load(self, quads)) {
            // SAFETY: the token in `self` exists, so the processor has AVX2.
            unsafe {
                let high = match part {
                    0 | 1 => _mm256_sll_epi16(high, count(4 - 2 * part)),
                    _ => _mm256_srl_epi16(high, count(2 * part - 4)),
                };
                *nibbles = _mm256_or_si256(*nibbles, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
            }
        }
        nibbles
    }

    /// Levels are at most 63, so that pairs of products stay far below 16 bits.
    #[inline(always)]
    fn dot_small(self, mut sums: [__m256i; 2], small: [__m256i; 2], word: [i8; 4]) -> [__m256i; 2] {
        for (sum, small) in sums.iter_mut().zip(small) {
            // SAFETY: the token in `self` exists, so the processor has AVX2.
            unsafe {
                let pairs = _mm256_maddubs_epi16(small, _mm256_set1_epi32(word_of(word)));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
            }
        }
        sums
    }

    #[inline(always)]
    fn ints(self, value: i32) -> [__m256i; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_set1_epi32(value); 2] }
    }

    #[inline(always)]
    fn floats_of(self, ints: [__m256i; 2]) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        ints.map(|half| unsafe { _mm256_cvtepi32_ps(half) })
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_set1_ps(value); 2] }
    }

    #[inline(always)]
    fn halves(self, halves: &[u8; 2 * WIDTH]) -> [__m256; 2] {
        let at = halves.as_ptr();
        // SAFETY: the token exists, so the processor has F16C; the reference covers both halves of 16 bytes.
        unsafe {
            [_mm256_cvtph_ps(_mm_loadu_si128(at.cast())), _mm256_cvtph_ps(_mm_loadu_si128(at.add(16).cast()))]
        }
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; WIDTH]) -> [__m256; 2] {
        let at = bytes.as_ptr();
        // SAFETY: the token exists; the reference covers both halves of 8 bytes; no alignment is needed.
        unsafe {
            [_mm_loadl_epi64(at.cast()), _mm_loadl_epi64(at.add(8).cast())]
                .map(|half| _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(half)))
        }
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; WIDTH]) -> [__m256; 2] {
        let at = bytes.as_ptr();
        // SAFETY: the token exists; the reference covers both halves of 8 bytes; no alignment is needed.
        unsafe {
            [_mm_loadl_epi64(at.cast()), _mm_loadl_epi64(at.add(8).cast())]
                .map(|half| _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(half)))
        }
    }

    #[inline(always)]
    fn multiply(self, a: [__m256; 2], b: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has AVX2.
        unsafe { [_mm256_mul_ps(a[0], b[0]), _mm256_mul_ps(a[1], b[1])] }
    }

    #[inline(always)]
    fn fma(self, a: [__m256; 2], b: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
        // SAFETY: the token in `self` exists, so the processor has FMA.
        unsafe { [_mm256_fmadd_ps(a[0], b[0], sum[0]), _mm256_fmadd_ps(a[1], b[1], sum[1])] }
    }

    #[inline(always)]
    fn write(self, floats: [__m256; 2], to: &mut [f32; WIDTH]) {
        // SAFETY: the token exists; the reference covers both halves of 32 bytes; no alignment is needed.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), floats[0]);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), floats[1]);
        }
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // SAFETY: the token exists, and with it SSE; a prefetch reads nothing and faults nowhere.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
    }
}
