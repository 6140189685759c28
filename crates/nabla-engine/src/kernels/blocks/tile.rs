//! The tile: a few tokens times two panels, all sums in registers.

use std::marker::PhantomData;

use super::lanes::{Lanes, Leaf, WIDTH};
use super::layout::Layout;
use super::tokens::TileLevels;

/// Panels side by side.
pub(crate) const PANELS: usize = 2;
/// Bytes in front of those at hand that are asked for where each weight is used once.
const AHEAD: usize = 2048;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Sums of `T` tokens and two panels.
pub(crate) type Sums<L, const T: usize> = [[<L as Lanes>::Floats; PANELS]; T];

/// What the tokens of a tile have in one block. `H` of them lie interleaved.
#[derive(Clone, Copy)]
pub(crate) struct Block<'a, const H: usize> {
    /// Steps of four levels.
    pub(crate) words: &'a [[[i8; 4]; H]],
    /// For each 32 levels.
    pub(crate) scales: &'a [[f32; H]],
    /// The sum of each 16 levels.
    pub(crate) totals: &'a [[i32; H]],
    /// The first token that takes part.
    pub(crate) first: usize,
}

/// One tile's work: these rows from column `from` on, as many columns as they have, 32 at most.
pub(crate) struct Call<'a, 'c> {
    pub(crate) panels: [&'a [u8]; PANELS],
    pub(crate) levels: TileLevels<'a>,
    pub(crate) rows: &'a mut [&'c mut [f32]],
    pub(crate) from: usize,
}

/// # Panics
/// If a factor is shorter than its steps: a mistake of this crate, never of a model.
pub(crate) fn tile<L: Lanes, F: Layout>(lanes: L, call: Call<'_, '_>) {
    match call.levels.rows {
        8 if L::TOKENS < 8 => {
            let Call { panels, levels, rows, from } = call;
            let (upper, lower) = rows.split_at_mut(4);
            run::<L, F, 4, 8>(lanes, Call { panels, levels, rows: upper, from }, 0);
            run::<L, F, 4, 8>(lanes, Call { panels, levels, rows: lower, from }, 4);
        }
        8 => run::<L, F, 8, 8>(lanes, call, 0),
        4 => run::<L, F, 4, 4>(lanes, call, 0),
        2 => run::<L, F, 2, 2>(lanes, call, 0),
        _ => run::<L, F, 1, 1>(lanes, call, 0),
    }
}

fn run<L: Lanes, F: Layout, const T: usize, const H: usize>(lanes: L, call: Call<'_, '_>, first: usize) {
    lanes.leaf(Tile::<L, F, T, H> { lanes, call, first, format: PhantomData });
}

/// `T` tokens of the `H` that lie interleaved.
struct Tile<'a, 'c, L, F, const T: usize, const H: usize> {
    lanes: L,
    call: Call<'a, 'c>,
    first: usize,
    format: PhantomData<fn() -> F>,
}

impl<L: Lanes, F: Layout, const T: usize, const H: usize> Leaf for Tile<'_, '_, L, F, T, H> {
    type Out = ();

    #[inline(always)]
    fn run(self) {
        let Self { lanes, call: Call { panels, levels, rows, from }, first, .. } = self;
        let [a, b] = panels.map(|panel| panel.chunks_exact(F::PANEL_BYTES));
        let words = levels.words.as_chunks::<H>().0.chunks_exact(F::WEIGHTS / 4);
        let scales = levels.scales.as_chunks::<H>().0.chunks_exact(F::WEIGHTS / 32);
        let totals = levels.totals.as_chunks::<H>().0.chunks_exact(F::WEIGHTS / 16);
        let mut sums: Sums<L, T> = [[lanes.splat(0.0); PANELS]; T];
        for ((((a, b), words), scales), totals) in a.zip(b).zip(words).zip(scales).zip(totals) {
            if T == 1 {
                for line in (0..F::PANEL_BYTES).step_by(LINE) {
                    lanes.prefetch(a.as_ptr().wrapping_add(AHEAD + line));
                    lanes.prefetch(b.as_ptr().wrapping_add(AHEAD + line));
                }
            }
            sums = F::add::<L, T, H>(lanes, [a, b], Block { words, scales, totals, first }, sums);
        }
        for (row, sums) in rows.iter_mut().zip(sums) {
            for (columns, sum) in row[from..].chunks_mut(WIDTH).zip(sums) {
                write(lanes, sum, columns);
            }
        }
    }
}

#[inline(always)]
fn write<L: Lanes>(lanes: L, sum: L::Floats, columns: &mut [f32]) {
    if let Some(whole) = columns.first_chunk_mut() {
        return lanes.write(sum, whole);
    }
    let mut stage = [0.0; WIDTH];
    lanes.write(sum, &mut stage);
    columns.copy_from_slice(&stage[..columns.len()]);
}
