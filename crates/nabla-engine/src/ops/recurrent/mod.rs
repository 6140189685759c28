//! Recurrent nets: RNN, GRU and LSTM, forward, in reverse, or both.
//!
//! # Rules
//! - The inputs of all steps are multiplied by `W` at once; each step multiplies the state by `R`. Then
//!   `(x W + h R) + (Wb + Rb)`, every `+` rounded.
//! - A sequence that is shorter than the longest ends early: its outputs beyond are zero, its last state is
//!   the one at its end (zero if it is empty). In reverse it starts from its own end.

use super::identity::plain;
use super::real::{FLOATS_WORDS, FUNCTION_MACS, FloatKernel, Floats, Real, cost};
use super::{Call, Operator, Prepared, Scope, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::onnx::upload::Upload;
use activation::Activation;
use cells::{Cell, Weights};
use nabla_types::tensor::{Dtype, TensorData};

mod activation;
mod cells;
#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("GRU", import, gru),
    Operator::node("LSTM", import, lstm),
    Operator::node("RNN", import, rnn),
];

/// The first operator set said by an attribute whether `Y` was wanted.
fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.ignore("output_sequence");
    plain(upload)
}

fn rnn(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    prepare(scope, Cell::Rnn)
}

fn gru(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let linear_before_reset = scope.attributes.flag_or("linear_before_reset", false)?;
    prepare(scope, Cell::Gru { linear_before_reset })
}

fn lstm(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let input_forget = scope.attributes.flag_or("input_forget", false)?;
    prepare(scope, Cell::Lstm { input_forget })
}

/// Sizes of a node.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
}

fn prepare(scope: &Scope<'_>, cell: Cell) -> Result<Prepared, Fault> {
    let is_lstm = matches!(cell, Cell::Lstm { .. });
    scope.arity_between(3, if is_lstm { 8 } else { 6 }, 1, if is_lstm { 3 } else { 2 })?;
    let reversed: &[bool] = match scope.attributes.text_or("direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(fault("direction", "forward, reverse or bidirectional", other)),
    };
    let batch_first = scope.attributes.flag_or("layout", false)?;
    let sizes = sizes(scope, cell, reversed.len(), batch_first)?;
    let count = cell.activations().len();
    let activations = activation::read(scope, cell.activations(), count * reversed.len())?;
    let clip = if scope.attributes.has("clip") { Some(scope.attributes.float("clip")?) } else { None };
    if clip.is_some_and(|clip| clip.is_nan() || clip < 0.0) {
        return Err(fault("clip", "a threshold that is not negative", "another"));
    }
    let Sizes { steps, batch, input, hidden, directions } = sizes;
    let dtype = scope.input(0)?.dtype;
    let state = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    let whole = match batch_first {
        true => vec![batch, steps, directions, hidden],
        false => vec![steps, directions, batch, hidden],
    };
    let mut outputs = vec![scope.value(dtype, whole)?];
    for _ in 1..scope.outputs {
        outputs.push(scope.value(dtype, state.to_vec())?);
    }
    let gates = cell.gates();
    let rows = cost(&[steps, batch, directions, hidden, gates]);
    let macs = rows.saturating_mul((input + hidden) as u64 + 2 * FUNCTION_MACS);
    let buffers = cost(&[steps, batch, input + gates * hidden]);
    let scratch = buffers.saturating_add(cost(&[gates * hidden, input + hidden])).saturating_mul(8);
    let kernel = Recurrent { cell, sizes, reversed, batch_first, activations, clip };
    Ok(Prepared::new(outputs, Floats { dtype, kernel }).macs(macs).scratch_bytes(scratch))
}

/// Check every input against the others.
fn sizes(scope: &Scope<'_>, cell: Cell, directions: usize, batch_first: bool) -> Result<Sizes, Fault> {
    let (x, r) = (scope.float(0)?, scope.float(2)?);
    let (&[first, second, input], &[_, _, hidden]) = (x.shape.as_slice(), r.shape.as_slice()) else {
        let wrong = if x.rank() == 3 { r } else { x };
        return Err(misfit("input or recurrence of a recurrent net", "3 dimensions", wrong));
    };
    let (batch, steps) = if batch_first { (first, second) } else { (second, first) };
    if let Some(size) = scope.attributes.has("hidden_size").then(|| scope.attributes.int("hidden_size"))
        && usize::try_from(size?) != Ok(hidden)
    {
        return Err(misfit("recurrence", "hidden_size as its last size", r));
    }
    let gates = cell.gates().checked_mul(hidden).ok_or_else(|| misfit("recurrence", "a smaller size", r))?;
    scope.float_shaped(1, "weights of a recurrent net", &[directions, gates, input])?;
    scope.float_shaped(2, "recurrence of a recurrent net", &[directions, gates, hidden])?;
    scope.optional_float(3, "bias of a recurrent net", &[directions, gates.saturating_mul(2)])?;
    if scope.optional(4).is_some() {
        let lengths = scope.typed(4, &[Dtype::I32], "INT32")?;
        if lengths.shape != [batch] {
            return Err(misfit("lengths of the sequences", format!("[{batch}]"), lengths));
        }
    }
    let state = if batch_first { [batch, directions, hidden] } else { [directions, batch, hidden] };
    scope.optional_float(5, "initial state of a recurrent net", &state)?;
    scope.optional_float(6, "initial cell of a recurrent net", &state)?;
    scope.optional_float(7, "peepholes", &[directions, hidden.saturating_mul(3)])?;
    for input in [1, 2, 3, 5, 6, 7] {
        if let Some(operand) = scope.optional(input)
            && operand.ty.dtype != x.dtype
        {
            return Err(Fault::Dtype { input, expected: FLOATS_WORDS, got: operand.ty.dtype });
        }
    }
    Ok(Sizes { steps, batch, input, hidden, directions })
}

#[derive(Debug)]
struct Recurrent {
    cell: Cell,
    sizes: Sizes,
    /// For each direction, whether it runs in reverse.
    reversed: &'static [bool],
    batch_first: bool,
    /// Of the first direction, then of the second.
    activations: Vec<Activation>,
    clip: Option<f32>,
}

impl FloatKernel for Recurrent {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let Sizes { steps, batch, input, hidden, directions } = self.sizes;
        let lengths = self.lengths(call)?;
        let x = R::input(call, 0)?;
        let x = if self.batch_first { swapped(&x, batch, steps, input).into() } else { x };
        let states = [R::optional(call, 5)?, R::optional(call, 6)?];
        let mut whole = R::zeros(steps * directions * batch * hidden);
        let mut last = [R::zeros(directions * batch * hidden), R::zeros(directions * batch * hidden)];
        for (direction, reverse) in self.reversed.iter().enumerate() {
            let weights = Weights::read(call, self.cell, direction, input, hidden)?;
            let mut state = [0, 1].map(|which| {
                let mut own = R::zeros(batch * hidden);
                if let Some(given) = &states[which] {
                    for (row, own) in own.chunks_exact_mut(hidden.max(1)).enumerate() {
                        let from = self.state_at(direction, row);
                        own.copy_from_slice(&given[from..from + hidden]);
                    }
                }
                own
            });
            let count = self.cell.activations().len();
            let activations = &self.activations[direction * count..(direction + 1) * count];
            let clip = self.clip.map(R::of_f32);
            let mut runner = cells::Runner::new(call, &weights, &x, activations, clip, [steps, batch]);
            for step in 0..steps {
                runner.recur(&state[0]);
                for (row, length) in lengths.iter().enumerate().filter(|(_, length)| step < **length) {
                    let at = if *reverse { length - 1 - step } else { step };
                    let [h, c] = &mut state;
                    let h = &mut h[row * hidden..(row + 1) * hidden];
                    let c = &mut c[row * hidden..(row + 1) * hidden];
                    runner.advance::<F>(at, row, h, c);
                    let to = self.output_at(at, direction, row);
                    whole[to..to + hidden].copy_from_slice(h);
                }
            }
            for (row, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
                let _ = length;
                let to = self.state_at(direction, row);
                for (last, own) in last.iter_mut().zip(&state) {
                    last[to..to + hidden].copy_from_slice(&own[row * hidden..(row + 1) * hidden]);
                }
            }
        }
        let [h, c] = last;
        Ok(vec![whole, h, c].into_iter().take(call.outputs.len()).collect())
    }
}

impl Recurrent {
    /// Steps of each row.
    fn lengths(&self, call: &Call<'_>) -> Result<Vec<usize>, Fault> {
        let Sizes { steps, batch, .. } = self.sizes;
        let Some(given) = call.optional(4) else {
            return Ok(vec![steps; batch]);
        };
        let TensorData::I32(given) = given.data() else {
            return Err(Fault::Dtype { input: 4, expected: "INT32", got: given.dtype() });
        };
        let length = |given: &i32| {
            usize::try_from(*given).ok().filter(|length| *length <= steps).ok_or_else(|| Fault::Shape {
                what: "length of a sequence",
                expected: format!("0 to {steps}"),
                got: given.to_string(),
            })
        };
        given.iter().map(length).collect()
    }

    /// Where the state of a row starts in the initial and last states.
    fn state_at(&self, direction: usize, row: usize) -> usize {
        let Sizes { batch, hidden, directions, .. } = self.sizes;
        (if self.batch_first { row * directions + direction } else { direction * batch + row }) * hidden
    }

    /// Where the output of a step starts.
    fn output_at(&self, step: usize, direction: usize, row: usize) -> usize {
        let Sizes { steps, batch, hidden, directions, .. } = self.sizes;
        let at = match self.batch_first {
            true => (row * steps + step) * directions + direction,
            false => (step * directions + direction) * batch + row,
        };
        at * hidden
    }
}

/// `[a, b, c]` as `[b, a, c]`.
fn swapped<R: Real>(x: &[R], a: usize, b: usize, c: usize) -> Vec<R> {
    let mut out = R::zeros(x.len());
    for (index, run) in x.chunks_exact(c.max(1)).enumerate().take(a * b) {
        let to = (index % b * a + index / b) * c;
        out[to..to + c].copy_from_slice(run);
    }
    out
}
