//! Convolutions of levels.

use std::sync::{Mutex, OnceLock, PoisonError};

use nabla_types::tensor::{Dtype, TensorData};

use super::{
    NONE, Places, byte_input, byte_output, bytes, check_scale, constant_bytes, zero, zero_of, zeros,
};
use crate::Fault;
use crate::kernels::conv::Geometry;
use crate::kernels::conv_i8::{ConvI8, ConvI8Run, WeightsI8};
use crate::kernels::quant::{Levels, Requantize};
use crate::kernels::{Cpu, Isa};
use crate::ops::conv::{geometry, output};
use crate::ops::quantize::floats;
use crate::ops::{Call, Kernel, Packed, Prepared, Scope, misfit};

const INTEGER: Places = Places {
    a_scale: NONE,
    a_zero: 2,
    b: 1,
    b_scale: NONE,
    b_zero: 3,
    bias: NONE,
    y_scale: NONE,
    y_zero: NONE,
};
const LINEAR: Places =
    Places { a_scale: 1, a_zero: 2, b: 3, b_scale: 4, b_zero: 5, bias: 8, y_scale: 6, y_zero: 7 };

pub(super) fn conv_integer(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 4, 1)?;
    prepare(scope, INTEGER, Dtype::I32)
}

pub(super) fn qlinear_conv(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(8, 9, 1)?;
    prepare(scope, LINEAR, byte_input(scope, 7)?.dtype)
}

fn prepare(scope: &Scope<'_>, places: Places, dtype: Dtype) -> Result<Prepared, Fault> {
    let (x, weight) = (byte_input(scope, 0)?, byte_input(scope, places.b)?);
    let geometry = geometry(scope, x, weight)?;
    check_scale(scope, (places.a_scale, places.a_zero), x.dtype, &[1])?;
    check_scale(scope, (places.b_scale, places.b_zero), weight.dtype, &[1, geometry.filters])?;
    check_scale(scope, (places.y_scale, places.y_zero), dtype, &[1])?;
    if scope.optional(places.bias).is_some() {
        let bias = scope.typed(places.bias, &[Dtype::I32], "INT32")?;
        if bias.shape != [geometry.filters] {
            return Err(misfit("bias of QLinearConv", format!("[{}]", geometry.filters), bias));
        }
    }
    let output = output(scope, dtype, x, &geometry)?;
    let macs = output.count().saturating_mul((weight.elements() / geometry.filters.max(1)) as u64);
    let scratch = ConvI8::scratch_bytes(&geometry).unwrap_or(u64::MAX);
    let sums = if dtype == Dtype::I32 { 0 } else { output.count().saturating_mul(8) };
    let fresh = if scope.packed.is_some() { 0 } else { WeightsI8::bytes(&geometry) };
    let area = geometry.area();
    let signed = weight.dtype == Dtype::I8;
    let kernel = Conv { geometry, area, places, signed, dtype, ready: OnceLock::new() };
    Ok(Prepared::one(output, kernel)
        .macs(macs)
        .scratch_bytes(scratch.saturating_add(sums).saturating_add(fresh)))
}

/// Constant weights as tiles of filters.
pub(super) fn pack(scope: &Scope<'_>, isa: Isa, input: usize) -> Result<Option<Packed>, Fault> {
    let groups = usize::try_from(scope.attributes.int_or("group", 1)?).unwrap_or(0);
    let Some((source, shape)) = constant_bytes(scope, input) else {
        return Ok(None);
    };
    if !(3..=5).contains(&shape.len()) || groups == 0 || shape[0] % groups != 0 || shape.contains(&0) {
        return Ok(None);
    }
    let mut kernel = [1; 3];
    kernel[5 - shape.len()..].copy_from_slice(&shape[2..]);
    let geometry = Geometry {
        batch: 1,
        channels: shape[1].saturating_mul(groups),
        filters: shape[0],
        groups,
        image: kernel,
        kernel,
        strides: [1; 3],
        dilations: [1; 3],
        pads_begin: [0; 3],
        pads_end: [0; 3],
    };
    let weights = WeightsI8::pack(isa, &geometry, source);
    Ok(weights.map(|weights| Packed { buffers: weights.buffers(), replaces: vec![input] }))
}

#[derive(Debug)]
struct Conv {
    geometry: Geometry,
    area: usize,
    places: Places,
    /// Of the weights.
    signed: bool,
    dtype: Dtype,
    /// With the packed weights, once there has been a run.
    ready: OnceLock<Option<ConvI8>>,
}

impl Conv {
    fn packed(&self, call: &Call<'_>) -> Option<ConvI8> {
        let buffers = &call.packed?.buffers;
        let weights = WeightsI8::from_buffers(call.cpu.isa(), &self.geometry, self.signed, buffers)?;
        ConvI8::new(self.geometry.clone(), weights)
    }

    fn fresh(&self, call: &Call<'_>) -> Result<ConvI8, Fault> {
        let weights = WeightsI8::pack(call.cpu.isa(), &self.geometry, bytes(call, self.places.b)?);
        weights.and_then(|weights| ConvI8::new(self.geometry.clone(), weights)).ok_or_else(|| Fault::Shape {
            what: "weight of a convolution",
            expected: format!("{:?}", self.geometry),
            got: "another shape".to_owned(),
        })
    }

    /// Factors of the sums, one per filter.
    fn multipliers(&self, call: &Call<'_>) -> Result<Vec<f32>, Fault> {
        let (x, y) = (super::scale(call, self.places.a_scale)?, super::scale(call, self.places.y_scale)?);
        let weights = floats(call.input(self.places.b_scale)?);
        let of = |filter: usize| (x * weights[if weights.len() == 1 { 0 } else { filter }]) / y;
        Ok((0..self.geometry.filters).map(of).collect())
    }

    fn levels(
        &self,
        cpu: &Cpu,
        conv: &ConvI8,
        run: ConvI8Run<'_>,
        call: &Call<'_>,
        out: &mut [u8],
    ) -> Result<(), Fault> {
        let filters = self.geometry.filters;
        let multipliers = self.multipliers(call)?;
        let biases = call.optional(self.places.bias).and_then(|bias| match bias.data() {
            TensorData::I32(v) => Some(v.as_slice()),
            _ => None,
        });
        let levels = Levels::of_byte(self.dtype == Dtype::I8, zero(call, self.places.y_zero));
        // Threads finish pieces of different planes; a lock per piece is cheaper than a second pass over the
        // sums.
        let planes: Vec<Mutex<&mut [u8]>> = out.chunks_mut(self.area.max(1)).map(Mutex::new).collect();
        let epilogue = |image: usize, filter: usize, first: usize, sums: &mut [i32]| {
            let mut plane = planes[image * filters + filter].lock().unwrap_or_else(PoisonError::into_inner);
            let out = &mut plane[first..first + sums.len()];
            let bias = biases.map_or(0, |biases| biases[filter]);
            cpu.isa().run(Requantize { sums, bias, multiplier: multipliers[filter], levels, out });
        };
        conv.run(cpu, ConvI8Run { epilogue: Some(&epilogue), ..run });
        Ok(())
    }
}

impl Kernel for Conv {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let fresh;
        let conv = match self.ready.get_or_init(|| self.packed(call)) {
            Some(ready) => ready,
            None => {
                fresh = self.fresh(call)?;
                &fresh
            }
        };
        let count = call.elements(0);
        let zero_weights = zeros(call, self.places.b_zero);
        let (input, zero_input) = (bytes(call, 0)?, zero(call, self.places.a_zero));
        let run =
            |out| ConvI8Run { input, zero_input, zero_weights: zero_of(&zero_weights), out, epilogue: None };
        if self.dtype == Dtype::I32 {
            let mut out = vec![0; count];
            conv.run(call.cpu, run(&mut out));
            return Ok(vec![TensorData::I32(out)]);
        }
        let mut sums = call.cpu.shelf().take::<i32>(count);
        let sums = &mut sums.as_mut::<i32>()[..count];
        let data = byte_output(self.dtype, count, |out| self.levels(call.cpu, conv, run(sums), call, out))?;
        Ok(vec![data])
    }
}
