//! Convolution over two spatial dimensions, as a matrix product over patches.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::pool::Window;
use super::{Call, Kernel, Prepared, Scope, misfit, sizes};
use crate::kernels::gemm::{Gemm, Lane, WIDTH};
use crate::onnx::upload::Upload;
use crate::{Dim, Fault};

/// Panels of patches that are laid out at a time; bounds scratch, changes no bit.
const PANELS: usize = 16;

/// Padding by name becomes padding by number.
pub(crate) fn import(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_int("group", 1)?;
    let weight = upload.ty(1)?;
    if weight.rank() != 4 {
        return Err(misfit("weight of Conv", "4 dimensions (only 2-d convolution is supported)", &weight));
    }
    let kernel =
        weight.fixed(2)?.iter().map(|size| i64::try_from(*size).unwrap_or(i64::MAX)).collect::<Vec<_>>();
    if let Some(given) = upload.take_ints("kernel_shape")?.filter(|given| *given != kernel) {
        return Err(misfit("weight of Conv", format!("kernel_shape {given:?}"), &weight));
    }
    upload.resolve_window(&kernel)
}

/// Every output is one chain over (channel, row, column) of its patch, padding included as zeros; the
/// bias is added afterwards.
pub(crate) fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let (x, weight) = (scope.f32(0)?, scope.f32(1)?);
    if x.rank() != 4 || weight.rank() != 4 || weight.batched() {
        return Err(misfit("input of Conv", "4 dimensions (batch, channel, row, column)", x));
    }
    let (image, filter) = (sizes(&x.fixed(1)?), sizes(&weight.fixed(0)?));
    let groups = scope.attributes.index("group", 1 << 28)?;
    let fits =
        groups > 0 && filter[0] % groups == 0 && image[0] % groups == 0 && image[0] / groups == filter[1];
    if !fits {
        let expected =
            format!("{} channels in {groups} groups of the filter's {}", filter[1] * groups, filter[1]);
        return Err(misfit("input of Conv", expected, x));
    }
    let window = Window::read(scope, [filter[2], filter[3]], false)?;
    let area = window.output([image[1], image[2]])?;
    if scope.optional(2).is_some() {
        scope.constant_f32(2, "bias of Conv", filter[0])?;
    }
    let dim = |size: usize| Dim::Fixed(size as u64);
    let output = scope.value(Dtype::F32, vec![x.shape[0], dim(filter[0]), dim(area[0]), dim(area[1])])?;
    let depth = (filter[1] as u64).saturating_mul(filter[2] as u64).saturating_mul(filter[3] as u64);
    let macs = output.row_elements().saturating_mul(depth);
    let columns = ((area[0] * area[1]).next_multiple_of(WIDTH)).min(PANELS * WIDTH) as u64;
    let scratch = depth.saturating_mul(columns).saturating_mul(4);
    Ok(Prepared::one(output, Conv { window, groups }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct Conv {
    window: Window,
    groups: usize,
}

impl Kernel for Conv {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let (x, weight) = (call.input(0)?, call.input(1)?);
        let (image, filter, out) = (sizes(x.shape()), sizes(weight.shape()), call.sizes(0));
        let (input, weights) = (call.f32(0)?, call.f32(1)?);
        let area = out[2] * out[3];
        let (channels, filters) = (filter[1], filter[0] / self.groups);
        let depth = channels * filter[2] * filter[3];
        let mut output = vec![0.0; call.elements(0)];
        let mut patches: Vec<Lane> = Vec::new();
        for (index, block) in output.chunks_exact_mut((filters * area).max(1)).enumerate() {
            let group = index % self.groups;
            let source = &input[index * channels * image[2] * image[3]..][..channels * image[2] * image[3]];
            let a = &weights[group * filters * depth..][..filters * depth];
            for start in (0..area).step_by(PANELS * WIDTH) {
                let columns = start..(start + PANELS * WIDTH).min(area);
                let n = columns.len();
                self.lay_out(&mut patches, source, &[channels, image[2], image[3]], columns, out[3]);
                let c = &mut block[start..];
                call.isa.run(Gemm { m: filters, a, k: depth, n, b: &patches, c, stride_c: area });
            }
        }
        if let Some(bias) = call.inputs.get(2).copied().flatten() {
            add_bias(&mut output, bias, area);
        }
        Ok(vec![TensorData::F32(output)])
    }
}

impl Conv {
    /// The patches of these output positions as panels, one lane per (channel, row, column) of the filter.
    fn lay_out(
        &self,
        patches: &mut Vec<Lane>,
        source: &[f32],
        image: &[usize; 3],
        positions: std::ops::Range<usize>,
        out_width: usize,
    ) {
        patches.clear();
        let [rows, columns] = self.window.kernel;
        for first in positions.clone().step_by(WIDTH) {
            let lanes = first..(first + WIDTH).min(positions.end);
            for channel in 0..image[0] {
                let plane = &source[channel * image[1] * image[2]..][..image[1] * image[2]];
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let mut lane = [0.0; WIDTH];
                    for (slot, position) in lane.iter_mut().zip(lanes.clone()) {
                        let y = self.window.source(0, position / out_width, row, image[1]);
                        let x = self.window.source(1, position % out_width, column, image[2]);
                        if let (Some(y), Some(x)) = (y, x) {
                            *slot = plane[y * image[2] + x];
                        }
                    }
                    patches.push(lane);
                }
            }
        }
    }
}

fn add_bias(output: &mut [f32], bias: &Tensor, area: usize) {
    let bias = bias.as_f32().unwrap_or_default();
    for (plane, b) in output.chunks_exact_mut(area.max(1)).zip(bias.iter().cycle()) {
        plane.iter_mut().for_each(|sum| *sum += b);
    }
}
