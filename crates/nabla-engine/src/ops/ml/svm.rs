//! Support vector machines.
//!
//! Canonical inputs: features; support vectors `[v, features]` (absent: the model is linear); coefficients
//! (`[1, v]` of a regressor, `[classes - 1, v]` of a classifier, `[targets, features]` of a linear model);
//! constants of the decisions; of a classifier that knows probabilities, their factors and their offsets.
//!
//! The rules are those of ONNX Runtime, written down; `spec/kernels.md` has the order of every sum.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Kernel, Prepared, Scope, misfit};
use super::linear::{Dots, greatest};
use super::{Labels, PostTransform, as_f32, features, logistic, probit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::{Body, Fma, math};
use crate::onnx::upload::Upload;

/// Most classes: every pair of them has a decision.
const CLASSES_MAX: usize = 1024;
/// Greatest power of a polynomial kernel.
const DEGREE_MAX: f32 = 64.0;

pub(super) fn import_regressor(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let supports = upload.take_int("n_supports")?.unwrap_or(0);
    let supports = usize::try_from(supports).map_err(|_| fault("n_supports", "0 or more", "less"))?;
    upload.default_int("one_class", 0)?;
    import(upload, supports, 1)
}

pub(super) fn import_classifier(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let classes = Labels::import(upload, "classlabels_ints", "classlabels_strings")?;
    let per_class = upload.take_ints("vectors_per_class")?.unwrap_or_default();
    let size = |count: &i64| usize::try_from(*count).ok();
    let supports = per_class.iter().try_fold(0_usize, |sum, count| sum.checked_add(size(count)?));
    let supports = supports.ok_or_else(|| fault("vectors_per_class", "sizes", "a negative number"))?;
    if supports > 0 {
        upload.set_ints("vectors_per_class", per_class)?;
    }
    import(upload, supports, if supports > 0 { classes.saturating_sub(1) } else { classes })?;
    let (a, b) = (upload.take_floats("prob_a")?, upload.take_floats("prob_b")?);
    for (name, input, values) in [("prob_a", 4, a), ("prob_b", 5, b)] {
        if let Some(values) = values.filter(|values| !values.is_empty() && supports > 0) {
            upload.set_input(name, input, Tensor::f32(&[values.len() as u64], values)?)?;
        }
    }
    Ok(())
}

/// What both have in common; `rows` of coefficients.
fn import(upload: &mut Upload<'_>, supports: usize, rows: usize) -> Result<(), Fault> {
    PostTransform::import(upload)?;
    let kernel = upload.take_text("kernel_type")?.unwrap_or("LINEAR".to_owned());
    upload.set_text("kernel_type", if supports > 0 { &kernel } else { "LINEAR" })?;
    let params = upload.take_floats("kernel_params")?.unwrap_or_default();
    upload.set_floats("kernel_params", if params.is_empty() { vec![0.0; 3] } else { params })?;
    let vectors = upload.take_floats("support_vectors")?.unwrap_or_default();
    if supports > 0 {
        upload.set_input("support_vectors", 1, table("support_vectors", supports, vectors)?)?;
    }
    let coefficients = upload.take_floats("coefficients")?.unwrap_or_default();
    upload.set_input("coefficients", 2, table("coefficients", rows, coefficients)?)?;
    let rho = upload.take_floats("rho")?.unwrap_or_default();
    upload.set_input("rho", 3, Tensor::f32(&[rho.len() as u64], rho)?)
}

fn table(what: &'static str, rows: usize, values: Vec<f32>) -> Result<Tensor, Fault> {
    if rows == 0 || values.is_empty() || !values.len().is_multiple_of(rows) {
        return Err(Fault::Table {
            what,
            problem: format!("{} values do not fill {rows} rows", values.len()),
        });
    }
    Ok(Tensor::f32(&[rows as u64, (values.len() / rows) as u64], values)?)
}

/// How alike two rows are.
#[derive(Debug, Clone, Copy)]
enum Likeness {
    Linear,
    Poly { gamma: f32, offset: f32, degree: u32 },
    Rbf { gamma: f32 },
    Sigmoid { gamma: f32, offset: f32 },
}

impl Likeness {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number up to 64")]
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let [gamma, offset, degree] = *scope.attributes.floats("kernel_params")? else {
            return Err(fault("kernel_params", "gamma, coef0 and degree", "another number of floats"));
        };
        Ok(match scope.attributes.text("kernel_type")? {
            "LINEAR" => Self::Linear,
            "POLY" if (0.0..=DEGREE_MAX).contains(&degree) && degree.fract() == 0.0 => {
                Self::Poly { gamma, offset, degree: degree as u32 }
            }
            "POLY" => return Err(fault("kernel_params", "a whole degree from 0 to 64", &degree.to_string())),
            "RBF" => Self::Rbf { gamma },
            "SIGMOID" => Self::Sigmoid { gamma, offset },
            got => return Err(fault("kernel_type", "LINEAR, POLY, RBF or SIGMOID", got)),
        })
    }

    /// From the scalar product, or the square of the distance.
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding of a power")]
    fn of(self, s: f32) -> f32 {
        match self {
            Self::Linear => s,
            Self::Poly { gamma, offset, degree } => {
                let base = f64::from(s * gamma + offset);
                (0..degree).fold(1.0_f64, |power, _| power * base) as f32
            }
            Self::Rbf { gamma } => math::exp(-gamma * s),
            Self::Sigmoid { gamma, offset } => math::tanh(s * gamma + offset),
        }
    }
}

/// Squares of distances between rows of `x` and of `w`: one chain over `k` each.
struct Distances<'a> {
    x: &'a [f32],
    w: &'a [f32],
    k: usize,
}

impl Body for Distances<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        let distance = |x: &[f32], w: &[f32]| {
            x.iter().zip(w).fold(0.0, |sum, (x, w)| {
                let difference = x - w;
                F::fma(difference, difference, sum)
            })
        };
        let rows = self.x.chunks_exact(self.k.max(1));
        rows.flat_map(|x| self.w.chunks_exact(self.k.max(1)).map(move |w| distance(x, w))).collect()
    }
}

/// What every SVM is.
#[derive(Debug)]
struct Machine {
    likeness: Likeness,
    rows: usize,
    features: usize,
    /// Support vectors; none: the model is linear.
    vectors: usize,
}

impl Machine {
    fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        let (rows, features) = features(scope)?;
        let likeness = Likeness::read(scope)?;
        let vectors = match scope.optional(1) {
            None => 0,
            Some(_) => match scope.f32(1)?.shape[..] {
                [vectors, columns] if columns == features && vectors > 0 => vectors,
                _ => return Err(misfit("support vectors", format!("[vectors, {features}]"), scope.f32(1)?)),
            },
        };
        Ok(Self { likeness, rows, features, vectors })
    }

    /// Columns of the coefficients.
    fn columns(&self) -> usize {
        if self.vectors > 0 { self.vectors } else { self.features }
    }

    /// Coefficients with so many rows, and a constant for each decision.
    fn check(&self, scope: &Scope<'_>, rows: usize, constants: usize) -> Result<(), Fault> {
        let (table, rho) = (scope.f32(2)?, scope.f32(3)?);
        if table.shape[..] != [rows, self.columns()] {
            return Err(misfit("coefficients", format!("[{rows}, {}]", self.columns()), table));
        }
        if rho.elements() != constants {
            return Err(misfit("rho", format!("{constants} elements"), rho));
        }
        Ok(())
    }

    /// The likeness of every row to every support vector.
    fn likenesses(&self, call: &Call<'_>, x: &[f32]) -> Result<Vec<f32>, Fault> {
        let (w, k) = (call.f32(1)?, self.features);
        let mut table = match self.likeness {
            Likeness::Rbf { .. } => call.cpu.isa().run(Distances { x, w, k }),
            _ => call.cpu.isa().run(Dots { x, w, k }),
        };
        table.iter_mut().for_each(|s| *s = self.likeness.of(*s));
        Ok(table)
    }

    fn macs(&self, decisions: usize) -> u64 {
        let likeness = (self.features as u64).saturating_add(64).saturating_mul(self.vectors as u64);
        let decisions = (self.columns() as u64).saturating_add(64).saturating_mul(decisions as u64);
        likeness.saturating_add(decisions).saturating_mul(self.rows as u64)
    }

    fn scratch_bytes(&self, scores: usize) -> u64 {
        let row = (self.features + self.vectors) as u64 + (scores as u64).saturating_mul(4);
        row.saturating_mul(4).saturating_mul(self.rows as u64)
    }
}

/// `coefficients * likeness` (or features), one chain, plus the constant; for one class its sign.
pub(super) fn regressor(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 4, 1, 1)?;
    let machine = Machine::read(scope)?;
    machine.check(scope, 1, 1)?;
    let is_one_class = scope.attributes.int("one_class")? != 0;
    // ONNX Runtime reads it and does nothing with it.
    PostTransform::read(scope)?;
    let output = scope.value(Dtype::F32, vec![machine.rows, 1])?;
    let (macs, scratch_bytes) = (machine.macs(1), machine.scratch_bytes(1));
    Ok(Prepared::one(output, Regressor { machine, is_one_class }).macs(macs).scratch_bytes(scratch_bytes))
}

#[derive(Debug)]
struct Regressor {
    machine: Machine,
    is_one_class: bool,
}

impl Kernel for Regressor {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = as_f32(call)?;
        let (w, k, rho) = (call.f32(2)?, self.machine.columns(), call.f32(3)?[0]);
        let mut y = if self.machine.vectors > 0 {
            let likenesses = self.machine.likenesses(call, &x)?;
            call.cpu.isa().run(Dots { x: &likenesses, w, k })
        } else {
            call.cpu.isa().run(Dots { x: &x, w, k })
        };
        for y in &mut y {
            *y += rho;
            if self.is_one_class {
                *y = if *y > 0.0 { 1.0 } else { -1.0 };
            }
        }
        Ok(vec![TensorData::F32(y)])
    }
}

pub(super) fn classifier(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(1, 6, 2, 2)?;
    let machine = Machine::read(scope)?;
    let labels = Labels::read(scope)?;
    let post = PostTransform::read(scope)?;
    let classes = labels.len();
    if !(2..=CLASSES_MAX).contains(&classes) {
        return Err(fault("labels", &format!("2 to {CLASSES_MAX} classes"), &classes.to_string()));
    }
    let pairs = classes * (classes - 1) / 2;
    let mut starts = vec![0];
    for count in scope.attributes.ints("vectors_per_class")? {
        let last = starts[starts.len() - 1];
        let next = usize::try_from(*count).ok().and_then(|count| count.checked_add(last));
        starts.push(next.filter(|next| *next <= machine.vectors).unwrap_or(usize::MAX));
    }
    let is_linear = machine.vectors == 0;
    if !is_linear && (starts.len() != classes + 1 || starts[classes] != machine.vectors) {
        let expected = format!("{classes} sizes that sum up to {}", machine.vectors);
        return Err(fault("vectors_per_class", &expected, "others"));
    }
    let knows_probability = scope.optional(4).is_some();
    if is_linear {
        let constants = scope.f32(3)?.elements().max(1);
        machine.check(scope, classes, constants)?;
    } else {
        machine.check(scope, classes - 1, pairs)?;
    }
    if knows_probability
        && (scope.f32(4)?.elements() != pairs || scope.f32(5)?.elements() != pairs || is_linear)
    {
        return Err(misfit("prob_a and prob_b", format!("{pairs} elements each"), scope.f32(4)?));
    }
    let scores = if knows_probability || is_linear { classes } else { pairs.max(2) };
    let rows = machine.rows;
    let outputs =
        vec![scope.value(labels.dtype(), vec![rows])?, scope.value(Dtype::F32, vec![rows, scores])?];
    // Joining the probabilities of pairs takes up to max(100, classes) rounds over classes^2.
    let rounds = if knows_probability { classes.max(100) * classes * classes * 3 } else { 0 };
    let macs = machine
        .macs(classes.saturating_mul(classes))
        .saturating_add((rounds as u64).saturating_mul(rows as u64));
    let scratch_bytes =
        machine.scratch_bytes(pairs.max(scores)).saturating_add((classes * classes) as u64 * 16);
    let kernel = Classifier { machine, labels, post, starts, knows_probability, scores };
    Ok(Prepared::new(outputs, kernel).macs(macs).scratch_bytes(scratch_bytes))
}

#[derive(Debug)]
struct Classifier {
    machine: Machine,
    labels: Labels,
    post: PostTransform,
    /// First support vector of each class, and the end.
    starts: Vec<usize>,
    knows_probability: bool,
    /// Scores of a row.
    scores: usize,
}

impl Kernel for Classifier {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = as_f32(call)?;
        let (w, rho) = (call.f32(2)?, call.f32(3)?);
        let mut out = Vec::with_capacity(self.machine.rows * self.scores);
        let mut classes = Vec::with_capacity(self.machine.rows);
        if self.machine.vectors == 0 {
            let k = self.machine.columns();
            let mut table = call.cpu.isa().run(Dots { x: &x, w, k });
            let all_positive = w.iter().all(|w| *w >= 0.0);
            let first = rho.first().copied().unwrap_or(0.0);
            table.iter_mut().for_each(|score| *score += first);
            for row in table.chunks_exact_mut(self.labels.len()) {
                let best = greatest(row);
                classes.push(self.linear_class(best, row[best], all_positive, rho.len()));
                self.post.apply(row);
                out.extend_from_slice(row);
            }
            return Ok(vec![self.labels.of(&classes), TensorData::F32(out)]);
        }
        let likenesses = self.machine.likenesses(call, &x)?;
        for row in likenesses.chunks_exact(self.machine.vectors) {
            let (votes, mut scores) = call.cpu.isa().run(Decide { starts: &self.starts, row, w, rho });
            classes.push(greatest(&votes));
            if self.knows_probability {
                scores = join(self.labels.len(), &scores, call.f32(4)?, call.f32(5)?);
            }
            self.finish(&mut scores);
            out.append(&mut scores);
        }
        Ok(vec![self.labels.of(&classes), TensorData::F32(out)])
    }
}

impl Classifier {
    /// The class of a linear model's row, whose greatest score is `weight`. With one constant and two classes
    /// the second one wins by any weight that is great enough.
    fn linear_class(&self, best: usize, weight: f32, all_positive: bool, constants: usize) -> usize {
        let is_enough = if all_positive { weight >= 0.5 } else { weight > 0.0 };
        if constants == 1 && self.labels.len() == 2 && is_enough { 1 } else { best }
    }

    /// One decision stands for two classes.
    fn finish(&self, scores: &mut Vec<f32>) {
        if let [score] = scores[..] {
            *scores = match self.post {
                PostTransform::Logistic => vec![logistic(-score), logistic(score)],
                PostTransform::Probit => vec![probit(-score), probit(score)],
                PostTransform::None => vec![-score, score],
                _ => vec![1.0 - score, score],
            };
            return;
        }
        self.post.apply(scores);
    }
}

/// Votes of the classes and a score for each pair of them.
struct Decide<'a> {
    starts: &'a [usize],
    row: &'a [f32],
    w: &'a [f32],
    rho: &'a [f32],
}

impl Body for Decide<'_> {
    type Out = (Vec<f32>, Vec<f32>);

    #[inline(always)]
    fn run<F: Fma>(self) -> Self::Out {
        let (classes, vectors) = (self.starts.len() - 1, self.row.len());
        let mut votes = vec![0.0; classes];
        let mut scores = Vec::with_capacity(self.rho.len());
        for first in 0..classes {
            for second in first + 1..classes {
                let part = |coefficients: usize, class: usize, sum: f32| {
                    let range = self.starts[class]..self.starts[class + 1];
                    let w = &self.w[coefficients * vectors..][range.clone()];
                    w.iter().zip(&self.row[range]).fold(sum, |sum, (w, x)| F::fma(*w, *x, sum))
                };
                let sum = part(first, second, part(second - 1, first, 0.0));
                let score = sum + self.rho[scores.len()];
                votes[if score > 0.0 { first } else { second }] += 1.0;
                scores.push(score);
            }
        }
        (votes, scores)
    }
}

/// Probabilities of classes from those of pairs: the second method of Wu, Lin and Weng (2004), as LIBSVM has
/// it.
#[expect(clippy::cast_precision_loss, reason = "few classes")]
fn join(classes: usize, scores: &[f32], a: &[f32], b: &[f32]) -> Vec<f32> {
    const LEAST: f32 = 1.0e-7;
    let mut pairs = vec![0.0_f32; classes * classes];
    let mut index = 0;
    for first in 0..classes {
        for second in first + 1..classes {
            let p = 1.0 - logistic(scores[index] * a[index] + b[index]);
            let p = if p > LEAST { p } else { LEAST };
            let p = if p < 1.0 - LEAST { p } else { 1.0 - LEAST };
            pairs[first * classes + second] = p;
            pairs[second * classes + first] = 1.0 - p;
            index += 1;
        }
    }
    let mut q = vec![0.0_f32; classes * classes];
    for t in 0..classes {
        for j in (0..classes).filter(|j| *j != t) {
            let r = pairs[j * classes + t];
            q[t * classes + t] += r * r;
            q[t * classes + j] = -r * pairs[t * classes + j];
        }
    }
    let mut p = vec![1.0 / classes as f32; classes];
    let mut qp = vec![0.0_f32; classes];
    let least = 0.005 / classes as f32;
    for _ in 0..classes.max(100) {
        for (qp, q) in qp.iter_mut().zip(q.chunks_exact(classes)) {
            *qp = q.iter().zip(&p).fold(0.0, |sum, (q, p)| sum + q * p);
        }
        let mut pqp = p.iter().zip(&qp).fold(0.0, |sum, (p, qp)| sum + p * qp);
        let worst = qp.iter().map(|qp| (qp - pqp).abs()).fold(0.0, |most, x| if x > most { x } else { most });
        if worst < least {
            break;
        }
        for t in 0..classes {
            let own = q[t * classes + t];
            let difference = (-qp[t] + pqp) / own;
            p[t] += difference;
            let whole = 1.0 + difference;
            pqp = (pqp + difference * (difference * own + 2.0 * qp[t])) / whole / whole;
            for j in 0..classes {
                qp[j] = (qp[j] + difference * q[t * classes + j]) / whole;
                p[j] /= whole;
            }
        }
    }
    p
}
