//! Operators of the domain `ai.onnx.ml`: what scikit-learn, XGBoost and LightGBM export.
//!
//! Features are one row `[f]` or a batch of rows `[n, f]`. Tables that ONNX keeps in attributes (trees,
//! coefficients) are constants of the canonical graph, so that they count as weights.

use std::borrow::Cow;

use nabla_types::tensor::{Dtype, TensorData};

use super::{Call, Scope, cast, misfit};
use crate::graph::attributes::fault;
use crate::kernels::math;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;
use crate::{Dim, Fault};

pub(crate) mod extract;
pub(crate) mod labels;
pub(crate) mod linear;
pub(crate) mod scale;
pub(crate) mod trees;

/// Rows and features of input 0.
pub(crate) fn features(scope: &Scope<'_>) -> Result<(Dim, usize), Fault> {
    const NUMBERS: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::I64, Dtype::I32];
    let x = scope.typed(0, NUMBERS, "FP32, FP64, INT64 or INT32")?;
    match x.shape[..] {
        [.., Dim::Fixed(0)] => Err(misfit("features", "at least one feature", x)),
        [Dim::Fixed(count)] => Ok((Dim::Fixed(1), usize::try_from(count).unwrap_or(usize::MAX))),
        [rows, Dim::Fixed(count)] => Ok((rows, usize::try_from(count).unwrap_or(usize::MAX))),
        _ => Err(misfit("features", "[features] or [rows, features]", x)),
    }
}

/// The features as f32, rounded to nearest.
pub(crate) fn as_f32<'a>(call: &Call<'a>) -> Result<Cow<'a, [f32]>, Fault> {
    let x = call.input(0)?;
    Ok(match x.data() {
        TensorData::F32(v) => Cow::Borrowed(v),
        other => match cast::cast(other, Dtype::F32) {
            TensorData::F32(v) => Cow::Owned(v),
            _ => Cow::Borrowed(&[]),
        },
    })
}

/// Names of classes.
#[derive(Debug, Clone)]
pub(crate) enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// Bring either attribute of the upload to its canonical name.
    pub(crate) fn import(upload: &mut Upload<'_>, ints: &str, texts: &str) -> Result<(), Fault> {
        let ints = upload.take_ints(ints)?.filter(|labels| !labels.is_empty());
        let texts = upload.take_texts(texts)?.filter(|labels| !labels.is_empty());
        match (ints, texts) {
            (Some(ints), None) => upload.set_ints("labels_int", ints),
            (None, Some(texts)) => upload.set_texts("labels_text", texts),
            (None, None) => Err(fault("classlabels", "labels of the classes", "nothing")),
            (Some(_), Some(_)) => Err(fault("classlabels", "integers or texts", "both")),
        }
    }

    pub(crate) fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let (ints, texts) = (scope.attributes.ints("labels_int")?, scope.attributes.texts("labels_text")?);
        match (ints, texts) {
            ([_, ..], []) => Ok(Self::Ints(ints.to_vec())),
            ([], [_, ..]) => Ok(Self::Texts(texts.to_vec())),
            _ => Err(fault("labels_int or labels_text", "exactly one list of labels", "none or both")),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Ints(v) => v.len(),
            Self::Texts(v) => v.len(),
        }
    }

    pub(crate) fn dtype(&self) -> Dtype {
        match self {
            Self::Ints(_) => Dtype::I64,
            Self::Texts(_) => Dtype::String,
        }
    }

    /// Labels of these classes.
    pub(crate) fn of(&self, classes: &[usize]) -> TensorData {
        match self {
            Self::Ints(v) => TensorData::I64(classes.iter().map(|class| v[*class]).collect()),
            Self::Texts(v) => TensorData::String(classes.iter().map(|class| v[*class].clone()).collect()),
        }
    }
}

/// What is done to the scores of a row at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
        upload.default_text("post_transform", "NONE")
    }

    pub(crate) fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        match scope.attributes.text("post_transform")? {
            "NONE" => Ok(Self::None),
            "SOFTMAX" => Ok(Self::Softmax),
            "LOGISTIC" => Ok(Self::Logistic),
            "SOFTMAX_ZERO" => Ok(Self::SoftmaxZero),
            "PROBIT" => Ok(Self::Probit),
            got => Err(fault("post_transform", "NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT", got)),
        }
    }

    /// Transform the scores of one row, two or more.
    pub(crate) fn apply(self, scores: &mut [f32]) {
        match self {
            Self::None => {}
            Self::Softmax => softmax(scores),
            Self::Logistic => scores.iter_mut().for_each(|score| *score = logistic(*score)),
            Self::SoftmaxZero => softmax_zero(scores),
            Self::Probit => scores.iter_mut().for_each(|score| *score = probit(*score)),
        }
    }
}

/// `1 / (1 + e^-|x|)`, mirrored below zero.
pub(crate) fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + math::exp(-x.abs()));
    if x < 0.0 { 1.0 - v } else { v }
}

fn greatest(scores: &[f32]) -> f32 {
    scores.iter().fold(f32::MIN, |most, score| if *score > most { *score } else { most })
}

fn softmax(scores: &mut [f32]) {
    let most = greatest(scores);
    let mut sum = 0.0_f32;
    for score in scores.iter_mut() {
        *score = math::exp(*score - most);
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// As softmax, but scores within 1e-7 of zero are scaled by `e^-max` and stay out of the sum.
fn softmax_zero(scores: &mut [f32]) {
    const NEAR_ZERO: f32 = 0.000_000_1;
    let most = greatest(scores);
    let scale = math::exp(-most);
    let mut sum = 0.0_f32;
    for score in scores.iter_mut() {
        if *score > NEAR_ZERO || *score < -NEAR_ZERO {
            *score = math::exp(*score - most);
            sum += *score;
        } else {
            *score *= scale;
        }
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The approximation of the inverse normal distribution that ONNX Runtime uses, with our logarithm.
pub(crate) fn probit(p: f32) -> f32 {
    use std::f32::consts::{PI, SQRT_2};
    let x = 2.0 * p - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = math::ln((1.0 - x) * (1.0 + x));
    let v = 2.0 / (PI * 0.147) + 0.5 * log;
    let v2 = 1.0 / 0.147_f32 * log;
    let v3 = -v + math::sqrt(v * v - v2);
    SQRT_2 * (sign * math::sqrt(v3))
}

/// Labels and scores of a classifier.
pub(crate) fn classifier_outputs(
    scope: &Scope<'_>,
    rows: Dim,
    labels: &Labels,
) -> Result<Vec<ValueType>, Fault> {
    let scores = scope.value(Dtype::F32, vec![rows, Dim::Fixed(labels.len() as u64)])?;
    Ok(vec![scope.value(labels.dtype(), vec![rows])?, scores])
}
