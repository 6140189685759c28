//! Linear models.
//!
//! Canonical inputs: features, coefficients `[targets, features]`, intercepts `[targets]`.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Kernel, Prepared, Scope, misfit, sizes};
use super::{Labels, PostTransform, as_f32, classifier_outputs, features, logistic, probit};
use crate::graph::attributes::fault;
use crate::kernels::gemm::{Gemm, Panels};
use crate::onnx::upload::Upload;
use crate::plan::ValueType;
use crate::{Dim, Fault};

pub(crate) fn import_regressor(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let targets = upload.take_int("targets")?.unwrap_or(1);
    let intercepts = upload.take_floats("intercepts")?.unwrap_or_default();
    let targets = usize::try_from(targets).unwrap_or(0);
    let intercepts = if intercepts.len() == targets { intercepts } else { vec![0.0; targets.min(1 << 20)] };
    PostTransform::import(upload)?;
    push_table(upload, targets, intercepts)
}

pub(crate) fn import_classifier(upload: &mut Upload<'_>) -> Result<(), Fault> {
    Labels::import(upload, "classlabels_ints", "classlabels_strings")?;
    upload.ignore("multi_class");
    let intercepts = upload.take_floats("intercepts")?.unwrap_or_default();
    PostTransform::import(upload)?;
    push_table(upload, intercepts.len(), intercepts)
}

/// Coefficients and intercepts become constants.
fn push_table(upload: &mut Upload<'_>, targets: usize, intercepts: Vec<f32>) -> Result<(), Fault> {
    let coefficients = upload.take_floats("coefficients")?.unwrap_or_default();
    if targets == 0 || coefficients.is_empty() || coefficients.len() % targets != 0 {
        let problem = format!("{} coefficients do not fill {targets} rows", coefficients.len());
        return Err(Fault::Table { what: "coefficients", problem });
    }
    let shape = [targets as u64, (coefficients.len() / targets) as u64];
    upload.push_constant(Tensor::f32(&shape, coefficients)?);
    upload.push_constant(Tensor::f32(&[targets as u64], intercepts)?);
    Ok(())
}

/// Scores: one chain over the features per target, then the intercept, then the transform.
pub(crate) fn regressor(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let (rows, table) = table(scope, 1)?;
    let post = PostTransform::read(scope)?;
    let targets = table.shape[0];
    let output = scope.value(Dtype::F32, vec![rows, targets])?;
    Ok(prepared(vec![output], table, Linear { post, labels: None, panels: Panels::default() }))
}

/// Label of the greatest score (of equals the first), and the scores. One target stands for two classes:
/// the second one above zero, with scores `1 - s` and `s`,
/// or the logistic function of `-s` and `s`.
pub(crate) fn classifier(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let (rows, table) = table(scope, 2)?;
    let post = PostTransform::read(scope)?;
    let labels = Labels::read(scope)?;
    if labels.len() < 2 {
        return Err(fault("labels", "2 classes or more", &labels.len().to_string()));
    }
    let targets = table.row_elements() / table.fixed(1)?[0].max(1);
    if targets != labels.len() as u64 && !(targets == 1 && labels.len() == 2) {
        return Err(misfit("coefficients", format!("a row for each of {} labels", labels.len()), table));
    }
    let outputs = classifier_outputs(scope, rows, &labels)?;
    Ok(prepared(outputs, table, Linear { post, labels: Some(labels), panels: Panels::default() }))
}

fn table<'a>(scope: &Scope<'a>, outputs: usize) -> Result<(Dim, &'a ValueType), Fault> {
    scope.arity(3, 3, outputs)?;
    let (rows, count) = features(scope)?;
    let table = scope.f32(1)?;
    scope.constant(1, "coefficients")?;
    match table.shape[..] {
        [Dim::Fixed(targets), Dim::Fixed(columns)] if columns == count as u64 && targets > 0 => {
            scope.constant_f32(2, "intercepts", usize::try_from(targets).unwrap_or(usize::MAX))?;
            Ok((rows, table))
        }
        _ => Err(misfit("coefficients", format!("[targets, {count}], one column per feature"), table)),
    }
}

fn prepared(outputs: Vec<ValueType>, table: &ValueType, kernel: Linear) -> Prepared {
    let macs = table.row_elements().saturating_add(64);
    let scratch_bytes = table.row_elements().saturating_mul(8).saturating_add(256);
    let fixed = |dim: usize| table.concrete(1).get(dim).copied().unwrap_or(0);
    let loaded_bytes = Panels::bytes(fixed(1), fixed(0));
    Prepared { outputs, macs, scratch_bytes, loaded_bytes, kernel: Box::new(kernel) }
}

#[derive(Debug)]
struct Linear {
    post: PostTransform,
    labels: Option<Labels>,
    panels: Panels,
}

impl Kernel for Linear {
    fn load(&mut self, constants: &[Option<&Tensor>]) {
        if let Some(table) = constants.get(1).copied().flatten() {
            let shape = sizes(table.shape());
            self.panels = Panels::pack(shape[1], shape[0], table.as_f32().unwrap_or_default(), 1, shape[1]);
        }
    }

    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, intercepts) = (as_f32(call)?, call.f32(2)?);
        let Panels { k, n, lanes } = &self.panels;
        let rows = call.sizes(0)[0];
        let mut scores = vec![0.0; rows * n];
        call.isa.run(Gemm { m: rows, a: &x, k: *k, n: *n, b: lanes, c: &mut scores, stride_c: *n });
        for row in scores.chunks_exact_mut(*n) {
            row.iter_mut().zip(intercepts).for_each(|(score, intercept)| *score += intercept);
        }
        let Some(labels) = &self.labels else {
            scores.chunks_exact_mut(*n).for_each(|row| self.finish(row));
            return Ok(vec![TensorData::F32(scores)]);
        };
        let classes: Vec<usize> = scores.chunks_exact(*n).map(winner).collect();
        if *n < labels.len() {
            scores = scores.iter().flat_map(|score| self.two(*score)).collect();
        } else {
            scores.chunks_exact_mut(*n).for_each(|row| self.finish(row));
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

    /// Scores of two classes from the one of the second.
    fn two(&self, score: f32) -> [f32; 2] {
        match self.post {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            PostTransform::Probit => [-probit(score), probit(score)],
            _ => [1.0 - score, score],
        }
    }
}

/// The greatest score; a single one wins above zero.
fn winner(row: &[f32]) -> usize {
    if let [score] = row {
        return usize::from(*score > 0.0);
    }
    let (mut winner, mut most) = (0, row[0]);
    for (class, score) in row.iter().enumerate().skip(1) {
        if *score > most {
            (winner, most) = (class, *score);
        }
    }
    winner
}
