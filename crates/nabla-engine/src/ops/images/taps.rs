//! Where the elements of a resized dimension come from.
//!
//! Coordinates and weights are f32 arithmetic, step by step as written here; the wider filters of
//! antialiasing are f64, rounded to f32 at the end.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::Scope;

/// How coordinates of the output become coordinates of the input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Transform {
    HalfPixel,
    HalfPixelSymmetric,
    PytorchHalfPixel,
    AlignCorners,
    Asymmetric,
    TfHalfPixel,
    Crop,
}

impl Transform {
    pub(super) fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        Ok(match scope.attributes.text_or("coordinate_transformation_mode", "half_pixel")? {
            "half_pixel" => Self::HalfPixel,
            "half_pixel_symmetric" => Self::HalfPixelSymmetric,
            "pytorch_half_pixel" => Self::PytorchHalfPixel,
            "align_corners" => Self::AlignCorners,
            "asymmetric" => Self::Asymmetric,
            "tf_half_pixel_for_nn" => Self::TfHalfPixel,
            "tf_crop_and_resize" => Self::Crop,
            other => return Err(fault("coordinate_transformation_mode", "a known mode", other)),
        })
    }
}

/// Which element is nearest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Nearest {
    PreferFloor,
    PreferCeil,
    Floor,
    Ceil,
    /// As before opset 11: the ceiling where the dimension shrinks, else the floor.
    Simple,
}

impl Nearest {
    pub(super) fn read(scope: &Scope<'_>) -> Result<Self, Fault> {
        Ok(match scope.attributes.text_or("nearest_mode", "round_prefer_floor")? {
            "round_prefer_floor" => Self::PreferFloor,
            "round_prefer_ceil" => Self::PreferCeil,
            "floor" => Self::Floor,
            "ceil" => Self::Ceil,
            "simple" => Self::Simple,
            other => return Err(fault("nearest_mode", "a known mode", other)),
        })
    }

    fn index(self, x: f32, scale: f32) -> f32 {
        let down = x.floor();
        match self {
            Self::PreferFloor if x - down <= 0.5 => down,
            Self::PreferCeil if x - down < 0.5 => down,
            Self::PreferFloor | Self::PreferCeil | Self::Ceil => x.ceil(),
            Self::Simple if scale < 1.0 => x.ceil(),
            Self::Floor | Self::Simple => down,
        }
    }
}

/// What is made of the neighbours.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Filter {
    Nearest(Nearest),
    Linear,
    /// With its coefficient.
    Cubic(f32),
}

/// One dimension to be resized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dimension {
    pub(super) axis: usize,
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) scale: f32,
    /// The part that is looked at.
    pub(super) crop: [f32; 2],
}

/// How all dimensions are resized.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) transform: Transform,
    pub(super) filter: Filter,
    pub(super) antialias: bool,
    pub(super) exclude_outside: bool,
}

/// For each element of the output `width` elements of the input and their weights.
#[derive(Debug)]
pub(super) struct Taps {
    pub(super) width: usize,
    pub(super) indices: Vec<usize>,
    pub(super) weights: Vec<f32>,
    /// Elements that come from outside of the input.
    pub(super) outside: Vec<bool>,
}

impl Rule {
    /// Elements of the input that make one of the output.
    pub(super) fn width(&self, scale: f32) -> usize {
        let support = match self.filter {
            Filter::Nearest(_) => return 1,
            Filter::Linear => 1.0,
            Filter::Cubic(_) => 2.0,
        };
        let scale = if self.antialias { f64::from(scale.min(1.0)) } else { 1.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturating, and then bounded"
        )]
        let half = (support / scale).ceil() as usize;
        half.saturating_mul(2)
    }

    /// Where output element `at` lies in the input.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "coordinates are f32 by definition"
    )]
    fn coordinate(&self, dimension: &Dimension, at: usize) -> f32 {
        let Dimension { from, to, scale, crop, .. } = *dimension;
        let (x, last) = (at as f32, from as f32 - 1.0);
        // The size before it was rounded to an integer.
        let exact = from as f32 * scale;
        match self.transform {
            Transform::HalfPixel => (x + 0.5) / scale - 0.5,
            Transform::HalfPixelSymmetric => {
                // In f64: the middle must stay the middle.
                let (from, to, scale) = (from as f64, to as f64, f64::from(scale));
                let offset = from / 2.0 * (1.0 - to / (from * scale));
                (offset + (f64::from(x) + 0.5) / scale - 0.5) as f32
            }
            Transform::PytorchHalfPixel if to <= 1 => 0.0,
            Transform::PytorchHalfPixel => (x + 0.5) / scale - 0.5,
            Transform::AlignCorners if exact == 1.0 => 0.0,
            Transform::AlignCorners => x * last / (exact - 1.0),
            Transform::Asymmetric => x / scale,
            Transform::TfHalfPixel => (x + 0.5) / scale,
            Transform::Crop if to <= 1 => 0.5 * (crop[0] + crop[1]) * last,
            Transform::Crop => crop[0] * last + x * (crop[1] - crop[0]) * last / (to as f32 - 1.0),
        }
    }

    /// The taps of a dimension of at least one element.
    #[expect(clippy::cast_precision_loss, reason = "coordinates are f32 by definition")]
    #[expect(clippy::cast_possible_truncation, reason = "saturating, and then clamped")]
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "sizes are at most 2^28; clamped from 0"
    )]
    pub(super) fn taps(&self, dimension: &Dimension) -> Taps {
        let width = self.width(dimension.scale);
        let last = dimension.from as i64 - 1;
        let clamp = |index: i64| index.clamp(0, last) as usize;
        let mut taps = Taps {
            width,
            indices: Vec::new(),
            weights: Vec::new(),
            outside: Vec::with_capacity(dimension.to),
        };
        let mut weights = vec![0.0; width];
        for at in 0..dimension.to {
            let x = self.coordinate(dimension, at);
            let inside = (0.0..=dimension.from as f32 - 1.0).contains(&x);
            taps.outside.push(self.transform == Transform::Crop && !inside);
            if let Filter::Nearest(nearest) = self.filter {
                taps.indices.push(clamp(nearest.index(x, dimension.scale) as i64));
                taps.weights.push(1.0);
                continue;
            }
            let down = x.floor();
            let first = (down as i64).saturating_sub(width as i64 / 2 - 1);
            self.weights(x - down, dimension.scale, &mut weights);
            if self.exclude_outside {
                exclude(&mut weights, first, last);
            }
            taps.indices.extend((0..width as i64).map(|tap| clamp(first.saturating_add(tap))));
            taps.weights.extend(&weights);
        }
        taps
    }

    /// Weights of neighbours for a point `ratio` behind the one at `width / 2 - 1`.
    #[expect(clippy::cast_precision_loss, reason = "small counts")]
    #[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32")]
    fn weights(&self, ratio: f32, scale: f32, weights: &mut [f32]) {
        if !self.antialias {
            match self.filter {
                Filter::Cubic(a) => weights.copy_from_slice(&cubic(ratio, a)),
                _ => weights.copy_from_slice(&[1.0 - ratio, ratio]),
            }
            return;
        }
        let scale = f64::from(scale.min(1.0));
        let half = weights.len() as f64 / 2.0 - 1.0;
        let value = |tap: usize| {
            let x = ((tap as f64 - half - f64::from(ratio)) * scale).abs();
            match self.filter {
                Filter::Cubic(a) => cubic_kernel(x, f64::from(a)),
                _ if x < 1.0 => 1.0 - x,
                _ => 0.0,
            }
        };
        let sum: f64 = (0..weights.len()).map(value).fold(0.0, |sum, x| sum + x);
        for (tap, weight) in weights.iter_mut().enumerate() {
            *weight = (value(tap) / sum) as f32;
        }
    }
}

/// Take neighbours that do not exist out of the sum.
fn exclude(weights: &mut [f32], first: i64, last: i64) {
    for (index, weight) in (first..).zip(weights.iter_mut()) {
        if !(0..=last).contains(&index) {
            *weight = 0.0;
        }
    }
    let sum = weights.iter().fold(0.0, |sum, weight| sum + weight);
    if sum != 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
}

/// Weights of the four neighbours of a point `x` behind the second.
pub(super) fn cubic(x: f32, a: f32) -> [f32; 4] {
    let y = 1.0 - x;
    let far = |x: f32| ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a;
    let near = |x: f32| ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    [far(x + 1.0), near(x), near(y), far(y + 1.0)]
}

/// The same for a point at distance `x`.
fn cubic_kernel(x: f64, a: f64) -> f64 {
    if x <= 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    } else {
        0.0
    }
}
