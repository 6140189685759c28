//! Linear quantisation: reals to levels and back.

use std::borrow::Cow;

use nabla_types::tensor::{Dtype, Tensor, TensorData, bf16_from_f64, f16_from_f64};

use super::identity::{dtype_attribute, plain};
use super::{Call, FnKernel, Kernel, Operator, Prepared, Scope, axis, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::quant::{Dequantize, Levels, Quantize, Stored};
use crate::kernels::{Body, Fma, Isa};
use crate::plan::ValueType;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("DequantizeLinear", plain, dequantize),
    Operator::node("DynamicQuantizeLinear", plain, dynamic),
    Operator::node("QuantizeLinear", plain, quantize),
];

const SCALES: &[Dtype] = &[Dtype::F32, Dtype::F16, Dtype::BF16];
const NARROW: &[Dtype] = &[Dtype::I8, Dtype::U8, Dtype::I16, Dtype::U16];
/// Elements below which work is not shared.
const GRAIN: usize = 1 << 15;

/// Which scale an element has.
#[derive(Debug, Clone, Copy)]
enum Layout {
    /// The same for all.
    One,
    /// Runs of `run` neighbours take turns with `count` scales.
    Axis { run: usize, count: usize },
    /// `block` entries along an axis share a scale; `inner` neighbours lie behind each entry.
    Blocks { size: usize, inner: usize, block: usize },
}

impl Layout {
    /// From the shapes and the attributes `axis` and `block_size`.
    fn read(scope: &Scope<'_>, x: &ValueType, scale: &ValueType) -> Result<Self, Fault> {
        let block = scope.attributes.int_or("block_size", 0)?;
        let given = scope.attributes.int_or("axis", 1)?;
        if scale.elements() == 1 && scale.rank() <= 1 && block == 0 {
            return Ok(Self::One);
        }
        let at = axis("axis", given, x.rank())?;
        let inner = x.shape[at + 1..].iter().product();
        if block == 0 {
            if scale.rank() != 1 || scale.shape[0] != x.shape[at] {
                let expected = format!("one element, or {} for axis {at}", x.shape[at]);
                return Err(misfit("scale", expected, scale));
            }
            return Ok(Self::Axis { run: inner, count: x.shape[at] });
        }
        let block =
            usize::try_from(block).map_err(|_| fault("block_size", "0 or a size", &block.to_string()))?;
        let mut shape = x.shape.clone();
        shape[at] = x.shape[at].div_ceil(block);
        if scale.shape != shape {
            return Err(misfit("scale", format!("{shape:?}, one for each block"), scale));
        }
        Ok(Self::Blocks { size: x.shape[at], inner, block })
    }

    /// Neighbours that have one scale, and the scale of the element `first`, where such a run begins.
    fn run(self, first: usize, count: usize) -> (usize, usize) {
        match self {
            Self::One => (count.max(1), 0),
            Self::Axis { run, count } => (run.max(1), first / run.max(1) % count.max(1)),
            Self::Blocks { size, inner, block } => {
                let (entry, behind) = (first / inner.max(1), first % inner.max(1));
                let (outer, at) = (entry / size.max(1), entry % size.max(1));
                (1, (outer * size.div_ceil(block) + at / block) * inner + behind)
            }
        }
    }
}

/// Check what both directions share: scale and zero point.
fn parameters(scope: &Scope<'_>, x: &ValueType, zeros: Dtype) -> Result<Layout, Fault> {
    scope.arity(2, 3, 1)?;
    let scale = scope.typed(1, SCALES, "FP32, FP16 or BFLOAT16")?;
    if let Some(zero) = scope.optional(2) {
        scope.typed(2, &[zeros], "the type of the levels")?;
        if zero.ty.elements() != scale.elements() {
            return Err(misfit("zero point", "as many elements as the scale", zero.ty));
        }
    }
    Layout::read(scope, x, scale)
}

/// `level(x / scale)`.
fn quantize(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    let x = scope.typed(
        0,
        &[Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::I32],
        "FP32, FP16, BFLOAT16 or INT32",
    )?;
    let given = scope.optional(2).map(|zero| zero.ty.dtype);
    let wanted = match scope.attributes.int_or("output_dtype", 0)? {
        0 => None,
        _ => Some(dtype_attribute(scope, "output_dtype", None)?),
    };
    let dtype = given.or(wanted).unwrap_or(Dtype::U8);
    if wanted.is_some_and(|wanted| wanted != dtype) {
        return Err(fault("output_dtype", "the type of the zero point", "another"));
    }
    if !NARROW.contains(&dtype) {
        return Err(Fault::Dtype { input: 2, expected: "INT8, UINT8, INT16 or UINT16", got: dtype });
    }
    match scope.attributes.int_or("precision", 0)? {
        0 | 1 => {}
        got => return Err(fault("precision", "FP32", &format!("type number {got}"))),
    }
    // It speaks of 8-bit floats only.
    scope.attributes.flag_or("saturate", true)?;
    let layout = parameters(scope, x, dtype)?;
    let output = scope.value(dtype, x.shape.clone())?;
    let scratch = x.count().saturating_mul(4).saturating_add(scope.input(1)?.count().saturating_mul(8));
    let kernel = QuantizeKernel { layout, to: dtype };
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(2)).scratch_bytes(scratch))
}

/// `(level - zero) * scale`.
fn dequantize(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    const LEVELS: &[Dtype] = &[Dtype::I8, Dtype::U8, Dtype::I16, Dtype::U16, Dtype::I32];
    let x = scope.typed(0, LEVELS, "INT8, UINT8, INT16, UINT16 or INT32")?;
    let scale = scope.typed(1, SCALES, "FP32, FP16 or BFLOAT16")?.dtype;
    let dtype = match scope.attributes.int_or("output_dtype", 0)? {
        0 => scale,
        _ => dtype_attribute(scope, "output_dtype", None)?,
    };
    if !SCALES.contains(&dtype) {
        return Err(fault("output_dtype", "FP32, FP16 or BFLOAT16", &format!("{dtype}")));
    }
    let layout = parameters(scope, x, x.dtype)?;
    let output = scope.value(dtype, x.shape.clone())?;
    let scratch = x.count().saturating_mul(4).saturating_add(scope.input(1)?.count().saturating_mul(8));
    let kernel = DequantizeKernel { layout, to: dtype };
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(2)).scratch_bytes(scratch))
}

/// Any float, or INT32, as f32.
pub(crate) fn floats(tensor: &Tensor) -> Cow<'_, [f32]> {
    #[expect(clippy::cast_precision_loss, reason = "rounding to nearest is the rule")]
    match tensor.data() {
        TensorData::F32(v) => Cow::Borrowed(v),
        TensorData::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
        TensorData::BF16(v) => v.iter().map(|x| x.to_f32()).collect(),
        TensorData::I32(v) => v.iter().map(|x| *x as f32).collect(),
        _ => Cow::Borrowed(&[]),
    }
}

/// Integers of up to 32 bits.
pub(crate) fn integers(tensor: &Tensor) -> Vec<i32> {
    match tensor.data() {
        TensorData::I8(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::U8(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::I16(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::U16(v) => v.iter().map(|x| i32::from(*x)).collect(),
        TensorData::I32(v) => v.clone(),
        _ => Vec::new(),
    }
}

/// f32 as another float type, rounded once.
fn narrowed(values: Vec<f32>, dtype: Dtype) -> TensorData {
    match dtype {
        Dtype::F16 => TensorData::F16(values.into_iter().map(|x| f16_from_f64(f64::from(x))).collect()),
        Dtype::BF16 => TensorData::BF16(values.into_iter().map(|x| bf16_from_f64(f64::from(x))).collect()),
        _ => TensorData::F32(values),
    }
}

/// Scales and zero points of a call.
fn scales<'a>(call: &Call<'a>) -> Result<(Cow<'a, [f32]>, Vec<i32>), Fault> {
    let scales = floats(call.input(1)?);
    let zeros = call.optional(2).map_or_else(|| vec![0; scales.len()], integers);
    Ok((scales, zeros))
}

#[derive(Debug)]
struct QuantizeKernel {
    layout: Layout,
    to: Dtype,
}

impl Kernel for QuantizeKernel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let x = floats(call.input(0)?);
        Ok(vec![match self.to {
            Dtype::I8 => {
                let mut out = vec![0_i8; x.len()];
                self.fill(call, &x, [-128, 127], bytemuck::cast_slice_mut::<_, u8>(&mut out))?;
                TensorData::I8(out)
            }
            Dtype::I16 => {
                let mut out = vec![0_i16; x.len()];
                self.fill(call, &x, [-32768, 32767], bytemuck::cast_slice_mut::<_, u16>(&mut out))?;
                TensorData::I16(out)
            }
            Dtype::U16 => {
                let mut out = vec![0_u16; x.len()];
                self.fill(call, &x, [0, 65535], &mut out)?;
                TensorData::U16(out)
            }
            _ => {
                let mut out = vec![0_u8; x.len()];
                self.fill(call, &x, [0, 255], &mut out)?;
                TensorData::U8(out)
            }
        }])
    }
}

impl QuantizeKernel {
    fn fill<T: Stored + Send>(
        &self,
        call: &Call<'_>,
        x: &[f32],
        [least, most]: [i32; 2],
        out: &mut [T],
    ) -> Result<(), Fault> {
        let (scales, zeros) = scales(call)?;
        let isa = call.cpu.isa();
        let fill = |x: &[f32], index: usize, out: &mut [T]| {
            let levels = Levels::new(least, most, zeros[index]);
            isa.run(Quantize { x, scale: scales[index], levels, out });
        };
        if matches!(self.layout, Layout::One) {
            call.cpu.chunks(out, GRAIN, 2 * GRAIN, |chunk, out| {
                fill(&x[chunk * GRAIN..chunk * GRAIN + out.len()], 0, out);
            });
            return Ok(());
        }
        let mut at = 0;
        while at < x.len() {
            let (run, index) = self.layout.run(at, x.len());
            fill(&x[at..at + run], index, &mut out[at..at + run]);
            at += run;
        }
        Ok(())
    }
}

#[derive(Debug)]
struct DequantizeKernel {
    layout: Layout,
    to: Dtype,
}

impl Kernel for DequantizeKernel {
    fn run(&self, call: &Call<'_>) -> Result<Vec<TensorData>, Fault> {
        let mut out = call.f32s(call.elements(0));
        match call.input(0)?.data() {
            TensorData::I8(v) => self.fill(call, v, &mut out)?,
            TensorData::U8(v) => self.fill(call, v, &mut out)?,
            TensorData::I16(v) => self.fill(call, v, &mut out)?,
            TensorData::U16(v) => self.fill(call, v, &mut out)?,
            TensorData::I32(v) => self.fill(call, v, &mut out)?,
            other => return Err(Fault::Dtype { input: 0, expected: "levels", got: other.dtype() }),
        }
        Ok(vec![narrowed(out, self.to)])
    }
}

impl DequantizeKernel {
    fn fill<T: Copy + Into<i32> + Sync>(
        &self,
        call: &Call<'_>,
        x: &[T],
        out: &mut [f32],
    ) -> Result<(), Fault> {
        let (scales, zeros) = scales(call)?;
        let isa = call.cpu.isa();
        let fill = |x: &[T], index: usize, out: &mut [f32]| {
            isa.run(Dequantize { x, scale: scales[index], zero: zeros[index], out });
        };
        if matches!(self.layout, Layout::One) {
            call.cpu.chunks(out, GRAIN, 2 * GRAIN, |chunk, out| {
                fill(&x[chunk * GRAIN..chunk * GRAIN + out.len()], 0, out);
            });
            return Ok(());
        }
        let mut at = 0;
        while at < x.len() {
            let (run, index) = self.layout.run(at, x.len());
            fill(&x[at..at + run], index, &mut out[at..at + run]);
            at += run;
        }
        Ok(())
    }
}

/// UINT8 over the range of the input, which always holds 0.
fn dynamic(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 3)?;
    let x = scope.f32(0)?;
    let y = scope.value(Dtype::U8, x.shape.clone())?;
    let (scale, zero) = (scope.value(Dtype::F32, Vec::new())?, scope.value(Dtype::U8, Vec::new())?);
    let kernel = FnKernel(|call: &Call<'_>| {
        let (x, isa) = (call.f32(0)?, call.cpu.isa());
        let (scale, zero) = chosen(isa, x);
        let mut out = vec![0; x.len()];
        let levels = Levels::new(0, 255, i32::from(zero));
        call.cpu.chunks(&mut out, GRAIN, 2 * GRAIN, |chunk, out| {
            let x = &x[chunk * GRAIN..chunk * GRAIN + out.len()];
            isa.run(Quantize { x, scale, levels, out });
        });
        Ok(vec![TensorData::U8(out), TensorData::F32(vec![scale]), TensorData::U8(vec![zero])])
    });
    Ok(Prepared::new(vec![y, scale, zero], kernel).macs(x.count().saturating_mul(3)))
}

/// Scale and zero point for these values.
fn chosen(isa: Isa, x: &[f32]) -> (f32, u8) {
    let [least, most] = isa.run(Range(x));
    let scale = if least < most { (most - least) / 255.0 } else { 1.0 };
    let zero = Levels::new(0, 255, 0).level(-least / scale);
    (scale, u8::low(zero))
}

/// The least and the greatest of the values and 0; NaN takes no part.
struct Range<'a>(&'a [f32]);

impl Body for Range<'_> {
    type Out = [f32; 2];

    #[inline(always)]
    fn run<F: Fma>(self) -> [f32; 2] {
        const LANES: usize = 16;
        let (mut least, mut most) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        let (rows, rest) = self.0.as_chunks::<LANES>();
        let mut take = |lane: usize, x: f32| {
            least[lane] = if x < least[lane] { x } else { least[lane] };
            most[lane] = if x > most[lane] { x } else { most[lane] };
        };
        for row in rows {
            for (lane, x) in row.iter().enumerate() {
                take(lane, *x);
            }
        }
        for (lane, x) in rest.iter().enumerate() {
            take(lane, *x);
        }
        let fold = |all: [f32; LANES], f: fn(f32, f32) -> bool| {
            all.into_iter().fold(0.0, |best, x| if f(x, best) { x } else { best })
        };
        [fold(least, |x, y| x < y), fold(most, |x, y| x > y)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::onnx::testing::{FLOAT, File, Value, run};

    #[test]
    fn ties_go_to_even_and_the_rest_saturates() {
        let model = File::new()
            .input("x", FLOAT, &["6"])
            .output("y")
            .weight("s", &[], &[2.0])
            .node("QuantizeLinear", &["x", "s"], &["y"], &[])
            .import();
        let x = [1.0, 3.0, -1.0, 1e30, f32::NAN, f32::INFINITY];
        let y = run(model.unwrap(), &[("x", &[6], &x)]).unwrap();
        let levels = Tensor::new(vec![6], TensorData::U8(vec![0, 2, 0, 255, 0, 255]));
        assert_eq!(y[0], levels.unwrap());
    }

    #[test]
    fn hostile_axes_and_blocks_are_refused() {
        for (name, value) in [("axis", 7), ("axis", i64::MIN), ("block_size", -1), ("block_size", i64::MAX)] {
            let model = File::new()
                .input("x", FLOAT, &["2", "3"])
                .output("y")
                .weight("s", &[2, 2], &[1.0; 4])
                .node("QuantizeLinear", &["x", "s"], &["y"], &[(name, Value::Int(value))])
                .import();
            assert!(model.is_err(), "{name} {value}");
        }
    }

    #[test]
    fn a_range_holds_zero_and_skips_nan() {
        assert_eq!(chosen(Isa::Scalar, &[]), (1.0, 0));
        assert_eq!(chosen(Isa::Scalar, &[f32::NAN, 2.55]), (2.55 / 255.0, 0));
        assert_eq!(chosen(Isa::Scalar, &[-2.55]).1, 255);
    }
}
