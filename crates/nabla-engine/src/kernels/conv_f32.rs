//! Convolution of f32: one chain per output over (channel of the group, kernel positions), padding as `+0`.

use super::conv::{Convolution, Epilogue, Finish, Geometry, Layout, Stretch};
use super::dot::Dot;
use super::pack::Tiles;
use super::threads::Cpu;
use super::{Body, DotBody, Fma, Isa};

/// A convolution whose shapes and weights are known.
#[derive(Debug, Clone)]
pub(crate) struct ConvF32 {
    geometry: Geometry,
    layout: Layout,
    weights: Tiles,
}

impl ConvF32 {
    /// `weights` is `[filters, channels of a group, kernel]`. `None` if shapes and weights do not fit
    /// together.
    pub(crate) fn new(isa: Isa, geometry: Geometry, weights: &[f32]) -> Option<Self> {
        let weights = Self::pack(isa, &geometry, weights)?;
        Self::with_weights(geometry, weights)
    }

    /// Weights in tiles; the batch and the image may be any.
    pub(crate) fn pack(isa: Isa, geometry: &Geometry, weights: &[f32]) -> Option<Tiles> {
        let (filters, steps) = (geometry.filters_of_group(), geometry.depth() * geometry.taps());
        let fits = weights.len() == geometry.groups * filters * steps;
        fits.then(|| Tiles::pack(isa, geometry.groups, filters, steps, weights))
    }

    /// The same weights for another batch or image.
    pub(crate) fn with_weights(geometry: Geometry, weights: Tiles) -> Option<Self> {
        let layout = Layout::new(&geometry, geometry.depth())?;
        let steps = geometry.depth() * geometry.taps();
        let fits =
            (weights.groups, weights.m, weights.k) == (geometry.groups, geometry.filters_of_group(), steps);
        fits.then_some(Self { geometry, layout, weights })
    }

    /// Bytes of scratch that each thread needs.
    pub(crate) fn scratch_bytes(geometry: &Geometry) -> Option<u64> {
        let layout = Layout::new(geometry, geometry.depth())?;
        Some((layout.units() as u64).saturating_mul(4).checked_next_power_of_two().unwrap_or(u64::MAX))
    }

    /// `out = input * weights + bias`, then the epilogue on each finished piece of a plane: image of the
    /// batch, filter, first position, values.
    pub(crate) fn run(
        &self,
        cpu: &Cpu,
        input: &[f32],
        bias: Option<&[f32]>,
        out: &mut [f32],
        epilogue: Option<Epilogue<'_, f32>>,
    ) {
        cpu.isa().with_float(OnCpu { conv: self, cpu, input, bias, out, epilogue });
    }
}

struct OnCpu<'a> {
    conv: &'a ConvF32,
    cpu: &'a Cpu,
    input: &'a [f32],
    bias: Option<&'a [f32]>,
    out: &'a mut [f32],
    epilogue: Option<Epilogue<'a, f32>>,
}

impl DotBody<f32, f32> for OnCpu<'_> {
    type Result = ();

    fn run<D: Dot<Unit = f32, Out = f32>>(self, dot: D) {
        let Self { conv, cpu, input, bias, out, epilogue } = self;
        let ConvF32 { geometry, layout, weights } = conv;
        let (depth, area) = (geometry.depth(), geometry.image_area());
        let fill = |image: usize, group: usize, stretches: &[Stretch], plane: usize, region: &mut [f32]| {
            let first = (image * geometry.channels + group * depth) * area;
            let channels = &input[first..first + depth * area];
            dot.body(FillRegion { channels, area, stretches, plane, region });
        };
        let finish = epilogue.map(|epilogue| {
            move |image: usize, filter: usize, position: usize, values: &mut [f32], _: &[f32]| {
                epilogue(image, filter, position, values);
            }
        });
        let convolution = Convolution {
            geometry,
            layout,
            weights: weights.data.as_f32(),
            heights: weights.heights(),
            fill: &fill,
            one: None,
            bias,
            finish: finish.as_ref().map(|finish| -> Finish<'_, f32> { finish }),
        };
        convolution.run(dot, cpu, out);
    }
}

struct FillRegion<'a, 'r> {
    channels: &'a [f32],
    area: usize,
    stretches: &'a [Stretch],
    plane: usize,
    region: &'r mut [f32],
}

impl Body for FillRegion<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        if self.plane == 0 || self.area == 0 {
            self.region.fill(0.0);
            return;
        }
        let planes = self.region.chunks_exact_mut(self.plane);
        for (channel, plane) in self.channels.chunks_exact(self.area).zip(planes) {
            for stretch in self.stretches {
                let row = &mut plane[stretch.to..stretch.to + stretch.length];
                let (lead, rest) = row.split_at_mut(stretch.lead);
                let (inside, behind) = rest.split_at_mut(stretch.inside);
                lead.fill(0.0);
                behind.fill(0.0);
                if inside.is_empty() {
                    continue;
                }
                let source = &channel[stretch.source..];
                match stretch.stride {
                    1 => inside.copy_from_slice(&source[..inside.len()]),
                    2 => every_second(inside, source),
                    stride => {
                        for (to, from) in inside.iter_mut().zip(source.iter().step_by(stride)) {
                            *to = *from;
                        }
                    }
                }
            }
        }
    }
}

/// The common stride, in a form that becomes shuffles.
#[inline(always)]
fn every_second(inside: &mut [f32], source: &[f32]) {
    let pairs = source.as_chunks::<2>().0;
    let both = inside.len().min(pairs.len());
    for (to, pair) in inside[..both].iter_mut().zip(pairs) {
        *to = pair[0];
    }
    if let (Some(to), Some(from)) = (inside.get_mut(both), source.get(2 * both)) {
        *to = *from;
    }
}
