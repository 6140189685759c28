//! Element-wise steps that are joined to the step before them, and run while its output is in cache.

use std::sync::Arc;

use nabla_types::tensor::Tensor;

use crate::kernels::Isa;
use crate::kernels::elementwise::{self, Operands, PIECE, run_steps};

/// Most operands of one tail.
pub(super) const OPERANDS_MAX: usize = 8;

/// Steps on every element of an output, in order.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    pub(super) steps: Vec<elementwise::Step>,
    /// Operands that [`elementwise::Operand::Constant`] and `Slice` number.
    pub(super) operands: Vec<Operand>,
}

/// Where an operand of the tail stands for the output element at some place.
#[derive(Debug, Clone)]
pub(super) struct Operand {
    /// Which of the inputs that the tail adds to its step; `None` is the output before the tail.
    pub(super) input: Option<usize>,
    pub(super) layout: Layout,
}

#[derive(Debug, Clone)]
pub(super) enum Layout {
    /// At the same place.
    Same,
    /// At `offsets[place / row]`, for the whole row.
    Constant { row: usize, offsets: Arc<[u32]> },
    /// At `offsets[place / row] + place % row`.
    Row { row: usize, offsets: Arc<[u32]> },
}

impl Tail {
    /// Inputs that the tail adds to its step.
    pub(super) fn inputs(&self) -> usize {
        self.operands.iter().filter_map(|operand| operand.input).map(|input| input + 1).max().unwrap_or(0)
    }

    fn keeps_original(&self) -> bool {
        self.operands.iter().any(|operand| operand.input.is_none())
    }
}

/// A tail with the values of its operands.
#[derive(Debug)]
pub(crate) struct TailCall<'a> {
    tail: &'a Tail,
    isa: Isa,
    values: [&'a [f32]; OPERANDS_MAX],
}

impl<'a> TailCall<'a> {
    pub(super) fn new(tail: &'a Tail, inputs: &[Option<&'a Tensor>], isa: Isa) -> Self {
        let mut values: [&[f32]; OPERANDS_MAX] = [&[]; OPERANDS_MAX];
        for (slot, operand) in values.iter_mut().zip(&tail.operands) {
            let tensor = operand.input.and_then(|input| inputs.get(input).copied().flatten());
            *slot = tensor.and_then(Tensor::as_f32).unwrap_or_default();
        }
        Self { tail, isa, values }
    }

    /// Apply the steps to the output from place `start` on. A piece never crosses the row that
    /// [`crate::ops::Kernel::takes_tail`] promised.
    pub(crate) fn apply(&self, start: usize, piece: &mut [f32]) {
        if self.tail.keeps_original() {
            self.apply_keeping(start, piece);
        } else {
            self.apply_part(start, piece, &[]);
        }
    }

    /// With a copy of what was there before, one part after the other.
    fn apply_keeping(&self, start: usize, piece: &mut [f32]) {
        let mut original = [0.0; PIECE];
        for (index, part) in piece.chunks_mut(PIECE).enumerate() {
            let original = &mut original[..part.len()];
            original.copy_from_slice(part);
            self.apply_part(start + index * PIECE, part, original);
        }
    }

    fn apply_part(&self, start: usize, part: &mut [f32], original: &[f32]) {
        let mut constants = [0.0; OPERANDS_MAX];
        let mut slices: [&[f32]; OPERANDS_MAX] = [&[]; OPERANDS_MAX];
        for (index, operand) in self.tail.operands.iter().enumerate() {
            let values = if operand.input.is_none() { original } else { self.values[index] };
            match &operand.layout {
                Layout::Same if operand.input.is_none() => slices[index] = values,
                Layout::Same => slices[index] = &values[start..start + part.len()],
                Layout::Constant { row, offsets } => constants[index] = values[offsets[start / row] as usize],
                Layout::Row { row, offsets } => {
                    let from = offsets[start / row] as usize + start % row;
                    slices[index] = &values[from..from + part.len()];
                }
            }
        }
        let operands = Operands { constants: &constants, slices: &slices };
        run_steps(self.isa, &self.tail.steps, part, operands);
    }
}
