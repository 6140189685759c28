//! The island: the only module of the workspace's engine with `unsafe`.
//!
//! It holds no arithmetic and no pointers. It builds the safe bodies once more for AVX2 and FMA and calls
//! that build after the processor said that it has both.

#![expect(unsafe_code, reason = "a call into a build for other instructions needs a check at run time")]

use super::{Body, Hard};

/// Proof that the processor has AVX2 and FMA: only [`Avx2::detect`] makes one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Avx2(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }

    #[inline]
    pub(crate) fn run<B: Body>(self, body: B) -> B::Out {
        // SAFETY: `run_avx2` is safe Rust whose only demand is a processor with AVX2 and FMA. `self`
        // exists, so `detect` has found both on this machine.
        unsafe { run_avx2(body) }
    }
}

#[target_feature(enable = "avx2,fma")]
fn run_avx2<B: Body>(body: B) -> B::Out {
    body.run::<Hard>()
}
