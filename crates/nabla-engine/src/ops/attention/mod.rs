//! Attention and what stands beside it in language models: rotary positions, linear attention, and the
//! short causal convolution.

use super::Operator;
use super::identity::plain;

mod causal;
mod linear;
mod rotary;
mod scaled;
#[cfg(test)]
mod tests;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("Attention", plain, scaled::attention),
    Operator::node("CausalConvWithState", plain, causal::convolution),
    Operator::node("LinearAttention", plain, linear::attention),
    Operator::node("RotaryEmbedding", plain, rotary::embedding),
];

/// A positive number of heads.
fn heads(scope: &super::Scope<'_>, name: &str) -> Result<usize, crate::Fault> {
    let got = scope.attributes.int(name)?;
    let heads = usize::try_from(got).ok().filter(|heads| (1..=1 << 20).contains(heads));
    heads.ok_or_else(|| crate::graph::attributes::fault(name, "1 to 2^20 heads", &got.to_string()))
}
