//! From logits to a token: one specification, so that a choice can be checked by anyone who has the logits.
//!
//! # Rules
//! In this order:
//! 1. biases are added;
//! 2. penalties: of a token that stands in the text, a positive logit is divided by the repetition penalty and any
//!    other multiplied with it; presence penalty, and frequency penalty times the count, are taken off for tokens of
//!    the answer;
//! 3. tokens that a grammar does not allow are dropped, and so are NaN;
//! 4. at temperature 0 the greatest logit wins. Equal ones are ordered by token, here and below;
//! 5. `w = floor(2^24 * e^((logit - greatest) / temperature))` is an integer; tokens whose `w` is 0 are dropped.
//!    From here on everything is exact;
//! 6. the `top_k` greatest stay; then as few as reach `top_p` of the sum; then those of at least `min_p` of the
//!    greatest;
//! 7. a number below the sum, from seed and position, says which token it is: the first whose running sum is
//!    above it.
//!
//! The number is `(h * sum) / 2^64`, where `h` is the first eight bytes, little endian, of the BLAKE3 hash of
//! [`DOMAIN`], the seed and the position of the token in its sequence, eight bytes each, little endian.

use std::collections::{BTreeMap, HashMap};

use crate::Error;
use crate::kernels::{Body, Fma, Isa, math};

/// What separates these hashes from others.
const DOMAIN: &[u8] = b"nabla sampler 1";
/// The weight of the greatest logit.
const ONE: f32 = (1 << 24) as f32;

/// How tokens are chosen. The default takes the greatest logit.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0: always the greatest. Not negative.
    pub temperature: f32,
    /// How many tokens are candidates; 0: all.
    pub top_k: u32,
    /// Part of the sum that candidates reach; 1: all.
    pub top_p: f32,
    /// Part of the greatest weight that each candidate has; 0: any.
    pub min_p: f32,
    /// Of tokens anywhere in the text; 1: none.
    pub repetition_penalty: f32,
    /// Of tokens in the answer.
    pub presence_penalty: f32,
    /// Of tokens in the answer, for each time.
    pub frequency_penalty: f32,
    /// Added to logits.
    pub logit_bias: BTreeMap<u32, f32>,
    /// What chance comes from.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            seed: 0,
        }
    }
}

/// Most tokens with a bias.
pub const BIASES_MAX: usize = 1024;

impl Sampling {
    /// Refuse numbers that mean nothing.
    ///
    /// # Errors
    /// [`Error::Setting`] says which, and what is taken.
    pub fn check(&self) -> Result<(), Error> {
        let in_range = |what, value: f32, least: f32, most: f32| {
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(Error::Setting { what, expected: format!("from {least} to {most}"), got: value.to_string() })
        };
        in_range("temperature", self.temperature, 0.0, 100.0)?;
        in_range("top_p", self.top_p, 0.0, 1.0)?;
        in_range("min_p", self.min_p, 0.0, 1.0)?;
        in_range("repetition_penalty", self.repetition_penalty, 0.01, 100.0)?;
        in_range("presence_penalty", self.presence_penalty, -100.0, 100.0)?;
        in_range("frequency_penalty", self.frequency_penalty, -100.0, 100.0)?;
        if self.logit_bias.len() > BIASES_MAX {
            let (expected, got) = (format!("at most {BIASES_MAX} tokens"), self.logit_bias.len().to_string());
            return Err(Error::Setting { what: "logit_bias", expected, got });
        }
        self.logit_bias.values().try_for_each(|bias| in_range("logit_bias", *bias, -1000.0, 1000.0))
    }
}

/// How often each token stands in a text, and in its answer.
#[derive(Debug, Clone, Default)]
pub struct Counts(HashMap<u32, [u32; 2]>);

impl Counts {
    /// Of a prompt.
    #[must_use]
    pub fn of(prompt: &[u32]) -> Self {
        let mut counts = Self::default();
        for token in prompt {
            counts.0.entry(*token).or_default()[0] += 1;
        }
        counts
    }

    /// One more token of the answer.
    pub fn add(&mut self, token: u32) {
        self.0.entry(token).or_default()[1] += 1;
    }
}

/// A set of tokens that may come next: bit `i` of word `i / 32`.
pub type Allowed<'a> = Option<&'a [u32]>;

/// The token for these logits at this position; `None` if none is left.
pub(super) fn sample(
    isa: Isa,
    sampling: &Sampling,
    logits: &mut [f32],
    counts: &Counts,
    allowed: Allowed<'_>,
    position: u64,
) -> Option<u32> {
    adjust(sampling, logits, counts);
    let is_allowed = |token: u32| {
        allowed.is_none_or(|mask| {
            mask.get(token as usize / 32).is_some_and(|word| word >> (token % 32) & 1 == 1)
        })
    };
    let tokens = (0_u32..).zip(&*logits).filter(|(token, logit)| !logit.is_nan() && is_allowed(*token));
    let (winner, greatest) = tokens.fold(None, |best: Option<(u32, f32)>, (token, logit)| match best {
        Some((_, greatest)) if *logit <= greatest => best,
        _ => Some((token, *logit)),
    })?;
    // An infinite logit has no distance to others.
    if sampling.temperature <= 0.0 || greatest.is_infinite() {
        return Some(winner);
    }
    let mut weights = vec![0; logits.len()];
    isa.run(Weigh { logits, greatest, temperature: sampling.temperature, weights: &mut weights });
    let candidates = (0_u32..).zip(weights).filter(|(token, weight)| *weight > 0 && is_allowed(*token));
    let mut candidates: Vec<(u32, u32)> = candidates.collect();
    keep(sampling, &mut candidates);
    draw(&candidates, sampling.seed, position)
}

fn adjust(sampling: &Sampling, logits: &mut [f32], counts: &Counts) {
    for (token, bias) in &sampling.logit_bias {
        if let Some(logit) = logits.get_mut(*token as usize) {
            *logit += bias;
        }
    }
    for (token, [_, in_answer]) in &counts.0 {
        let Some(logit) = logits.get_mut(*token as usize) else { continue };
        let repeated = *logit * sampling.repetition_penalty;
        let logit_now = if *logit > 0.0 { *logit / sampling.repetition_penalty } else { repeated };
        *logit = if sampling.repetition_penalty == 1.0 { *logit } else { logit_now };
        if *in_answer > 0 {
            *logit -= sampling.presence_penalty;
            *logit -= sampling.frequency_penalty * real(*in_answer);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^24")]
fn real(count: u32) -> f32 {
    count as f32
}

struct Weigh<'a> {
    logits: &'a [f32],
    greatest: f32,
    temperature: f32,
    weights: &'a mut [u32],
}

impl Body for Weigh<'_> {
    type Out = ();

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^24; NaN is 0")]
    fn run<F: Fma>(self) {
        let Self { logits, greatest, temperature, weights } = self;
        for (weight, logit) in weights.iter_mut().zip(logits) {
            *weight = (math::f32::exp::<F>((logit - greatest) / temperature) * ONE) as u32;
        }
    }
}

/// Drop candidates; those that stay are in order.
fn keep(sampling: &Sampling, candidates: &mut Vec<(u32, u32)>) {
    let order = |a: &(u32, u32), b: &(u32, u32)| b.1.cmp(&a.1).then(a.0.cmp(&b.0));
    let top_k = sampling.top_k as usize;
    if top_k > 0 && top_k < candidates.len() {
        candidates.select_nth_unstable_by(top_k - 1, order);
        candidates.truncate(top_k);
    }
    candidates.sort_unstable_by(order);
    if sampling.top_p < 1.0 {
        let needed = part_of(sum(candidates), sampling.top_p);
        let mut reached = 0;
        let last = candidates.iter().position(|(_, weight)| {
            reached += u64::from(*weight);
            reached >= needed
        });
        candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
    }
    if sampling.min_p > 0.0 {
        let greatest = candidates.first().map_or(0, |(_, weight)| u64::from(*weight));
        let least = part_of(greatest, sampling.min_p);
        candidates.retain(|(_, weight)| u64::from(*weight) >= least);
    }
}

fn sum(candidates: &[(u32, u32)]) -> u64 {
    candidates.iter().map(|(_, weight)| u64::from(*weight)).sum()
}

/// A part of a whole, rounded up; the part in steps of 2^-32.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^32; NaN is 0")]
fn part_of(whole: u64, part: f32) -> u64 {
    let steps = (f64::from(part) * f64::from(1_u32 << 16) * f64::from(1_u32 << 16)) as u64;
    let product = u128::from(whole) * u128::from(steps.min(1 << 32));
    u64::try_from(product.div_ceil(1 << 32)).unwrap_or(whole)
}

/// The candidate that chance takes.
fn draw(candidates: &[(u32, u32)], seed: u64, position: u64) -> Option<u32> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(DOMAIN).update(&seed.to_le_bytes()).update(&position.to_le_bytes());
    let chance = u64::from_le_bytes(*hasher.finalize().as_bytes().first_chunk()?);
    let number = (u128::from(chance) * u128::from(sum(candidates))) >> 64;
    let mut reached = 0_u128;
    let found = candidates.iter().find(|(_, weight)| {
        reached += u128::from(*weight);
        reached > number
    });
    found.map(|(token, _)| *token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(sampling: &Sampling, logits: &[f32], position: u64) -> Option<u32> {
        sample(Isa::Scalar, sampling, &mut logits.to_vec(), &Counts::default(), None, position)
    }

    #[test]
    fn the_greatest_wins_at_temperature_zero_and_ties_go_to_the_first() {
        let greedy = Sampling::default();
        assert_eq!(chosen(&greedy, &[0.0, 2.0, 2.0, -1.0], 0), Some(1));
        assert_eq!(chosen(&greedy, &[f32::NAN, -3.0], 0), Some(1));
        assert_eq!(chosen(&greedy, &[f32::NAN], 0), None);
        assert_eq!(chosen(&greedy, &[], 0), None);
    }

    #[test]
    fn chance_follows_the_weights() {
        let sampling = Sampling { temperature: 1.0, seed: 7, ..Sampling::default() };
        let logits = [0.0, 3.0_f32.ln(), f32::NEG_INFINITY];
        let taken = (0..4000).filter(|position| chosen(&sampling, &logits, *position) == Some(1)).count();
        // Three quarters of 4000; eight deviations are 220.
        assert!((2780..3220).contains(&taken), "{taken}");
        assert_eq!(chosen(&sampling, &logits, 5), chosen(&sampling, &logits, 5));
    }

    #[test]
    fn few_stay_of_many() {
        let logits = [1.0, 0.9, 0.8, -20.0];
        let all = |sampling: Sampling| {
            let sampling = Sampling { temperature: 1.0, ..sampling };
            let mut seen: Vec<u32> =
                (0..500).filter_map(|position| chosen(&sampling, &logits, position)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen
        };
        assert_eq!(all(Sampling { top_k: 1, ..Sampling::default() }), [0]);
        assert_eq!(all(Sampling { top_k: 2, ..Sampling::default() }), [0, 1]);
        assert_eq!(all(Sampling { top_p: 0.5, ..Sampling::default() }), [0, 1]);
        assert_eq!(all(Sampling { top_p: 0.0, ..Sampling::default() }), [0]);
        assert_eq!(all(Sampling { min_p: 0.85, ..Sampling::default() }), [0, 1]);
        assert_eq!(all(Sampling::default()), [0, 1, 2]);
    }

    #[test]
    fn biases_penalties_and_masks_count() {
        let logits = [1.0, 0.9, -0.1];
        let bias = BTreeMap::from([(2, 5.0), (99, 5.0)]);
        assert_eq!(chosen(&Sampling { logit_bias: bias, ..Sampling::default() }, &logits, 0), Some(2));
        let mut counts = Counts::of(&[0]);
        let penalised = |sampling: &Sampling, counts: &Counts, allowed: Allowed<'_>| {
            sample(Isa::Scalar, sampling, &mut logits.to_vec(), counts, allowed, 0)
        };
        let repetition = Sampling { repetition_penalty: 1.3, ..Sampling::default() };
        assert_eq!(penalised(&repetition, &counts, None), Some(1));
        let presence = Sampling { presence_penalty: 0.5, ..Sampling::default() };
        assert_eq!(penalised(&presence, &counts, None), Some(0), "the prompt does not count");
        counts.add(0);
        assert_eq!(penalised(&presence, &counts, None), Some(1));
        assert_eq!(penalised(&Sampling::default(), &counts, Some(&[0b110])), Some(1));
        assert_eq!(penalised(&Sampling::default(), &counts, Some(&[])), None);
    }

    /// Golden: another implementation must choose the same.
    #[test]
    fn the_number_of_seed_and_position_is_fixed() {
        let candidates: Vec<(u32, u32)> = (0..1000).map(|token| (token, 1)).collect();
        let drawn: Vec<u32> = (0..6).filter_map(|position| draw(&candidates, 42, position)).collect();
        assert_eq!(drawn.len(), 6);
        assert_ne!(drawn, (0..6).filter_map(|position| draw(&candidates, 43, position)).collect::<Vec<_>>());
    }
}
