//! Slices of a value along a dimension, and values piled up along a new one.

use nabla_types::tensor::Tensor;

use super::dispatch;
use crate::ops::Element;
use crate::plan::ValueType;
use crate::{Fault, Limits};

/// The slice at `index` of dimension `axis`, without that dimension.
pub(super) fn slice(tensor: &Tensor, axis: usize, index: usize) -> Result<Tensor, Fault> {
    let mut shape = ValueType::of(tensor).shape;
    let length = shape.remove(axis);
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis..].iter().product();
    let wide = shape.iter().map(|size| *size as u64).collect();
    dispatch!(tensor.dtype(), T => {
        let from = T::slice(tensor.data()).unwrap_or_default();
        let mut out = Vec::<T>::with_capacity(outer * inner);
        for row in 0..outer {
            let at = (row * length + index) * inner;
            out.extend_from_slice(&from[at..at + inner]);
        }
        Ok(Tensor::new(wide, T::wrap(out))?)
    })
}

/// Values of equal type, one for each pass.
#[derive(Debug)]
pub(super) struct Pile {
    parts: Vec<Tensor>,
}

impl Pile {
    pub(super) fn new() -> Self {
        Self { parts: Vec::new() }
    }

    /// Put a value on top; all must have the type of the first.
    pub(super) fn push(&mut self, tensor: Tensor) -> Result<(), Fault> {
        let ty = ValueType::of(&tensor);
        if let Some(first) = self.ty().filter(|first| *first != ty) {
            return Err(Fault::Shape {
                what: "output of a pass",
                expected: format!("{} {:?}, as that of the first pass", first.dtype, first.shape),
                got: format!("{} {:?}", ty.dtype, ty.shape),
            });
        }
        self.parts.push(tensor);
        Ok(())
    }

    pub(super) fn count(&self) -> usize {
        self.parts.len()
    }

    /// Type of the values, if there are any.
    pub(super) fn ty(&self) -> Option<ValueType> {
        self.parts.first().map(ValueType::of)
    }

    /// All values as one, of the type that [`piled`] gives.
    pub(super) fn join(mut self, ty: &ValueType, side: Side, whole: &ValueType) -> Result<Tensor, Fault> {
        if side.reversed {
            self.parts.reverse();
        }
        let outer: usize = ty.shape[..side.axis].iter().product();
        let inner: usize = ty.shape[side.axis..].iter().product();
        dispatch!(ty.dtype, T => {
            let mut out = Vec::<T>::with_capacity(whole.elements());
            for row in 0..outer {
                for part in &self.parts {
                    let from = T::slice(part.data()).unwrap_or_default();
                    out.extend_from_slice(&from[row * inner..(row + 1) * inner]);
                }
            }
            Ok(Tensor::new(whole.wide(), T::wrap(out))?)
        })
    }
}

/// The dimension along which values are cut or piled up, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Side {
    pub(super) axis: usize,
    pub(super) reversed: bool,
}

/// Type of `count` values of this type, along a new dimension.
pub(super) fn piled(ty: &ValueType, axis: usize, count: usize, limits: &Limits) -> Result<ValueType, Fault> {
    let mut shape = ty.shape.clone();
    shape.insert(axis, count);
    ValueType::new(ty.dtype, shape, limits)
}
