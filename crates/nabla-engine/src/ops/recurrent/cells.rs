//! One step of a recurrent cell.

use super::activation::Activation;
use crate::Fault;
use crate::kernels::Fma;
use crate::ops::Call;
use crate::ops::products::{Product, transposed};
use crate::ops::real::Real;

/// Which cell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    Rnn,
    Gru { linear_before_reset: bool },
    Lstm { input_forget: bool },
}

impl Cell {
    /// Gates, in ONNX's order: RNN `i`; GRU `z r h`; LSTM `i o f c`.
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru { .. } => 3,
            Self::Lstm { .. } => 4,
        }
    }

    /// Activations of one direction, if none are given.
    pub(super) fn activations(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["Tanh"],
            Self::Gru { .. } => &["Sigmoid", "Tanh"],
            Self::Lstm { .. } => &["Sigmoid", "Tanh", "Tanh"],
        }
    }
}

/// Weights of one direction, right-hand matrices `[k, n]`.
pub(super) struct Weights<R> {
    cell: Cell,
    input: usize,
    hidden: usize,
    w: Vec<R>,
    /// Of the gates that see the state itself.
    r: Vec<R>,
    /// Of the GRU's third gate.
    r_hidden: Vec<R>,
    /// `Wb`, then `Rb`, of each gate.
    bias: [Vec<R>; 2],
    /// `i o f`, if there are any.
    peepholes: Option<Vec<R>>,
}

impl<R: Real> Weights<R> {
    pub(super) fn read(
        call: &Call<'_>,
        cell: Cell,
        direction: usize,
        input: usize,
        hidden: usize,
    ) -> Result<Self, Fault> {
        let rows = cell.gates() * hidden;
        let part = |all: &[R], size: usize| all[direction * size..(direction + 1) * size].to_vec();
        let w = part(&R::input(call, 1)?, rows * input);
        let r = part(&R::input(call, 2)?, rows * hidden);
        // The GRU's last gate multiplies a state that its other gates have made.
        let early = if matches!(cell, Cell::Gru { .. }) { 2 * hidden } else { rows };
        let bias = match R::optional(call, 3)? {
            Some(all) => {
                let both = part(&all, 2 * rows);
                [both[..rows].to_vec(), both[rows..].to_vec()]
            }
            None => [R::zeros(rows), R::zeros(rows)],
        };
        let peepholes = R::optional(call, 7)?.map(|all| part(&all, 3 * hidden));
        Ok(Self {
            cell,
            input,
            hidden,
            w: transposed(&w, rows, input),
            r: transposed(&r[..early * hidden], early, hidden),
            r_hidden: transposed(&r[early * hidden..], rows - early, hidden),
            bias,
            peepholes,
        })
    }
}

/// One direction at work.
pub(super) struct Runner<'a, 'c, R> {
    call: &'a Call<'c>,
    weights: &'a Weights<R>,
    activations: &'a [Activation],
    clip: Option<R>,
    batch: usize,
    /// `x W` of every step and row.
    inputs: Vec<R>,
    /// `h R` of every row.
    recurrent: Vec<R>,
    /// Gates of one row.
    gates: Vec<R>,
    spare: Vec<R>,
}

impl<'a, 'c, R: Real> Runner<'a, 'c, R> {
    pub(super) fn new(
        call: &'a Call<'c>,
        weights: &'a Weights<R>,
        x: &[R],
        activations: &'a [Activation],
        clip: Option<R>,
        [steps, batch]: [usize; 2],
    ) -> Self {
        let (m, k, n) = (steps * batch, weights.input, weights.cell.gates() * weights.hidden);
        let mut inputs = R::zeros(m * n);
        Product { m, k, n, a: x, b: &weights.w, c: &mut inputs }.run(call.cpu);
        let early = weights.r.len().checked_div(weights.hidden).unwrap_or(0);
        let spare = R::zeros(2 * weights.hidden);
        let (recurrent, gates) = (R::zeros(batch * early), R::zeros(n));
        Self { call, weights, activations, clip, batch, inputs, recurrent, gates, spare }
    }

    /// Multiply the states of all rows by the recurrence.
    pub(super) fn recur(&mut self, h: &[R]) {
        let k = self.weights.hidden;
        let n = self.weights.r.len().checked_div(k).unwrap_or(0);
        Product { m: self.batch, k, n, a: h, b: &self.weights.r, c: &mut self.recurrent }.run(self.call.cpu);
    }

    /// Go one step further with one row.
    #[inline(always)]
    pub(super) fn advance<F: Fma>(&mut self, step: usize, row: usize, h: &mut [R], c: &mut [R]) {
        match self.weights.cell {
            Cell::Rnn => self.rnn::<F>(step, row, h),
            Cell::Gru { linear_before_reset } => self.gru::<F>(step, row, h, linear_before_reset),
            Cell::Lstm { input_forget } => self.lstm::<F>(step, row, h, c, input_forget),
        }
    }

    /// `(x W + h R) + (Wb + Rb)` of the gates that see the state itself.
    #[inline(always)]
    fn sum_gates(&mut self, step: usize, row: usize) {
        let all = self.gates.len();
        let early = self.recurrent.len().checked_div(self.batch).unwrap_or(0);
        let x = &self.inputs[(step * self.batch + row) * all..][..early];
        let h = &self.recurrent[row * early..][..early];
        let [wb, rb] = &self.weights.bias;
        let bias = wb.iter().zip(rb).map(|(w, r)| *w + *r);
        for (((gate, x), h), bias) in self.gates.iter_mut().zip(x).zip(h).zip(bias) {
            *gate = (*x + *h) + bias;
        }
    }

    #[inline(always)]
    fn rnn<F: Fma>(&mut self, step: usize, row: usize, h: &mut [R]) {
        self.sum_gates(step, row);
        activate::<R, F>(&mut self.gates, self.clip, self.activations[0]);
        h.copy_from_slice(&self.gates);
    }

    #[inline(always)]
    fn gru<F: Fma>(&mut self, step: usize, row: usize, h: &mut [R], linear_before_reset: bool) {
        let size = self.weights.hidden;
        self.sum_gates(step, row);
        let (early, candidate) = self.gates.split_at_mut(2 * size);
        activate::<R, F>(early, self.clip, self.activations[0]);
        let (z, r) = early.split_at(size);
        let x = &self.inputs[(step * self.batch + row) * 3 * size + 2 * size..][..size];
        let (wb, rb) = (&self.weights.bias[0][2 * size..], &self.weights.bias[1][2 * size..]);
        let (state, product) = self.spare.split_at_mut(size);
        for ((state, h), r) in state.iter_mut().zip(h.iter()).zip(r) {
            *state = if linear_before_reset { *h } else { *r * *h };
        }
        let b = &self.weights.r_hidden;
        Product { m: 1, k: size, n: size, a: state, b, c: product }.run(self.call.cpu);
        for (j, value) in candidate.iter_mut().enumerate() {
            *value = if linear_before_reset {
                (x[j] + r[j] * (product[j] + rb[j])) + wb[j]
            } else {
                (x[j] + product[j]) + (wb[j] + rb[j])
            };
        }
        activate::<R, F>(candidate, self.clip, self.activations[1]);
        for ((h, z), candidate) in h.iter_mut().zip(z).zip(candidate) {
            *h = (R::ONE - *z) * *candidate + *z * *h;
        }
    }

    #[inline(always)]
    fn lstm<F: Fma>(&mut self, step: usize, row: usize, h: &mut [R], c: &mut [R], input_forget: bool) {
        let size = self.weights.hidden;
        self.sum_gates(step, row);
        let (i, rest) = self.gates.split_at_mut(size);
        let (o, rest) = rest.split_at_mut(size);
        let (f, g) = rest.split_at_mut(size);
        let [first, second, third] = [0, 1, 2].map(|index| self.activations[index]);
        let peephole = |which: usize| self.weights.peepholes.as_ref().map(|p| &p[which * size..][..size]);
        look(i, peephole(0), c);
        activate::<R, F>(i, self.clip, first);
        if input_forget {
            for (f, i) in f.iter_mut().zip(i.iter()) {
                *f = R::ONE - *i;
            }
        } else {
            look(f, peephole(2), c);
            activate::<R, F>(f, self.clip, first);
        }
        activate::<R, F>(g, self.clip, second);
        for (((c, f), i), g) in c.iter_mut().zip(f.iter()).zip(i.iter()).zip(g.iter()) {
            *c = *f * *c + *i * *g;
        }
        look(o, peephole(1), c);
        activate::<R, F>(o, self.clip, first);
        h.copy_from_slice(c);
        third.apply::<R, F>(h);
        for (h, o) in h.iter_mut().zip(o.iter()) {
            *h = *o * *h;
        }
    }
}

/// Add what a peephole sees of the cell.
#[inline(always)]
fn look<R: Real>(gate: &mut [R], peephole: Option<&[R]>, cell: &[R]) {
    for ((gate, p), c) in gate.iter_mut().zip(peephole.unwrap_or_default()).zip(cell) {
        *gate += *p * *c;
    }
}

/// Clip the arguments, then apply.
#[inline(always)]
fn activate<R: Real, F: Fma>(values: &mut [R], clip: Option<R>, activation: Activation) {
    if let Some(clip) = clip {
        for value in values.iter_mut() {
            *value = if *value > clip { clip } else { *value };
            *value = if *value < -clip { -clip } else { *value };
        }
    }
    activation.apply::<R, F>(values);
}
