//! NonMaxSuppression: of boxes that overlap, the one with the greatest score. The answers are ONNX Runtime's.
//!
//! # Rules
//! - Boxes are taken by falling score, of equal ones by rising index; a NaN score comes last.
//! - Everything is computed in f32, one operation after the other, each rounded.

use nabla_types::tensor::{Dtype, Tensor};

use super::number::order;
use super::{afford, int};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::{Element, Prepared, Scope, misfit};

/// Steps of a comparison of two boxes.
const PAIR_MACS: u64 = 24;

/// Corners of a box: least and greatest x, least and greatest y.
#[derive(Debug, Clone, Copy)]
struct Corners {
    x: (f32, f32),
    y: (f32, f32),
}

impl Corners {
    fn read(of: &[f32; 4], center: bool) -> Self {
        let span = |a: f32, b: f32| if a >= b { (b, a) } else { (a, b) };
        let [a, b, c, d] = *of;
        if center {
            let (half_width, half_height) = (c / 2.0, d / 2.0);
            Self { x: (a - half_width, a + half_width), y: (b - half_height, b + half_height) }
        } else {
            Self { x: span(b, d), y: span(a, c) }
        }
    }

    fn area(self) -> f32 {
        (self.x.1 - self.x.0) * (self.y.1 - self.y.0)
    }

    /// Whether the overlap is more than this part of both together.
    fn overlaps(self, other: Self, threshold: f32) -> bool {
        let greater = |a: f32, b: f32| if a < b { b } else { a };
        let lesser = |a: f32, b: f32| if b < a { b } else { a };
        let x = (greater(self.x.0, other.x.0), lesser(self.x.1, other.x.1));
        let y = (greater(self.y.0, other.y.0), lesser(self.y.1, other.y.1));
        if x.1 <= x.0 || y.1 <= y.0 {
            return false;
        }
        let common = (x.1 - x.0) * (y.1 - y.0);
        let (a, b) = (self.area(), other.area());
        let both = a + b - common;
        if common <= 0.0 || a <= 0.0 || b <= 0.0 || both <= 0.0 {
            return false;
        }
        common / both > threshold
    }
}

/// An input that says when a box is taken.
fn threshold<T: Element>(scope: &Scope<'_>, input: usize, what: &'static str) -> Result<Option<T>, Fault> {
    scope.optional(input).map(|_| scope.scalar(input, what)).transpose()
}

pub(super) fn non_max_suppression(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 5, 1)?;
    let (boxes, scores) = (scope.f32(0)?, scope.f32(1)?);
    let ([batch, classes, count], true) = (three(&scores.shape), boxes.shape == corners_shape(&scores.shape))
    else {
        return Err(misfit(
            "boxes of NonMaxSuppression",
            "[batch, boxes, 4] beside [batch, classes, boxes]",
            boxes,
        ));
    };
    let center = scope.attributes.flag_or("center_point_box", false)?;
    let most: i64 = threshold(scope, 2, "most boxes of a class")?.unwrap_or(0);
    let most = usize::try_from(most.max(0)).unwrap_or(usize::MAX).min(count);
    let overlap: f32 = threshold(scope, 3, "threshold of the overlap")?.unwrap_or(0.0);
    if !(0.0..=1.0).contains(&overlap) {
        return Err(fault("iou_threshold", "a number from 0 to 1", &overlap.to_string()));
    }
    let least: Option<f32> = threshold(scope, 4, "threshold of the score")?;
    let pairs = scores.count().saturating_mul(most as u64).saturating_mul(PAIR_MACS);
    let macs = scores.count().saturating_mul(32).saturating_add(pairs);
    afford(scope.limits, macs, boxes.count().saturating_add(count as u64).saturating_mul(8))?;
    let boxes = scope.constant(0, "boxes")?.as_f32().unwrap_or_default();
    let scores = scope.constant(1, "scores")?.as_f32().unwrap_or_default();
    let mut chosen = Vec::new();
    for image in 0..batch {
        let corners = &boxes[image * count * 4..(image + 1) * count * 4];
        let corners: Vec<Corners> =
            corners.as_chunks::<4>().0.iter().map(|corners| Corners::read(corners, center)).collect();
        for class in 0..classes {
            let scores = &scores[(image * classes + class) * count..][..count];
            for at in best(scores, &corners, Rule { most, overlap, least }) {
                chosen.extend([int(image), int(class), int(at)]);
            }
        }
    }
    scope.value(Dtype::I64, vec![chosen.len() / 3, 3])?;
    Ok(Prepared::known(vec![Tensor::i64(&[chosen.len() as u64 / 3, 3], chosen)?]).macs(macs))
}

fn three(shape: &[usize]) -> [usize; 3] {
    shape.try_into().unwrap_or([usize::MAX; 3])
}

fn corners_shape(scores: &[usize]) -> Vec<usize> {
    let [batch, _, count] = three(scores);
    vec![batch, count, 4]
}

/// When a box is taken.
#[derive(Debug, Clone, Copy)]
struct Rule {
    most: usize,
    overlap: f32,
    /// Scores must be above this.
    least: Option<f32>,
}

/// The boxes of one class that stay, best first.
fn best(scores: &[f32], corners: &[Corners], rule: Rule) -> Vec<usize> {
    let mut taken: Vec<usize> = Vec::new();
    if rule.most == 0 {
        return taken;
    }
    let enough = |at: &usize| rule.least.is_none_or(|least| scores[*at] > least);
    let mut ranked: Vec<usize> = (0..scores.len()).filter(enough).collect();
    ranked.sort_unstable_by(|a, b| {
        let (first, second) = (&scores[*a], &scores[*b]);
        let nan_last = first.is_nan().cmp(&second.is_nan());
        nan_last.then_with(|| order(second, first)).then(a.cmp(b))
    });
    for at in ranked {
        if taken.len() >= rule.most {
            break;
        }
        if !taken.iter().any(|other| corners[at].overlaps(corners[*other], rule.overlap)) {
            taken.push(at);
        }
    }
    taken
}
