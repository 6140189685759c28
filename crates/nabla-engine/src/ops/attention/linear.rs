//! Linear attention: a matrix per head that tokens write to and read from, one after the other.

use super::heads;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::products::Product;
use crate::ops::real::{FloatKernel, Floats, Real, cost, widest};
use crate::ops::{Call, Prepared, Scope, misfit};

/// For each token: `S = S * exp(g)`; `v = beta * (v - k S)`; `S = fma(k, v, S)`; `(q S) * scale`. Products
/// are chains over the key's elements in order.
pub(super) fn attention(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(3, 6, 1, 2)?;
    let (gated, delta) = match scope.attributes.text_or("update_rule", "gated_delta")? {
        "linear" => (false, false),
        "gated" => (true, false),
        "delta" => (false, true),
        "gated_delta" => (true, true),
        other => return Err(fault("update_rule", "linear, gated, delta or gated_delta", other)),
    };
    let (query_heads, heads) = (heads(scope, "q_num_heads")?, heads(scope, "kv_num_heads")?);
    if !query_heads.is_multiple_of(heads) {
        return Err(fault("q_num_heads", &format!("a multiple of {heads}"), &query_heads.to_string()));
    }
    let scale = scope.attributes.float_or("scale", 0.0)?;
    // A hint for other engines.
    scope.attributes.int_or("chunk_size", 64)?;
    let (query, value) = (scope.float(0)?, scope.float(2)?);
    let (&[batch, tokens, wide], &[_, _, values]) = (query.shape.as_slice(), value.shape.as_slice()) else {
        return Err(misfit("query or value of LinearAttention", "3 dimensions", query));
    };
    if !wide.is_multiple_of(query_heads) || !values.is_multiple_of(heads) {
        return Err(misfit("query or value of LinearAttention", "whole heads as its last size", query));
    }
    let (k_size, v_size) = (wide / query_heads, values / heads);
    scope.float_shaped(1, "key", &[batch, tokens, heads * k_size])?;
    scope.float_shaped(2, "value", &[batch, tokens, values])?;
    let state = vec![batch, heads, k_size, v_size];
    let past = scope.optional_float(3, "past state", &state)?;
    let decays = gate(scope, 4, "decay", gated, [batch, tokens], &[heads, heads * k_size])?;
    let betas = gate(scope, 5, "beta", delta, [batch, tokens], &[heads, 1])?;
    let mut outputs = vec![scope.value(query.dtype, vec![batch, tokens, query_heads * v_size])?];
    if scope.outputs == 2 {
        outputs.push(scope.value(past.map_or(query.dtype, |past| past.dtype), state)?);
    }
    let macs = cost(&[batch, tokens, query_heads + 3 * heads, k_size, v_size]);
    let scratch = cost(&[batch, heads, k_size, v_size, 8]);
    let kernel =
        Linear { batch, tokens, heads, group: query_heads / heads, k_size, v_size, scale, decays, betas };
    Ok(Prepared::new(outputs, Floats { dtype: widest(scope), kernel }).macs(macs).scratch_bytes(scratch))
}

/// The last size of a gate; `None` if the rule has none.
fn gate(
    scope: &Scope<'_>,
    input: usize,
    what: &'static str,
    needed: bool,
    [batch, tokens]: [usize; 2],
    allowed: &[usize],
) -> Result<Option<usize>, Fault> {
    if scope.optional(input).is_none() && !needed {
        return Ok(None);
    }
    let ty = scope.float(input)?;
    match *ty.shape.as_slice() {
        [b, t, last] if needed && b == batch && t == tokens && allowed.contains(&last) => Ok(Some(last)),
        _ => {
            let expected =
                if needed { format!("[{batch}, {tokens}, one of {allowed:?}]") } else { "none".to_owned() };
            Err(misfit(what, expected, ty))
        }
    }
}

#[derive(Debug)]
struct Linear {
    batch: usize,
    tokens: usize,
    heads: usize,
    /// Query heads that share a state.
    group: usize,
    k_size: usize,
    v_size: usize,
    /// Zero for `1 / sqrt(k_size)`.
    scale: f32,
    decays: Option<usize>,
    betas: Option<usize>,
}

impl FloatKernel for Linear {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (q, k, v) = (R::input(call, 0)?, R::input(call, 1)?, R::input(call, 2)?);
        let Self { batch, tokens, heads, group, k_size, v_size, .. } = *self;
        let decay = R::optional(call, 4)?;
        let beta = R::optional(call, 5)?;
        let scale = if self.scale == 0.0 { R::ONE / R::count(k_size).sqrt() } else { R::of_f32(self.scale) };
        let size = k_size * v_size;
        let mut state = match R::optional(call, 3)? {
            Some(past) => past.into_owned(),
            None => R::zeros(batch * heads * size),
        };
        let mut output = R::zeros(batch * tokens * heads * group * v_size);
        let (mut seen, mut written) = (R::zeros(v_size), R::zeros(v_size));
        for index in 0..batch * tokens * heads {
            // Rows, then heads, then tokens would do as well: heads do not meet.
            let (token, head) = (index / heads, index % heads);
            let own = &mut state[(token / tokens * heads + head) * size..][..size];
            let k = &k[index * k_size..][..k_size];
            if let (Some(decay), Some(last)) = (&decay, self.decays) {
                let per_key = last != heads || k_size == 1;
                for (at, line) in own.chunks_exact_mut(v_size.max(1)).enumerate() {
                    let from = if per_key { token * last + head * k_size + at } else { token * last + head };
                    let factor = decay[from].exp::<F>();
                    line.iter_mut().for_each(|s| *s = *s * factor);
                }
            }
            written.copy_from_slice(&v[index * v_size..][..v_size]);
            if let (Some(beta), Some(last)) = (&beta, self.betas) {
                Product { m: 1, k: k_size, n: v_size, a: k, b: own, c: &mut seen }.run(call.cpu);
                let beta = beta[token * last + if last == 1 { 0 } else { head }];
                for (v, seen) in written.iter_mut().zip(&seen) {
                    *v = beta * (*v - *seen);
                }
            }
            for (line, k) in own.chunks_exact_mut(v_size.max(1)).zip(k) {
                for (s, v) in line.iter_mut().zip(&written) {
                    *s = R::chain::<F>(*k, *v, *s);
                }
            }
            let a = &q[index * group * k_size..][..group * k_size];
            let c = &mut output[index * group * v_size..][..group * v_size];
            Product { m: group, k: k_size, n: v_size, a, b: own, c: &mut *c }.run(call.cpu);
            c.iter_mut().for_each(|c| *c = *c * scale);
        }
        Ok(vec![output, state].into_iter().take(call.outputs.len()).collect())
    }
}
