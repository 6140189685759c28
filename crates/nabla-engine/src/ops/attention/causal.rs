//! Causal convolution of each channel alone, with the last inputs carried to the next call.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::real::{FloatKernel, Floats, Real, alike};
use crate::ops::{Call, Prepared, Scope, misfit};

/// One chain over the taps in order from `+0`, then the bias; SiLU is `x * sigmoid(x)`.
pub(super) fn convolution(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(2, 4, 1, 2)?;
    let (x, weight) = (scope.float(0)?, scope.float(1)?);
    let silu = match scope.attributes.text_or("activation", "none")? {
        "none" => false,
        "silu" | "swish" => true,
        other => return Err(fault("activation", "none, silu or swish", other)),
    };
    let &[batch, channels, length] = x.shape.as_slice() else {
        return Err(misfit("input of CausalConvWithState", "3 dimensions", x));
    };
    let taps = match *weight.shape.as_slice() {
        [of, 1, taps] if of == channels && taps > 0 => taps,
        _ => return Err(misfit("weight of CausalConvWithState", format!("[{channels}, 1, taps]"), weight)),
    };
    scope.optional_float(2, "bias", &[channels])?;
    let state = vec![batch, channels, taps - 1];
    scope.optional_float(3, "past state", &state)?;
    alike(scope)?;
    let mut outputs = vec![x.clone()];
    if scope.outputs == 2 {
        outputs.push(scope.value(x.dtype, state)?);
    }
    let macs = x.count().saturating_mul(taps as u64 + 32);
    let kernel = Causal { channels, length, taps, silu };
    Ok(Prepared::new(outputs, Floats { dtype: x.dtype, kernel }).macs(macs))
}

#[derive(Debug)]
struct Causal {
    channels: usize,
    length: usize,
    taps: usize,
    silu: bool,
}

impl FloatKernel for Causal {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, weight) = (R::input(call, 0)?, R::input(call, 1)?);
        let (bias, past) = (R::optional(call, 2)?, R::optional(call, 3)?);
        let Self { channels, length, taps, silu } = *self;
        let carried = taps - 1;
        let lines = call.outputs[0].shape[..2].iter().product::<usize>();
        let mut output = R::memory(call, x.len());
        let mut state = R::zeros(lines * carried);
        let mut padded = R::zeros(carried + length);
        for line in 0..lines {
            let channel = line % channels;
            if let Some(past) = &past {
                padded[..carried].copy_from_slice(&past[line * carried..][..carried]);
            }
            padded[carried..].copy_from_slice(&x[line * length..][..length]);
            let to = &mut output[line * length..][..length];
            to.fill(R::ZERO);
            for (tap, weight) in weight[channel * taps..][..taps].iter().enumerate() {
                for (to, x) in to.iter_mut().zip(&padded[tap..]) {
                    *to = R::chain::<F>(*x, *weight, *to);
                }
            }
            if let Some(bias) = &bias {
                to.iter_mut().for_each(|to| *to += bias[channel]);
            }
            if silu {
                for to in to.iter_mut() {
                    *to = *to * to.sigmoid::<F>();
                }
            }
            state[line * carried..][..carried].copy_from_slice(&padded[length..]);
        }
        Ok(vec![output, state].into_iter().take(call.outputs.len()).collect())
    }
}
