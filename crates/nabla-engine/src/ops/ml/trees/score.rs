//! How leaves add up, and what becomes of the sums: the rules of ONNX Runtime, written down.

use super::super::{Labels, PostTransform, logistic, probit};
use super::real::Real;
use super::table::Facts;

/// Running score of one target of one row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Score<C> {
    pub(super) value: C,
    /// A leaf has named this target.
    pub(super) given: bool,
}

impl<C: Real> Score<C> {
    pub(super) const NONE: Self = Self { value: C::ZERO, given: false };
}

/// How the weights of one target are joined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Aggregate {
    Sum,
    /// Sum divided by the number of trees.
    Average,
    Min,
    Max,
}

impl Aggregate {
    pub(super) fn is_sum(self) -> bool {
        matches!(self, Self::Sum | Self::Average)
    }

    #[inline]
    pub(super) fn add<C: Real>(self, score: &mut Score<C>, weight: C) {
        let replaces = match self {
            Self::Sum | Self::Average => {
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
    /// Names of classes; none for a regressor.
    pub(super) labels: Option<Labels>,
    pub(super) facts: Facts,
}

impl Finish {
    /// Append the finished scores of a row; returns its class (0 for a regressor).
    pub(super) fn row<C: Real>(&self, scores: &[Score<C>], base: &[C], out: &mut Vec<C>) -> usize {
        match scores {
            _ if self.labels.is_none() => {
                self.regression(scores, base, out);
                0
            }
            [first, second] => self.two_classes([*first, *second], base, out),
            _ => self.many_classes(scores, base, out),
        }
    }

    /// The transform, in f32 whatever the precision.
    fn apply<C: Real>(&self, scores: &mut [C]) {
        if self.post != PostTransform::None {
            let mut narrow: Vec<f32> = scores.iter().map(|score| score.narrow()).collect();
            self.post.apply(&mut narrow);
            scores.iter_mut().zip(narrow).for_each(|(score, value)| *score = C::of(f64::from(value)));
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "rounded to nearest")]
    fn regression<C: Real>(&self, scores: &[Score<C>], bases: &[C], out: &mut Vec<C>) {
        let start = out.len();
        let trees = C::of(self.facts.trees as f64);
        let joined = |score: &Score<C>| match self.aggregate {
            Aggregate::Average => score.value / trees,
            _ => score.value,
        };
        if let [score] = scores {
            let base = if let [base] = bases { *base } else { C::ZERO };
            let value = joined(score) + base;
            let last = if self.post == PostTransform::Probit {
                C::of(f64::from(probit(value.narrow())))
            } else {
                value
            };
            out.push(last);
            return;
        }
        // A target that no leaf has named is 0; its base value does not count.
        for (target, score) in scores.iter().enumerate() {
            let base = if bases.len() == scores.len() { bases[target] } else { C::ZERO };
            out.push(if score.given { joined(score) + base } else { C::ZERO });
        }
        self.apply(&mut out[start..]);
    }

    fn many_classes<C: Real>(&self, scores: &[Score<C>], bases: &[C], out: &mut Vec<C>) -> usize {
        let start = out.len();
        let (mut class, mut most) = (None, C::ZERO);
        for (index, score) in scores.iter().enumerate() {
            let base = bases.get(index).copied();
            let value = base.map_or(score.value, |base| score.value + base);
            if (score.given || base.is_some()) && (class.is_none() || value > most) {
                (class, most) = (Some(index), value);
            }
            out.push(value);
        }
        self.apply(&mut out[start..]);
        class.unwrap_or(0)
    }

    /// Two classes: either both have scores of their own, or one score stands for both.
    fn two_classes<C: Real>(&self, scores: [Score<C>; 2], bases: &[C], out: &mut Vec<C>) -> usize {
        let [first, second] = scores;
        let mut pair = [first.value, second.value];
        let mut both = second.given;
        match bases {
            [_, base] if second.given => {
                pair[1] = *base + first.value;
                pair[0] = -pair[1];
            }
            [base, _] => {
                pair[0] += *base;
                both = true;
            }
            [base] => pair[0] += *base,
            _ => {}
        }
        if !first.given {
            pair[0] = C::ZERO;
        }
        let positive = if second.given { pair[1] } else { pair[0] };
        let threshold = if self.is_vote() { C::HALF } else { C::ZERO };
        let class = usize::from(positive > threshold);
        if both {
            self.apply(&mut pair);
        } else {
            pair = self.split(pair[0]);
        }
        out.extend(pair);
        class
    }

    /// All weights name one target and none is negative: the score is a share of votes.
    fn is_vote(&self) -> bool {
        self.facts.single_target && self.facts.all_positive
    }

    /// Scores of both classes from the one score.
    fn split<C: Real>(&self, score: C) -> [C; 2] {
        let narrow = score.narrow();
        let both = |pair: [f32; 2]| pair.map(|value| C::of(f64::from(value)));
        match self.post {
            PostTransform::Logistic => both([logistic(-narrow), logistic(narrow)]),
            PostTransform::Probit => both([-probit(narrow), probit(narrow)]),
            _ if self.is_vote() => [C::ONE - score, score],
            _ => [-score, score],
        }
    }
}
