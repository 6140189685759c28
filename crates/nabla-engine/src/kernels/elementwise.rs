//! Steps on elements, one after the other while they are in the nearest cache.
//!
//! [`run_steps`] takes a piece of a tensor through a list of [`Step`]s: a chain of element-wise operators, or
//! what follows a matrix product. A step rounds as its operator does alone, so that joining steps never
//! changes a bit; between two steps values are f32 in memory, in pieces of [`PIECE`].
//!
//! # Rules
//! - Each element meets only the operands of its own place.
//! - No step fails. Slices that do not fit the piece are a mistake of the caller and stop the thread.

use super::{Body, Fma, Isa, math};

mod binary;
mod unary;

#[cfg(test)]
mod tests;

pub(crate) use binary::{Binary, Other, binary_in_place};
pub(crate) use unary::Unary;

/// Elements that go through all steps together: 8 KiB, so that operands stay near as well.
pub(crate) const PIECE: usize = 2048;
/// Elements of one turn of a loop.
const BLOCK: usize = 16;

/// One thing done to every element.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    /// A function of the element.
    Unary(Unary),
    /// The element joined with an operand.
    Binary(Binary, Operand),
}

/// Where the other element of a binary step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Operand {
    /// The same for all.
    Scalar(f32),
    /// The same for this piece: an index in [`Operands::constants`].
    Constant(usize),
    /// At the same place of a slice: an index in [`Operands::slices`].
    Slice(usize),
}

/// What the steps of one piece refer to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Operands<'a> {
    /// One value each for the whole piece.
    pub(crate) constants: &'a [f32],
    /// As long as the piece, or longer.
    pub(crate) slices: &'a [&'a [f32]],
}

/// All steps, in order, on every element of `piece`.
pub(crate) fn run_steps(isa: Isa, steps: &[Step], piece: &mut [f32], operands: Operands<'_>) {
    if !steps.is_empty() {
        isa.run(Steps { steps, piece, operands });
    }
}

/// `f` of every element of `x`.
pub(crate) fn unary(isa: Isa, f: Unary, x: &[f32], out: &mut [f32]) {
    for (x, out) in x.chunks(PIECE).zip(out.chunks_mut(PIECE)) {
        out.copy_from_slice(x);
        run_steps(isa, &[Step::Unary(f)], out, Operands::default());
    }
}

struct Steps<'a> {
    steps: &'a [Step],
    piece: &'a mut [f32],
    operands: Operands<'a>,
}

impl Body for Steps<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { steps, piece, operands } = self;
        for (index, part) in piece.chunks_mut(PIECE).enumerate() {
            for step in steps {
                match *step {
                    Step::Unary(f) => unary::apply::<F>(f, part),
                    Step::Binary(rule, Operand::Scalar(other)) => binary::with_one(rule, part, other),
                    Step::Binary(rule, Operand::Constant(at)) => {
                        binary::with_one(rule, part, operands.constants[at]);
                    }
                    Step::Binary(rule, Operand::Slice(at)) => {
                        binary::with_many(rule, part, &operands.slices[at][index * PIECE..][..part.len()]);
                    }
                }
            }
        }
    }
}

/// `f` of every element. The last, short block is done as a whole one, which costs less than one by one.
///
/// Flat loops, since the compiler makes better vectors of them than of blocks; and one call of `f` in the code,
/// so that it is always built into the loop.
#[inline(always)]
fn map(piece: &mut [f32], f: impl Fn(f32) -> f32) {
    let (whole, tail) = piece.split_at_mut(piece.len() - piece.len() % BLOCK);
    let mut last = [1.0; BLOCK];
    last[..tail.len()].copy_from_slice(tail);
    let rest = if tail.is_empty() { 0 } else { BLOCK };
    for part in [whole, &mut last[..rest]] {
        for x in part {
            *x = f(*x);
        }
    }
    tail.copy_from_slice(&last[..tail.len()]);
}

/// `near` of every element, but `far` of those beyond `limit`.
#[inline(always)]
fn map_near(piece: &mut [f32], limit: f32, near: impl Fn(f32) -> f32, far: impl Fn(f32) -> f32) {
    let mut given = [0.0; PIECE];
    let given = &mut given[..piece.len()];
    given.copy_from_slice(piece);
    map(piece, near);
    if given.iter().fold(false, |any, x| any | (x.abs() > limit)) {
        for (out, x) in piece.iter_mut().zip(given).filter(|(_, x)| x.abs() > limit) {
            *out = far(*x);
        }
    }
}
