//! Rows of the left matrix as levels of a byte, in the order in which tiles read them.
//!
//! # Rules
//! - Rows are cut in tiles of eight, then of four, two and one. A row's levels do not depend on its tile.
//! - NaN becomes the level -127; a block with an infinity has an infinite scale, and its outputs are NaN.

use std::ops::Range;

use crate::kernels::quant::Levels;
use crate::kernels::{Body, Fma, Isa};

/// Elements that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Rows of the tallest tile.
pub(crate) const TALLEST: usize = 8;
/// Words of a block.
const WORDS: usize = BLOCK / 4;

/// Rows `[count, k]` as levels.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tokens {
    count: usize,
    k: usize,
    /// Tile by tile, step by step of four along k, row by row.
    words: Vec<[i8; 4]>,
    /// Tile by tile, block by block, row by row.
    scales: Vec<f32>,
    /// As scales, but for each half of a block: the sum of its levels.
    totals: Vec<i32>,
}

/// The levels of one tile.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TileLevels<'a> {
    pub(crate) rows: usize,
    pub(crate) words: &'a [[i8; 4]],
    pub(crate) scales: &'a [f32],
    pub(crate) totals: &'a [i32],
}

impl Tokens {
    /// Levels of `count` rows of `k` elements.
    ///
    /// # Panics
    /// If `x` does not hold them, or `k` is no multiple of [`BLOCK`].
    pub(crate) fn quantise(isa: Isa, x: &[f32], k: usize) -> Self {
        assert!(k > 0 && k.is_multiple_of(BLOCK) && x.len().is_multiple_of(k), "rows of whole blocks");
        let count = x.len() / k;
        let blocks = count * k / BLOCK;
        let mut tokens = Self {
            count,
            k,
            words: vec![[0; 4]; blocks * WORDS],
            scales: vec![0.0; blocks],
            totals: vec![0; 2 * blocks],
        };
        isa.run(Quantise { x, tokens: &mut tokens });
        tokens
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    pub(crate) fn k(&self) -> usize {
        self.k
    }

    /// Give each tile to `work`, with its rows.
    pub(crate) fn each_tile(&self, mut work: impl FnMut(Range<usize>, TileLevels<'_>)) {
        let blocks = self.k / BLOCK;
        for rows in tiles(self.count) {
            let (from, to) = (rows.start * blocks, rows.end * blocks);
            let levels = TileLevels {
                rows: rows.len(),
                words: &self.words[from * WORDS..to * WORDS],
                scales: &self.scales[from..to],
                totals: &self.totals[2 * from..2 * to],
            };
            work(rows, levels);
        }
    }
}

/// How rows are cut.
fn tiles(count: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let left = count - start;
        let rows = [TALLEST, 4, 2, 1].into_iter().find(|rows| *rows <= left)?;
        start += rows;
        Some(start - rows..start)
    })
}

struct Quantise<'a> {
    x: &'a [f32],
    tokens: &'a mut Tokens,
}

impl Body for Quantise<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { x, tokens: Tokens { count, k, words, scales, totals } } = self;
        let blocks = *k / BLOCK;
        let levels = Levels::new(-127, 127, 0);
        for rows in tiles(*count) {
            let (height, from) = (rows.len(), rows.start * blocks);
            for row in rows.clone() {
                let place = row - rows.start;
                for (block, values) in x[row * *k..][..*k].as_chunks::<BLOCK>().0.iter().enumerate() {
                    let (scale, levels) = block_levels(values, levels);
                    let at = (from + block * height) + place;
                    scales[at] = scale;
                    let first = (from + block * height) * WORDS + place;
                    for (word, slot) in
                        levels.as_chunks::<4>().0.iter().zip(words[first..].iter_mut().step_by(height))
                    {
                        *slot = *word;
                    }
                    for half in 0..2 {
                        let sum = levels[half * BLOCK / 2..][..BLOCK / 2]
                            .iter()
                            .map(|level| i32::from(*level))
                            .sum();
                        totals[2 * from + (2 * block + half) * height + place] = sum;
                    }
                }
            }
        }
    }
}

/// Scale and levels of one block.
#[inline(always)]
fn block_levels(values: &[f32; BLOCK], levels: Levels) -> (f32, [i8; BLOCK]) {
    let mut most = [0.0_f32; 8];
    for values in values.as_chunks::<8>().0 {
        for (most, value) in most.iter_mut().zip(values) {
            let size = value.abs();
            *most = if size > *most { size } else { *most };
        }
    }
    let most = most.into_iter().fold(0.0, |most: f32, size| if size > most { size } else { most });
    let scale = most / 127.0;
    let factor = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    (scale, values.map(|value| low_byte(levels.level(value * factor))))
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "levels lie between -127 and 127")]
fn low_byte(level: i32) -> i8 {
    level as i8
}
