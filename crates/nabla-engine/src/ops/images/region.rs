//! Regions of an image, averaged or maximised to a fixed size.

use nabla_types::tensor::Dtype;

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::onnx::upload::Upload;
use crate::ops::real::{FloatKernel, Floats, Real, cost};
use crate::ops::{Call, Prepared, Scope, misfit};

/// Before opset 16 coordinates were not shifted by half a pixel.
pub(super) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 16 {
        upload.default_text("coordinate_transformation_mode", "output_half_pixel")?;
    }
    Ok(())
}

pub(super) fn align(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let (x, rois) = (scope.float(0)?, scope.float(1)?);
    let half_pixel = match scope.attributes.text_or("coordinate_transformation_mode", "half_pixel")? {
        "half_pixel" => true,
        "output_half_pixel" => false,
        other => {
            return Err(fault("coordinate_transformation_mode", "half_pixel or output_half_pixel", other));
        }
    };
    let greatest = match scope.attributes.text_or("mode", "avg")? {
        "avg" => false,
        "max" => true,
        other => return Err(fault("mode", "avg or max", other)),
    };
    let size = |name: &str, default: i64, least: usize| {
        let got = scope.attributes.int_or(name, default)?;
        let size = usize::try_from(got).ok().filter(|size| (least..=1 << 20).contains(size));
        size.ok_or_else(|| fault(name, &format!("{least} to 2^20"), &got.to_string()))
    };
    let out = [size("output_height", 1, 1)?, size("output_width", 1, 1)?];
    let samples = size("sampling_ratio", 0, 0)?;
    let scale = scope.attributes.float_or("spatial_scale", 1.0)?;
    let &[_, channels, height, width] = x.shape.as_slice() else {
        return Err(misfit("input of RoiAlign", "4 dimensions", x));
    };
    let count = match *rois.shape.as_slice() {
        [count, 4] => count,
        _ => return Err(misfit("regions of RoiAlign", "[regions, 4]", rois)),
    };
    let rows = scope.typed(2, &[Dtype::I64], "INT64")?;
    if rows.shape != [count] || rois.dtype != x.dtype {
        return Err(misfit(
            "batch_indices of RoiAlign",
            format!("[{count}], and regions of the input's type"),
            rows,
        ));
    }
    let output = scope.value(x.dtype, vec![count, channels, out[0], out[1]])?;
    if output.elements() > 0 && height * width == 0 {
        return Err(misfit("input of RoiAlign", "an image with elements", x));
    }
    let rule = Rule { half_pixel, scale, samples, out };
    let per_channel = if samples > 0 {
        cost(&[count, out[0], out[1], samples, samples])
    } else {
        // As many samples as the regions are large: their cost must be known before they are taken.
        let known = scope.constant(1, "regions, where sampling_ratio is 0")?;
        let values = match x.dtype {
            Dtype::F64 => samples_of::<f64>(&rule, known.data()),
            _ => samples_of::<f32>(&rule, known.data()),
        };
        values.saturating_mul(cost(&out))
    };
    let macs = per_channel.saturating_mul(5 * channels as u64 + 16);
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel: Align { rule, greatest } }).macs(macs))
}

/// Samples per output element, of all regions.
fn samples_of<R: Real>(rule: &Rule, rois: &nabla_types::tensor::TensorData) -> u64 {
    let rois = R::read(rois).unwrap_or_default();
    let samples = |roi: &[R]| cost(&rule.region(roi).samples);
    rois.chunks_exact(4).map(samples).fold(0, u64::saturating_add)
}

#[derive(Debug, Clone, Copy)]
struct Rule {
    half_pixel: bool,
    scale: f32,
    /// Per output element and dimension; 0 for as many as it is large.
    samples: usize,
    out: [usize; 2],
}

/// One region: where it starts, the size of an output element, and samples along it; height first.
struct Region<R> {
    start: [R; 2],
    bin: [R; 2],
    samples: [usize; 2],
}

impl Rule {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturating; the cost bounds it"
    )]
    fn region<R: Real>(&self, roi: &[R]) -> Region<R> {
        let scale = R::of_f32(self.scale);
        let offset = if self.half_pixel { R::of(0.5) } else { R::ZERO };
        let [left, top, right, bottom] = [0, 1, 2, 3].map(|at| roi[at] * scale - offset);
        let sizes = [bottom - top, right - left];
        // Without half a pixel a region is at least one wide.
        let sizes = sizes.map(|size| if !self.half_pixel && size < R::ONE { R::ONE } else { size });
        let bin = [sizes[0] / R::count(self.out[0]), sizes[1] / R::count(self.out[1])];
        let samples = match self.samples {
            0 => bin.map(|bin| bin.wide().ceil() as usize),
            given => [given; 2],
        };
        Region { start: [top, left], bin, samples }
    }
}

#[derive(Debug)]
struct Align {
    rule: Rule,
    greatest: bool,
}

/// Four neighbours and their weights.
type Sample<R> = [(usize, R); 4];

impl FloatKernel for Align {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, rois) = (R::input(call, 0)?, R::input(call, 1)?);
        let rows = call.slice::<i64>(2)?;
        let shape = crate::ops::sizes(call.input(0)?.shape());
        let (channels, image) = (shape[1], [shape[2], shape[3]]);
        let area = image[0] * image[1];
        let [height, width] = self.rule.out;
        let mut output = R::memory(call, call.elements(0));
        for (index, (roi, row)) in rois.chunks_exact(4).zip(rows).enumerate() {
            let row =
                usize::try_from(*row).ok().filter(|row| *row < shape[0]).ok_or_else(|| Fault::Shape {
                    what: "batch index of a region",
                    expected: format!("0 to {} - 1", shape[0]),
                    got: row.to_string(),
                })?;
            let region = self.rule.region(roi);
            for bin in 0..height * width {
                let bin_at = [bin / width, bin % width];
                for channel in 0..channels {
                    let plane = &x[(row * channels + channel) * area..][..area];
                    let value = self.bin::<R>(&region, bin_at, image, plane);
                    output[(index * channels + channel) * height * width + bin] = value;
                }
            }
        }
        Ok(vec![output])
    }
}

impl Align {
    /// The mean of the samples of one output element, in order, or the greatest weighted neighbour.
    #[inline(always)]
    fn bin<R: Real>(&self, region: &Region<R>, at: [usize; 2], image: [usize; 2], plane: &[R]) -> R {
        let [rows, columns] = region.samples;
        let (mut sum, mut most) = (R::ZERO, None);
        for row in 0..rows {
            for column in 0..columns {
                let place = |axis: usize, step: usize| {
                    let within =
                        (R::count(step) + R::of(0.5)) * region.bin[axis] / R::count(region.samples[axis]);
                    region.start[axis] + R::count(at[axis]) * region.bin[axis] + within
                };
                let sample = sample(place(0, row), place(1, column), image);
                let parts = sample.map(|(at, weight)| weight * plane[at]);
                if self.greatest {
                    let greater = |most: R, x: R| if x > most { x } else { most };
                    let own = parts.into_iter().fold(R::LOWEST, greater);
                    most = Some(most.map_or(own, |most| greater(most, own)));
                } else {
                    sum += ((parts[0] + parts[1]) + parts[2]) + parts[3];
                }
            }
        }
        match self.greatest {
            true => most.unwrap_or(R::ZERO),
            false => sum / R::count((rows * columns).max(1)),
        }
    }
}

/// Bilinear weights of a point; all zero beyond one pixel outside of the image.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the size")]
fn sample<R: Real>(y: R, x: R, image: [usize; 2]) -> Sample<R> {
    let inside = |at: R, size: usize| at >= -R::ONE && at <= R::count(size);
    if !inside(y, image[0]) || !inside(x, image[1]) {
        return [(0, R::ZERO); 4];
    }
    let axis = |at: R, size: usize| {
        let at = if at < R::ZERO { R::ZERO } else { at };
        let low = at.wide() as usize;
        if low + 1 >= size { (size - 1, size - 1, R::ZERO) } else { (low, low + 1, at - R::count(low)) }
    };
    let (top, bottom, y) = axis(y, image[0]);
    let (left, right, x) = axis(x, image[1]);
    let (up, back) = (R::ONE - y, R::ONE - x);
    let width = image[1];
    [
        (top * width + left, up * back),
        (top * width + right, up * x),
        (bottom * width + left, y * back),
        (bottom * width + right, y * x),
    ]
}
