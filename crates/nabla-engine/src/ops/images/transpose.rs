//! Transposed convolution, of any number of dimensions.
//!
//! # Rules
//! - For each tap and input element: one chain over the channels of the group from `+0`. An output element
//!   is the sum of its taps in row-major order of the kernel from `+0`; then the bias is added.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::products::{Product, transposed};
use crate::ops::real::{FloatKernel, Floats, Real, alike, cost, sizes_or};
use crate::ops::{Call, Prepared, Scope, misfit};
use crate::plan::ValueType;

pub(super) fn convolution(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let (x, weight) = (scope.float(0)?, scope.float(1)?);
    if x.rank() < 3 || weight.rank() != x.rank() {
        return Err(misfit("weight of ConvTranspose", format!("{} dimensions, 3 or more", x.rank()), weight));
    }
    let got = scope.attributes.int_or("group", 1)?;
    let groups = usize::try_from(got).ok().filter(|groups| *groups > 0);
    let groups = groups.ok_or_else(|| fault("group", "1 or more", &got.to_string()))?;
    if weight.shape[0] != x.shape[1] || !x.shape[1].is_multiple_of(groups) {
        return Err(misfit(
            "weight of ConvTranspose",
            format!("{} channels in whole groups", x.shape[1]),
            weight,
        ));
    }
    let per_group = weight.shape[1];
    let filters = per_group.saturating_mul(groups);
    scope.optional_float(2, "bias of ConvTranspose", &[filters])?;
    alike(scope)?;
    let axes = axes(scope, x, weight)?;
    let mut shape = vec![x.shape[0], filters];
    shape.extend(axes.iter().map(|axis| axis.out));
    let output = scope.value(x.dtype, shape)?;
    let taps: usize = axes.iter().map(|axis| axis.kernel).product();
    let area: usize = axes.iter().map(|axis| axis.from).product();
    scope.value(x.dtype, vec![taps, area])?;
    let scratch = cost(&[taps, area, 8]).saturating_add(weight.count().saturating_mul(8));
    let macs = cost(&[x.shape[0], x.shape[1], per_group, taps, area]);
    let macs = macs.saturating_add(cost(&[x.shape[0], filters, taps, area]).saturating_mul(4));
    let kernel = Transposed { batch: x.shape[0], channels: x.shape[1], groups, per_group, axes };
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel }).macs(macs).scratch_bytes(scratch))
}

/// One dimension of the image.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: usize,
    out: usize,
    kernel: usize,
    stride: usize,
    dilation: usize,
    /// Elements cut off in front.
    pad: usize,
}

fn axes(scope: &Scope<'_>, x: &ValueType, weight: &ValueType) -> Result<Vec<Axis>, Fault> {
    let rank = x.rank() - 2;
    let kernel = &weight.shape[2..];
    if scope.attributes.has("kernel_shape") && sizes_or(scope, "kernel_shape", rank, 0, 1)? != kernel {
        return Err(misfit("weight of ConvTranspose", "the sizes of kernel_shape", weight));
    }
    let strides = sizes_or(scope, "strides", rank, 1, 1)?;
    let dilations = sizes_or(scope, "dilations", rank, 1, 1)?;
    let extra = sizes_or(scope, "output_padding", rank, 0, 0)?;
    let pads = sizes_or(scope, "pads", 2 * rank, 0, 0)?;
    let wanted = match scope.attributes.optional_ints("output_shape")? {
        // Some exporters give batch and channels too.
        Some(all) if all.len() == rank + 2 => Some(&all[2..]),
        Some(sizes) if sizes.len() == rank => Some(sizes),
        Some(sizes) => {
            return Err(fault("output_shape", &format!("{rank} sizes"), &format!("{}", sizes.len())));
        }
        None => None,
    };
    let auto = scope.attributes.text_or("auto_pad", "NOTSET")?;
    if !["NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"].contains(&auto) {
        return Err(fault("auto_pad", "NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto));
    }
    let axis = |at: usize| {
        let (from, kernel, stride, dilation) = (x.shape[at + 2], kernel[at], strides[at], dilations[at]);
        let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
        let whole = from.checked_sub(1)?.checked_mul(stride)?.checked_add(reach)?.checked_add(extra[at])?;
        let same = auto.starts_with("SAME");
        let wanted = match wanted {
            Some(sizes) => Some(usize::try_from(sizes[at]).ok()?),
            None if same => Some(from.checked_mul(stride)?),
            None => None,
        };
        let (pad, out) = match wanted {
            Some(out) => {
                let total = whole.saturating_sub(out);
                (if auto == "SAME_UPPER" { total / 2 } else { total - total / 2 }, out)
            }
            None if auto == "VALID" => (0, whole),
            None => (pads[at], whole.checked_sub(pads[at].checked_add(pads[at + rank])?)?),
        };
        Some(Axis { from, out, kernel, stride, dilation, pad })
    };
    let all: Option<Vec<Axis>> = (0..rank).map(axis).collect();
    all.ok_or_else(|| misfit("input of ConvTranspose", "elements, and an output that is not negative", x))
}

#[derive(Debug)]
struct Transposed {
    batch: usize,
    channels: usize,
    groups: usize,
    /// Filters of a group.
    per_group: usize,
    axes: Vec<Axis>,
}

impl FloatKernel for Transposed {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, weight, bias) = (R::input(call, 0)?, R::input(call, 1)?, R::optional(call, 2)?);
        let product = |of: fn(&Axis) -> usize| self.axes.iter().map(of).product::<usize>();
        let (taps, area, out) = (product(|a| a.kernel), product(|a| a.from), product(|a| a.out));
        let own = self.channels / self.groups;
        let columns = self.per_group * taps;
        let mut output = R::memory(call, call.elements(0));
        output.fill(R::ZERO);
        let mut products = R::zeros(taps * area);
        for group in 0..self.groups {
            let left = transposed(&weight[group * own * columns..][..own * columns], own, columns);
            for row in 0..self.batch {
                let b = &x[(row * self.channels + group * own) * area..][..own * area];
                for filter in 0..self.per_group {
                    let a = &left[filter * taps * own..][..taps * own];
                    Product { m: taps, k: own, n: area, a, b, c: &mut products }.run(call.cpu);
                    let filter = group * self.per_group + filter;
                    let plane = row * self.groups * self.per_group + filter;
                    let to = &mut output[plane * out..][..out];
                    for (tap, from) in products.chunks_exact(area).enumerate() {
                        self.scatter(tap, from, to);
                    }
                    if let Some(bias) = &bias {
                        to.iter_mut().for_each(|to| *to += bias[filter]);
                    }
                }
            }
        }
        Ok(vec![output])
    }
}

impl Transposed {
    /// Add the products of one tap to the output.
    #[inline(always)]
    fn scatter<R: Real>(&self, tap: usize, from: &[R], to: &mut [R]) {
        let Some((last, outer)) = self.axes.split_last() else {
            return;
        };
        // Taps of each dimension, the last first.
        let mut rest = tap / last.kernel;
        let mut taps = [0; 8];
        for (slot, axis) in taps.iter_mut().zip(outer.iter().rev()) {
            *slot = rest % axis.kernel;
            rest /= axis.kernel;
        }
        let shift = tap % last.kernel * last.dilation;
        for (line, from) in from.chunks_exact(last.from).enumerate() {
            let (mut rest, mut base, mut stride) = (line, 0, last.out);
            let mut inside = true;
            for (axis, tap) in outer.iter().rev().zip(taps) {
                let at = (rest % axis.from * axis.stride + tap * axis.dilation).checked_sub(axis.pad);
                let at = at.filter(|at| *at < axis.out);
                inside &= at.is_some();
                base += at.unwrap_or(0) * stride;
                rest /= axis.from;
                stride *= axis.out;
            }
            if !inside {
                continue;
            }
            for (step, value) in from.iter().enumerate() {
                if let Some(at) = (step * last.stride + shift).checked_sub(last.pad)
                    && at < last.out
                {
                    to[base + at] += *value;
                }
            }
        }
    }
}
