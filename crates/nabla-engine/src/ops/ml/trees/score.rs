//! How leaves add up, and what becomes of the sums: the rules of ONNX Runtime, written down.

use super::super::{Labels, PostTransform, logistic, probit};
use super::table::Forest;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::Scope;
use crate::ops::pool::as_f32;

/// Running score of one target of one row.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Score {
    pub(super) value: f32,
    /// A leaf has named this target.
    pub(super) given: bool,
}

/// How the weights of one target are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aggregate {
    Sum,
    /// Sum divided by the number of trees.
    Average {
        trees: f32,
    },
    Min,
    Max,
}

impl Aggregate {
    pub(super) fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        match scope.attributes.text("aggregate_function")? {
            "SUM" => Ok(Self::Sum),
            "AVERAGE" => Ok(Self::Average { trees: 1.0 }),
            "MIN" => Ok(Self::Min),
            "MAX" => Ok(Self::Max),
            got => Err(fault("aggregate_function", "SUM, AVERAGE, MIN or MAX", got)),
        }
    }

    pub(super) fn count_trees(&mut self, count: usize) {
        if let Self::Average { trees } = self {
            *trees = as_f32(count);
        }
    }

    #[inline]
    pub(super) fn add(self, score: &mut Score, weight: f32) {
        let replaces = match self {
            Self::Sum | Self::Average { .. } => {
                score.value += weight;
                score.given = true;
                return;
            }
            Self::Min => !score.given || weight < score.value,
            Self::Max => !score.given || weight > score.value,
        };
        if replaces {
            *score = Score { value: weight, given: true };
        }
    }
}

/// What happens to the scores of a row.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) aggregate: Aggregate,
    pub(super) post: PostTransform,
    pub(super) base: Vec<f32>,
    /// Names of classes; none for a regressor.
    pub(super) labels: Option<Labels>,
}

impl Finish {
    /// Append the finished scores of a row; returns its class (0 for a regressor).
    pub(super) fn row(&self, scores: &[Score], forest: &Forest, out: &mut Vec<f32>) -> usize {
        if self.labels.is_none() {
            self.regression(scores, out);
            return 0;
        }
        let start = out.len();
        let class = match scores {
            [first, second] => self.two_classes(*first, *second, forest, out),
            _ => self.many_classes(scores, out),
        };
        debug_assert_eq!(out.len() - start, scores.len());
        class
    }

    fn regression(&self, scores: &[Score], out: &mut Vec<f32>) {
        let start = out.len();
        let joined = |score: &Score| match self.aggregate {
            Aggregate::Average { trees } => score.value / trees,
            _ => score.value,
        };
        if let [score] = scores {
            let base = if let [base] = self.base[..] { base } else { 0.0 };
            let value = joined(score) + base;
            out.push(if self.post == PostTransform::Probit { probit(value) } else { value });
            return;
        }
        // A target that no leaf has named is 0; its base value does not count.
        for (target, score) in scores.iter().enumerate() {
            let base = if self.base.len() == scores.len() { self.base[target] } else { 0.0 };
            out.push(if score.given { joined(score) + base } else { 0.0 });
        }
        self.post.apply(&mut out[start..]);
    }

    fn many_classes(&self, scores: &[Score], out: &mut Vec<f32>) -> usize {
        let start = out.len();
        let (mut class, mut most) = (None, 0.0);
        for (index, score) in scores.iter().enumerate() {
            let base = self.base.get(index).copied();
            let value = base.map_or(score.value, |base| score.value + base);
            if (score.given || base.is_some()) && (class.is_none() || value > most) {
                (class, most) = (Some(index), value);
            }
            out.push(value);
        }
        self.post.apply(&mut out[start..]);
        class.unwrap_or(0)
    }

    /// Two classes: either both have scores of their own, or one score stands for both.
    fn two_classes(&self, first: Score, second: Score, forest: &Forest, out: &mut Vec<f32>) -> usize {
        let mut pair = [first.value, second.value];
        let mut both = second.given;
        match self.base[..] {
            [_, base] if second.given => {
                pair[1] = base + first.value;
                pair[0] = -pair[1];
            }
            [base, _] => {
                pair[0] += base;
                both = true;
            }
            [base] => pair[0] += base,
            _ => {}
        }
        if !first.given {
            pair[0] = 0.0;
        }
        let positive = if second.given { pair[1] } else { pair[0] };
        let threshold = if forest.single_target && forest.all_positive { 0.5 } else { 0.0 };
        let class = usize::from(positive > threshold);
        if both {
            self.post.apply(&mut pair);
        } else {
            pair = self.split(pair[0], forest);
        }
        out.extend(pair);
        class
    }

    /// Scores of both classes from the one score.
    fn split(&self, score: f32, forest: &Forest) -> [f32; 2] {
        match self.post {
            PostTransform::Logistic => [logistic(-score), logistic(score)],
            PostTransform::Probit => [-probit(score), probit(score)],
            _ if forest.single_target && forest.all_positive => [1.0 - score, score],
            _ => [-score, score],
        }
    }
}
