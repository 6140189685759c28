//! Linear models.
//!
//! Canonical inputs: features, coefficients `[targets, features]`, intercepts `[targets]`.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Kernel, Prepared, Scope, misfit};
use super::{Labels, PostTransform, as_f32, classifier_outputs, features, logistic, probit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::{Body, Fma};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

/// Rows that are multiplied at a time.
const LANES: usize = 8;

pub(super) fn import_regressor(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let targets = upload.take_int("targets")?.unwrap_or(1);
    let intercepts = upload.take_floats("intercepts")?.unwrap_or_default();
    let targets = usize::try_from(targets).unwrap_or(0);
    let intercepts = if intercepts.len() == targets { intercepts } else { vec![0.0; targets.min(1 << 20)] };
    PostTransform::import(upload)?;
    push_table(upload, targets, intercepts)
}

pub(super) fn import_classifier(upload: &mut Upload<'_>) -> Result<(), Fault> {
    Labels::import(upload, "classlabels_ints", "classlabels_strings")?;
    upload.ignore("multi_class");
    let intercepts = upload.take_floats("intercepts")?.unwrap_or_default();
    PostTransform::import(upload)?;
    push_table(upload, intercepts.len(), intercepts)
}

/// Coefficients and intercepts become constants.
fn push_table(upload: &mut Upload<'_>, targets: usize, intercepts: Vec<f32>) -> Result<(), Fault> {
    let coefficients = upload.take_floats("coefficients")?.unwrap_or_default();
    if targets == 0 || coefficients.is_empty() || !coefficients.len().is_multiple_of(targets) {
        let problem = format!("{} coefficients do not fill {targets} rows", coefficients.len());
        return Err(Fault::Table { what: "coefficients", problem });
    }
    let shape = [targets as u64, (coefficients.len() / targets) as u64];
    upload.set_input("coefficients", 1, Tensor::f32(&shape, coefficients)?)?;
    upload.set_input("intercepts", 2, Tensor::f32(&[targets as u64], intercepts)?)
}

/// Scores: one chain over the features per target, then the intercept, then the transform.
pub(super) fn regressor(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let (rows, table) = table(scope, 1)?;
    let post = PostTransform::read(scope)?;
    let output = scope.value(Dtype::F32, vec![rows, table.shape[0]])?;
    Ok(prepared(vec![output], rows, table, Linear { post, labels: None }))
}

/// Label of the greatest score (of equals the first), and the scores. One target stands for two classes:
/// the second one above zero, with scores `1 - s` and `s`, or the logistic function of `-s` and `s`.
pub(super) fn classifier(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let (rows, table) = table(scope, 2)?;
    let post = PostTransform::read(scope)?;
    let labels = Labels::read(scope)?;
    if labels.len() < 2 {
        return Err(fault("labels", "2 classes or more", &labels.len().to_string()));
    }
    let targets = table.shape[0];
    if targets != labels.len() && !(targets == 1 && labels.len() == 2) {
        return Err(misfit("coefficients", format!("a row for each of {} labels", labels.len()), table));
    }
    let outputs = classifier_outputs(scope, rows, &labels)?;
    Ok(prepared(outputs, rows, table, Linear { post, labels: Some(labels) }))
}

fn table<'a>(scope: &Scope<'a>, outputs: usize) -> Result<(usize, &'a ValueType), Fault> {
    scope.arity(3, 3, outputs)?;
    let (rows, count) = features(scope)?;
    let (table, intercepts) = (scope.f32(1)?, scope.f32(2)?);
    match table.shape[..] {
        [targets, columns] if columns == count && targets > 0 => {
            if intercepts.elements() != targets {
                return Err(misfit("intercepts", format!("{targets} elements"), intercepts));
            }
            Ok((rows, table))
        }
        _ => Err(misfit("coefficients", format!("[targets, {count}], one column per feature"), table)),
    }
}

fn prepared(outputs: Vec<ValueType>, rows: usize, table: &ValueType, kernel: Linear) -> Prepared {
    let row_macs = table.count().saturating_add((table.shape[0] as u64).saturating_mul(32));
    let row_bytes = (table.shape[0] as u64 + table.shape[1] as u64).saturating_mul(8).saturating_add(16);
    let (macs, scratch_bytes) = (row_macs.saturating_mul(rows as u64), row_bytes.saturating_mul(rows as u64));
    Prepared::new(outputs, kernel).macs(macs).scratch_bytes(scratch_bytes)
}

/// `x` times the transpose of `w`: one chain over `k` for each row of both.
pub(super) struct Dots<'a> {
    pub(super) x: &'a [f32],
    pub(super) w: &'a [f32],
    pub(super) k: usize,
}

impl Body for Dots<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        let (k, n) = (self.k.max(1), self.w.len() / self.k.max(1));
        let mut out = vec![0.0; self.x.len() / k * n];
        for (rows, out) in self.x.chunks(LANES * k).zip(out.chunks_mut(LANES * n.max(1))) {
            for (target, w) in self.w.chunks_exact(k).enumerate() {
                let mut sums = [0.0; LANES];
                if rows.len() == LANES * k {
                    for (at, w) in w.iter().enumerate() {
                        for (lane, sum) in sums.iter_mut().enumerate() {
                            *sum = F::fma(rows[lane * k + at], *w, *sum);
                        }
                    }
                } else {
                    for (row, sum) in rows.chunks_exact(k).zip(&mut sums) {
                        row.iter().zip(w).for_each(|(x, w)| *sum = F::fma(*x, *w, *sum));
                    }
                }
                for (row, sum) in out.chunks_exact_mut(n).zip(sums) {
                    row[target] = sum;
                }
            }
        }
        out
    }
}

#[derive(Debug)]
struct Linear {
    post: PostTransform,
    labels: Option<Labels>,
}

impl Kernel for Linear {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, w, intercepts) = (as_f32(call)?, call.f32(1)?, call.f32(2)?);
        let n = intercepts.len();
        let mut scores = call.cpu.isa().run(Dots { x: &x, w, k: w.len() / n.max(1) });
        for row in scores.chunks_exact_mut(n) {
            row.iter_mut().zip(intercepts).for_each(|(score, intercept)| *score += intercept);
        }
        let Some(labels) = &self.labels else {
            scores.chunks_exact_mut(n).for_each(|row| self.finish(row));
            return Ok(vec![TensorData::F32(scores)]);
        };
        let classes: Vec<usize> = scores.chunks_exact(n).map(winner).collect();
        if n < labels.len() {
            scores = scores.iter().flat_map(|score| two(self.post, *score)).collect();
        } else {
            scores.chunks_exact_mut(n).for_each(|row| self.finish(row));
        }
        Ok(vec![labels.of(&classes), TensorData::F32(scores)])
    }
}

impl Linear {
    fn finish(&self, row: &mut [f32]) {
        match (row, self.post) {
            ([score], PostTransform::Probit) => *score = probit(*score),
            ([_], _) => {}
            (row, post) => post.apply(row),
        }
    }
}

/// Scores of two classes from the one of the second.
fn two(post: PostTransform, score: f32) -> [f32; 2] {
    match post {
        PostTransform::Logistic => [logistic(-score), logistic(score)],
        PostTransform::Probit => [-probit(score), probit(score)],
        _ => [1.0 - score, score],
    }
}

/// The greatest score; a single one wins above zero.
fn winner(row: &[f32]) -> usize {
    if let [score] = row {
        return usize::from(*score > 0.0);
    }
    greatest(row)
}

/// Index of the greatest value, of equals the first.
pub(super) fn greatest(row: &[f32]) -> usize {
    let (mut winner, mut most) = (0, row[0]);
    for (class, score) in row.iter().enumerate().skip(1) {
        if *score > most {
            (winner, most) = (class, *score);
        }
    }
    winner
}
