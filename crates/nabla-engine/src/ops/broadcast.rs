//! Broadcasting: shapes joined from the right, and a walk over the elements that meet.

use super::misfit;
use crate::Fault;
use crate::kernels::{Body, Fma};
use crate::plan::ValueType;

/// The shape of two broadcast together.
pub(crate) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let from_right = |shape: &[usize], index: usize| {
        (index + shape.len()).checked_sub(rank).map_or(1, |index| shape[index])
    };
    let join = |index| match (from_right(a, index), from_right(b, index)) {
        (x, y) if x == y => Ok(x),
        (1, y) => Ok(y),
        (x, 1) => Ok(x),
        (x, y) => Err(Fault::Shape {
            what: "shapes that are joined",
            expected: format!("equal sizes or 1 at dimension {index} of {rank}"),
            got: format!("{x} and {y}"),
        }),
    };
    (0..rank).map(join).collect()
}

/// Check that `from` can be repeated to `to` without making it larger.
pub(crate) fn fits_into(what: &'static str, from: &ValueType, to: &ValueType) -> Result<(), Fault> {
    match broadcast(&from.shape, &to.shape) {
        Ok(shape) if shape == to.shape => Ok(()),
        _ => Err(misfit(what, format!("a shape that repeats to {:?}", to.shape), from)),
    }
}

/// A walk over all elements of an output and the elements of `N` inputs that each of them is made of.
#[derive(Debug, Clone)]
pub(crate) struct Walk<const N: usize> {
    /// Outer dimensions: size, and how far each input moves. Outermost first.
    outer: Vec<(usize, [usize; N])>,
    /// Elements of the innermost run.
    inner: usize,
    /// How far each input moves within it: 1, or 0 if it repeats.
    pub(crate) steps: [usize; N],
    empty: bool,
}

impl<const N: usize> Walk<N> {
    /// Inputs of these shapes, which must broadcast to `out`. Neighbouring dimensions along which every
    /// input either varies or repeats become one.
    pub(crate) fn new(shapes: [&[usize]; N], out: &[usize]) -> Self {
        let rank = out.len();
        let varies = |shape: &[usize], index: usize| {
            (index + shape.len()).checked_sub(rank).is_some_and(|index| shape[index] != 1)
        };
        let mut runs: Vec<(usize, [bool; N])> = Vec::new();
        for (index, size) in out.iter().enumerate().rev().filter(|(_, size)| **size != 1) {
            let moves = shapes.map(|shape| varies(shape, index));
            match runs.last_mut() {
                Some((length, others)) if *others == moves => *length *= size,
                _ => runs.push((*size, moves)),
            }
        }
        let mut reach = [1_usize; N];
        let mut outer: Vec<(usize, [usize; N])> = Vec::with_capacity(runs.len());
        for (size, moves) in runs {
            let steps = std::array::from_fn(|input| if moves[input] { reach[input] } else { 0 });
            outer.push((size, steps));
            for input in 0..N {
                reach[input] *= if moves[input] { size } else { 1 };
            }
        }
        outer.reverse();
        let (inner, steps) = outer.pop().unwrap_or((1, [1; N]));
        Self { outer, inner, steps, empty: out.contains(&0) }
    }

    /// Call `f` for every innermost run, with the place of its first element in the output and the inputs.
    #[inline(always)]
    pub(crate) fn each(&self, mut f: impl FnMut(usize, usize, [usize; N])) {
        if self.empty {
            return;
        }
        let mut counters = vec![0_usize; self.outer.len()];
        let (mut at, mut places) = (0, [0_usize; N]);
        loop {
            f(at, self.inner, places);
            at += self.inner;
            let mut level = self.outer.len();
            loop {
                if level == 0 {
                    return;
                }
                level -= 1;
                let (size, steps) = &self.outer[level];
                counters[level] += 1;
                for input in 0..N {
                    places[input] += steps[input];
                }
                if counters[level] < *size {
                    break;
                }
                counters[level] = 0;
                for input in 0..N {
                    places[input] -= steps[input] * size;
                }
            }
        }
    }
}

/// `f` of every pair that meets, to `out`.
pub(crate) struct Zip<'a, A, B, O, G> {
    pub(crate) a: &'a [A],
    pub(crate) b: &'a [B],
    pub(crate) out: &'a mut [O],
    pub(crate) walk: &'a Walk<2>,
    pub(crate) f: G,
}

impl<A, B, O: Clone, G: Fn(&A, &B) -> O> Body for Zip<'_, A, B, O, G> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { a, b, out, walk, f } = self;
        walk.each(|at, length, [from_a, from_b]| {
            let out = &mut out[at..at + length];
            match walk.steps {
                [0, 0] => out.fill(f(&a[from_a], &b[from_b])),
                [0, _] => {
                    let x = &a[from_a];
                    out.iter_mut().zip(&b[from_b..from_b + length]).for_each(|(out, y)| *out = f(x, y));
                }
                [_, 0] => {
                    let y = &b[from_b];
                    out.iter_mut().zip(&a[from_a..from_a + length]).for_each(|(out, x)| *out = f(x, y));
                }
                _ => {
                    let pairs = a[from_a..from_a + length].iter().zip(&b[from_b..from_b + length]);
                    out.iter_mut().zip(pairs).for_each(|(out, (x, y))| *out = f(x, y));
                }
            }
        });
    }
}

/// `f` of every element, to `out`.
pub(crate) struct Each<'a, A, O, G> {
    pub(crate) x: &'a [A],
    pub(crate) out: &'a mut [O],
    pub(crate) f: G,
}

impl<A, O, G: Fn(&A) -> O> Body for Each<'_, A, O, G> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { x, out, f } = self;
        out.iter_mut().zip(x).for_each(|(out, x)| *out = f(x));
    }
}
