//! Ensembles of decision trees.
//!
//! # Canonical form
//! All trees stand in one table of nodes, each tree in preorder: the child for "true" is the next node.
//! Constants, after the features:
//!
//! | input | type | what |
//! |---|---|---|
//! | 1 | u8 `[n]` | mode: 0 leaf, 1 `<=`, 2 `<`, 3 `>=`, 4 `>`, 5 `==`, 6 `!=`; plus 8 if NaN goes to "true" |
//! | 2 | i32 `[n]` | feature that a branch reads; 0 for a leaf |
//! | 3 | f32 `[n]` | value that it is compared with; 0 for a leaf |
//! | 4 | i32 `[n]` | node for "false"; for a leaf its number |
//! | 5 | i32 `[t]` | root of each tree |
//! | 6 | i32 `[l + 1]` | where the weights of each leaf start, and the end |
//! | 7, 8 | i32, f32 `[w]` | target and weight |
//!
//! As children always stand behind their parent, a walk ends, however hostile the table.
//!
//! # Bits
//! A row visits the trees in order; weights are added (or compared) per target in that order in f32.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::super::{Call, Kernel, Prepared, Scope};
use super::{Labels, PostTransform, as_f32, classifier_outputs, features};
use crate::graph::attributes::fault;
use crate::plan::ValueType;
use crate::{Dim, Fault};

pub(crate) mod import;
mod score;
mod table;

use score::{Aggregate, Finish, Score};
use table::Forest;

/// Rows that pass through one tree before the next tree is taken.
const ROWS: usize = 64;
/// Most targets or classes.
const TARGETS_MAX: usize = 1 << 16;

pub(crate) fn regressor(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(9, 9, 1)?;
    let (rows, _) = features(scope)?;
    let targets = scope.attributes.index("n_targets", TARGETS_MAX)?;
    if targets == 0 {
        return Err(fault("n_targets", "at least 1", "0"));
    }
    let finish = Finish {
        aggregate: Aggregate::read(scope)?,
        post: PostTransform::read(scope)?,
        base: scope.attributes.floats("base_values")?.to_vec(),
        labels: None,
    };
    let output = scope.value(Dtype::F32, vec![rows, Dim::Fixed(targets as u64)])?;
    prepared(scope, vec![output], targets, finish)
}

pub(crate) fn classifier(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(9, 9, 2)?;
    let (rows, _) = features(scope)?;
    let labels = Labels::read(scope)?;
    let targets = labels.len();
    if !(2..=TARGETS_MAX).contains(&targets) {
        return Err(fault("labels", "2 classes or more", &targets.to_string()));
    }
    let outputs = classifier_outputs(scope, rows, &labels)?;
    let base = scope.attributes.floats("base_values")?.to_vec();
    if base.len() > targets {
        return Err(fault("base_values", &format!("at most {targets} floats"), &base.len().to_string()));
    }
    let post = PostTransform::read(scope)?;
    let finish = Finish { aggregate: Aggregate::Sum, post, base, labels: Some(labels) };
    prepared(scope, outputs, targets, finish)
}

fn prepared(
    scope: &Scope<'_>,
    outputs: Vec<ValueType>,
    targets: usize,
    finish: Finish,
) -> Result<Prepared, Fault> {
    let (_, count) = features(scope)?;
    let constants = (1..9).map(|input| scope.constant(input, "tree table")).collect::<Result<Vec<_>, _>>()?;
    let steps = table::check(&constants, count, targets)?;
    let macs = steps.saturating_add(targets as u64 * 20);
    let scratch_bytes = (count as u64).saturating_mul(4).saturating_add(targets as u64 * 16 * ROWS as u64);
    let kernel = Trees { targets, features: count, finish, forest: Forest::default() };
    let entries = constants.iter().map(|table| table.data().len() as u64).fold(0, u64::saturating_add);
    let loaded_bytes = entries.saturating_mul(8);
    Ok(Prepared { outputs, macs, scratch_bytes, loaded_bytes, kernel: Box::new(kernel) })
}

#[derive(Debug)]
struct Trees {
    targets: usize,
    features: usize,
    finish: Finish,
    forest: Forest,
}

impl Kernel for Trees {
    fn load(&mut self, constants: &[Option<&Tensor>]) {
        let tables: Vec<&Tensor> = constants.iter().skip(1).copied().flatten().collect();
        self.forest = Forest::load(&tables);
        self.finish.aggregate.count_trees(self.forest.roots.len());
    }

    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let rows = call.sizes(0)[0];
        let mut scores = vec![Score::default(); ROWS.min(rows) * self.targets];
        let mut out = Vec::with_capacity(rows * self.targets);
        let mut classes = Vec::with_capacity(rows);
        let mut finish = |scores: &[Score]| {
            for row in scores.chunks_exact(self.targets) {
                classes.push(self.finish.row(row, &self.forest, &mut out));
            }
        };
        if let TensorData::F64(x) = call.input(0)?.data() {
            for block in x.chunks((ROWS * self.features).max(1)) {
                finish(self.block(block, &mut scores, |x, value| x.partial_cmp(&f64::from(value))));
            }
        } else {
            for block in as_f32(call)?.chunks((ROWS * self.features).max(1)) {
                finish(self.block(block, &mut scores, |x, value| x.partial_cmp(&value)));
            }
        }
        Ok(match &self.finish.labels {
            Some(labels) => vec![labels.of(&classes), TensorData::F32(out)],
            None => vec![TensorData::F32(out)],
        })
    }
}

impl Trees {
    /// Scores of a few rows: tree by tree, so that a tree stays in cache.
    fn block<'s, T: Copy>(
        &self,
        x: &[T],
        scores: &'s mut [Score],
        compare: impl Fn(&T, f32) -> Option<std::cmp::Ordering>,
    ) -> &'s [Score] {
        let rows = x.len() / self.features.max(1);
        let scores = &mut scores[..rows * self.targets];
        scores.fill(Score::default());
        for root in &self.forest.roots {
            for (row, scores) in x.chunks_exact(self.features).zip(scores.chunks_exact_mut(self.targets)) {
                for (target, weight) in self.forest.leaf(*root, row, &compare) {
                    self.finish.aggregate.add(&mut scores[*target as usize], *weight);
                }
            }
        }
        scores
    }
}
