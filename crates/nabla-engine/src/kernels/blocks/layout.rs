//! Where levels and scales lie: in a row of a file, and in a panel of sixteen rows.
//!
//! In a panel the levels of sixteen rows are interleaved in quads: four levels along k of one row, then of
//! the next. Levels of four bits share a byte with those 16 places further along k; the two upper bits of
//! levels of six lie apart, four quads in one.
//!
//! The formats of rows are GGUF's (ggml-common.h): `Q8_0`, `Q4_0`, `Q4_K`, `Q6_K`.

use super::lanes::{Lanes, Quads, WIDTH};
use super::tile::{Block, PANELS, Sums};

/// A format of weights in blocks.
pub(crate) trait Layout: Send + Sync {
    /// Weights of a block.
    const WEIGHTS: usize;
    /// Bytes of a block in a row of a file.
    const ROW_BYTES: usize;
    /// Bytes of sixteen blocks in a panel.
    const PANEL_BYTES: usize;

    /// Put a row's block in its lane; `panel` is zero there.
    fn place(row: &[u8], lane: usize, panel: &mut [u8]);

    /// Add a block of each panel, times the tokens' levels, to their sums.
    fn add<L: Lanes, const T: usize, const H: usize>(
        lanes: L,
        panels: [&[u8]; PANELS],
        block: Block<'_, H>,
        sums: Sums<L, T>,
    ) -> Sums<L, T>;
}

/// Pack `n` rows of `k` weights in panels, which are all zero before.
pub(crate) fn pack<F: Layout>(rows: &[u8], n: usize, k: usize, panels: &mut [u8]) {
    let blocks = k / F::WEIGHTS;
    if blocks == 0 {
        return;
    }
    for (row, bytes) in rows.chunks_exact(blocks * F::ROW_BYTES).take(n).enumerate() {
        let panel = &mut panels[row / WIDTH * blocks * F::PANEL_BYTES..][..blocks * F::PANEL_BYTES];
        for (from, to) in bytes.chunks_exact(F::ROW_BYTES).zip(panel.chunks_exact_mut(F::PANEL_BYTES)) {
            F::place(from, row % WIDTH, to);
        }
    }
}

/// The first bytes as an array.
///
/// # Panics
/// If there are fewer: a mistake of this crate, never of a model.
#[inline(always)]
fn head<const N: usize>(bytes: &[u8]) -> &[u8; N] {
    bytes.first_chunk().expect("a whole block")
}

/// `N` bytes from `start` on; the check goes away where both are constants.
#[inline(always)]
fn part<const N: usize>(bytes: &[u8], start: usize) -> &[u8; N] {
    head(&bytes[start..])
}

/// Levels of four bits: byte `i` has level `i` below and level `i + 16` above, as GGUF has them, too.
fn place_nibbles(levels: &[u8; 16], lane: usize, quads: &mut [u8]) {
    for (index, byte) in levels.iter().enumerate() {
        quads[index / 4 * QUADS + 4 * lane + index % 4] = *byte;
    }
}

/// Bytes of sixteen quads.
const QUADS: usize = size_of::<Quads>();

/// Add products of four steps of small levels, from step `first` of the block on.
#[inline(always)]
fn add_small<L: Lanes, const T: usize, const H: usize>(
    lanes: L,
    small: [L::Small; PANELS],
    block: &Block<'_, H>,
    step: usize,
    mut dots: [[L::Ints; PANELS]; T],
) -> [[L::Ints; PANELS]; T] {
    let words = &block.words[step];
    for (t, dots) in dots.iter_mut().enumerate() {
        let word = words[block.first + t];
        for (dot, small) in dots.iter_mut().zip(small) {
            *dot = lanes.dot_small(*dot, small, word);
        }
    }
    dots
}

/// Levels of 32 weights of four bits, times the tokens', beside what `start` says for each token.
#[inline(always)]
fn dot_nibbles<L: Lanes, const T: usize, const H: usize>(
    lanes: L,
    quads: [&[u8; 4 * QUADS]; PANELS],
    block: &Block<'_, H>,
    step: usize,
    start: impl Fn(usize) -> i32,
) -> [[L::Ints; PANELS]; T] {
    let mut dots: [[L::Ints; PANELS]; T] =
        std::array::from_fn(|t| [lanes.ints(start(block.first + t)); PANELS]);
    for group in 0..4 {
        let halves = quads.map(|quads| lanes.nibbles(part(quads, group * QUADS)));
        dots = add_small(lanes, halves.map(|[low, _]| low), block, step + group, dots);
        dots = add_small(lanes, halves.map(|[_, high]| high), block, step + group + 4, dots);
    }
    dots
}

/// One link of every chain: `sum = fma(dot, scale * s, sum)`.
#[inline(always)]
fn link<L: Lanes, const T: usize, const H: usize>(
    lanes: L,
    dots: [[L::Ints; PANELS]; T],
    scales: [L::Floats; PANELS],
    (of_tokens, first): (&[f32; H], usize),
    mut sums: Sums<L, T>,
) -> Sums<L, T> {
    for (t, sums) in sums.iter_mut().enumerate() {
        let of_token = lanes.splat(of_tokens[first + t]);
        for p in 0..PANELS {
            let scale = lanes.multiply(scales[p], of_token);
            sums[p] = lanes.fma(lanes.floats_of(dots[t][p]), scale, sums[p]);
        }
    }
    sums
}

/// 32 bytes and a scale.
pub(crate) struct Q8;

impl Layout for Q8 {
    const WEIGHTS: usize = 32;
    const ROW_BYTES: usize = 34;
    const PANEL_BYTES: usize = 544;

    fn place(row: &[u8], lane: usize, panel: &mut [u8]) {
        let (scale, levels) = head::<34>(row).split_at(2);
        for (index, level) in levels.iter().enumerate() {
            // 128 is added.
            panel[index / 4 * QUADS + 4 * lane + index % 4] = level ^ 0x80;
        }
        panel[512 + 2 * lane..][..2].copy_from_slice(scale);
    }

    #[inline(always)]
    fn add<L: Lanes, const T: usize, const H: usize>(
        lanes: L,
        panels: [&[u8]; PANELS],
        block: Block<'_, H>,
        sums: Sums<L, T>,
    ) -> Sums<L, T> {
        let panels = panels.map(head::<544>);
        let Block { first, .. } = block;
        let words: &[[[i8; 4]; H]; 8] = block.words.first_chunk().expect("eight steps");
        let totals: &[[i32; H]; 2] = block.totals.first_chunk().expect("two halves");
        let start = |t: usize| totals[0][first + t] + totals[1][first + t];
        let mut dots: [[L::Ints; PANELS]; T] = std::array::from_fn(|t| [lanes.start_bytes(start(t)); PANELS]);
        for (group, words) in words.iter().enumerate() {
            let bytes = panels.map(|panel| lanes.bytes(part(panel, group * QUADS)));
            for (t, dots) in dots.iter_mut().enumerate() {
                for (dot, bytes) in dots.iter_mut().zip(bytes) {
                    *dot = lanes.dot_bytes(*dot, bytes, words[first + t]);
                }
            }
        }
        let scales = panels.map(|panel| lanes.halves(part(panel, 512)));
        link(lanes, dots, scales, (&block.scales[0], first), sums)
    }
}

/// 32 levels of four bits and a scale; a level stands for itself less 8.
pub(crate) struct Q4;

impl Layout for Q4 {
    const WEIGHTS: usize = 32;
    const ROW_BYTES: usize = 18;
    const PANEL_BYTES: usize = 288;

    fn place(row: &[u8], lane: usize, panel: &mut [u8]) {
        let row = head::<18>(row);
        place_nibbles(part(row, 2), lane, panel);
        panel[256 + 2 * lane..][..2].copy_from_slice(&row[..2]);
    }

    #[inline(always)]
    fn add<L: Lanes, const T: usize, const H: usize>(
        lanes: L,
        panels: [&[u8]; PANELS],
        block: Block<'_, H>,
        sums: Sums<L, T>,
    ) -> Sums<L, T> {
        let panels = panels.map(head::<288>);
        let totals: &[[i32; H]; 2] = block.totals.first_chunk().expect("two halves");
        let start = |t: usize| -8 * (totals[0][t] + totals[1][t]);
        let dots = dot_nibbles(lanes, panels.map(|panel| part(panel, 0)), &block, 0, start);
        let scales = panels.map(|panel| lanes.halves(part(panel, 256)));
        link(lanes, dots, scales, (&block.scales[0], block.first), sums)
    }
}

/// 8 times 32 levels of four bits, each with a scale and a minimum, over one scale of all scales and one of all
/// minima.
pub(crate) struct Q4K;

/// Where scales, minima and their own scales lie in a panel.
const Q4K_SCALES: usize = 8 * 4 * QUADS;
const Q4K_MINIMA: usize = Q4K_SCALES + 8 * WIDTH;
const Q4K_D: usize = Q4K_MINIMA + 8 * WIDTH;
const Q4K_D_MINIMUM: usize = Q4K_D + 2 * WIDTH;

/// Scale and minimum of part `index` of a `Q4_K` block: six bits each, the upper two of parts 4 to 7 apart.
pub(crate) fn q4k_scale(packed: &[u8; 12], index: usize) -> [u8; 2] {
    if index < 4 {
        return [packed[index] & 63, packed[index + 4] & 63];
    }
    let low = packed[index + 4];
    [(low & 15) | (packed[index - 4] >> 6 << 4), (low >> 4) | (packed[index] >> 6 << 4)]
}

impl Layout for Q4K {
    const WEIGHTS: usize = 256;
    const ROW_BYTES: usize = 144;
    const PANEL_BYTES: usize = Q4K_D_MINIMUM + 2 * WIDTH;

    fn place(row: &[u8], lane: usize, panel: &mut [u8]) {
        let row = head::<144>(row);
        for index in 0..8 {
            // A file has parts 2 i and 2 i + 1 in the low and high halves of 32 bytes.
            let bytes: &[u8; 32] = part(row, 16 + index / 2 * 32);
            let level = |at: usize| if index % 2 == 0 { bytes[at] & 15 } else { bytes[at] >> 4 };
            let levels = std::array::from_fn(|at| level(at) | level(at + 16) << 4);
            place_nibbles(&levels, lane, &mut panel[index * 4 * QUADS..]);
            let [scale, minimum] = q4k_scale(part(row, 4), index);
            panel[Q4K_SCALES + index * WIDTH + lane] = scale;
            panel[Q4K_MINIMA + index * WIDTH + lane] = minimum;
        }
        panel[Q4K_D + 2 * lane..][..2].copy_from_slice(&row[..2]);
        panel[Q4K_D_MINIMUM + 2 * lane..][..2].copy_from_slice(&row[2..4]);
    }

    #[inline(always)]
    fn add<L: Lanes, const T: usize, const H: usize>(
        lanes: L,
        panels: [&[u8]; PANELS],
        block: Block<'_, H>,
        mut sums: Sums<L, T>,
    ) -> Sums<L, T> {
        let panels = panels.map(head::<{ Self::PANEL_BYTES }>);
        let d = panels.map(|panel| lanes.halves(part(panel, Q4K_D)));
        let d_minimum = panels.map(|panel| lanes.halves(part(panel, Q4K_D_MINIMUM)));
        let totals: &[[i32; H]; 16] = block.totals.first_chunk().expect("sixteen halves");
        let of_tokens: &[[f32; H]; 8] = block.scales.first_chunk().expect("eight scales");
        for index in 0..8 {
            let quads = panels.map(|panel| part(panel, index * 4 * QUADS));
            let dots: [[L::Ints; PANELS]; T] = dot_nibbles(lanes, quads, &block, index * 8, |_| 0);
            let scale = |p: usize, at: usize, d: L::Floats| {
                lanes.multiply(d, lanes.unsigned(part(panels[p], at + index * WIDTH)))
            };
            let scales = std::array::from_fn(|p| scale(p, Q4K_SCALES, d[p]));
            let minima: [L::Floats; PANELS] = std::array::from_fn(|p| scale(p, Q4K_MINIMA, d_minimum[p]));
            sums = link(lanes, dots, scales, (&of_tokens[index], block.first), sums);
            for (t, sums) in sums.iter_mut().enumerate() {
                let t = block.first + t;
                let total = real(totals[2 * index][t] + totals[2 * index + 1][t]);
                let factor = lanes.splat(-(of_tokens[index][t] * total));
                for (sum, minimum) in sums.iter_mut().zip(minima) {
                    *sum = lanes.fma(minimum, factor, *sum);
                }
            }
        }
        sums
    }
}

#[inline(always)]
#[expect(clippy::cast_precision_loss, reason = "sums of 32 levels are exact")]
fn real(total: i32) -> f32 {
    total as f32
}

/// 16 times 16 levels of six bits, each with a signed scale, over one scale of all; a level stands for itself
/// less 32.
pub(crate) struct Q6K;

/// Bytes of 32 levels in a panel: halves of bytes, then the upper two bits.
const Q6K_PART: usize = 6 * QUADS;
const Q6K_SCALES: usize = 8 * Q6K_PART;
const Q6K_D: usize = Q6K_SCALES + 16 * WIDTH;

/// Level `index` of a `Q6_K` block.
pub(crate) fn q6k_level(row: &[u8; 210], index: usize) -> u8 {
    let (half, quarter, at) = (index / 128, index % 128 / 32, index % 32);
    let low = row[half * 64 + quarter % 2 * 32 + at] >> (4 * (quarter / 2)) & 15;
    let high = row[128 + half * 32 + at] >> (2 * quarter) & 3;
    low | high << 4
}

impl Layout for Q6K {
    const WEIGHTS: usize = 256;
    const ROW_BYTES: usize = 210;
    const PANEL_BYTES: usize = Q6K_D + 2 * WIDTH;

    fn place(row: &[u8], lane: usize, panel: &mut [u8]) {
        let row = head::<210>(row);
        for (index, panel) in panel[..8 * Q6K_PART].chunks_exact_mut(Q6K_PART).enumerate() {
            let level = |at: usize| q6k_level(row, 32 * index + at);
            let low = std::array::from_fn(|at| (level(at) & 15) | level(at + 16) << 4);
            place_nibbles(&low, lane, panel);
            for at in 0..32 {
                // Quad g of the eight: bits 2 (g % 4) of block g / 4.
                let (quad, place) = (at / 4, at % 4);
                let slot = (4 + quad / 4) * QUADS + 4 * lane + place;
                panel[slot] |= level(at) >> 4 << (2 * (quad % 4));
            }
        }
        for (index, scale) in part::<16>(row, 192).iter().enumerate() {
            panel[Q6K_SCALES + index * WIDTH + lane] = *scale;
        }
        panel[Q6K_D + 2 * lane..][..2].copy_from_slice(&row[208..]);
    }

    #[inline(always)]
    fn add<L: Lanes, const T: usize, const H: usize>(
        lanes: L,
        panels: [&[u8]; PANELS],
        block: Block<'_, H>,
        mut sums: Sums<L, T>,
    ) -> Sums<L, T> {
        let panels = panels.map(head::<{ Self::PANEL_BYTES }>);
        let d = panels.map(|panel| lanes.halves(part(panel, Q6K_D)));
        let totals: &[[i32; H]; 16] = block.totals.first_chunk().expect("sixteen halves");
        let of_tokens: &[[f32; H]; 8] = block.scales.first_chunk().expect("eight scales");
        for half in 0..16 {
            let start = |t: usize| lanes.ints(-32 * totals[half][block.first + t]);
            let mut dots: [[L::Ints; PANELS]; T] = std::array::from_fn(|t| [start(t); PANELS]);
            for group in 0..4 {
                let small = panels.map(|panel| {
                    let from = half / 2 * Q6K_PART;
                    let nibbles = lanes.nibbles(part(panel, from + group * QUADS))[half % 2];
                    lanes.with_high(nibbles, part(panel, from + (4 + half % 2) * QUADS), group)
                });
                dots = add_small(lanes, small, &block, half * 4 + group, dots);
            }
            let scales = std::array::from_fn(|p| {
                lanes.multiply(d[p], lanes.signed(part(panels[p], Q6K_SCALES + half * WIDTH)))
            });
            sums = link(lanes, dots, scales, (&of_tokens[half / 2], block.first), sums);
        }
        sums
    }
}
