//! An island with `unsafe`: NEON, which every AArch64 processor has. Sixteen lanes in four registers.
//!
//! Instructions need no check at run time here; `unsafe` is left for loads and stores, each through a
//! reference to an array that covers the bytes moved.

#![expect(unsafe_code, reason = "vector loads and stores from references")]

use std::arch::aarch64::{float32x4_t, vaddq_f32, vdupq_n_f32, vfmaq_f32, vld1q_f32, vst1q_f32};

use super::blocks::lanes::{LanesBody, Portable};
use super::dot::{Dot, Leaf, PortableBytes, WIDTH};
use super::tile::{self, Call};
use super::{Body, DotBody, Hard, Kernels};

/// A vector unit that this processor has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vector {
    Neon,
}

impl Vector {
    /// The best, or the one asked for.
    pub(crate) fn find(kernels: Kernels) -> Option<Self> {
        matches!(kernels, Kernels::Auto | Kernels::Neon).then_some(Self::Neon)
    }

    pub(crate) fn kernels(self) -> Kernels {
        Kernels::Neon
    }

    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        body.run::<Hard>()
    }

    /// Turn R rows of sixteen, which start `stride` apart, into columns, if there are instructions for it.
    pub(crate) fn transpose<const R: usize>(self, _: &[f32], _: usize, _: &mut [[f32; R]; 16]) -> bool {
        false
    }

    pub(crate) fn with_float<B: DotBody<f32, f32>>(self, body: B) -> B::Result {
        body.run(Float)
    }

    pub(crate) fn with_lanes<B: LanesBody>(self, body: B) -> B::Out {
        body.run(Portable::<Hard>::new())
    }

    pub(crate) fn with_bytes<const LEFT_SIGNED: bool, B: DotBody<[u8; 4], i32>>(self, body: B) -> B::Result {
        body.run(PortableBytes::<LEFT_SIGNED>)
    }
}

/// f32 chains.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Float;

impl Dot for Float {
    type Unit = f32;
    type Out = f32;
    type Word = f32;
    type Lane = [float32x4_t; 4];
    type Sum = [float32x4_t; 4];

    const ROWS: usize = 6;

    fn panels(rows: usize, left: usize) -> usize {
        tile::narrow_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        tile::narrow(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        leaf.run()
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        body.run::<Hard>()
    }

    #[inline(always)]
    fn zero(self) -> [float32x4_t; 4] {
        // SAFETY: every AArch64 processor that this target names has NEON.
        unsafe { [vdupq_n_f32(0.0); 4] }
    }

    #[inline(always)]
    fn splat(self, unit: f32) -> f32 {
        unit
    }

    #[inline(always)]
    fn load(self, lane: &[f32; WIDTH]) -> [float32x4_t; 4] {
        let at = lane.as_ptr();
        // SAFETY: the reference covers all four quarters of 16 bytes.
        unsafe { [vld1q_f32(at), vld1q_f32(at.add(4)), vld1q_f32(at.add(8)), vld1q_f32(at.add(12))] }
    }

    #[inline(always)]
    fn step(self, word: f32, lane: [float32x4_t; 4], mut sum: [float32x4_t; 4]) -> [float32x4_t; 4] {
        for quarter in 0..4 {
            // SAFETY: every AArch64 processor that this target names has NEON.
            unsafe { sum[quarter] = vfmaq_f32(sum[quarter], vdupq_n_f32(word), lane[quarter]) }
        }
        sum
    }

    #[inline(always)]
    fn read(self, from: &[f32; WIDTH]) -> [float32x4_t; 4] {
        self.load(from)
    }

    #[inline(always)]
    fn write(self, sum: [float32x4_t; 4], to: &mut [f32; WIDTH]) {
        for (quarter, values) in to.as_chunks_mut::<4>().0.iter_mut().zip(sum) {
            // SAFETY: the reference covers the 16 bytes.
            unsafe { vst1q_f32(quarter.as_mut_ptr(), values) }
        }
    }

    #[inline(always)]
    fn add(self, mut sum: [float32x4_t; 4], addend: &[f32; WIDTH]) -> [float32x4_t; 4] {
        let addend = self.load(addend);
        for quarter in 0..4 {
            // SAFETY: every AArch64 processor that this target names has NEON.
            unsafe { sum[quarter] = vaddq_f32(sum[quarter], addend[quarter]) }
        }
        sum
    }
}
