//! From noise to latents: which times the UNet is asked about, and what is made of its answers.
//!
//! # Rules
//! - What depends on the time alone is computed in f64 by `+ - * / sqrt` in the order written (and by the engine's `cos`,
//!   for one kind of betas), then rounded once to f32. What touches latents is f32, every operation rounded.
//! - No step adds noise: the picture follows from the first latents.
//!
//! # When things go wrong
//! A schedule whose numbers are not finite, whose signal or noise vanishes, or that asks about times that the model
//! was not trained for, is refused before the UNet runs.

use minicbor::{Decode, Encode};

use super::ImageError;
use crate::kernels::math;

/// Most time steps of training.
pub(super) const TRAIN_STEPS_MAX: u32 = 100_000;
/// Most steps of a picture.
pub const STEPS_MAX: u32 = 1000;

/// How steps are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Method {
    /// `DDIMScheduler` with eta 0.
    #[n(0)]
    Ddim,
    /// `EulerDiscreteScheduler`.
    #[n(1)]
    Euler,
    /// `PNDMScheduler` without its Runge-Kutta steps.
    #[n(2)]
    Plms,
}

/// How much noise each time of training adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Betas {
    #[n(0)]
    Linear,
    #[n(1)]
    ScaledLinear,
    #[n(2)]
    SquaredCosine,
}

/// What the UNet predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Prediction {
    #[n(0)]
    Noise,
    #[n(1)]
    Velocity,
    #[n(2)]
    Sample,
}

/// Where the times of a picture lie among those of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub(super) enum Spacing {
    #[n(0)]
    Leading,
    #[n(1)]
    Trailing,
    #[n(2)]
    Even,
}

/// A scheduler as it is stored. Reals are their bits.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub(super) struct Scheduler {
    #[n(0)]
    pub(super) method: Method,
    #[n(1)]
    pub(super) train_steps: u32,
    #[n(2)]
    pub(super) beta_start: u64,
    #[n(3)]
    pub(super) beta_end: u64,
    #[n(4)]
    pub(super) betas: Betas,
    #[n(5)]
    pub(super) prediction: Prediction,
    #[n(6)]
    pub(super) spacing: Spacing,
    #[n(7)]
    pub(super) offset: u32,
    /// Bound of the clean latents (DDIM), as an f32.
    #[n(8)]
    pub(super) clip: Option<u32>,
    /// Whether the last step ends without noise, not with that of time 0.
    #[n(9)]
    pub(super) ends_clean: bool,
}

/// All steps of one picture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Course {
    /// What the first noise is multiplied by.
    pub(super) start: f32,
    pub(super) steps: Vec<Step>,
    clip: Option<f32>,
    prediction: Prediction,
}

/// One question to the UNet, and what is made of the answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// The time that it is asked about.
    pub(super) time: f64,
    change: Change,
}

#[derive(Debug, Clone, PartialEq)]
enum Change {
    Ddim {
        signal: f32,
        spread: f32,
        next_signal: f32,
        next_spread: f32,
    },
    /// `root` is `sqrt(sigma^2 + 1)`, `square` is `sigma^2 + 1`, `tilt` is `sigma / root`.
    Euler {
        sigma: f32,
        root: f32,
        square: f32,
        tilt: f32,
        delta: f32,
    },
    /// The latents times `keep`, less the answer times `take`.
    Plms {
        signal: f32,
        spread: f32,
        keep: f32,
        take: f32,
    },
}

/// What earlier steps left behind.
#[derive(Debug, Default)]
pub(super) struct History {
    /// The last answers, the latest at the end.
    answers: Vec<Vec<f32>>,
    /// Latents before the first step, until the second one has repeated it.
    before: Option<Vec<f32>>,
    count: usize,
}

impl Scheduler {
    /// The share of signal left at each time of training: the product of `1 - beta` up to it.
    fn shares(&self) -> Vec<f64> {
        let (start, end) = (f64::from_bits(self.beta_start), f64::from_bits(self.beta_end));
        let count = self.train_steps;
        let between = |from: f64, to: f64, i: u32| match count {
            1 => from,
            _ => from + (to - from) * f64::from(i) / f64::from(count - 1),
        };
        let cosine = |i: u32| {
            let angle = (f64::from(i) / f64::from(count) + 0.008) / 1.008 * std::f64::consts::PI / 2.0;
            let cosine = math::f64::cos(angle);
            cosine * cosine
        };
        let beta = |i: u32| match self.betas {
            Betas::Linear => between(start, end, i),
            Betas::ScaledLinear => {
                let root = between(start.sqrt(), end.sqrt(), i);
                root * root
            }
            Betas::SquaredCosine => {
                let beta = 1.0 - cosine(i + 1) / cosine(i);
                if beta < 0.999 { beta } else { 0.999 }
            }
        };
        let mut share = 1.0;
        let mut next = |i| {
            share *= 1.0 - beta(i);
            share
        };
        (0..count).map(&mut next).collect()
    }

    /// Refuse numbers that are no schedule.
    pub(super) fn check(&self) -> Result<(), ImageError> {
        const FILE: &str = "scheduler/scheduler_config.json";
        if !(1..=TRAIN_STEPS_MAX).contains(&self.train_steps) {
            let expected = format!("1 to {TRAIN_STEPS_MAX}");
            return Err(ImageError::setting(
                FILE,
                "num_train_timesteps",
                expected,
                self.train_steps.to_string(),
            ));
        }
        for (key, bits) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
            let beta = f64::from_bits(bits);
            if !(0.0..1.0).contains(&beta) {
                return Err(ImageError::setting(FILE, key, "a number from 0 to below 1", beta.to_string()));
            }
        }
        if let Some(clip) = self.clip.map(f32::from_bits)
            && !(clip > 0.0 && clip.is_finite())
        {
            return Err(ImageError::setting(FILE, "clip_sample_range", "a number above 0", clip.to_string()));
        }
        if self.method == Method::Plms && self.prediction == Prediction::Sample {
            let expected = "epsilon or v_prediction with PNDMScheduler";
            return Err(ImageError::setting(FILE, "prediction_type", expected, "sample"));
        }
        self.course(1).map(|_| ())
    }

    /// The course of a picture in this many steps.
    pub(super) fn course(&self, steps: u32) -> Result<Course, ImageError> {
        let refuse = |problem: String| ImageError::Schedule { steps, problem };
        if !(1..=STEPS_MAX.min(self.train_steps)).contains(&steps) {
            return Err(refuse(format!("it takes 1 to {}", STEPS_MAX.min(self.train_steps))));
        }
        let shares = self.shares();
        if let Some(bad) = shares.iter().position(|share| !(*share > 0.0 && *share < 1.0)) {
            return Err(refuse(format!("at time {bad} the share of signal is {}", shares[bad])));
        }
        let times = self.times(steps);
        let last = f64::from(self.train_steps - 1);
        if let Some(time) = times.iter().find(|time| !(0.0..=last).contains(*time)) {
            return Err(refuse(format!("time {time} is not one of 0 to {last}")));
        }
        let (start, steps) = match self.method {
            Method::Ddim => (1.0, self.ddim(&shares, &times)),
            Method::Plms => (1.0, self.plms(&shares, &times)),
            Method::Euler => self.euler(&shares, &times),
        };
        let course = Course {
            start,
            steps,
            clip: self.clip.filter(|_| self.method == Method::Ddim).map(f32::from_bits),
            prediction: self.prediction,
        };
        match course.steps.iter().find(|step| !step.change.is_sound()) {
            Some(step) => Err(refuse(format!("at time {} signal or noise vanishes", step.time))),
            None => Ok(course),
        }
    }

    /// Times from the noisiest on.
    fn times(&self, steps: u32) -> Vec<f64> {
        let (count, offset) = (self.train_steps, f64::from(self.offset));
        let ratio = count / steps;
        let even = |i: u32| match steps {
            1 => 0.0,
            _ => f64::from(i) * (f64::from(count - 1) / f64::from(steps - 1)),
        };
        let time = |i: u32| match (self.spacing, self.method) {
            (Spacing::Leading, _) => f64::from((steps - 1 - i) * ratio) + offset,
            (Spacing::Trailing, _) => {
                (f64::from(count) - f64::from(i) * (f64::from(count) / f64::from(steps))).round_ties_even()
                    - 1.0
            }
            // Euler's times may lie between those of training.
            (Spacing::Even, Method::Euler) => even(steps - 1 - i),
            (Spacing::Even, _) => even(steps - 1 - i).round_ties_even(),
        };
        (0..steps).map(time).collect()
    }

    /// How far a step goes back in the times of training.
    fn stride(&self, times: &[f64]) -> f64 {
        let steps = u32::try_from(times.len()).unwrap_or(u32::MAX);
        f64::from(self.train_steps / steps)
    }

    /// The share at a time; before the first one, that at which a picture ends.
    fn share(&self, shares: &[f64], time: f64) -> f64 {
        if time >= 0.0 {
            shares[index(time).min(shares.len() - 1)]
        } else if self.ends_clean {
            1.0
        } else {
            shares[0]
        }
    }

    fn ddim(&self, shares: &[f64], times: &[f64]) -> Vec<Step> {
        let stride = self.stride(times);
        let step = |time: &f64| {
            let (share, next) = (self.share(shares, *time), self.share(shares, time - stride));
            let change = Change::Ddim {
                signal: narrow(share.sqrt()),
                spread: narrow((1.0 - share).sqrt()),
                next_signal: narrow(next.sqrt()),
                next_spread: narrow((1.0 - next).sqrt()),
            };
            Step { time: *time, change }
        };
        times.iter().map(step).collect()
    }

    /// The first step is made twice: the second time with the mean of two answers.
    fn plms(&self, shares: &[f64], times: &[f64]) -> Vec<Step> {
        let stride = self.stride(times);
        let step = |asked: f64, from: f64| {
            let (a, b) = (self.share(shares, from), self.share(shares, from - stride));
            let weight = a * (1.0 - b).sqrt() + (a * (1.0 - a) * b).sqrt();
            let change = Change::Plms {
                signal: narrow(a.sqrt()),
                spread: narrow((1.0 - a).sqrt()),
                keep: narrow((b / a).sqrt()),
                take: narrow((b - a) / weight),
            };
            Step { time: asked, change }
        };
        let mut steps: Vec<Step> = times.iter().map(|time| step(*time, *time)).collect();
        if let [_, second, ..] = times {
            steps.insert(1, step(*second, second + stride));
        }
        steps
    }

    fn euler(&self, shares: &[f64], times: &[f64]) -> (f32, Vec<Step>) {
        let of_share = |share: f64| ((1.0 - share) / share).sqrt();
        let sigma = |time: f64| {
            let (below, part) = (index(time), time - time.floor());
            let low = of_share(shares[below]);
            let high = shares.get(below + 1).map_or(low, |share| of_share(*share));
            low + (high - low) * part
        };
        let sigmas: Vec<f64> = times.iter().map(|time| sigma(*time)).collect();
        let step = |(at, time): (usize, &f64)| {
            let (sigma, next) = (sigmas[at], sigmas.get(at + 1).copied().unwrap_or(0.0));
            let square = sigma * sigma + 1.0;
            let root = square.sqrt();
            let change = Change::Euler {
                sigma: narrow(sigma),
                root: narrow(root),
                square: narrow(square),
                tilt: narrow(sigma / root),
                delta: narrow(next - sigma),
            };
            Step { time: *time, change }
        };
        let greatest = sigmas.iter().copied().fold(0.0, f64::max);
        let start = match self.spacing {
            Spacing::Leading => (greatest * greatest + 1.0).sqrt(),
            Spacing::Trailing | Spacing::Even => greatest,
        };
        (narrow(start), times.iter().enumerate().map(step).collect())
    }
}

impl Step {
    /// What the UNet is given.
    pub(super) fn scaled(&self, latents: &[f32]) -> Vec<f32> {
        match self.change {
            Change::Euler { root, .. } => latents.iter().map(|x| x / root).collect(),
            Change::Ddim { .. } | Change::Plms { .. } => latents.to_vec(),
        }
    }
}

impl Change {
    /// Whether every number that is divided by, or that carries the picture, is above zero and finite.
    fn is_sound(&self) -> bool {
        let divisors = match *self {
            Self::Ddim { signal, spread, next_signal, .. } => [signal, spread, next_signal],
            Self::Euler { sigma, root, square, .. } => [sigma, root, square],
            Self::Plms { signal, keep, take, .. } => {
                [signal, keep, if take.is_finite() { 1.0 } else { take }]
            }
        };
        divisors.iter().all(|number| *number > 0.0 && number.is_finite())
    }
}

impl Course {
    /// One step: `latents` after the UNet's answer `guess`, which has as many elements.
    pub(super) fn advance(&self, step: &Step, latents: &mut [f32], guess: Vec<f32>, history: &mut History) {
        match step.change {
            Change::Ddim { signal, spread, next_signal, next_spread } => {
                let bound = self.clip.unwrap_or(f32::INFINITY);
                for (x, g) in latents.iter_mut().zip(guess) {
                    let (clean, noise) = match self.prediction {
                        Prediction::Noise => ((*x - spread * g) / signal, g),
                        Prediction::Velocity => (signal * *x - spread * g, signal * g + spread * *x),
                        Prediction::Sample => (g, (*x - signal * g) / spread),
                    };
                    *x = next_signal * limited(clean, bound) + next_spread * noise;
                }
            }
            Change::Euler { sigma, square, tilt, delta, .. } => {
                for (x, g) in latents.iter_mut().zip(guess) {
                    let clean = match self.prediction {
                        Prediction::Noise => *x - sigma * g,
                        Prediction::Velocity => *x / square - tilt * g,
                        Prediction::Sample => g,
                    };
                    *x += (*x - clean) / sigma * delta;
                }
            }
            Change::Plms { signal, spread, keep, take } => {
                let answer = history.blend(latents, guess);
                for (x, g) in latents.iter_mut().zip(answer) {
                    let noise = match self.prediction {
                        Prediction::Velocity => signal * g + spread * *x,
                        Prediction::Noise | Prediction::Sample => g,
                    };
                    *x = keep * *x - take * noise;
                }
            }
        }
    }
}

impl History {
    /// The answer that the linear multi-step method goes by. The second step goes back to the latents of the first, and
    /// its own answer is not kept.
    fn blend(&mut self, latents: &mut [f32], guess: Vec<f32>) -> Vec<f32> {
        self.count += 1;
        if let Some(before) = self.before.take() {
            latents.copy_from_slice(&before);
            let first = self.answers.last().map_or(&[][..], Vec::as_slice);
            return guess.iter().zip(first).map(|(new, old)| (new + old) / 2.0).collect();
        }
        if self.count == 1 {
            self.before = Some(latents.to_vec());
        }
        if self.answers.len() == 4 {
            self.answers.remove(0);
        }
        self.answers.push(guess);
        let place = |i: usize| match self.answers.as_slice() {
            [a] => a[i],
            [b, a] => (3.0 * a[i] - b[i]) / 2.0,
            [c, b, a] => (23.0 * a[i] - 16.0 * b[i] + 5.0 * c[i]) / 12.0,
            [d, c, b, a, ..] => (55.0 * a[i] - 59.0 * b[i] + 37.0 * c[i] - 9.0 * d[i]) / 24.0,
            [] => 0.0,
        };
        (0..latents.len()).map(place).collect()
    }
}

/// Between `-bound` and `bound`; NaN stays.
fn limited(x: f32, bound: f32) -> f32 {
    if x > bound {
        bound
    } else if x < -bound {
        -bound
    } else {
        x
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
fn narrow(x: f64) -> f32 {
    x as f32
}

/// The whole time at or below this one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times are checked to be small and not negative"
)]
fn index(time: f64) -> usize {
    time as usize
}
