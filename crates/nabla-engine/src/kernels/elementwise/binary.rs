//! Two elements joined: as steps, and from slice to slice.

use super::{Body, Fma, Isa, map, math};

/// How the element `x` meets the operand `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Binary {
    /// `x + y`.
    Add,
    /// `x - y`.
    Sub,
    /// `y - x`.
    RSub,
    /// `x * y`.
    Mul,
    /// `x / y`.
    Div,
    /// `y / x`.
    RDiv,
    /// The first NaN, else the lesser, of equals `x`.
    Min,
    /// The same with `y` as the first.
    RMin,
    /// The first NaN, else the greater, of equals `x`.
    Max,
    /// The same with `y` as the first.
    RMax,
    /// `x^y`.
    Pow,
    /// `y^x`.
    RPow,
    /// `x * y` for `x` below zero, else `x`.
    PRelu,
}

/// `x` joined with `other`, in place.
pub(crate) fn binary_in_place(isa: Isa, rule: Binary, x: &mut [f32], other: Other<'_>) {
    isa.run(InPlace { rule, x, other });
}

/// The other side of a join in place.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Other<'a> {
    /// The same for all.
    One(f32),
    /// One each.
    Many(&'a [f32]),
}

struct InPlace<'a> {
    rule: Binary,
    x: &'a mut [f32],
    other: Other<'a>,
}

impl Body for InPlace<'_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        match self.other {
            Other::One(y) => with_one(self.rule, self.x, y),
            Other::Many(y) => with_many(self.rule, self.x, y),
        }
    }
}

/// Every element with the same operand.
#[inline(always)]
pub(super) fn with_one(rule: Binary, piece: &mut [f32], y: f32) {
    match rule {
        Binary::Add => map(piece, |x| x + y),
        Binary::Sub => map(piece, |x| x - y),
        Binary::RSub => map(piece, |x| y - x),
        Binary::Mul => map(piece, |x| x * y),
        Binary::Div => map(piece, |x| x / y),
        Binary::RDiv => map(piece, |x| y / x),
        Binary::Min => map(piece, |x| least(x, y)),
        Binary::RMin => map(piece, |x| least(y, x)),
        Binary::Max => map(piece, |x| most(x, y)),
        Binary::RMax => map(piece, |x| most(y, x)),
        Binary::PRelu => map(piece, |x| if x < 0.0 { x * y } else { x }),
        // The exponents of `pow` that are vector code; each line is what `pow` itself does.
        Binary::Pow if y == 2.0 => map(piece, math::f32::powi::<2>),
        Binary::Pow if y == 3.0 => map(piece, math::f32::powi::<3>),
        Binary::Pow => piece.iter_mut().for_each(|x| *x = math::f32::pow(*x, y)),
        Binary::RPow => piece.iter_mut().for_each(|x| *x = math::f32::pow(y, *x)),
    }
}

/// Every element with the operand of its place.
#[inline(always)]
pub(super) fn with_many(rule: Binary, piece: &mut [f32], other: &[f32]) {
    match rule {
        Binary::Add => zip(piece, other, |x, y| x + y),
        Binary::Sub => zip(piece, other, |x, y| x - y),
        Binary::RSub => zip(piece, other, |x, y| y - x),
        Binary::Mul => zip(piece, other, |x, y| x * y),
        Binary::Div => zip(piece, other, |x, y| x / y),
        Binary::RDiv => zip(piece, other, |x, y| y / x),
        Binary::Min => zip(piece, other, least),
        Binary::RMin => zip(piece, other, |x, y| least(y, x)),
        Binary::Max => zip(piece, other, most),
        Binary::RMax => zip(piece, other, |x, y| most(y, x)),
        Binary::PRelu => zip(piece, other, |x, y| if x < 0.0 { x * y } else { x }),
        Binary::Pow => piece.iter_mut().zip(other).for_each(|(x, y)| *x = math::f32::pow(*x, *y)),
        Binary::RPow => piece.iter_mut().zip(other).for_each(|(x, y)| *x = math::f32::pow(*y, *x)),
    }
}

/// The first of the two that is NaN, else the lesser, else the first.
#[inline(always)]
fn least(a: f32, b: f32) -> f32 {
    let second = !a.is_nan() & ((b < a) | b.is_nan());
    if second { b } else { a }
}

/// The first of the two that is NaN, else the greater, else the first.
#[inline(always)]
fn most(a: f32, b: f32) -> f32 {
    let second = !a.is_nan() & ((b > a) | b.is_nan());
    if second { b } else { a }
}

/// `f` of every pair.
#[inline(always)]
fn zip(piece: &mut [f32], other: &[f32], f: impl Fn(f32, f32) -> f32) {
    piece.iter_mut().zip(other).for_each(|(x, y)| *x = f(*x, *y));
}
