//! Scaled dot-product attention: masks, windows, shared key heads, caches.
//!
//! # Rules
//! - `(q * s) (k * s)`, with `s` the square root of the scale, rounded; then the soft cap, then the sum of
//!   all masks, then the softmax, then the product with the values. Products are chains.
//! - A query that may see no key gives zeros.

use super::heads;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::products::Product;
use crate::ops::real::{FUNCTION_MACS, FloatKernel, Floats, Real, cost, widest};
use crate::ops::{Call, Prepared, Scope, misfit};
use crate::plan::ValueType;
use nabla_types::tensor::{Dtype, TensorData};

pub(super) fn attention(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity_between(3, 7, 1, 4)?;
    let sizes = sizes(scope)?;
    let rules = rules(scope, &sizes)?;
    let Sizes { batch, query_heads, heads, queries, past, total, size, value_size, packed, .. } = sizes;
    let dtype = scope.float(0)?.dtype;
    let out = match packed {
        true => vec![batch, queries, query_heads * value_size],
        false => vec![batch, query_heads, queries, value_size],
    };
    let all = [
        (dtype, out),
        (scope.float(1)?.dtype, vec![batch, heads, total, size]),
        (scope.float(2)?.dtype, vec![batch, heads, total, value_size]),
        (dtype, vec![batch, query_heads, queries, total]),
    ];
    let outputs = all.into_iter().take(scope.outputs).map(|(dtype, shape)| scope.value(dtype, shape));
    let outputs = outputs.collect::<Result<Vec<_>, _>>()?;
    let _ = past;
    let pairs = cost(&[batch, query_heads, queries, total]);
    let macs = pairs.saturating_mul((size + value_size) as u64 + 2 * FUNCTION_MACS);
    let group = query_heads / heads;
    let scores =
        cost(&[group, queries, total]).saturating_add(cost(&[batch, heads, total, size + value_size]));
    // The scores of one group of heads, and caches, are held whole.
    scope.value(dtype, vec![group, queries, total])?;
    let wide = softmax_in_double(scope)? || widest(scope) == Dtype::F64;
    let kernel = Scaled { sizes, rules };
    let floats = Floats { dtype: if wide { Dtype::F64 } else { Dtype::F32 }, kernel };
    Ok(Prepared::new(outputs, floats).macs(macs).scratch_bytes(scores.saturating_mul(16)))
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    batch: usize,
    query_heads: usize,
    heads: usize,
    queries: usize,
    /// Keys of this call, of the cache, and together.
    keys: usize,
    past: usize,
    total: usize,
    size: usize,
    value_size: usize,
    /// Three dimensions: the heads are in the last one.
    packed: bool,
}

fn sizes(scope: &Scope<'_>) -> Result<Sizes, Fault> {
    let (q, k, v) = (scope.float(0)?, scope.float(1)?, scope.float(2)?);
    let packed = q.rank() == 3;
    let given =
        if packed { Some((heads(scope, "q_num_heads")?, heads(scope, "kv_num_heads")?)) } else { None };
    if given.is_none() {
        // Opset 23 let them stand beside four dimensions; they must not contradict them.
        for (name, ty) in [("q_num_heads", q), ("kv_num_heads", k)] {
            if scope.attributes.has(name) && ty.shape.get(1) != Some(&heads(scope, name)?) {
                return Err(fault(name, "the heads that the input has", "another number"));
            }
        }
    }
    let split = |ty: &ValueType, heads: Option<usize>| match (heads, ty.shape.as_slice()) {
        (Some(heads), &[b, s, hidden]) if hidden.is_multiple_of(heads) => Ok((b, heads, s, hidden / heads)),
        (None, &[b, h, s, size]) => Ok((b, h, s, size)),
        _ => Err(misfit("input of Attention", "4 dimensions, or 3 with whole heads", ty)),
    };
    let (batch, query_heads, queries, size) = split(q, given.map(|given| given.0))?;
    let (k_batch, heads, keys, k_size) = split(k, given.map(|given| given.1))?;
    let (v_batch, v_heads, v_keys, value_size) = split(v, given.map(|given| given.1))?;
    if (k_batch, k_size) != (batch, size) {
        return Err(misfit("keys of Attention", "the batch and head size of the queries", k));
    }
    if (v_batch, v_heads, v_keys) != (batch, heads, keys) {
        return Err(misfit("values of Attention", "the batch, heads and length of the keys", v));
    }
    if heads == 0 || !query_heads.is_multiple_of(heads) {
        return Err(misfit("heads of Attention", format!("a divisor of {query_heads} heads"), k));
    }
    let past = match (scope.optional(4), scope.optional(5)) {
        (None, None) => 0,
        (Some(_), Some(_)) => {
            let past = scope.float(4)?.shape.get(2).copied().unwrap_or(0);
            scope.float_shaped(4, "past keys", &[batch, heads, past, size])?;
            scope.float_shaped(5, "past values", &[batch, heads, past, value_size])?;
            past
        }
        _ => return Err(Fault::Arity { what: "past inputs", expected: "both or none", got: 1 }),
    };
    let total = past + keys;
    Ok(Sizes { batch, query_heads, heads, queries, keys, past, total, size, value_size, packed })
}

/// What is computed beside the products.
#[derive(Debug)]
struct Rules {
    /// `None`: `1 / sqrt(head size)`.
    scale: Option<f32>,
    softcap: f32,
    causal: bool,
    /// Keys to the left and to the right that a query may see.
    windows: [Option<i64>; 2],
    /// Which scores the fourth output shows.
    shown: i64,
    mask: Option<Mask>,
}

/// Where the mask of a head's query starts.
#[derive(Debug, Clone, Copy)]
struct Mask {
    strides: [usize; 3],
    /// Keys beyond are masked.
    length: usize,
}

fn rules(scope: &Scope<'_>, sizes: &Sizes) -> Result<Rules, Fault> {
    let attributes = &scope.attributes;
    let scale = if attributes.has("scale") { Some(attributes.float("scale")?) } else { None };
    if scale.is_some_and(|scale| scale.is_nan() || scale < 0.0) {
        return Err(fault("scale", "a number that is not negative", "another"));
    }
    let window = |name| match attributes.int_or(name, -1)? {
        -1 => Ok(None),
        size if size >= 0 => Ok(Some(size)),
        other => Err(fault(name, "-1 or more", &other.to_string())),
    };
    let windows = [window("left_window_size")?, window("right_window_size")?];
    let shown = attributes.int_or("qk_matmul_output_mode", 0)?;
    if !(0..=3).contains(&shown) {
        return Err(fault("qk_matmul_output_mode", "0 to 3", &shown.to_string()));
    }
    if scope.optional(6).is_some() {
        let lengths = scope.typed(6, &[Dtype::I64], "INT64")?;
        if lengths.shape != [sizes.batch] || scope.optional(4).is_some() {
            return Err(misfit("nonpad_kv_seqlen", format!("[{}] and no past", sizes.batch), lengths));
        }
    }
    let softcap = attributes.float_or("softcap", 0.0)?;
    let causal = attributes.flag_or("is_causal", false)?;
    Ok(Rules { scale, softcap, causal, windows, shown, mask: mask(scope, sizes)? })
}

fn mask(scope: &Scope<'_>, sizes: &Sizes) -> Result<Option<Mask>, Fault> {
    if scope.optional(3).is_none() {
        return Ok(None);
    }
    let words = "BOOL, FP32, FP64, FP16 or BF16";
    let ty = scope.typed(3, &[Dtype::Bool, Dtype::F32, Dtype::F64, Dtype::F16, Dtype::BF16], words)?;
    let whole = [sizes.batch, sizes.query_heads, sizes.queries];
    let wrong =
        || misfit("mask of Attention", format!("sizes that broadcast to {whole:?} and {}", sizes.total), ty);
    let (length, lead) = ty.shape.split_last().ok_or_else(wrong)?;
    if lead.len() > 3 || *length > sizes.total {
        return Err(wrong());
    }
    let mut strides = [0; 3];
    let mut stride = *length;
    for (at, size) in lead.iter().enumerate().rev() {
        let axis = 3 - lead.len() + at;
        if *size != 1 && *size != whole[axis] {
            return Err(wrong());
        }
        strides[axis] = if *size == 1 { 0 } else { stride };
        stride *= size;
    }
    Ok(Some(Mask { strides, length: *length }))
}

/// The precision of the softmax never goes below the arithmetic type.
fn softmax_in_double(scope: &Scope<'_>) -> Result<bool, Fault> {
    match scope.attributes.int_or("softmax_precision", 1)? {
        1 | 10 | 16 => Ok(false),
        11 => Ok(true),
        other => Err(fault("softmax_precision", "1, 10, 11 or 16", &other.to_string())),
    }
}

#[derive(Debug)]
struct Scaled {
    sizes: Sizes,
    rules: Rules,
}

impl FloatKernel for Scaled {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let Sizes { batch, query_heads, heads, queries, total, size, value_size, .. } = self.sizes;
        let group = query_heads / heads;
        let q = R::input(call, 0)?;
        let keys = self.cached::<R>(call, 1, 4, size)?;
        let values = self.cached::<R>(call, 2, 5, value_size)?;
        let masks = Masks::read(call, &self.rules, &self.sizes)?;
        let root = match self.rules.scale {
            Some(scale) => f64::from(scale).sqrt(),
            None => (1.0 / R::count(size).wide().sqrt()).sqrt(),
        };
        let root = R::of(root);
        let rows = group * queries;
        let mut output = R::memory(call, batch * query_heads * queries * value_size);
        let shows = call.outputs.len() > 3;
        let mut shown = R::zeros(if shows { batch * query_heads * queries * total } else { 0 });
        let (mut left, mut right) = (R::zeros(rows * size), R::zeros(size * total));
        let (mut scores, mut mixed) = (R::zeros(rows * total), R::zeros(rows * value_size));
        let mut bias = R::zeros(total);
        for block in 0..batch * heads {
            let (row, head) = (block / heads, block % heads);
            for (at, to) in left.chunks_exact_mut(size.max(1)).enumerate() {
                let from = self.query_at(row, head * group + at / queries, at % queries, size);
                to.iter_mut().zip(&q[from..from + size]).for_each(|(to, x)| *to = *x * root);
            }
            for (at, key) in
                keys[block * total * size..][..total * size].chunks_exact(size.max(1)).enumerate()
            {
                key.iter().enumerate().for_each(|(index, x)| right[index * total + at] = *x * root);
            }
            Product { m: rows, k: size, n: total, a: &left, b: &right, c: &mut scores }.run(call.cpu);
            let seen = if shows { &mut shown[block * rows * total..][..rows * total] } else { &mut [] };
            for (at, line) in scores.chunks_exact_mut(total.max(1)).enumerate() {
                let seen = if shows { &mut seen[at * total..][..total] } else { &mut [] };
                let place = [row, head * group + at / queries, at % queries];
                self.finish_row::<R, F>(line, seen, &masks, place, &mut bias);
            }
            let b = &values[block * total * value_size..][..total * value_size];
            Product { m: rows, k: total, n: value_size, a: &scores, b, c: &mut mixed }.run(call.cpu);
            for (at, from) in mixed.chunks_exact(value_size.max(1)).enumerate() {
                let to = self.query_at(row, head * group + at / queries, at % queries, value_size);
                output[to..to + value_size].copy_from_slice(from);
            }
        }
        Ok(vec![output, keys, values, shown].into_iter().take(call.outputs.len()).collect())
    }
}

impl Scaled {
    /// Where a query, or its output, starts.
    fn query_at(&self, row: usize, head: usize, query: usize, size: usize) -> usize {
        let Sizes { query_heads, queries, packed, .. } = self.sizes;
        match packed {
            true => ((row * queries + query) * query_heads + head) * size,
            false => ((row * query_heads + head) * queries + query) * size,
        }
    }

    /// Keys or values of the cache, then of this call: `[batch, heads, total, size]`.
    fn cached<R: Real>(
        &self,
        call: &Call<'_>,
        input: usize,
        past: usize,
        size: usize,
    ) -> Result<Vec<R>, Fault> {
        let Sizes { batch, heads, keys, past: carried, total, packed, .. } = self.sizes;
        let (new, old) = (R::input(call, input)?, R::optional(call, past)?);
        let mut all = R::zeros(batch * heads * total * size);
        for block in 0..batch * heads {
            let (row, head) = (block / heads, block % heads);
            let to = &mut all[block * total * size..][..total * size];
            if let Some(old) = &old {
                to[..carried * size].copy_from_slice(&old[block * carried * size..][..carried * size]);
            }
            for key in 0..keys {
                let from = if packed { (row * keys + key) * heads + head } else { block * keys + key };
                to[(carried + key) * size..][..size].copy_from_slice(&new[from * size..][..size]);
            }
        }
        Ok(all)
    }

    /// From raw scores to weights.
    #[inline(always)]
    fn finish_row<R: Real, F: Fma>(
        &self,
        line: &mut [R],
        seen: &mut [R],
        masks: &Masks<R>,
        place: [usize; 3],
        bias: &mut [R],
    ) {
        let mut show = |line: &[R], stage: i64| {
            if stage == self.rules.shown && !seen.is_empty() {
                seen.copy_from_slice(line);
            }
        };
        show(line, 0);
        if self.rules.softcap > 0.0 {
            let cap = R::of_f32(self.rules.softcap);
            for x in line.iter_mut() {
                *x = (*x / cap).tanh::<F>() * cap;
            }
        }
        show(line, 1);
        let visible = masks.fill(&self.rules, place, bias);
        if visible != Visible::All {
            line.iter_mut().zip(bias.iter()).for_each(|(x, bias)| *x += *bias);
        }
        show(line, 2);
        if visible == Visible::None {
            line.fill(R::ZERO)
        } else {
            softmax::<R, F>(line)
        }
        show(line, 3);
    }
}

/// `exp(x - greatest) / sum`; zeros where nothing is above `-inf`.
#[inline(always)]
fn softmax<R: Real, F: Fma>(line: &mut [R]) {
    let most = line.iter().fold(R::LOWEST, |most, x| if *x > most { *x } else { most });
    if most == R::LOWEST && line.iter().all(|x| *x == R::LOWEST) {
        line.fill(R::ZERO);
        return;
    }
    for x in line.iter_mut() {
        *x = (*x - most).exp::<F>();
    }
    let sum = R::sum_of(line, |x| x);
    line.iter_mut().for_each(|x| *x = *x / sum);
}

/// What a query may see.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Visible {
    All,
    Some,
    None,
}

/// The values of all masks.
struct Masks<R> {
    given: Option<(Mask, Vec<R>)>,
    /// Keys of each row that are no padding.
    lengths: Option<Vec<i64>>,
    /// Position of the first query of each row.
    offsets: Vec<i64>,
}

impl<R: Real> Masks<R> {
    fn read(call: &Call<'_>, rules: &Rules, sizes: &Sizes) -> Result<Self, Fault> {
        let lengths = call.optional(6).map(|_| call.slice::<i64>(6).map(<[i64]>::to_vec)).transpose()?;
        let small = |size: usize| i64::try_from(size).unwrap_or(i64::MAX);
        let offsets = match &lengths {
            Some(lengths) => {
                lengths.iter().map(|length| length.saturating_sub(small(sizes.queries))).collect()
            }
            None => vec![small(sizes.past); sizes.batch],
        };
        let Some(mask) = rules.mask else {
            return Ok(Self { given: None, lengths, offsets });
        };
        let values = match call.input(3)?.data() {
            TensorData::Bool(v) => v.iter().map(|sees| if *sees { R::ZERO } else { R::LOWEST }).collect(),
            _ => R::input(call, 3)?.into_owned(),
        };
        Ok(Self { given: Some((mask, values)), lengths, offsets })
    }

    /// The sum of all masks for one query.
    #[inline(always)]
    fn fill(&self, rules: &Rules, place: [usize; 3], bias: &mut [R]) -> Visible {
        let windowed = rules.causal || rules.windows.iter().any(Option::is_some);
        if self.given.is_none() && self.lengths.is_none() && !windowed {
            return Visible::All;
        }
        match &self.given {
            Some((mask, values)) => {
                let from: usize = place.iter().zip(mask.strides).map(|(at, stride)| at * stride).sum();
                bias[..mask.length].copy_from_slice(&values[from..from + mask.length]);
                bias[mask.length..].fill(R::LOWEST);
            }
            None => bias.fill(R::ZERO),
        }
        let position = self.offsets[place[0]].saturating_add(i64::try_from(place[2]).unwrap_or(i64::MAX));
        let least = rules.windows[0].map_or(i64::MIN, |left| position.saturating_sub(left));
        let most = rules.windows[1].map_or(i64::MAX, |right| position.saturating_add(right));
        let most = if rules.causal { most.min(position) } else { most };
        let padding = self.lengths.as_ref().map_or(i64::MAX, |lengths| lengths[place[0]]);
        for (key, bias) in (0_i64..).zip(bias.iter_mut()) {
            if key < least || key > most || key >= padding {
                *bias += R::LOWEST;
            }
        }
        if bias.iter().all(|bias| *bias == R::LOWEST) { Visible::None } else { Visible::Some }
    }
}
