//! One token's heads over the keys and values of its sequence, which lie in pages.
//!
//! A page holds [`KEYS`] tokens of one layer and one head of keys: the keys turned, so that its lanes are tokens
//! (`[size][KEYS]`), then the values (`[KEYS][size]`). The heads of queries that share it are computed together.
//!
//! # Rules
//! - A score is one chain of fused multiply-adds over the head, times the scale; then the cap. Softmax is over the
//!   visible tokens, the first of which starts the stripes of its sum.
//! - An output is one chain of fused multiply-adds over the visible tokens in order, starting from `+0`.

use super::{Body, Fma};
use crate::kernels::math;
use crate::kernels::rows::softmax;

/// Tokens of a page.
pub(crate) const KEYS: usize = 16;
/// Elements of a head that are summed together.
const LANES: usize = 16;

/// Heads of queries that share keys and values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    /// Elements of a head.
    pub(crate) size: usize,
    /// `[heads][size]`.
    pub(crate) queries: &'a [f32],
    pub(crate) scale: f32,
    pub(crate) cap: Option<f32>,
}

/// What the token sees.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visible<'a> {
    /// Where pages lie.
    pub(crate) arena: &'a [f32],
    /// Where the part of this layer and head starts in the page of each [`KEYS`] tokens.
    pub(crate) starts: &'a [usize],
    /// The first visible token, and the one behind the last.
    pub(crate) from: usize,
    pub(crate) to: usize,
}

/// Elements of a page's part for one layer and one head of keys.
pub(crate) fn part_elements(size: usize) -> usize {
    2 * KEYS * size
}

/// Attention of some heads.
pub(crate) struct Attend<'a> {
    pub(crate) heads: Heads<'a>,
    pub(crate) visible: Visible<'a>,
    /// `[heads][size]`.
    pub(crate) out: &'a mut [f32],
}

impl Body for Attend<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { heads, visible, out } = self;
        let size = heads.size;
        let at_once = if size == 0 { return } else { 4 * size };
        let mut scores = Vec::new();
        for (queries, out) in heads.queries.chunks(at_once).zip(out.chunks_mut(at_once)) {
            let heads = Heads { queries, ..heads };
            match queries.len() / size {
                4 => some::<F, 4>(heads, visible, &mut scores, out),
                3 => some::<F, 3>(heads, visible, &mut scores, out),
                2 => some::<F, 2>(heads, visible, &mut scores, out),
                _ => some::<F, 1>(heads, visible, &mut scores, out),
            }
        }
    }
}

#[inline(always)]
fn some<F: Fma, const R: usize>(
    heads: Heads<'_>,
    visible: Visible<'_>,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let Visible { from, to, .. } = visible;
    let first_page = from / KEYS;
    // Rows of whole pages; what lies outside of `from..to` is not looked at again.
    let row = (to.div_ceil(KEYS) - first_page) * KEYS;
    scores.clear();
    scores.resize(R * row, 0.0);
    for page in first_page..to.div_ceil(KEYS) {
        let sums = page_scores::<F, R>(heads, visible, page);
        for (scores, sums) in scores.chunks_exact_mut(row).zip(sums) {
            scores[(page - first_page) * KEYS..][..KEYS].copy_from_slice(&sums);
        }
    }
    let shown = from - first_page * KEYS..to - first_page * KEYS;
    for scores in scores.chunks_exact_mut(row) {
        let scores = &mut scores[shown.clone()];
        if let Some(cap) = heads.cap {
            for score in &mut *scores {
                *score = math::f32::tanh::<F>(*score / cap) * cap;
            }
        }
        softmax::<F>(scores);
    }
    let weights: [&[f32]; R] = std::array::from_fn(|r| &scores[r * row + shown.start..r * row + shown.end]);
    let size = heads.size;
    let mut lane = 0;
    while lane < size {
        if lane + 4 * LANES <= size {
            values::<F, R, 4>(size, visible, weights, lane, out);
            lane += 4 * LANES;
        } else if lane + LANES <= size {
            values::<F, R, 1>(size, visible, weights, lane, out);
            lane += LANES;
        } else {
            last_values::<F, R>(size, visible, weights, lane, out);
            lane = size;
        }
    }
}

/// Scores of one page's tokens.
#[inline(always)]
fn page_scores<F: Fma, const R: usize>(
    heads: Heads<'_>,
    visible: Visible<'_>,
    page: usize,
) -> [[f32; KEYS]; R] {
    let size = heads.size;
    let keys = visible.arena[visible.starts[page]..][..size * KEYS].as_chunks::<KEYS>().0;
    let queries: [&[f32]; R] = std::array::from_fn(|r| &heads.queries[r * size..][..size]);
    let mut sums = [[0.0; KEYS]; R];
    for (element, keys) in keys.iter().enumerate() {
        for (sums, query) in sums.iter_mut().zip(queries) {
            let query = query[element];
            for (sum, key) in sums.iter_mut().zip(keys) {
                *sum = F::fma(query, *key, *sum);
            }
        }
    }
    sums.map(|sums| sums.map(|sum| sum * heads.scale))
}

/// The values of a token, from `lane` on.
#[inline(always)]
fn value<'a>(visible: Visible<'a>, size: usize, token: usize, lane: usize) -> &'a [f32] {
    let start = visible.starts[token / KEYS] + (KEYS + token % KEYS) * size;
    &visible.arena[start + lane..start + size]
}

/// `B` times [`LANES`] elements of the outputs, from `lane` on.
#[inline(always)]
fn values<F: Fma, const R: usize, const B: usize>(
    size: usize,
    visible: Visible<'_>,
    weights: [&[f32]; R],
    lane: usize,
    out: &mut [f32],
) {
    let mut sums = [[[0.0_f32; LANES]; B]; R];
    for (index, token) in (visible.from..visible.to).enumerate() {
        let values = value(visible, size, token, lane).as_chunks::<LANES>().0;
        let values: &[[f32; LANES]; B] = values.first_chunk().expect("lanes of a head");
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weight = weights[index];
            for (sums, values) in sums.iter_mut().zip(values) {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum = F::fma(weight, *value, *sum);
                }
            }
        }
    }
    for (out, sums) in out.chunks_exact_mut(size).zip(sums) {
        out[lane..lane + B * LANES].copy_from_slice(sums.as_flattened());
    }
}

/// The elements that are fewer than [`LANES`].
#[inline(always)]
fn last_values<F: Fma, const R: usize>(
    size: usize,
    visible: Visible<'_>,
    weights: [&[f32]; R],
    lane: usize,
    out: &mut [f32],
) {
    for (out, weights) in out.chunks_exact_mut(size).zip(weights) {
        out[lane..].fill(0.0);
        for (token, weight) in (visible.from..visible.to).zip(weights) {
            for (sum, value) in out[lane..].iter_mut().zip(value(visible, size, token, lane)) {
                *sum = F::fma(*weight, *value, *sum);
            }
        }
    }
}

/// Put a token's keys and values, `[size]` each, in its place of a page's part.
pub(crate) fn store(part: &mut [f32], size: usize, token: usize, key: &[f32], value: &[f32]) {
    let place = token % KEYS;
    let (keys, values) = part.split_at_mut(size * KEYS);
    for (slot, element) in keys[place..].iter_mut().step_by(KEYS).zip(key) {
        *slot = *element;
    }
    values[place * size..][..size].copy_from_slice(value);
}
