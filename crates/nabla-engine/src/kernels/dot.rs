//! One step of sixteen dot products: what differs between instruction sets, and nothing else.
//!
//! A [`Dot`] multiplies one [`Dot::Word`] (a value of the left matrix, the same in every lane) with one
//! [`Dot::Lane`] (the values of sixteen columns) and adds to one [`Dot::Sum`] (sixteen outputs). Its values
//! are proof that the processor has the instructions: a vector unit's comes from its `find` only.
//!
//! # Rules
//! - For f32, [`Dot::step`] is sixteen correctly rounded fused multiply-adds.
//! - For bytes a unit is four neighbours along k; [`Dot::step`] adds four products exactly, modulo 2^32.
//! - [`Dot::leaf`] is the only place where code is built for other instructions; what it runs is marked
//!   `#[inline(always)]` all the way down.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::tile::Call;
use super::{Body, Fma};

/// Columns of a panel, outputs of one sum.
pub(crate) const WIDTH: usize = 16;

/// Code that is built for the instruction set at hand.
pub(crate) trait Leaf {
    type Out;
    fn run(self) -> Self::Out;
}

/// Sixteen dot products, one step at a time.
pub(crate) trait Dot: Copy + Send + Sync {
    /// What one matrix holds at one step.
    type Unit: bytemuck::Pod + Default + Send + Sync + Debug;
    /// What the product holds.
    type Out: bytemuck::Pod + Default + Send + Sync + Debug;
    type Word: Copy;
    type Lane: Copy;
    type Sum: Copy;

    /// Rows of the tallest tile.
    const ROWS: usize;

    /// Panels side by side in a tile of that many rows where so many are left; may be more than that.
    fn panels(rows: usize, left: usize) -> usize;
    /// Run the tile of a call's size in this build.
    fn tile(self, call: Call<'_, '_, Self>);
    /// Run code in this build.
    fn leaf<L: Leaf>(self, leaf: L) -> L::Out;
    /// Run a body in this build.
    fn body<B: Body>(self, body: B) -> B::Out;

    fn zero(self) -> Self::Sum;
    fn splat(self, unit: Self::Unit) -> Self::Word;
    fn load(self, lane: &[Self::Unit; WIDTH]) -> Self::Lane;
    fn step(self, word: Self::Word, lane: Self::Lane, sum: Self::Sum) -> Self::Sum;
    fn read(self, from: &[Self::Out; WIDTH]) -> Self::Sum;
    fn write(self, sum: Self::Sum, to: &mut [Self::Out; WIDTH]);
    /// Write the elements of a lane from `skip` on, as many as `to` has; at most sixteen with those skipped.
    #[inline(always)]
    fn write_part(self, lane: &[Self::Out; WIDTH], skip: usize, to: &mut [Self::Out]) {
        to.copy_from_slice(&lane[skip..skip + to.len()]);
    }
    /// Ask for a cache line that will be read soon; any address will do.
    #[inline(always)]
    fn prefetch(self, _: *const Self::Unit) {}
    /// One addition per output: the bias.
    fn add(self, sum: Self::Sum, addend: &[Self::Out; WIDTH]) -> Self::Sum;
}

/// The definition for f32.
#[derive(Debug)]
pub(crate) struct PortableFloat<F>(PhantomData<fn(F)>);

impl<F> PortableFloat<F> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<F> Clone for PortableFloat<F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for PortableFloat<F> {}

impl<F: Fma> Dot for PortableFloat<F> {
    type Unit = f32;
    type Out = f32;
    type Word = f32;
    type Lane = [f32; WIDTH];
    type Sum = [f32; WIDTH];

    const ROWS: usize = 6;

    fn panels(rows: usize, left: usize) -> usize {
        super::tile::narrow_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        super::tile::narrow(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        leaf.run()
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        body.run::<F>()
    }

    #[inline(always)]
    fn zero(self) -> [f32; WIDTH] {
        [0.0; WIDTH]
    }

    #[inline(always)]
    fn splat(self, unit: f32) -> f32 {
        unit
    }

    #[inline(always)]
    fn load(self, lane: &[f32; WIDTH]) -> [f32; WIDTH] {
        *lane
    }

    #[inline(always)]
    fn step(self, word: f32, lane: [f32; WIDTH], mut sum: [f32; WIDTH]) -> [f32; WIDTH] {
        for (s, b) in sum.iter_mut().zip(lane) {
            *s = F::fma(word, b, *s);
        }
        sum
    }

    #[inline(always)]
    fn read(self, from: &[f32; WIDTH]) -> [f32; WIDTH] {
        *from
    }

    #[inline(always)]
    fn write(self, sum: [f32; WIDTH], to: &mut [f32; WIDTH]) {
        *to = sum;
    }

    #[inline(always)]
    fn add(self, mut sum: [f32; WIDTH], addend: &[f32; WIDTH]) -> [f32; WIDTH] {
        for (s, x) in sum.iter_mut().zip(addend) {
            *s += x;
        }
        sum
    }
}

/// The definition for bytes. One factor is signed and the other is not: the left one if `LEFT_SIGNED`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PortableBytes<const LEFT_SIGNED: bool>;

impl<const LEFT_SIGNED: bool> PortableBytes<LEFT_SIGNED> {
    #[inline(always)]
    fn wide(byte: u8, signed: bool) -> i32 {
        if signed { i32::from(byte.cast_signed()) } else { i32::from(byte) }
    }
}

impl<const LEFT_SIGNED: bool> Dot for PortableBytes<LEFT_SIGNED> {
    type Unit = [u8; 4];
    type Out = i32;
    type Word = [i32; 4];
    type Lane = [[u8; 4]; WIDTH];
    type Sum = [i32; WIDTH];

    const ROWS: usize = 4;

    fn panels(rows: usize, left: usize) -> usize {
        super::tile::narrow_panels(rows, left)
    }

    fn tile(self, call: Call<'_, '_, Self>) {
        super::tile::narrow(self, call);
    }

    fn leaf<L: Leaf>(self, leaf: L) -> L::Out {
        leaf.run()
    }

    fn body<B: Body>(self, body: B) -> B::Out {
        body.run::<super::Native>()
    }

    #[inline(always)]
    fn zero(self) -> [i32; WIDTH] {
        [0; WIDTH]
    }

    #[inline(always)]
    fn splat(self, unit: [u8; 4]) -> [i32; 4] {
        unit.map(|byte| Self::wide(byte, LEFT_SIGNED))
    }

    #[inline(always)]
    fn load(self, lane: &[[u8; 4]; WIDTH]) -> [[u8; 4]; WIDTH] {
        *lane
    }

    #[inline(always)]
    fn step(self, word: [i32; 4], lane: [[u8; 4]; WIDTH], mut sum: [i32; WIDTH]) -> [i32; WIDTH] {
        for (s, quad) in sum.iter_mut().zip(lane) {
            for (a, b) in word.iter().zip(quad) {
                *s = s.wrapping_add(a.wrapping_mul(Self::wide(b, !LEFT_SIGNED)));
            }
        }
        sum
    }

    #[inline(always)]
    fn read(self, from: &[i32; WIDTH]) -> [i32; WIDTH] {
        *from
    }

    #[inline(always)]
    fn write(self, sum: [i32; WIDTH], to: &mut [i32; WIDTH]) {
        *to = sum;
    }

    #[inline(always)]
    fn add(self, mut sum: [i32; WIDTH], addend: &[i32; WIDTH]) -> [i32; WIDTH] {
        for (s, x) in sum.iter_mut().zip(addend) {
            *s = s.wrapping_add(*x);
        }
        sum
    }
}
