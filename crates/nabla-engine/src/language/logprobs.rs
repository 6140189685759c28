//! How likely tokens were.
//!
//! # Rules
//! Of the logits as the model gave them, before biases, penalties and temperature: `(l - m) - ln(sum)`, where `m` is
//! the greatest logit and `sum` adds `e^(l - m)` of all tokens in order, in f64. Equal ones are ordered by token. A
//! NaN counts for nothing.

use std::cmp::Ordering;

use crate::kernels::math::f64 as real;

/// The probability of a token, and those of its best alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprobs {
    /// The natural logarithm of its probability.
    pub logprob: f64,
    /// The likeliest tokens with theirs, the best first; the chosen one may be among them.
    pub top: Vec<(u32, f64)>,
}

/// Those of one token and of the `top` likeliest.
pub(super) fn logprobs(logits: &[f32], token: u32, top: usize) -> TokenLogprobs {
    let greatest = logits.iter().copied().filter(|logit| !logit.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    let distance = |logit: f32| f64::from(logit) - f64::from(greatest);
    let sum: f64 =
        logits.iter().filter(|logit| !logit.is_nan()).map(|logit| real::exp(distance(*logit))).sum();
    let of = |logit: f32| if logit.is_nan() { f64::NEG_INFINITY } else { distance(logit) - real::ln(sum) };
    let mut best: Vec<(u32, f32)> =
        (0..).zip(logits.iter().copied()).filter(|(_, logit)| !logit.is_nan()).collect();
    let order =
        |a: &(u32, f32), b: &(u32, f32)| b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0));
    if top > 0 && top < best.len() {
        best.select_nth_unstable_by(top - 1, order);
    }
    best.truncate(top);
    best.sort_unstable_by(order);
    let chosen = logits.get(token as usize).copied().unwrap_or(f32::NAN);
    TokenLogprobs {
        logprob: of(chosen),
        top: best.into_iter().map(|(token, logit)| (token, of(logit))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_to_one() {
        let logits = [0.5, 2.0, -1.0, 2.0, f32::NAN, f32::NEG_INFINITY];
        let all = logprobs(&logits, 0, 6);
        let sum: f64 = all.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        assert_eq!(all.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 3, 0, 2, 5]);
        assert_eq!(all.logprob, all.top[2].1);
        let few = logprobs(&logits, 4, 1);
        assert_eq!((few.top.len(), few.top[0].0, few.logprob), (1, 1, f64::NEG_INFINITY));
        assert!(logprobs(&logits, 1, 0).top.is_empty());
    }
}
