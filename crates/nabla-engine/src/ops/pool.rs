//! Windows that move over an image, and the operators that summarise them.

use nabla_types::tensor::{Dtype, TensorData};

use super::{Call, FnKernel, Kernel, Prepared, Scope, misfit, sizes};
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;
use crate::{Dim, Fault};

/// A window over rows and columns.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    pub(crate) kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    /// Above, left, below, right.
    pads: [usize; 4],
    /// Round the number of positions up: the last window may hang over the edge.
    ceil: bool,
}

impl Window {
    /// Read `strides`, `dilations`, `pads` and, for pools, `ceil_mode`.
    pub(crate) fn read(scope: &Scope<'_>, kernel: [usize; 2], pool: bool) -> Result<Self, Fault> {
        let attributes = &scope.attributes;
        let window = Self {
            kernel,
            strides: attributes.sizes("strides", 1)?,
            dilations: attributes.sizes("dilations", 1)?,
            pads: attributes.sizes("pads", 0)?,
            ceil: pool && attributes.flag("ceil_mode")?,
        };
        if kernel.contains(&0) || kernel.iter().any(|size| *size > 1 << 14) {
            return Err(fault("kernel_shape", "2 sizes from 1 to 16384", &format!("{kernel:?}")));
        }
        Ok(window)
    }

    /// Rows and columns that one window spans.
    fn span(&self, axis: usize) -> usize {
        (self.kernel[axis] - 1) * self.dilations[axis] + 1
    }

    /// Positions along both axes of an image of this size.
    pub(crate) fn output(&self, image: [usize; 2]) -> Result<[usize; 2], Fault> {
        let mut positions = [0, 0];
        for axis in [0, 1] {
            let padded = image[axis] + self.pads[axis] + self.pads[axis + 2];
            let Some(room) = padded.checked_sub(self.span(axis)).filter(|_| image[axis] > 0) else {
                let expected = format!("at least {} along image axis {axis}", self.span(axis));
                return Err(Fault::Shape { what: "padded image", expected, got: padded.to_string() });
            };
            let steps = if self.ceil { room.div_ceil(self.strides[axis]) } else { room / self.strides[axis] };
            positions[axis] = steps + 1;
            // A window that starts in the padding behind the image sees nothing and is left out.
            if self.ceil && steps * self.strides[axis] >= image[axis] + self.pads[axis] {
                positions[axis] = steps;
            }
        }
        Ok(positions)
    }

    /// Row or column of the image under element `tap` of the window at `position`; none in the padding.
    #[inline]
    pub(crate) fn source(&self, axis: usize, position: usize, tap: usize, size: usize) -> Option<usize> {
        let padded = position * self.strides[axis] + tap * self.dilations[axis];
        padded.checked_sub(self.pads[axis]).filter(|index| *index < size)
    }

    /// Elements of the window at `position` that lie on the image or its padding.
    fn covered(&self, axis: usize, position: usize, size: usize) -> usize {
        let padded = size + self.pads[axis] + self.pads[axis + 2];
        let start = position * self.strides[axis];
        (0..self.kernel[axis]).filter(|tap| start + tap * self.dilations[axis] < padded).count()
    }
}

pub(crate) fn import_max(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.take_int("storage_order")?.unwrap_or(0) != 0 {
        return Err(fault("storage_order", "0", "1"));
    }
    upload.default_int("ceil_mode", 0)?;
    let kernel = upload.ints_or_fault("kernel_shape")?;
    upload.resolve_window(&kernel)
}

pub(crate) fn import_average(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_int("count_include_pad", 0)?;
    upload.default_int("ceil_mode", 0)?;
    let kernel = upload.ints_or_fault("kernel_shape")?;
    upload.resolve_window(&kernel)
}

/// The greatest element under the window, NaN if there is one; padding takes no part.
pub(crate) fn max(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    pool(scope, Summary::Max)
}

/// Sum in row-major order of the window, divided by the number of its elements.
pub(crate) fn average(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let include_padding = scope.attributes.flag("count_include_pad")?;
    pool(scope, Summary::Average { include_padding })
}

fn pool(scope: &Scope<'_>, summary: Summary) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.f32(0)?;
    if x.rank() != 4 {
        return Err(misfit("input of a pool", "4 dimensions (batch, channel, row, column)", x));
    }
    let image = sizes(&x.fixed(1)?);
    let window = Window::read(scope, scope.attributes.sizes("kernel_shape", 1)?, true)?;
    let area = window.output([image[1], image[2]])?;
    let dims = [x.shape[0], x.shape[1], Dim::Fixed(area[0] as u64), Dim::Fixed(area[1] as u64)];
    let output = scope.value(Dtype::F32, dims.to_vec())?;
    let taps = (window.kernel[0] * window.kernel[1]) as u64;
    let macs = output.row_elements().saturating_mul(taps);
    Ok(Prepared::one(output, Pool { window, summary }).macs(macs))
}

#[derive(Debug, Clone, Copy)]
enum Summary {
    Max,
    Average { include_padding: bool },
}

#[derive(Debug)]
struct Pool {
    window: Window,
    summary: Summary,
}

impl Kernel for Pool {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let image = sizes(call.input(0)?.shape());
        let out = call.sizes(0);
        let mut output = Vec::with_capacity(call.elements(0));
        for plane in call.f32(0)?.chunks_exact((image[2] * image[3]).max(1)) {
            for position in 0..out[2] * out[3] {
                output.push(self.summarise(
                    plane,
                    [image[2], image[3]],
                    [position / out[3], position % out[3]],
                ));
            }
        }
        Ok(vec![TensorData::F32(output)])
    }
}

impl Pool {
    fn summarise(&self, plane: &[f32], image: [usize; 2], position: [usize; 2]) -> f32 {
        let [rows, columns] = self.window.kernel;
        let (mut most, mut sum, mut count) = (f32::NEG_INFINITY, 0.0_f32, 0_usize);
        for y in (0..rows).filter_map(|row| self.window.source(0, position[0], row, image[0])) {
            for x in (0..columns).filter_map(|column| self.window.source(1, position[1], column, image[1])) {
                let value = plane[y * image[1] + x];
                sum += value;
                count += 1;
                if value > most || value.is_nan() {
                    most = value;
                }
            }
        }
        match self.summary {
            Summary::Max => most,
            Summary::Average { include_padding: false } => sum / as_f32(count),
            Summary::Average { include_padding: true } => {
                let covered = |axis: usize| self.window.covered(axis, position[axis], image[axis]);
                sum / as_f32(covered(0) * covered(1))
            }
        }
    }
}

/// A count as f32, rounded to nearest.
#[expect(clippy::cast_precision_loss, reason = "rounding is the rule")]
pub(crate) fn as_f32(count: usize) -> f32 {
    count as f32
}

/// Sum of each plane in row-major order, divided by its size.
pub(crate) fn global_average(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = scope.f32(0)?;
    if x.rank() < 3 {
        return Err(misfit("input of GlobalAveragePool", "3 dimensions or more", x));
    }
    let mut shape = x.shape.clone();
    shape[2..].fill(Dim::Fixed(1));
    let output = scope.value(Dtype::F32, shape)?;
    let kernel = FnKernel(|call: &Call<'_>| {
        let x = call.f32(0)?;
        let area = x.len() / call.elements(0).max(1);
        let planes = x.chunks_exact(area.max(1));
        Ok(vec![TensorData::F32(
            planes.map(|plane| plane.iter().fold(0.0, |s, v| s + v) / as_f32(area)).collect(),
        )])
    });
    Ok(Prepared::one(output, kernel).macs(x.row_elements()))
}
