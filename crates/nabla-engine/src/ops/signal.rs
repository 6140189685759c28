//! Signals: discrete Fourier transforms, windows, the mel scale. Everything inside is f64.

use nabla_types::tensor::{Dtype, Tensor, TensorData};

use super::identity::{dtype_attribute, plain};
use super::real::{FUNCTION_MACS, FloatKernel, Floats, Real, Term, cost};
use super::{Call, FnKernel, Operator, Prepared, Scope, axis, misfit};
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::kernels::math::f64 as math;
use crate::onnx::upload::Upload;
use fourier::Fourier;

mod fourier;
#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("BlackmanWindow", plain, blackman),
    Operator::node("DFT", import_transform, transform),
    Operator::node("HammingWindow", plain, hamming),
    Operator::node("HannWindow", plain, hann),
    Operator::node("MelWeightMatrix", plain, mel),
    Operator::node("STFT", plain, short_time),
];

/// A known integer, as INT32 or INT64, from `least` to 2^28.
fn length(scope: &Scope<'_>, input: usize, what: &'static str, least: usize) -> Result<usize, Fault> {
    let got = scope.ints(input, what)?;
    let size = match got.as_slice() {
        [value] => usize::try_from(*value).ok().filter(|size| (least..=1 << 28).contains(size)),
        _ => None,
    };
    size.ok_or_else(|| Fault::Shape {
        what,
        expected: format!("one number from {least} to 2^28"),
        got: format!("{:?}", &got[..got.len().min(4)]),
    })
}

// Fourier.

/// The axis is an attribute (the first dimension behind the batch) before opset 20, and an input since.
fn import_transform(upload: &mut Upload<'_>) -> Result<(), Fault> {
    if upload.opset < 20 {
        let axis = upload.take_int("axis")?.unwrap_or(1);
        upload.set_input("axis", 2, Tensor::i64(&[], vec![axis])?)?;
    }
    Ok(())
}

fn transform(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 3, 1)?;
    let x = scope.float(0)?;
    let inverse = scope.attributes.flag_or("inverse", false)?;
    let onesided = scope.attributes.flag_or("onesided", false)?;
    let parts = match x.shape.last() {
        Some(parts @ (1 | 2)) if x.rank() >= 2 => *parts,
        _ => return Err(misfit("input of DFT", "2 dimensions or more, the last of 1 or 2", x)),
    };
    let given = match scope.optional_ints(2, "axis")?.as_deref() {
        None => -2,
        Some([axis]) => *axis,
        Some(_) => return Err(fault("axis", "one number", "another count")),
    };
    let along = axis("axis", given, x.rank())?;
    if along + 1 == x.rank() {
        return Err(fault("axis", "a dimension before the last", &given.to_string()));
    }
    let own = x.shape[along];
    let size = if scope.optional(1).is_some() {
        length(scope, 1, "length of a transform", 1)?
    } else if inverse && onesided {
        2 * own.saturating_sub(1)
    } else {
        own
    };
    if size == 0 {
        return Err(misfit("input of DFT", "elements along its axis", x));
    }
    if onesided && !inverse && parts == 2 {
        return Err(fault("onesided", "0 for a complex input", "1"));
    }
    let mut shape = x.shape.clone();
    (shape[along], shape[x.rank() - 1]) = match (onesided, inverse) {
        (true, true) => (size, 1),
        (true, false) => (size / 2 + 1, 2),
        (false, _) => (size, 2),
    };
    let output = scope.value(x.dtype, shape)?;
    let lines = cost(&x.shape[..along]).saturating_mul(cost(&x.shape[along + 1..x.rank() - 1]));
    let fourier = Fourier::new(size, inverse);
    let macs = lines.saturating_mul(fourier.macs());
    let line = scope.value(Dtype::F64, vec![size, 8])?;
    let kernel = Transform { shape: x.shape.clone(), along, size, fourier, onesided };
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel }).macs(macs).scratch_bytes(line.bytes()))
}

#[derive(Debug)]
struct Transform {
    shape: Vec<usize>,
    along: usize,
    size: usize,
    fourier: Fourier,
    onesided: bool,
}

impl FloatKernel for Transform {
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let x = R::input(call, 0)?;
        let parts = self.shape[self.shape.len() - 1];
        let own = self.shape[self.along];
        let outer: usize = self.shape[..self.along].iter().product();
        let inner: usize = self.shape[self.along + 1..self.shape.len() - 1].iter().product();
        let out_shape = call.shape(0);
        let (out_own, out_parts) = (out_shape[self.along], out_shape[out_shape.len() - 1]);
        let mut output = R::memory(call, call.elements(0));
        let table = self.fourier.table();
        let mut signal = vec![[0.0; 2]; self.size];
        let mut result = signal.clone();
        for line in 0..outer * inner {
            let (block, lane) = (line / inner, line % inner);
            signal.fill([0.0; 2]);
            for (at, value) in signal.iter_mut().enumerate().take(own) {
                let from = ((block * own + at) * inner + lane) * parts;
                *value = [x[from].wide(), if parts == 2 { x[from + 1].wide() } else { 0.0 }];
            }
            if self.onesided && self.fourier.inverse {
                mirror(&mut signal);
            }
            self.fourier.run(&table, &signal, &mut result);
            for (at, value) in result.iter().enumerate().take(out_own) {
                let to = ((block * out_own + at) * inner + lane) * out_parts;
                for (part, value) in value.iter().enumerate().take(out_parts) {
                    output[to + part] = R::of(*value);
                }
            }
        }
        Ok(vec![output])
    }
}

/// Fill the second half of a spectrum so that its signal is real.
fn mirror(spectrum: &mut [[f64; 2]]) {
    let size = spectrum.len();
    spectrum[0][1] = 0.0;
    if size.is_multiple_of(2) {
        spectrum[size / 2][1] = 0.0;
    }
    for at in size / 2 + 1..size {
        let [real, imaginary] = spectrum[size - at];
        spectrum[at] = [real, -imaginary];
    }
}

/// Transforms of windows along a signal.
fn short_time(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(2, 4, 1)?;
    let x = scope.float(0)?;
    let onesided = scope.attributes.flag_or("onesided", true)?;
    let (batch, own, parts) = match *x.shape.as_slice() {
        [batch, own, parts @ (1 | 2)] => (batch, own, parts),
        [batch, own] => (batch, own, 1),
        _ => return Err(misfit("signal of STFT", "[batch, length, 1 or 2]", x)),
    };
    let step = length(scope, 1, "step between frames", 1)?;
    let window = match scope.optional(2) {
        Some(_) => match scope.float(2)?.shape.as_slice() {
            [size] => Some(*size),
            _ => return Err(misfit("window of STFT", "1 dimension", scope.float(2)?)),
        },
        None => None,
    };
    let size = match scope.optional(3) {
        Some(_) => length(scope, 3, "length of a frame", 1)?,
        None => window.unwrap_or(own),
    };
    if window.is_some_and(|window| window != size) || size > own || size == 0 {
        let expected = format!("a frame of 1 to {own} elements, as long as the window");
        return Err(Fault::Shape { what: "length of a frame", expected, got: size.to_string() });
    }
    if onesided && parts == 2 {
        return Err(fault("onesided", "0 for a complex signal", "1"));
    }
    let frames = (own - size) / step + 1;
    let bins = if onesided { size / 2 + 1 } else { size };
    let output = scope.value(x.dtype, vec![batch, frames, bins, 2])?;
    let fourier = Fourier::new(size, false);
    let macs = ((batch * frames) as u64).saturating_mul(fourier.macs());
    let kernel = ShortTime { batch, own, parts, step, size, frames, fourier };
    let scratch = scope.value(Dtype::F64, vec![size, 8])?.bytes();
    Ok(Prepared::one(output, Floats { dtype: x.dtype, kernel }).macs(macs).scratch_bytes(scratch))
}

#[derive(Debug)]
struct ShortTime {
    batch: usize,
    own: usize,
    parts: usize,
    step: usize,
    size: usize,
    frames: usize,
    fourier: Fourier,
}

impl FloatKernel for ShortTime {
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, window) = (R::input(call, 0)?, R::optional(call, 2)?);
        let bins = call.shape(0)[2];
        let mut output = Vec::with_capacity(call.elements(0));
        let table = self.fourier.table();
        let mut signal = vec![[0.0; 2]; self.size];
        let mut result = signal.clone();
        for index in 0..self.batch * self.frames {
            let first = index / self.frames * self.own + index % self.frames * self.step;
            for (at, value) in signal.iter_mut().enumerate() {
                let factor = window.as_ref().map_or(1.0, |window| window[at].wide());
                for (part, value) in value.iter_mut().enumerate().take(self.parts) {
                    *value = x[(first + at) * self.parts + part].wide() * factor;
                }
            }
            self.fourier.run(&table, &signal, &mut result);
            output.extend(result[..bins].iter().flatten().map(|value| R::of(*value)));
        }
        Ok(vec![output])
    }
}

// Windows.

/// `0.42 - 0.5 cos(2 pi n / N) + 0.08 cos(4 pi n / N)`.
fn blackman(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    window(scope, [0.42, -0.5, 0.08])
}

/// `25/46 - 21/46 cos(2 pi n / N)`.
fn hamming(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    window(scope, [25.0 / 46.0, -21.0 / 46.0, 0.0])
}

/// `1/2 - 1/2 cos(2 pi n / N)`.
fn hann(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    window(scope, [0.5, -0.5, 0.0])
}

#[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
fn window(scope: &Scope<'_>, [constant, first, second]: [f64; 3]) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let size = length(scope, 0, "size of a window", 0)?;
    let periodic = scope.attributes.flag_or("periodic", true)?;
    let dtype = number(scope)?;
    let output = scope.value(dtype, vec![size])?;
    let macs = output.count().saturating_mul(2 * FUNCTION_MACS);
    let period = if periodic { size as f64 } else { size as f64 - 1.0 };
    let kernel = FnKernel(move |_: &Call<'_>| {
        let value = |n: usize| {
            let angle = n as f64 * (2.0 * std::f64::consts::PI) / period;
            let turns = if second == 0.0 { 0.0 } else { second * math::cos(2.0 * angle) };
            constant + first * math::cos(angle) + turns
        };
        Ok(vec![write(dtype, (0..size).map(value).collect())])
    });
    Ok(Prepared::one(output, kernel).macs(macs))
}

/// The attribute `output_datatype`, a number type.
fn number(scope: &Scope<'_>) -> Result<Dtype, Fault> {
    match dtype_attribute(scope, "output_datatype", Some(Dtype::F32))? {
        Dtype::Bool | Dtype::String => Err(fault("output_datatype", "a number type", "another")),
        dtype => Ok(dtype),
    }
}

/// Numbers as a dtype; to integers toward zero, as a cast does.
fn write(dtype: Dtype, mut values: Vec<f64>) -> TensorData {
    if dtype.size_bytes().is_some() && !super::real::FLOATS.contains(&dtype) {
        values.iter_mut().for_each(|value| *value = value.trunc());
    }
    match dtype {
        Dtype::F32 => TensorData::F32(values.into_iter().map(<f32 as Real>::of).collect()),
        _ => f64::write(values, dtype),
    }
}

/// Weights from the bins of a spectrum to mel bands: triangles between neighbouring bands.
#[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
fn mel(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(5, 5, 1)?;
    let bands = length(scope, 0, "number of mel bands", 0)?;
    let size = length(scope, 1, "length of a transform", 0)?;
    let rate = length(scope, 2, "sample rate", 1)? as f64;
    let [low, high] = [(3, "lower edge"), (4, "upper edge")].map(|(input, what)| {
        scope.float(input)?;
        match f64::read(scope.constant(input, what)?.data()).as_deref() {
            Some([edge]) if *edge >= 0.0 && *edge <= 1e9 => {
                Ok(2595.0 * math::ln_1p(edge / 700.0) / std::f64::consts::LN_10)
            }
            _ => {
                Err(Fault::Shape { what, expected: "0 to 1e9".to_owned(), got: "another number".to_owned() })
            }
        }
    });
    let (low, high) = (low?, high?);
    let dtype = number(scope)?;
    let rows = size / 2 + 1;
    let output = scope.value(dtype, vec![rows, bands])?;
    let step = (high - low) / (bands as f64 + 2.0);
    let bin = |band: usize| {
        let mel = band as f64 * step + low;
        let hertz = 700.0 * math::expm1(mel / 2595.0 * std::f64::consts::LN_10);
        ((size as f64 + 1.0) * hertz / rate).floor()
    };
    // The edges are in order only if the greatest is within; below it all are.
    if [bin(0), bin(bands + 1)].iter().any(|bin| !(0.0..=rows as f64).contains(bin))
        || bin(bands) >= rows as f64
    {
        let (expected, got) = (format!("edges within {rows} bins"), format!("bin {}", bin(bands + 1)));
        return Err(Fault::Shape { what: "edges of the mel bands", expected, got });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 2^28")]
    let bins: Vec<usize> = (0..bands + 2).map(|band| (bin(band) as usize).min(rows)).collect();
    let macs = output.count().saturating_add((bands as u64).saturating_mul(4 * FUNCTION_MACS));
    let kernel = FnKernel(move |call: &Call<'_>| {
        let mut values = vec![0.0; call.elements(0)];
        for (band, edges) in bins.windows(3).enumerate() {
            let (first, center, last) = (edges[0], edges[1].max(edges[0]), edges[2]);
            if center == first && center < rows {
                values[center * bands + band] = 1.0;
            }
            for row in first..if center > first { (center + 1).min(rows) } else { first } {
                values[row * bands + band] = (row - first) as f64 / (center - first) as f64;
            }
            for row in center..last.min(rows) {
                values[row * bands + band] = (last - row) as f64 / (last - center) as f64;
            }
        }
        Ok(vec![write(dtype, values)])
    });
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(rows as u64 * bands as u64 * 8))
}
