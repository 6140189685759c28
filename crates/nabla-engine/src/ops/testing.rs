//! Doors for the tests of `kernels` to bodies that live with their operators.

use super::normalize::SoftBody;
use super::unary::Map;
use crate::kernels::Isa;

pub(crate) fn map(isa: Isa, x: &[f32], f: fn(f32) -> f32) -> Vec<f32> {
    // One closure per function, so that each is built for the instruction set, as in its operator.
    isa.run(Map { x, f: move |x| f(x) })
}

pub(crate) fn softmax(isa: Isa, x: &[f32], logarithm: bool) -> Vec<f32> {
    isa.run(SoftBody { x, length: x.len(), stride: 1, logarithm })
}
