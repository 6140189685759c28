//! Concat: inputs one after the other along a dimension.

use nabla_types::tensor::TensorData;

use super::copy::{Dim, StridedCopy, fresh};
use crate::Fault;
use crate::ops::{Call, Element, Kernel, Prepared, Scope, dispatch, misfit};

#[derive(Debug)]
struct Join {
    /// One copy for each input.
    copies: Vec<StridedCopy>,
}

impl Kernel for Join {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        dispatch!(call.input(0)?.dtype(), T => {
            let mut target = fresh::<T>(call, call.elements(0));
            for (input, copy) in self.copies.iter().enumerate() {
                copy.run(call.slice::<T>(input)?, &mut target);
            }
            Ok(vec![T::wrap(target)])
        })
    }
}

pub(super) fn concat(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let count = scope.operands.len();
    scope.arity(count.max(1), usize::MAX, 1)?;
    let first = scope.input(0)?;
    let at = scope.attributes.axis_or("axis", 0, first.rank())?;
    scope.attributes.int("axis")?;
    let mut shape = first.shape.clone();
    shape[at] = 0;
    for input in 0..count {
        let ty = scope.typed(input, &[first.dtype], "the type of the first input")?;
        let same = |(other, size): (usize, &usize)| other == at || first.shape[other] == *size;
        if ty.rank() != first.rank() || !ty.shape.iter().enumerate().all(same) {
            let expected = format!("the sizes of the first, {:?}, but for dimension {at}", first.shape);
            return Err(misfit("input of Concat", expected, ty));
        }
        shape[at] = shape[at].saturating_add(ty.shape[at]);
    }
    let output = scope.value(first.dtype, shape)?;
    let outer: usize = output.shape[..at].iter().product();
    let inner: usize = output.shape[at + 1..].iter().product();
    let whole = output.shape[at] * inner;
    let (mut copies, mut to) = (Vec::with_capacity(count), 0);
    for input in 0..count {
        let piece = scope.input(input)?.shape[at] * inner;
        let rows = Dim { size: outer, from: piece.cast_signed(), to: whole };
        copies.push(StridedCopy::new(0, to, &[rows, Dim { size: piece, from: 1, to: 1 }]));
        to += piece;
    }
    Ok(Prepared::one(output, Join { copies }))
}
