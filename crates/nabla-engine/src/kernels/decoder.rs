//! What a decoder does to each token besides products: norms, rotations, gates, attention.
//!
//! | module | what it holds |
//! |---|---|
//! | [`attention`] | one token's heads over the keys and values of its sequence |
//!
//! # Rules
//! - A token's numbers depend on its own row and on the keys and values of its sequence, never on the rows that
//!   happen to be computed beside it: a prompt may be cut in pieces, and a batch mixed, without changing a bit.
//! - An RMS norm is `x * f * w` with `f = 1 / sqrt(mean + epsilon)`, the mean of squares striped as every sum of a row.
//! - A rotation of `(a, b)` by `(c, s)` is `fma(-b, s, a * c)` and `fma(b, c, a * s)`.

use super::rows::reduce::{Squares, of_row};
use super::{Body, Fma, Isa, math};

pub(crate) mod attention;
#[cfg(test)]
mod tests;

/// RMS norm of every row of as many elements as there are weights.
pub(crate) fn rms_norm(isa: Isa, x: &[f32], weights: &[f32], epsilon: f32, out: &mut [f32]) {
    out.copy_from_slice(x);
    rms_norm_in_place(isa, out, weights, epsilon);
}

/// [`rms_norm`], in place.
pub(crate) fn rms_norm_in_place(isa: Isa, rows: &mut [f32], weights: &[f32], epsilon: f32) {
    if !weights.is_empty() {
        isa.run(RmsNorm { rows, weights, epsilon });
    }
}

struct RmsNorm<'a> {
    rows: &'a mut [f32],
    weights: &'a [f32],
    epsilon: f32,
}

impl Body for RmsNorm<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::cast_precision_loss, reason = "rows are far shorter than 2^24")]
    fn run<F: Fma>(self) {
        let Self { rows, weights, epsilon } = self;
        for row in rows.chunks_exact_mut(weights.len()) {
            let mean = of_row::<F, f32, Squares>(row) / weights.len() as f32;
            let factor = 1.0 / (mean + epsilon).sqrt();
            for (x, weight) in row.iter_mut().zip(weights) {
                *x = (*x * factor) * weight;
            }
        }
    }
}

/// Pairs of a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pairs {
    /// Neighbours.
    Neighbours,
    /// An element of the first half of those turned, and the one across.
    Halves,
}

/// Turn every head of a row: pair `i` by `turns[i]`, cosine and sine. Elements behind the pairs stay.
pub(crate) fn rotate(isa: Isa, row: &mut [f32], head_size: usize, pairs: Pairs, turns: &[[f32; 2]]) {
    if head_size > 0 {
        isa.run(Rotate { row, head_size, pairs, turns });
    }
}

struct Rotate<'a> {
    row: &'a mut [f32],
    head_size: usize,
    pairs: Pairs,
    turns: &'a [[f32; 2]],
}

impl Body for Rotate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { row, head_size, pairs, turns } = self;
        let turned = |a: f32, b: f32, [c, s]: [f32; 2]| (F::fma(-b, s, a * c), F::fma(b, c, a * s));
        for head in row.chunks_exact_mut(head_size) {
            match pairs {
                Pairs::Neighbours => {
                    for ([a, b], turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                        (*a, *b) = turned(*a, *b, *turn);
                    }
                }
                Pairs::Halves => {
                    let (first, rest) = head.split_at_mut(turns.len());
                    for ((a, b), turn) in first.iter_mut().zip(rest).zip(turns) {
                        (*a, *b) = turned(*a, *b, *turn);
                    }
                }
            }
        }
    }
}

/// What a gate goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    /// `x * sigmoid(x)`.
    Silu,
    /// Gelu by its approximation with tanh.
    GeluTanh,
}

/// `gates = gate(gates) * up`.
pub(crate) fn gated(isa: Isa, gate: Gate, gates: &mut [f32], up: &[f32]) {
    isa.run(Gated { gate, gates, up });
}

struct Gated<'a> {
    gate: Gate,
    gates: &'a mut [f32],
    up: &'a [f32],
}

impl Body for Gated<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { gate, gates, up } = self;
        match gate {
            Gate::Silu => each(gates, up, |x, up| (x * math::f32::sigmoid::<F>(x)) * up),
            Gate::GeluTanh => each(gates, up, |x, up| math::f32::gelu_tanh::<F>(x) * up),
        }
    }
}

#[inline(always)]
fn each(x: &mut [f32], other: &[f32], f: impl Fn(f32, f32) -> f32) {
    for (x, other) in x.iter_mut().zip(other) {
        *x = f(*x, *other);
    }
}

/// `x = x + other`, element by element; a shorter `other` is repeated for each row.
pub(crate) fn add(isa: Isa, x: &mut [f32], other: &[f32]) {
    if !other.is_empty() {
        isa.run(Add { x, other });
    }
}

struct Add<'a> {
    x: &'a mut [f32],
    other: &'a [f32],
}

impl Body for Add<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for row in self.x.chunks_exact_mut(self.other.len()) {
            each(row, self.other, |x, other| x + other);
        }
    }
}

/// `x = tanh(x / cap) * cap`.
pub(crate) fn cap(isa: Isa, x: &mut [f32], cap: f32) {
    isa.run(Cap { x, cap });
}

struct Cap<'a> {
    x: &'a mut [f32],
    cap: f32,
}

impl Body for Cap<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        for x in self.x {
            *x = math::f32::tanh::<F>(*x / self.cap) * self.cap;
        }
    }
}
