//! Stands in for `x86` and `neon` on other processors: there is no vector build, so its token cannot be made.

use super::blocks::lanes::LanesBody;
use super::{Body, DotBody, Kernels};

/// A vector unit that this processor has; cannot exist here.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Vector {}

impl Vector {
    pub(crate) fn find(_: Kernels) -> Option<Self> {
        None
    }

    pub(crate) fn kernels(self) -> Kernels {
        match self {}
    }

    pub(crate) fn run<B: Body>(self, _: B) -> B::Out {
        match self {}
    }

    pub(crate) fn transpose<const R: usize>(self, _: &[f32], _: usize, _: &mut [[f32; R]; 16]) -> bool {
        match self {}
    }

    pub(crate) fn with_float<B: DotBody<f32, f32>>(self, _: B) -> B::Result {
        match self {}
    }

    pub(crate) fn with_lanes<B: LanesBody>(self, _: B) -> B::Out {
        match self {}
    }

    pub(crate) fn with_bytes<const LEFT_SIGNED: bool, B: DotBody<[u8; 4], i32>>(self, _: B) -> B::Result {
        match self {}
    }
}
