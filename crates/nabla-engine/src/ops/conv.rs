//! Convolution.

use std::sync::OnceLock;

use nabla_types::tensor::{Dtype, TensorData};

use super::identity::plain;
use super::window::{SPATIAL_MAX, Window};
use super::{Call, Kernel, Operator, Packed, Prepared, Scope, misfit, widened};
use crate::Fault;
use crate::kernels::Isa;
use crate::kernels::conv::Geometry;
use crate::kernels::conv_f32::ConvF32;
use crate::kernels::pack::Tiles;
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[Operator::node("Conv", plain, prepare).packed(pack)];

/// Shapes of a convolution: `x` is `[batch, channels, ..]`, `weight` is `[filters, channels of a group, ..]`.
pub(crate) fn geometry(scope: &Scope<'_>, x: &ValueType, weight: &ValueType) -> Result<Geometry, Fault> {
    let spatial = x.rank().wrapping_sub(2);
    if !(1..=SPATIAL_MAX).contains(&spatial) || weight.rank() != x.rank() {
        return Err(misfit("input of a convolution", "[batch, channels, 1 to 3 sizes], as the weight", x));
    }
    if let Some(given) = scope.attributes.optional_ints("kernel_shape")?.filter(|given| !given.is_empty())
        && !given
            .iter()
            .map(|size| usize::try_from(*size).ok())
            .eq(weight.shape[2..].iter().copied().map(Some))
    {
        return Err(misfit("weight of a convolution", format!("kernel_shape {given:?}"), weight));
    }
    let groups = usize::try_from(scope.attributes.int_or("group", 1)?).unwrap_or(0);
    let fits = groups > 0 && weight.shape[1].checked_mul(groups) == Some(x.shape[1]);
    if !fits || !weight.shape[0].is_multiple_of(groups) {
        let expected = format!("{} channels in each of {groups} groups", weight.shape[1]);
        return Err(misfit("input of a convolution", expected, x));
    }
    let window = Window::read(scope, &weight.shape[2..], &x.shape[2..])?;
    let Window { image, kernel, strides, dilations, pads_begin, pads_end } = window;
    let (batch, channels, filters) = (x.shape[0], x.shape[1], weight.shape[0]);
    let geometry = Geometry {
        batch,
        channels,
        filters,
        groups,
        image,
        kernel,
        strides,
        dilations,
        pads_begin,
        pads_end,
    };
    if geometry.out().is_none() {
        return Err(misfit("input of a convolution", "an image at least as large as the kernel", x));
    }
    Ok(geometry)
}

/// Type of the output.
pub(crate) fn output(
    scope: &Scope<'_>,
    dtype: Dtype,
    x: &ValueType,
    geometry: &Geometry,
) -> Result<ValueType, Fault> {
    let out = geometry.out().unwrap_or_default();
    let mut shape = vec![geometry.batch, geometry.filters];
    shape.extend(&out[SPATIAL_MAX + 2 - x.rank()..]);
    scope.value(dtype, shape)
}

/// Every output is one chain over (channel of the group, kernel position), padding included as zeros; the bias
/// is added afterwards. FP16 and BF16 are computed in f32.
fn prepare(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    widened(scope, prepare_f32)
}

fn prepare_f32(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 3, 1)?;
    let (x, weight) = (scope.f32(0)?, scope.f32(1)?);
    let geometry = geometry(scope, x, weight)?;
    if let Some(bias) = scope.optional(2)
        && scope.f32(2)?.shape != [geometry.filters]
    {
        return Err(misfit("bias of Conv", format!("[{}]", geometry.filters), bias.ty));
    }
    let output = output(scope, Dtype::F32, x, &geometry)?;
    let macs = output.count().saturating_mul((weight.elements() / geometry.filters.max(1)) as u64);
    let scratch = ConvF32::scratch_bytes(&geometry).unwrap_or(u64::MAX);
    let fresh = if scope.packed.is_some() { 0 } else { weight.bytes().saturating_mul(2) };
    let area = geometry.area();
    Ok(Prepared::one(output, Conv { geometry, ready: OnceLock::new(), area })
        .macs(macs)
        .scratch_bytes(scratch.saturating_add(fresh)))
}

/// Constant weights as tiles of filters.
fn pack(scope: &Scope<'_>, isa: Isa) -> Result<Option<Packed>, Fault> {
    let Some(weight) = scope.optional(1).and_then(|operand| operand.constant) else {
        return Ok(None);
    };
    let groups = usize::try_from(scope.attributes.int_or("group", 1)?).unwrap_or(0);
    let shape = super::sizes(weight.shape());
    let (Some(values), true) = (weight.as_f32(), shape.len() > 2 && groups > 0) else {
        return Ok(None);
    };
    let steps: usize = shape[1..].iter().product();
    if !shape[0].is_multiple_of(groups) || steps == 0 {
        return Ok(None);
    }
    let tiles = Tiles::pack(isa, groups, shape[0] / groups, steps, values);
    Ok(Some(Packed::one(tiles.data, 1)))
}

#[derive(Debug)]
struct Conv {
    geometry: Geometry,
    /// With the packed weights, once there has been a run.
    ready: OnceLock<Option<ConvF32>>,
    area: usize,
}

impl Conv {
    fn packed(&self, call: &Call<'_>) -> Option<ConvF32> {
        let Geometry { filters, groups, .. } = self.geometry;
        let (m, k) = (filters / groups.max(1), self.geometry.depth() * self.geometry.taps());
        let buffer = call.packed?.buffers.first()?.clone();
        let tiles = Tiles::from_buffer(call.cpu.isa(), groups, m, k, buffer)?;
        ConvF32::with_weights(self.geometry.clone(), tiles)
    }
}

impl Kernel for Conv {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let mut out = call.f32s(call.elements(0));
        let fresh;
        let conv = match self.ready.get_or_init(|| self.packed(call)) {
            Some(ready) => ready,
            None => {
                let made = ConvF32::new(call.cpu.isa(), self.geometry.clone(), call.f32(1)?);
                fresh = made.ok_or_else(|| Fault::Shape {
                    what: "weight of Conv",
                    expected: format!("{:?}", self.geometry),
                    got: "another shape".to_owned(),
                })?;
                &fresh
            }
        };
        let bias = call.optional(2).and_then(|bias| bias.as_f32());
        let (filters, area) = (self.geometry.filters, self.area);
        let finish = call.tail.map(|tail| {
            move |image: usize, filter: usize, first: usize, piece: &mut [f32]| {
                tail.apply((image * filters + filter) * area + first, piece);
            }
        });
        let finish = finish.as_ref().map(|f| f as &(dyn Fn(usize, usize, usize, &mut [f32]) + Sync));
        conv.run(call.cpu, call.f32(0)?, bias, &mut out, finish);
        Ok(vec![TensorData::F32(out)])
    }

    fn takes_tail(&self) -> Option<usize> {
        Some(self.area)
    }
}
