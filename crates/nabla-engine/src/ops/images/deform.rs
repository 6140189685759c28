//! Deformable convolution: every tap may look elsewhere.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::real::{FloatKernel, Floats, Real, alike, cost, sizes_or};
use crate::ops::{Call, Prepared, Scope, misfit};

/// A tap is `(bilinear sample * mask) * weight`, added by one chain over (channel of the group, kernel row,
/// kernel column) from `+0`; then the bias.
pub(super) fn convolution(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 5, 1)?;
    let (x, weight) = (scope.float(0)?, scope.float(1)?);
    let (&[batch, channels, height, width], &[filters, own, rows, columns]) =
        (x.shape.as_slice(), weight.shape.as_slice())
    else {
        return Err(misfit(
            "input or weight of DeformConv",
            "4 dimensions",
            if x.rank() == 4 { weight } else { x },
        ));
    };
    let whole = |name: &str| {
        let got = scope.attributes.int_or(name, 1)?;
        let size = usize::try_from(got).ok().filter(|size| *size > 0);
        size.ok_or_else(|| fault(name, "1 or more", &got.to_string()))
    };
    let (groups, offset_groups) = (whole("group")?, whole("offset_group")?);
    if own.checked_mul(groups) != Some(channels) || !filters.is_multiple_of(groups) {
        return Err(misfit(
            "weight of DeformConv",
            format!("{groups} groups of {channels} channels"),
            weight,
        ));
    }
    if !channels.is_multiple_of(offset_groups) {
        return Err(fault("offset_group", &format!("a divisor of {channels}"), &offset_groups.to_string()));
    }
    let kernel = [rows, columns];
    if scope.attributes.has("kernel_shape") && sizes_or(scope, "kernel_shape", 2, 1, 1)? != kernel {
        return Err(misfit("weight of DeformConv", "the sizes of kernel_shape", weight));
    }
    let strides = sizes_or(scope, "strides", 2, 1, 1)?;
    let dilations = sizes_or(scope, "dilations", 2, 1, 1)?;
    let pads = sizes_or(scope, "pads", 4, 0, 0)?;
    let mut out = [0; 2];
    for (axis, size) in [height, width].into_iter().enumerate() {
        let reach = kernel[axis].saturating_sub(1).saturating_mul(dilations[axis]) + 1;
        let padded = size + pads[axis] + pads[axis + 2];
        let span =
            padded.checked_sub(reach).ok_or_else(|| misfit("input of DeformConv", "a whole kernel", x))?;
        out[axis] = span / strides[axis] + 1;
    }
    let taps = rows * columns;
    let deep = offset_groups.saturating_mul(taps);
    scope.float_shaped(2, "offset of DeformConv", &[batch, deep.saturating_mul(2), out[0], out[1]])?;
    scope.optional_float(3, "bias of DeformConv", &[filters])?;
    scope.optional_float(4, "mask of DeformConv", &[batch, deep, out[0], out[1]])?;
    alike(scope)?;
    let output = scope.value(x.dtype, vec![batch, filters, out[0], out[1]])?;
    let samples = cost(&[batch, channels, taps, out[0], out[1]]);
    let macs = cost(&[batch, filters, own, taps, out[0], out[1]]).saturating_add(samples.saturating_mul(16));
    let scratch = cost(&[channels, taps, 8]);
    let kernel = Deform {
        batch,
        channels,
        image: [height, width],
        filters,
        kernel,
        groups,
        offset_groups,
        out,
        strides: [strides[0], strides[1]],
        dilations: [dilations[0], dilations[1]],
        pads: [pads[0], pads[1]],
    };
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct Deform {
    batch: usize,
    channels: usize,
    image: [usize; 2],
    filters: usize,
    kernel: [usize; 2],
    groups: usize,
    offset_groups: usize,
    out: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 2],
}

impl FloatKernel for Deform {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, weight, offset) = (R::input(call, 0)?, R::input(call, 1)?, R::input(call, 2)?);
        let (bias, mask) = (R::optional(call, 3)?, R::optional(call, 4)?);
        let taps = self.kernel[0] * self.kernel[1];
        let area = self.out[0] * self.out[1];
        let pixels = self.image[0] * self.image[1];
        let per_offset = self.channels / self.offset_groups;
        let (own, filters) = (self.channels / self.groups, self.filters / self.groups);
        let mut output = R::memory(call, call.elements(0));
        let mut column = R::zeros(self.channels * taps);
        for index in 0..if output.is_empty() { 0 } else { self.batch * area } {
            let (row, at) = (index / area, index % area);
            for group in 0..self.offset_groups {
                for tap in 0..taps {
                    let deep = (row * self.offset_groups + group) * taps + tap;
                    let shift = [offset[2 * deep * area + at], offset[(2 * deep + 1) * area + at]];
                    let mask = mask.as_ref().map_or(R::ONE, |mask| mask[deep * area + at]);
                    let place = self.place(at, tap, shift);
                    for channel in group * per_offset..(group + 1) * per_offset {
                        let plane = &x[(row * self.channels + channel) * pixels..][..pixels];
                        column[channel * taps + tap] = bilinear(plane, self.image, place) * mask;
                    }
                }
            }
            for filter in 0..self.filters {
                let a = &weight[filter * own * taps..][..own * taps];
                let b = &column[filter / filters * own * taps..][..own * taps];
                let mut sum = R::ZERO;
                for (a, b) in a.iter().zip(b) {
                    sum = R::chain::<F>(*a, *b, sum);
                }
                let bias = bias.as_ref().map(|bias| bias[filter]);
                output[(row * self.filters + filter) * area + at] = bias.map_or(sum, |bias| sum + bias);
            }
        }
        Ok(vec![output])
    }
}

impl Deform {
    /// Where a tap of an output element looks.
    #[inline(always)]
    fn place<R: Real>(&self, at: usize, tap: usize, shift: [R; 2]) -> [R; 2] {
        let at = [at / self.out[1], at % self.out[1]];
        let tap = [tap / self.kernel[1], tap % self.kernel[1]];
        [0, 1].map(|axis| {
            let padded = at[axis] * self.strides[axis] + tap[axis] * self.dilations[axis];
            R::count(padded) - R::count(self.pads[axis]) + shift[axis]
        })
    }
}

/// The four pixels around a point, in row-major order; those outside of the image are zero.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "saturating, and then checked")]
fn bilinear<R: Real>(plane: &[R], image: [usize; 2], place: [R; 2]) -> R {
    let down = place.map(|at| R::of(at.wide().floor()));
    let ratio = [place[0] - down[0], place[1] - down[1]];
    let first = down.map(|at| at.wide() as i64);
    let pixel = |dy: i64, dx: i64| {
        let y = usize::try_from(first[0].saturating_add(dy)).ok().filter(|y| *y < image[0]);
        let x = usize::try_from(first[1].saturating_add(dx)).ok().filter(|x| *x < image[1]);
        y.zip(x).map_or(R::ZERO, |(y, x)| plane[y * image[1] + x])
    };
    let (up, back) = (R::ONE - ratio[0], R::ONE - ratio[1]);
    let top = (up * back) * pixel(0, 0) + (up * ratio[1]) * pixel(0, 1);
    (top + (ratio[0] * back) * pixel(1, 0)) + (ratio[0] * ratio[1]) * pixel(1, 1)
}
