//! An island with `unsafe`: the builds for AVX2 and AVX-512.
//!
//! It holds no loops over data. It builds the safe bodies once more for these instructions, and names the few
//! that [`Dot`](super::dot::Dot) needs. Every `unsafe` block rests on one of two facts: a token exists, so
//! `find` has seen the processor's features; or a reference to an array covers the bytes that a vector moves.

#![expect(
    unsafe_code,
    reason = "instructions that need a check at run time, and vector loads from references"
)]

use super::blocks::lanes::LanesBody;
use super::dot::Leaf;
use super::{Body, DotBody, Hard, Kernels};

#[path = "x86/avx2.rs"]
mod avx2;
#[path = "x86/avx512.rs"]
mod avx512;
#[path = "x86/lanes2.rs"]
mod lanes2;
#[path = "x86/lanes512.rs"]
mod lanes512;

/// A vector unit that this processor has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vector {
    Avx2(Avx2),
    Avx512(Avx512),
}

impl Vector {
    /// The best, or the one asked for.
    pub(crate) fn find(kernels: Kernels) -> Option<Self> {
        let avx2 = || Avx2::detect().map(Self::Avx2);
        let avx512 = || Avx512::detect().map(Self::Avx512);
        match kernels {
            Kernels::Auto => avx512().or_else(avx2),
            Kernels::Avx2 => avx2(),
            Kernels::Avx512 => avx512(),
            Kernels::Scalar | Kernels::Neon => None,
        }
    }

    pub(crate) fn kernels(self) -> Kernels {
        match self {
            Self::Avx2(_) => Kernels::Avx2,
            Self::Avx512(_) => Kernels::Avx512,
        }
    }

    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        match self {
            Self::Avx2(token) => token.leaf(Built(body)),
            Self::Avx512(token) => token.leaf(Built(body)),
        }
    }

    /// Turn R rows of sixteen, which start `stride` apart, into columns, if there are instructions for it.
    #[inline]
    pub(crate) fn transpose<const R: usize>(
        self,
        rows: &[f32],
        stride: usize,
        columns: &mut [[f32; R]; 16],
    ) -> bool {
        match self {
            Self::Avx2(_) => false,
            Self::Avx512(_) => {
                // SAFETY: a token exists, so `detect` has found AVX-512 F on this machine.
                unsafe { avx512::transpose(rows, stride, columns) }
                true
            }
        }
    }

    pub(crate) fn with_float<B: DotBody<f32, f32>>(self, body: B) -> B::Result {
        match self {
            Self::Avx2(token) => body.run(avx2::Float(token)),
            Self::Avx512(token) => body.run(avx512::Float(token)),
        }
    }

    pub(crate) fn with_lanes<B: LanesBody>(self, body: B) -> B::Out {
        match self {
            Self::Avx2(token) => body.run(token),
            Self::Avx512(token) => body.run(token),
        }
    }

    pub(crate) fn with_bytes<const LEFT_SIGNED: bool, B: DotBody<[u8; 4], i32>>(self, body: B) -> B::Result {
        match self {
            Self::Avx2(token) => body.run(avx2::Bytes::<LEFT_SIGNED>(token)),
            Self::Avx512(token) => body.run(avx512::Bytes::<LEFT_SIGNED>(token)),
        }
    }
}

/// A body as a leaf: these processors have the instruction.
struct Built<B>(B);

impl<B: Body> Leaf for Built<B> {
    type Out = B::Out;

    #[inline(always)]
    fn run(self) -> B::Out {
        self.0.run::<Hard>()
    }
}

/// Proof that the processor has AVX2, FMA and F16C: only [`Avx2::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }

    #[inline]
    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        // SAFETY: `run_avx2` is safe Rust whose only demand is a processor with AVX2, FMA and F16C. `self`
        // exists, so `detect` has found them on this machine.
        unsafe { run_avx2(leaf) }
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn run_avx2<L: Leaf>(leaf: L) -> L::Out {
    leaf.run()
}

/// Proof that the processor has the AVX-512 that servers have had since 2019: only [`Avx512::detect`] makes
/// one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx512(());

impl Avx512 {
    fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        (found && Avx2::detect().is_some()).then_some(Self(()))
    }

    #[inline]
    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        // SAFETY: `run_avx512` is safe Rust whose only demand is a processor with the features named there.
        // `self` exists, so `detect` has found all of them on this machine.
        unsafe { run_avx512(leaf) }
    }
}

#[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
fn run_avx512<L: Leaf>(leaf: L) -> L::Out {
    leaf.run()
}
