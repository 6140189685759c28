//! Ensembles of decision trees.
//!
//! # Canonical form
//! All trees stand in one table of nodes, each tree in preorder: the child for "true" is the next node.
//! Constants, after the features (`real` is FP32 or FP64, the same everywhere):
//!
//! | input | type | what |
//! |---|---|---|
//! | 1 | u8 `[n]` | mode: 0 leaf, 1 `<=`, 2 `<`, 3 `>=`, 4 `>`, 5 `==`, 6 `!=`, 7 in a set; plus 8 if NaN is "true" |
//! | 2 | i32 `[n]` | feature that a branch reads; 0 for a leaf |
//! | 3 | real `[n]` | value that it is compared with, or the number of a set; 0 for a leaf |
//! | 4 | i32 `[n]` | node for "false"; for a leaf its number |
//! | 5 | i32 `[t]` | root of each tree |
//! | 6 | i32 `[l + 1]` | where the weights of each leaf start, and the end |
//! | 7, 8 | i32, real `[w]` | target and weight |
//! | 9 | real `[b]` | base values; may be absent |
//! | 10, 11 | i32 `[s + 1]`, real `[v]` | start of each set, and the end; rising values of each. May be absent |
//!
//! As children always stand behind their parent, a walk ends, however hostile the table.
//!
//! # Bits
//! A row visits the trees in order; weights are added (or compared) per target in that order: in f64 if the
//! features or the table are FP64, else in f32.

use half::f16;
use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Kernel, Operator, Packed, Prepared, Scope};
use super::{Labels, PostTransform, classifier_outputs, features};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::plan::ValueType;

mod draft;
mod import;
mod packed;
mod real;
mod score;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use packed::Fast;
use real::Real;
use score::{Aggregate, Finish, Score};
use table::{Facts, Table};
use walk::{Each, LANES, Sums, Walk};

pub(super) const REGRESSOR: Operator =
    Operator::ml("TreeEnsembleRegressor", import::regressor, regressor).packed(pack);
pub(super) const CLASSIFIER: Operator =
    Operator::ml("TreeEnsembleClassifier", import::classifier, classifier).packed(pack);
pub(super) const ENSEMBLE: Operator = Operator::ml("TreeEnsemble", import::ensemble, ensemble).packed(pack);

/// Most targets or classes.
const TARGETS_MAX: usize = 1 << 16;
/// Rows that pass through one tree before the next tree is taken, where trees are walked as they stand.
const ROWS: usize = 64;

fn regressor(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    regression(scope, Dtype::F32)
}

/// As a regressor, but what comes out has the type of the features.
fn ensemble(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = scope.typed(0, &[Dtype::F32, Dtype::F64, Dtype::F16], "FP32, FP64 or FP16")?;
    regression(scope, x.dtype)
}

fn regression(scope: &Scope<'_>, dtype: Dtype) -> Result<Prepared, Fault> {
    scope.arity(9, 12, 1)?;
    let (rows, _) = features(scope)?;
    let targets = scope.attributes.index("n_targets", TARGETS_MAX)?;
    if targets == 0 {
        return Err(fault("n_targets", "at least 1", "0"));
    }
    let aggregate = match scope.attributes.text("aggregate_function")? {
        "SUM" => Aggregate::Sum,
        "AVERAGE" => Aggregate::Average,
        "MIN" => Aggregate::Min,
        "MAX" => Aggregate::Max,
        got => return Err(fault("aggregate_function", "SUM, AVERAGE, MIN or MAX", got)),
    };
    let post = PostTransform::read(scope)?;
    let finish = Finish { aggregate, post, labels: None, facts: facts(scope)? };
    let output = scope.value(dtype, vec![rows, targets])?;
    prepared(scope, vec![output], targets, finish)
}

fn classifier(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(9, 12, 2)?;
    let (rows, _) = features(scope)?;
    let labels = Labels::read(scope)?;
    let targets = labels.len();
    if !(2..=TARGETS_MAX).contains(&targets) {
        return Err(fault("labels", "2 classes or more", &targets.to_string()));
    }
    let outputs = classifier_outputs(scope, rows, &labels)?;
    if let Some(base) = scope.optional(9).filter(|base| base.ty.elements() > targets) {
        let got = base.ty.elements().to_string();
        return Err(fault("base_values", &format!("at most {targets} floats"), &got));
    }
    let post = PostTransform::read(scope)?;
    let finish = Finish { aggregate: Aggregate::Sum, post, labels: Some(labels), facts: facts(scope)? };
    prepared(scope, outputs, targets, finish)
}

/// The facts of the table: as they were packed, or by checking it.
fn facts(scope: &Scope<'_>) -> Result<Facts, Fault> {
    if let Some(facts) = scope.packed.and_then(packed::facts) {
        return Ok(facts);
    }
    let constants = constants(scope)?;
    match constants[2].map(Tensor::dtype) {
        Some(Dtype::F64) => Table::<f64>::read(|input| constants[input - 1])?.check(),
        _ => Table::<f32>::read(|input| constants[input - 1])?.check(),
    }
}

fn constants<'a>(scope: &Scope<'a>) -> Result<Vec<Option<&'a Tensor>>, Fault> {
    let constant = |input| scope.optional(input).map(|_| scope.constant(input, "tree table")).transpose();
    (1..12).map(constant).collect()
}

fn pack(scope: &Scope<'_>, _: crate::kernels::Isa) -> Result<Option<Packed>, Fault> {
    let constants = constants(scope)?;
    let column = |input: usize| constants[input - 1];
    // What is wrong, or not known yet, is for `prepare` to say.
    let packed = match column(3).map(Tensor::dtype) {
        None => return Ok(None),
        Some(Dtype::F64) => {
            Table::<f64>::read(column).and_then(|table| table.check()).map(packed::pack_facts)
        }
        Some(_) => Table::<f32>::read(column)
            .and_then(|table| table.check().map(|facts| packed::pack(&table, facts))),
    };
    Ok(packed.ok())
}

fn prepared(
    scope: &Scope<'_>,
    outputs: Vec<ValueType>,
    targets: usize,
    finish: Finish,
) -> Result<Prepared, Fault> {
    let (rows, count) = features(scope)?;
    let Facts { steps, features: needed, targets: named, .. } = finish.facts;
    if needed > count as u64 || named > targets as u64 {
        let problem = format!("it reads {needed} features of {count} and names {named} targets of {targets}");
        return Err(Fault::Table { what: "tree table", problem });
    }
    let macs = steps.saturating_add(targets as u64 * 20).saturating_mul(rows as u64);
    // Converted features, scores, and what comes out of them before it has its type.
    let row_bytes = (count as u64).saturating_mul(8).saturating_add(targets as u64 * 24).saturating_add(32);
    let scratch_bytes =
        row_bytes.saturating_mul(rows as u64 + LANES as u64).saturating_add(walk::scratch_bytes(count));
    let kernel = Trees { rows, targets, features: count, finish };
    Ok(Prepared::new(outputs, kernel).macs(macs).scratch_bytes(scratch_bytes))
}

#[derive(Debug)]
struct Trees {
    rows: usize,
    targets: usize,
    features: usize,
    finish: Finish,
}

impl Kernel for Trees {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let wide = call.input(0)?.dtype() == Dtype::F64;
        match (call.input(3)?.dtype(), wide) {
            (Dtype::F64, _) => self.plain::<f64, f64>(call),
            (_, true) => self.plain::<f32, f64>(call),
            (_, false) => match call.packed.and_then(Fast::of) {
                Some(forest) => self.fast(call, forest),
                None => self.plain::<f32, f32>(call),
            },
        }
    }
}

impl Trees {
    /// Packed trees.
    fn fast(&self, call: &Call<'_>, forest: Fast<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = f32::features(call)?;
        let table = Table::<f32>::read(|input| call.optional(input))?;
        let aggregate = self.finish.aggregate;
        let Some(target) = forest.only_target.filter(|_| aggregate.is_sum()) else {
            let mut scores = vec![Score::NONE; self.rows * self.targets];
            let add = |row: usize, leaf: u32| {
                let scores = &mut scores[row * self.targets..][..self.targets];
                if let Some(target) = forest.only_target {
                    aggregate.add(&mut scores[target], f32::from_bits(leaf));
                    return;
                }
                for at in table.weights_of(leaf as usize) {
                    aggregate.add(&mut scores[table.targets[at].unsigned_abs() as usize], table.weights[at]);
                }
            };
            let mut sink = Each { rows: self.rows, add };
            call.cpu.isa().run(Walk { forest, x: &x, features: self.features, sink: &mut sink });
            return self.finished(call, &scores, table.base);
        };
        let mut sums = vec![0.0; self.rows.next_multiple_of(LANES)];
        let mut sink = Sums(&mut sums);
        call.cpu.isa().run(Walk { forest, x: &x, features: self.features, sink: &mut sink });
        sums.truncate(self.rows);
        if self.targets == 1 && self.is_plain(table.base) && call.outputs[0].dtype == Dtype::F32 {
            return Ok(vec![TensorData::F32(sums)]);
        }
        let mut scores = vec![Score::NONE; self.rows * self.targets];
        for (scores, sum) in scores.chunks_exact_mut(self.targets).zip(sums) {
            scores[target] = Score { value: sum, given: true };
        }
        self.finished(call, &scores, table.base)
    }

    /// Sums are what comes out. (Adding a base of `+0` only matters to `-0`, which a sum from `+0` never is.)
    fn is_plain(&self, base: &[f32]) -> bool {
        self.finish.aggregate == Aggregate::Sum
            && self.finish.post != PostTransform::Probit
            && self.finish.labels.is_none()
            && base.len() != 1
    }

    /// Trees as they stand in the table.
    fn plain<T: Real, C: Real>(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let table = Table::<T>::read(|input| call.optional(input))?;
        let x = C::features(call)?;
        let mut scores = vec![Score::<C>::NONE; self.rows * self.targets];
        let blocks = x.chunks((ROWS * self.features).max(1));
        for (x, scores) in blocks.zip(scores.chunks_mut((ROWS * self.targets).max(1))) {
            for root in table.roots {
                let rows = x.chunks_exact(self.features);
                for (row, scores) in rows.zip(scores.chunks_exact_mut(self.targets)) {
                    for at in table.weights_of(table.leaf(root.unsigned_abs() as usize, row)) {
                        let score = &mut scores[table.targets[at].unsigned_abs() as usize];
                        self.finish.aggregate.add(score, C::of(table.weights[at].wide()));
                    }
                }
            }
        }
        let base: Vec<C> = table.base.iter().map(|base| C::of(base.wide())).collect();
        self.finished(call, &scores, &base)
    }

    fn finished<C: Real>(
        &self,
        call: &Call<'_>,
        scores: &[Score<C>],
        base: &[C],
    ) -> Result<Vec<TensorData>, Fault> {
        let mut out = Vec::with_capacity(scores.len());
        let mut classes = Vec::with_capacity(self.rows);
        for row in scores.chunks_exact(self.targets) {
            classes.push(self.finish.row(row, base, &mut out));
        }
        let dtype = call.outputs.last().map_or(Dtype::F32, |output| output.dtype);
        let out = match (C::wrap(out), dtype) {
            (TensorData::F32(v), Dtype::F16) => TensorData::F16(v.into_iter().map(f16::from_f32).collect()),
            (TensorData::F64(v), Dtype::F16) => TensorData::F16(v.into_iter().map(f16::from_f64).collect()),
            (TensorData::F64(v), Dtype::F32) => TensorData::F32(v.into_iter().map(Real::narrow).collect()),
            (TensorData::F32(v), Dtype::F64) => TensorData::F64(v.into_iter().map(Real::wide).collect()),
            (out, _) => out,
        };
        Ok(match &self.finish.labels {
            Some(labels) => vec![labels.of(&classes), out],
            None => vec![out],
        })
    }
}
