//! Cosines and sines of positions, as tables.
//!
//! # Rules
//! Computed in f64 by the functions of the kernel specification, and rounded once to f32.

use super::{Config, Rope, RopeScaling};
use crate::kernels::math::f64;

/// Positions that are computed together.
const PIECE: usize = 256;

/// The turns of every pair at every position so far.
#[derive(Debug, Clone)]
pub(super) struct Turns {
    /// Angle of each pair at position 1.
    angles: Vec<f64>,
    /// What cosine and sine are multiplied by.
    size: f64,
    table: Vec<[f32; 2]>,
}

impl Turns {
    /// Of blocks that see all tokens.
    pub(super) fn global(config: &Config, factors: Option<&[f32]>) -> Self {
        let rope = &config.rope;
        let mut angles = angles(rope, rope.base);
        let mut size = 1.0;
        match rope.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => angles.iter_mut().for_each(|angle| *angle /= f64::from(factor)),
            RopeScaling::Yarn { factor, attention_factor, .. } => {
                yarn(rope, &mut angles);
                size = f64::from(attention_factor) * (1.0 + 0.1 * f64::ln(f64::from(factor)));
            }
        }
        for (angle, factor) in angles.iter_mut().zip(factors.unwrap_or_default()) {
            *angle /= f64::from(*factor);
        }
        Self { angles, size, table: Vec::new() }
    }

    /// Of blocks with a window, where these turn by a base of their own.
    pub(super) fn local(config: &Config) -> Option<Self> {
        let base = config.rope.local_base?;
        Some(Self { angles: angles(&config.rope, base), size: 1.0, table: Vec::new() })
    }

    /// Compute all positions below this one.
    pub(super) fn reach(&mut self, positions: usize) {
        let pairs = self.angles.len();
        if pairs == 0 || self.table.len() >= positions * pairs {
            return;
        }
        for position in self.table.len() / pairs..positions.next_multiple_of(PIECE) {
            let turn = |angle: &f64| turn(real(position) * angle, self.size);
            self.table.extend(self.angles.iter().map(turn));
        }
    }

    /// Of a position that was reached.
    pub(super) fn at(&self, position: usize) -> &[[f32; 2]] {
        let pairs = self.angles.len();
        &self.table[position * pairs..][..pairs]
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32")]
fn turn(angle: f64, size: f64) -> [f32; 2] {
    [(f64::cos(angle) * size) as f32, (f64::sin(angle) * size) as f32]
}

#[expect(clippy::cast_precision_loss, reason = "positions and sizes are below 2^24")]
fn real(count: usize) -> f64 {
    count as f64
}

/// `base ^ (-2 i / dimensions)`.
fn angles(rope: &Rope, base: f32) -> Vec<f64> {
    let pairs = rope.dimensions / 2;
    let power = |pair: usize| -(2.0 * real(pair)) / real(rope.dimensions);
    (0..pairs).map(|pair| f64::pow(f64::from(base), power(pair))).collect()
}

/// YaRN (Peng et al., 2023): slow pairs are divided by the factor, fast ones stay, a ramp lies between.
fn yarn(rope: &Rope, angles: &mut [f64]) {
    let RopeScaling::Yarn { factor, original_context, extrapolation, beta_fast, beta_slow, .. } =
        rope.scaling
    else {
        return;
    };
    // The pair that turns so many times in the original context.
    let pair_of = |turns: f32| {
        let waves = real(original_context) / (f64::from(turns) * 2.0 * std::f64::consts::PI);
        real(rope.dimensions) * f64::ln(waves) / (2.0 * f64::ln(f64::from(rope.base)))
    };
    let first = pair_of(beta_fast).floor().max(0.0);
    let last = pair_of(beta_slow).ceil().min(real(rope.dimensions) - 1.0);
    for (pair, angle) in angles.iter_mut().enumerate() {
        let ramp = ((real(pair) - first) / (last - first).max(0.001)).clamp(0.0, 1.0);
        let kept = (1.0 - ramp) * f64::from(extrapolation);
        *angle = (*angle / f64::from(factor)) * (1.0 - kept) + *angle * kept;
    }
}
