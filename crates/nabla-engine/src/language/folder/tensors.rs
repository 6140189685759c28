//! The names of tensors in both forms, and what becomes of their elements in between.
//!
//! # Rules
//! - Rows of queries and keys are permuted where GGUF has the interleaved rotation: of each head, number `i` of the first
//!   half and number `i` of the second become neighbours.
//! - A norm that is written less one gets the one back, in f32, and stays f32.
//! - All other elements stay bit for bit.

use std::ops::Range;

use super::config::Described;
use crate::gguf::{Shape, WeightFormat, dequantise, shown};
use crate::safetensors::Tensor;
use crate::{Error, ReadAt};

/// What becomes of the elements of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// Rows of so many heads.
    Permuted {
        heads: u64,
    },
    PlusOne,
}

/// The name of a tensor in GGUF files; `None` if it has no place there and none is needed.
pub(super) fn named(described: &Described, name: &str) -> Result<Option<(String, Change)>, Error> {
    // What rotations are, which follows from the configuration.
    if name.ends_with(".rotary_emb.inv_freq") {
        return Ok(None);
    }
    let family = described.family;
    let norm = if family.norms_less_one { Change::PlusOne } else { Change::None };
    let top = match name {
        "model.embed_tokens.weight" => Some(("token_embd.weight", Change::None)),
        "model.norm.weight" => Some(("output_norm.weight", norm)),
        "lm_head.weight" if described.tied => return Ok(None),
        "lm_head.weight" => Some(("output.weight", Change::None)),
        _ => None,
    };
    if let Some((name, change)) = top {
        return Ok(Some((name.to_owned(), change)));
    }
    let found = block_of(name).and_then(|(block, part)| {
        let (part, kind) = part.rsplit_once('.').filter(|(_, kind)| matches!(*kind, "weight" | "bias"))?;
        let row = PARTS.iter().find(|(from, _)| *from == part);
        let after_attention =
            if family.architecture.traits().post_norms { "post_attention_norm" } else { "ffn_norm" };
        let to = if part == "post_attention_layernorm" { after_attention } else { row?.1 };
        let change = match part {
            "self_attn.q_proj" if family.permuted => Change::Permuted { heads: described.heads[0].into() },
            "self_attn.k_proj" if family.permuted => Change::Permuted { heads: described.heads[1].into() },
            part if part.ends_with("norm") => norm,
            _ => Change::None,
        };
        Some((format!("blk.{block}.{to}.{kind}"), change))
    });
    found.map(Some).ok_or_else(|| Error::Unsupported {
        what: "a tensor that this architecture does not use:",
        got: shown(name),
        hint: "the model has parts that would be left out",
    })
}

/// Parts of a block. What stands behind attention has one of two names.
const PARTS: [(&str, &str); 14] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// The block of a name, and the rest.
fn block_of(name: &str) -> Option<(u32, &str)> {
    let (number, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let block: u32 = number.parse().ok()?;
    // Only one way to write a number: two names never mean the same tensor.
    (block.to_string() == number).then_some((block, part))
}

/// The sizes of a tensor.
pub(super) fn shape_of(place: &str, tensor: &Tensor) -> Result<Shape, Error> {
    let shape = match tensor.shape[..] {
        [columns] => Some(Shape { rows: 1, columns }),
        [rows, columns] => Some(Shape { rows, columns }),
        _ => None,
    };
    shape.filter(|shape| shape.rows > 0 && shape.columns > 0).ok_or_else(|| Error::Folder {
        place: place.to_owned(),
        expected: "a vector or a matrix".to_owned(),
        got: format!("{} dimensions, or one of size 0", tensor.shape.len()),
    })
}

/// Fill `into` from these bytes of a file.
pub(super) fn fill(
    place: &str,
    source: &dyn ReadAt,
    tensor: &Tensor,
    change: Change,
    into: &mut [u8],
) -> Result<(), Error> {
    let read = |range: Range<u64>, into: &mut [u8]| {
        let (offset, size_bytes) = (range.start, range.end - range.start);
        source.read_at(offset, into).map_err(|source| Error::Read { offset, size_bytes, source })
    };
    match change {
        Change::None => read(tensor.range.clone(), into),
        Change::PlusOne => {
            let mut bytes = vec![0; into.len() / size_of::<f32>() * tensor.format.block_bytes()];
            read(tensor.range.clone(), &mut bytes)?;
            plus_one(tensor.format, &bytes, into)
        }
        Change::Permuted { heads } => {
            let rows = tensor.shape.first().copied().unwrap_or(0);
            if heads == 0 || !rows.is_multiple_of(heads) || !(rows / heads).is_multiple_of(2) {
                let (expected, got) = (format!("rows for {heads} heads of an even size"), rows.to_string());
                return Err(Error::Folder { place: place.to_owned(), expected, got });
            }
            let head_bytes = into.len() / usize::try_from(heads).unwrap_or(usize::MAX).max(1);
            let row_bytes = into.len() / usize::try_from(rows).unwrap_or(usize::MAX).max(1);
            let mut head = vec![0; head_bytes];
            let mut at = tensor.range.start;
            for into in into.chunks_exact_mut(head_bytes) {
                let end = at + head_bytes as u64;
                read(at..end, &mut head)?;
                interleave(&head, row_bytes, into);
                at = end;
            }
            Ok(())
        }
    }
}

fn plus_one(format: WeightFormat, bytes: &[u8], into: &mut [u8]) -> Result<(), Error> {
    let mut floats = vec![0.0; into.len() / size_of::<f32>()];
    dequantise(format, bytes, &mut floats)?;
    for (into, float) in into.chunks_exact_mut(size_of::<f32>()).zip(floats) {
        into.copy_from_slice(&(float + 1.0).to_le_bytes());
    }
    Ok(())
}

/// Row `i` of each half, one behind the other.
fn interleave(head: &[u8], row_bytes: usize, into: &mut [u8]) {
    let (first, second) = head.split_at(head.len() / 2);
    let pairs = first.chunks_exact(row_bytes).zip(second.chunks_exact(row_bytes));
    for (into, (first, second)) in into.chunks_exact_mut(2 * row_bytes).zip(pairs) {
        into[..row_bytes].copy_from_slice(first);
        into[row_bytes..].copy_from_slice(second);
    }
}
