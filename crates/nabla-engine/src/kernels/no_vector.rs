//! Stands in for `x86` on other processors: there is no vector build, so its token cannot be made.

use super::Body;

/// Proof that the processor has AVX2 and FMA; cannot exist here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Avx2 {}

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        None
    }

    pub(crate) fn run<B: Body>(self, _: B) -> B::Out {
        match self {}
    }
}
