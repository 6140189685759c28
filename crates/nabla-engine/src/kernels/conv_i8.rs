//! Convolution of bytes, exact modulo 2^32.
//!
//! Four channels of a position lie together, so that one step takes a tap of four channels. Inside, weights
//! are signed and the image is not; the other kind is moved by 128, together with its zero point:
//!
//! `sum (w - zw)(x - zx) = sum w x - zx * sum w - zw * (sum x - k * zx)`
//!
//! # Rules
//! - A tap in the padding is the zero point, so that it adds nothing.
//! - Nothing saturates; every step wraps modulo 2^32, so the order of terms does not matter.

use std::sync::Arc;

use super::buffer::{Aligned, Buffer};
use super::conv::{Convolution, Epilogue, Geometry, Layout, Stretch};
use super::dot::Dot;
use super::int8::{Bytes, MOVE, QUAD, Zero, sums_buffer, wrap};
use super::pack::Heights;
use super::threads::Cpu;
use super::{Body, DotBody, Fma, Isa};

/// A convolution whose shapes and weights are known.
#[derive(Debug, Clone)]
pub(crate) struct ConvI8 {
    geometry: Geometry,
    layout: Layout,
    weights: WeightsI8,
}

/// Weights in tiles of rows, and the sum of each filter.
#[derive(Debug, Clone)]
pub(crate) struct WeightsI8 {
    rows_max: usize,
    /// Whether the source was; if not, values here are 128 less.
    signed: bool,
    data: Buffer,
    sums: Arc<[i32]>,
}

impl WeightsI8 {
    /// The tiles and the sums, to be kept.
    pub(crate) fn buffers(&self) -> Vec<Buffer> {
        vec![self.data.clone(), sums_buffer(&self.sums)]
    }

    /// What [`Self::buffers`] gave on the same processor; `None` if they have another size.
    pub(crate) fn from_buffers(
        isa: Isa,
        geometry: &Geometry,
        signed: bool,
        buffers: &[Buffer],
    ) -> Option<Self> {
        let [data, sums] = buffers else { return None };
        let steps = geometry.depth().div_ceil(QUAD).checked_mul(geometry.taps())?;
        let bytes = geometry.filters.checked_mul(steps)?.checked_mul(QUAD)?;
        let sums: Arc<[i32]> = sums.view().into();
        let rows_max = isa.with_bytes::<true, _>(super::Rows);
        (data.as_bytes().len() == bytes && sums.len() == geometry.filters).then(|| Self {
            rows_max,
            signed,
            data: data.clone(),
            sums,
        })
    }

    /// Bytes of weights in tiles, with their sums.
    pub(crate) fn bytes(geometry: &Geometry) -> u64 {
        let steps = (geometry.depth().div_ceil(QUAD) * geometry.taps()) as u64;
        (geometry.filters as u64).saturating_mul(steps.saturating_mul(QUAD as u64).saturating_add(4))
    }

    /// `source` is `[filters, channels of a group, kernel]`; `None` if it has another size.
    pub(crate) fn pack(isa: Isa, geometry: &Geometry, source: Bytes<'_>) -> Option<Self> {
        let (depth, taps) = (geometry.depth(), geometry.taps());
        let (raw, flip) = (source.raw(), if source.signed() { 0 } else { MOVE });
        if raw.len() != geometry.filters * depth * taps {
            return None;
        }
        let rows_max = isa.with_bytes::<true, _>(super::Rows);
        let heights = Heights::new(geometry.filters_of_group(), rows_max);
        let steps = depth.div_ceil(QUAD) * taps;
        let mut data = Aligned::zeroed::<[u8; QUAD]>(geometry.filters * steps);
        let units: &mut [[u8; QUAD]] = data.as_mut();
        let mut sums = Vec::with_capacity(geometry.filters);
        for group in 0..geometry.groups {
            for tile in 0..heights.count() {
                let rows = heights.rows(tile);
                let first = group * geometry.filters_of_group() + rows.start;
                let tile = &mut units[first * steps..(first + rows.len()) * steps];
                for row in 0..rows.len() {
                    let filter = &raw[(first + row) * depth * taps..][..depth * taps];
                    let mut sum = 0_i32;
                    for (index, byte) in filter.iter().enumerate() {
                        let (channel, tap) = (index / taps, index % taps);
                        let step = channel / QUAD * taps + tap;
                        tile[step * rows.len() + row][channel % QUAD] = byte ^ flip;
                        sum = sum.wrapping_add(i32::from((byte ^ flip).cast_signed()));
                    }
                    sums.push(sum);
                }
            }
        }
        Some(Self { rows_max, signed: source.signed(), data: Buffer::new(data), sums: sums.into() })
    }
}

/// What changes from run to run.
pub(crate) struct ConvI8Run<'a> {
    pub(crate) input: Bytes<'a>,
    pub(crate) zero_input: i32,
    /// One, or one per filter.
    pub(crate) zero_weights: Zero<'a>,
    pub(crate) out: &'a mut [i32],
    /// Image of the batch, filter, first position, finished values.
    pub(crate) epilogue: Option<Epilogue<'a, i32>>,
}

impl ConvI8 {
    /// `None` if the shapes do not fit together.
    pub(crate) fn new(geometry: Geometry, weights: WeightsI8) -> Option<Self> {
        let layout = Layout::new(&geometry, geometry.depth().div_ceil(QUAD))?;
        (weights.sums.len() == geometry.filters).then_some(Self { geometry, layout, weights })
    }

    /// Bytes of scratch that each thread needs.
    pub(crate) fn scratch_bytes(geometry: &Geometry) -> Option<u64> {
        let layout = Layout::new(geometry, geometry.depth().div_ceil(QUAD))?;
        let region = (layout.units() as u64).saturating_mul(4);
        Some(region.checked_next_power_of_two().unwrap_or(u64::MAX).saturating_mul(2))
    }

    pub(crate) fn run(&self, cpu: &Cpu, run: ConvI8Run<'_>) {
        cpu.isa().with_bytes::<true, _>(OnCpu { conv: self, cpu, run });
    }
}

struct OnCpu<'a, 'r> {
    conv: &'a ConvI8,
    cpu: &'a Cpu,
    run: ConvI8Run<'r>,
}

impl DotBody<[u8; QUAD], i32> for OnCpu<'_, '_> {
    type Result = ();

    fn run<D: Dot<Unit = [u8; QUAD], Out = i32>>(self, dot: D) {
        let ConvI8Run { input, zero_input, zero_weights, out, epilogue } = self.run;
        let ConvI8 { geometry, layout, weights } = self.conv;
        let (depth, area) = (geometry.depth(), geometry.image_area());
        let flip = if input.signed() { MOVE } else { 0 };
        // As the image is inside: a byte again, since a zero point is a value of its type.
        let zero = wrap_byte(zero_input.wrapping_add(if input.signed() { 128 } else { 0 }));
        let moved = if weights.signed { 0 } else { -128 };
        let raw = input.raw();
        let fill = |image: usize, group: usize, rows: &[Stretch], plane: usize, region: &mut [[u8; QUAD]]| {
            let first = (image * geometry.channels + group * depth) * area;
            let channels = &raw[first..first + depth * area];
            dot.body(FillRegion { channels, area, depth, flip, zero, rows, plane, region });
        };
        let taps = wrap(depth * geometry.taps());
        let finish = |image: usize, filter: usize, position: usize, values: &mut [i32], sums: &[i32]| {
            let zero_weight = match zero_weights {
                Zero::One(zero) => zero,
                Zero::Each(zeros) => zeros[filter],
            };
            let zero_weight = zero_weight.wrapping_add(moved);
            let zero = i32::from(zero);
            let all = zero.wrapping_mul(weights.sums[filter].wrapping_sub(taps.wrapping_mul(zero_weight)));
            dot.body(Correct { values, all, zero_weight, sums });
            if let Some(epilogue) = epilogue {
                epilogue(image, filter, position, values);
            }
        };
        let convolution = Convolution {
            geometry,
            layout,
            weights: weights.data.view(),
            heights: Heights::new(geometry.filters_of_group(), weights.rows_max),
            fill: &fill,
            one: (!zero_weights.is_all(-moved)).then_some([1; QUAD]),
            bias: None,
            finish: Some(&finish),
        };
        convolution.run(dot, self.cpu, out);
    }
}

/// The low byte.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "arithmetic is modulo 2^8")]
fn wrap_byte(value: i32) -> u8 {
    value as u8
}

struct Correct<'a, 's> {
    values: &'a mut [i32],
    all: i32,
    zero_weight: i32,
    sums: &'s [i32],
}

impl Body for Correct<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { values, all, zero_weight, sums } = self;
        for value in values.iter_mut() {
            *value = value.wrapping_sub(all);
        }
        if zero_weight != 0 {
            for (value, sum) in values.iter_mut().zip(sums) {
                *value = value.wrapping_sub(zero_weight.wrapping_mul(*sum));
            }
        }
    }
}

struct FillRegion<'a, 'r> {
    channels: &'a [u8],
    area: usize,
    depth: usize,
    flip: u8,
    /// The padding, as the image is inside.
    zero: u8,
    rows: &'a [Stretch],
    plane: usize,
    region: &'r mut [[u8; QUAD]],
}

impl Body for FillRegion<'_, '_> {
    type Out = ();

    #[inline(always)]
    fn run<F: Fma>(self) {
        let Self { channels, area, depth, flip, zero, rows, plane, region } = self;
        if plane == 0 {
            return;
        }
        for (quad, plane) in region.chunks_exact_mut(plane).take(depth.div_ceil(QUAD)).enumerate() {
            let first = quad * QUAD;
            // Channels beyond the last are zeros: their weights are too, and so they add nothing.
            let present = QUAD.min(depth - first);
            let mut padding = [0; QUAD];
            padding[..present].fill(zero);
            let mut sources: [&[u8]; QUAD] = [&[]; QUAD];
            for (index, source) in sources[..present].iter_mut().enumerate() {
                *source = &channels[(first + index) * area..][..area];
            }
            for stretch in rows {
                let row = &mut plane[stretch.to..stretch.to + stretch.length];
                let (lead, rest) = row.split_at_mut(stretch.lead);
                let (inside, behind) = rest.split_at_mut(stretch.inside);
                lead.fill(padding);
                behind.fill(padding);
                if inside.is_empty() {
                    continue;
                }
                let of_row = sources.map(|source| source.get(stretch.source..).unwrap_or_default());
                match (stretch.stride, present) {
                    (1, QUAD) => together(inside, of_row, flip),
                    _ => one_by_one(inside, &of_row[..present], stretch.stride, flip),
                }
            }
        }
    }
}

/// Four channels whose rows have no gaps.
#[inline(always)]
fn together(inside: &mut [[u8; QUAD]], sources: [&[u8]; QUAD], flip: u8) {
    let length = inside.len();
    let [a, b, c, d] = sources.map(|source| &source[..length]);
    for (index, unit) in inside.iter_mut().enumerate() {
        *unit = [a[index] ^ flip, b[index] ^ flip, c[index] ^ flip, d[index] ^ flip];
    }
}

#[inline(always)]
fn one_by_one(inside: &mut [[u8; QUAD]], sources: &[&[u8]], stride: usize, flip: u8) {
    inside.fill([0; QUAD]);
    for (index, source) in sources.iter().enumerate() {
        for (unit, byte) in inside.iter_mut().zip(source.iter().step_by(stride)) {
            unit[index] = byte ^ flip;
        }
    }
}
