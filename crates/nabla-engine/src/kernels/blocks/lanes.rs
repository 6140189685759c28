//! Sixteen outputs at a time: what differs between instruction sets in products with blocks.
//!
//! A weight's level is held unsigned. A quad is four levels of one output along k, and a word four levels of
//! one token. The portable form is the definition.

use std::marker::PhantomData;

use nabla_types::tensor::f16;

use crate::kernels::Fma;
pub(crate) use crate::kernels::dot::{Leaf, WIDTH};

/// Sixteen quads, as they lie in a panel.
pub(crate) type Quads = [u8; 4 * WIDTH];

/// Work that is generic over lanes.
pub(crate) trait LanesBody {
    type Out;
    fn run<L: Lanes>(self, lanes: L) -> Self::Out;
}

/// Sixteen outputs of a product with blocks.
pub(crate) trait Lanes: Copy + Send + Sync {
    /// Quads of levels from -128 to 127, stored with 128 added.
    type Bytes: Copy;
    /// Quads of levels from 0 to 63.
    type Small: Copy;
    type Ints: Copy;
    type Floats: Copy;

    /// Tokens of the tallest tile: 1, 2, 4 or 8.
    const TOKENS: usize;

    /// Run code in this build.
    fn leaf<T: Leaf>(self, leaf: T) -> T::Out;

    fn bytes(self, quads: &Quads) -> Self::Bytes;
    /// What a sum of [`Lanes::dot_bytes`] starts from, for a token whose levels sum to `total`.
    fn start_bytes(self, total: i32) -> Self::Ints;
    fn dot_bytes(self, sums: Self::Ints, bytes: Self::Bytes, word: [i8; 4]) -> Self::Ints;

    /// The low and the high halves of bytes.
    fn nibbles(self, quads: &Quads) -> [Self::Small; 2];
    /// Nibbles with two more bits above them: bits `2 * part` and up of each byte.
    fn with_high(self, nibbles: Self::Small, quads: &Quads, part: usize) -> Self::Small;
    fn dot_small(self, sums: Self::Ints, small: Self::Small, word: [i8; 4]) -> Self::Ints;

    fn ints(self, value: i32) -> Self::Ints;
    fn floats_of(self, ints: Self::Ints) -> Self::Floats;
    fn splat(self, value: f32) -> Self::Floats;
    /// FP16 numbers, little endian.
    fn halves(self, halves: &[u8; 2 * WIDTH]) -> Self::Floats;
    fn unsigned(self, bytes: &[u8; WIDTH]) -> Self::Floats;
    fn signed(self, bytes: &[u8; WIDTH]) -> Self::Floats;
    fn multiply(self, a: Self::Floats, b: Self::Floats) -> Self::Floats;
    fn fma(self, a: Self::Floats, b: Self::Floats, sum: Self::Floats) -> Self::Floats;
    fn write(self, floats: Self::Floats, to: &mut [f32; WIDTH]);
    /// Ask for a cache line that will be read soon; any address will do.
    #[inline(always)]
    fn prefetch(self, _: *const u8) {}
}

/// The definition.
#[derive(Debug)]
pub(crate) struct Portable<F>(PhantomData<fn(F)>);

impl<F> Portable<F> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F> Clone for Portable<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Portable<F> {}

#[inline(always)]
fn dot(mut sums: [i32; WIDTH], level: impl Fn(usize) -> i32, word: [i8; 4]) -> [i32; WIDTH] {
    for (lane, sum) in sums.iter_mut().enumerate() {
        for (place, w) in word.iter().enumerate() {
            *sum += level(4 * lane + place) * i32::from(*w);
        }
    }
    sums
}

impl<F: Fma> Lanes for Portable<F> {
    type Bytes = Quads;
    type Small = Quads;
    type Ints = [i32; WIDTH];
    type Floats = [f32; WIDTH];

    const TOKENS: usize = 4;

    fn leaf<T: Leaf>(self, leaf: T) -> T::Out {
        leaf.run()
    }

    #[inline(always)]
    fn bytes(self, quads: &Quads) -> Quads {
        *quads
    }

    #[inline(always)]
    fn start_bytes(self, _: i32) -> [i32; WIDTH] {
        [0; WIDTH]
    }

    #[inline(always)]
    fn dot_bytes(self, sums: [i32; WIDTH], bytes: Quads, word: [i8; 4]) -> [i32; WIDTH] {
        dot(sums, |index| i32::from(bytes[index]) - 128, word)
    }

    #[inline(always)]
    fn nibbles(self, quads: &Quads) -> [Quads; 2] {
        [quads.map(|byte| byte & 15), quads.map(|byte| byte >> 4)]
    }

    #[inline(always)]
    fn with_high(self, mut nibbles: Quads, quads: &Quads, part: usize) -> Quads {
        for (low, high) in nibbles.iter_mut().zip(quads) {
            *low |= (high >> (2 * part) & 3) << 4;
        }
        nibbles
    }

    #[inline(always)]
    fn dot_small(self, sums: [i32; WIDTH], small: Quads, word: [i8; 4]) -> [i32; WIDTH] {
        dot(sums, |index| i32::from(small[index]), word)
    }

    #[inline(always)]
    fn ints(self, value: i32) -> [i32; WIDTH] {
        [value; WIDTH]
    }

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
    fn floats_of(self, ints: [i32; WIDTH]) -> [f32; WIDTH] {
        ints.map(|int| int as f32)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> [f32; WIDTH] {
        [value; WIDTH]
    }

    #[inline(always)]
    fn halves(self, halves: &[u8; 2 * WIDTH]) -> [f32; WIDTH] {
        let pairs = halves.as_chunks::<2>().0;
        std::array::from_fn(|lane| f16::from_le_bytes(pairs[lane]).to_f32())
    }

    #[inline(always)]
    fn unsigned(self, bytes: &[u8; WIDTH]) -> [f32; WIDTH] {
        bytes.map(f32::from)
    }

    #[inline(always)]
    fn signed(self, bytes: &[u8; WIDTH]) -> [f32; WIDTH] {
        bytes.map(|byte| f32::from(byte.cast_signed()))
    }

    #[inline(always)]
    fn multiply(self, mut a: [f32; WIDTH], b: [f32; WIDTH]) -> [f32; WIDTH] {
        for (a, b) in a.iter_mut().zip(b) {
            *a *= b;
        }
        a
    }

    #[inline(always)]
    fn fma(self, a: [f32; WIDTH], b: [f32; WIDTH], mut sum: [f32; WIDTH]) -> [f32; WIDTH] {
        for ((sum, a), b) in sum.iter_mut().zip(a).zip(b) {
            *sum = F::fma(a, b, *sum);
        }
        sum
    }

    #[inline(always)]
    fn write(self, floats: [f32; WIDTH], to: &mut [f32; WIDTH]) {
        *to = floats;
    }
}
