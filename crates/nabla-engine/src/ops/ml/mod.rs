//! Operators of the domain `ai.onnx.ml`: what scikit-learn, XGBoost and LightGBM export.
//!
//! Features are one row `[f]` or a batch of rows `[n, f]`. Tables that ONNX keeps in attributes (trees,
//! coefficients) are constants of the canonical graph, so that they count as weights.
//!
//! Values that are maps do not exist here: `ZipMap` leaves the table of scores as it is, and operators that
//! take maps are refused by name.

use std::borrow::Cow;

use nabla_types::tensor::{Dtype, TensorData};

use super::identity::plain;
use super::{Call, Operator, Prepared, Scope, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::math;
use crate::onnx::upload::Upload;
use crate::plan::ValueType;

mod encode;
mod extract;
mod labels;
mod linear;
mod scale;
mod svm;
#[cfg(test)]
mod tests;
mod trees;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::ml("ArrayFeatureExtractor", plain, extract::columns),
    Operator::ml("Binarizer", scale::import_binarizer, scale::binarizer),
    Operator::ml("CastMap", refuse_maps, never),
    Operator::ml("CategoryMapper", labels::import_mapper, labels::mapper),
    Operator::ml("DictVectorizer", refuse_maps, never),
    Operator::ml("FeatureVectorizer", plain, extract::vectorizer),
    Operator::ml("Imputer", encode::import_imputer, encode::imputer),
    Operator::ml("LabelEncoder", labels::import_encoder, labels::encoder),
    Operator::ml("LinearClassifier", linear::import_classifier, linear::classifier),
    Operator::ml("LinearRegressor", linear::import_regressor, linear::regressor),
    Operator::ml("Normalizer", scale::import_normalizer, scale::normalizer),
    Operator::ml("OneHotEncoder", encode::import_one_hot, encode::one_hot),
    Operator::ml("SVMClassifier", svm::import_classifier, svm::classifier),
    Operator::ml("SVMRegressor", svm::import_regressor, svm::regressor),
    Operator::ml("Scaler", scale::import_scaler, scale::scaler),
    trees::ENSEMBLE,
    trees::CLASSIFIER,
    trees::REGRESSOR,
];

/// The features of `ai.onnx.ml` that are numbers.
const NUMBERS: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::I64, Dtype::I32];

fn refuse_maps(_: &mut Upload<'_>) -> Result<(), Fault> {
    let hint = "give the values as a tensor with a column per key";
    Err(Fault::Unsupported { what: "an input that is a map".to_owned(), hint })
}

/// Nothing that could not be imported is prepared, except in a canonical graph that nobody wrote.
fn never(_: &Scope<'_>) -> Result<Prepared, Fault> {
    let hint = "it only exists in uploads";
    Err(Fault::Unsupported { what: "an operator on maps".to_owned(), hint })
}

/// Rows and features of input 0.
fn features(scope: &Scope<'_>) -> Result<(usize, usize), Fault> {
    const TYPES: &[Dtype] = &[Dtype::F32, Dtype::F64, Dtype::I64, Dtype::I32, Dtype::F16];
    let x = scope.typed(0, TYPES, "FP32, FP64, INT64, INT32 or FP16")?;
    match x.shape[..] {
        [.., 0] => Err(misfit("features", "at least one feature", x)),
        [count] => Ok((1, count)),
        [rows, count] => Ok((rows, count)),
        _ => Err(misfit("features", "[features] or [rows, features]", x)),
    }
}

/// The features as f32, rounded to nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "rounded to nearest")]
fn as_f32<'a>(call: &Call<'a>) -> Result<Cow<'a, [f32]>, Fault> {
    let x = call.input(0)?;
    Ok(match x.data() {
        TensorData::F32(v) => Cow::Borrowed(v),
        TensorData::F64(v) => v.iter().map(|x| *x as f32).collect(),
        TensorData::I64(v) => v.iter().map(|x| *x as f32).collect(),
        TensorData::I32(v) => v.iter().map(|x| *x as f32).collect(),
        TensorData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
        _ => return Err(Fault::Dtype { input: 0, expected: "numbers", got: x.dtype() }),
    })
}

/// The features as f64, rounded to nearest.
#[expect(clippy::cast_precision_loss, reason = "rounded to nearest")]
fn as_f64<'a>(call: &Call<'a>) -> Result<Cow<'a, [f64]>, Fault> {
    let x = call.input(0)?;
    Ok(match x.data() {
        TensorData::F64(v) => Cow::Borrowed(v),
        TensorData::F32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::I64(v) => v.iter().map(|x| *x as f64).collect(),
        TensorData::I32(v) => v.iter().map(|x| f64::from(*x)).collect(),
        TensorData::F16(v) => v.iter().map(|x| x.to_f64()).collect(),
        _ => return Err(Fault::Dtype { input: 0, expected: "numbers", got: x.dtype() }),
    })
}

/// Names of classes.
#[derive(Debug, Clone)]
enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// Bring either attribute of the upload to its canonical name. Returns how many there are.
    fn import(upload: &mut Upload<'_>, ints: &str, texts: &str) -> Result<usize, Fault> {
        let ints = upload.take_ints(ints)?.filter(|labels| !labels.is_empty());
        let texts = upload.take_texts(texts)?.filter(|labels| !labels.is_empty());
        match (ints, texts) {
            (Some(ints), None) => {
                let count = ints.len();
                upload.set_ints("labels_int", ints).map(|()| count)
            }
            (None, Some(texts)) => {
                let count = texts.len();
                upload.set_texts("labels_text", texts).map(|()| count)
            }
            (None, None) => Err(fault("classlabels", "labels of the classes", "nothing")),
            (Some(_), Some(_)) => Err(fault("classlabels", "integers or texts", "both")),
        }
    }

    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let (ints, texts) = (scope.attributes.ints("labels_int")?, scope.attributes.texts("labels_text")?);
        match (ints, texts) {
            ([_, ..], []) => Ok(Self::Ints(ints.to_vec())),
            ([], [_, ..]) => Ok(Self::Texts(texts.to_vec())),
            _ => Err(fault("labels_int or labels_text", "exactly one list of labels", "none or both")),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Ints(v) => v.len(),
            Self::Texts(v) => v.len(),
        }
    }

    fn dtype(&self) -> Dtype {
        match self {
            Self::Ints(_) => Dtype::I64,
            Self::Texts(_) => Dtype::String,
        }
    }

    /// Labels of these classes.
    fn of(&self, classes: &[usize]) -> TensorData {
        match self {
            Self::Ints(v) => TensorData::I64(classes.iter().map(|class| v[*class]).collect()),
            Self::Texts(v) => TensorData::String(classes.iter().map(|class| v[*class].clone()).collect()),
        }
    }
}

/// What is done to the scores of a row at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PostTransform {
    None,
    Softmax,
    Logistic,
    SoftmaxZero,
    Probit,
}

impl PostTransform {
    fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
        upload.default_text("post_transform", "NONE")
    }

    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
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
    fn apply(self, scores: &mut [f32]) {
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
fn logistic(x: f32) -> f32 {
    let v = 1.0 / (1.0 + math::exp(-x.abs()));
    if x < 0.0 { 1.0 - v } else { v }
}

fn greatest(scores: &[f32]) -> f32 {
    scores.iter().fold(f32::MIN, |most, score| if *score > most { *score } else { most })
}

fn softmax(scores: &mut [f32]) {
    let most = greatest(scores);
    scores.iter_mut().for_each(|score| *score = math::exp(*score - most));
    let sum = striped(scores, |score| score);
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// As softmax, but scores within 1e-7 of zero are scaled by `e^-max` and stay out of the sum.
fn softmax_zero(scores: &mut [f32]) {
    const NEAR_ZERO: f32 = 0.000_000_1;
    let most = greatest(scores);
    let scale = math::exp(-most);
    let mut terms = vec![0.0; scores.len()];
    for (score, term) in scores.iter_mut().zip(&mut terms) {
        if *score > NEAR_ZERO || *score < -NEAR_ZERO {
            *score = math::exp(*score - most);
            *term = *score;
        } else {
            *score *= scale;
        }
    }
    let sum = striped(&terms, |term| term);
    scores.iter_mut().for_each(|score| *score /= sum);
}

/// The approximation of the inverse normal distribution that ONNX Runtime uses, with our logarithm.
fn probit(p: f32) -> f32 {
    use std::f32::consts::{PI, SQRT_2};
    let x = 2.0 * p - 1.0;
    let sign = if x < 0.0 { -1.0 } else { 1.0 };
    let log = math::ln((1.0 - x) * (1.0 + x));
    let v = 2.0 / (PI * 0.147) + 0.5 * log;
    let v2 = 1.0 / 0.147_f32 * log;
    let v3 = -v + math::sqrt(v * v - v2);
    SQRT_2 * (sign * math::sqrt(v3))
}

/// The striped sum of `f` of every value: 16 chains from `+0`, value `t` to chain `t mod 16`, then folded.
fn striped(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut chains = [0.0_f32; 16];
    for group in values.chunks(16) {
        group.iter().zip(&mut chains).for_each(|(value, chain)| *chain += f(*value));
    }
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            chains[j] += chains[j + half];
        }
    }
    chains[0]
}

/// Labels and scores of a classifier.
fn classifier_outputs(scope: &Scope<'_>, rows: usize, labels: &Labels) -> Result<Vec<ValueType>, Fault> {
    let scores = scope.value(Dtype::F32, vec![rows, labels.len()])?;
    Ok(vec![scope.value(labels.dtype(), vec![rows])?, scores])
}
