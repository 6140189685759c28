//! The tensors that a model must have, by name and shape.

use std::collections::BTreeSet;

use super::{Bias, Config};
use crate::{
    Error,
    gguf::{Shape, TensorInfo, Tensors, shown},
};

/// What only the tensors say of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// There is no `output.weight`: logits come from `token_embd.weight`.
    pub tied_embeddings: bool,
    /// There is `rope_freqs.weight`: each angle is divided by its factor.
    pub rope_factors: bool,
    /// Queries, keys and values add a bias.
    pub bias: bool,
}

impl Config {
    /// See that these are the tensors of this model: none is missing, none has another shape, none is too many.
    ///
    /// # Errors
    /// [`Error::Gguf`] or [`Error::Unsupported`] for the first one that is wrong.
    pub fn check(&self, tensors: &Tensors) -> Result<Found, Error> {
        let mut check = Check { config: self, tensors, used: BTreeSet::new() };
        let found = check.whole()?;
        for block in 0..self.block_count {
            check.attention(block, found.bias)?;
            check.feed_forward(block)?;
        }
        check.refuse_unused()?;
        Ok(found)
    }
}

struct Check<'t> {
    config: &'t Config,
    tensors: &'t Tensors,
    used: BTreeSet<&'t str>,
}

impl Check<'_> {
    /// What is there once.
    fn whole(&mut self) -> Result<Found, Error> {
        let (config, traits) = (self.config, self.config.architecture.traits());
        let (tokens, width) = (config.vocabulary_size, config.embedding_length);
        self.matrix("token_embd.weight".to_owned(), tokens, width)?;
        self.vector("output_norm.weight".to_owned(), width)?;
        let has = |name: &str| self.tensors.get(name).is_some();
        let found = Found {
            tied_embeddings: !has("output.weight"),
            rope_factors: traits.rope_factors && has("rope_freqs.weight"),
            bias: match traits.bias {
                Bias::Absent => false,
                Bias::Either => has("blk.0.attn_q.bias"),
                Bias::Present => true,
            },
        };
        if !found.tied_embeddings {
            self.matrix("output.weight".to_owned(), tokens, width)?;
        }
        if found.rope_factors {
            self.vector("rope_freqs.weight".to_owned(), config.rope.dimensions / 2)?;
        }
        Ok(found)
    }

    fn attention(&mut self, block: usize, bias: bool) -> Result<(), Error> {
        let (config, traits) = (self.config, self.config.architecture.traits());
        let (attention, width) = (&config.attention, config.embedding_length);
        let name = |part: &str| format!("blk.{block}.{part}");
        // Heads and their size are at most 2^10 each.
        let queries = attention.head_count * attention.head_size;
        let keys = attention.kv_head_count * attention.head_size;
        self.vector(name("attn_norm.weight"), width)?;
        if traits.fused_qkv {
            self.matrix(name("attn_qkv.weight"), queries + 2 * keys, width)?;
        } else {
            for (part, rows) in [("attn_q", queries), ("attn_k", keys), ("attn_v", keys)] {
                self.matrix(name(&format!("{part}.weight")), rows, width)?;
                if bias {
                    self.vector(name(&format!("{part}.bias")), rows)?;
                }
            }
        }
        if traits.head_norms {
            self.vector(name("attn_q_norm.weight"), attention.head_size)?;
            self.vector(name("attn_k_norm.weight"), attention.head_size)?;
        }
        self.matrix(name("attn_output.weight"), width, queries)?;
        if traits.post_norms {
            self.vector(name("post_attention_norm.weight"), width)?;
        }
        Ok(())
    }

    fn feed_forward(&mut self, block: usize) -> Result<(), Error> {
        let (config, traits) = (self.config, self.config.architecture.traits());
        let (width, inner) = (config.embedding_length, config.feed_forward_length);
        let name = |part: &str| format!("blk.{block}.{part}");
        self.vector(name("ffn_norm.weight"), width)?;
        if traits.fused_gate_up {
            self.matrix(name("ffn_up.weight"), 2 * inner, width)?;
        } else {
            self.matrix(name("ffn_gate.weight"), inner, width)?;
            self.matrix(name("ffn_up.weight"), inner, width)?;
        }
        self.matrix(name("ffn_down.weight"), width, inner)?;
        if traits.post_norms {
            self.vector(name("post_ffw_norm.weight"), width)?;
        }
        Ok(())
    }

    fn matrix(&mut self, name: String, rows: usize, columns: usize) -> Result<(), Error> {
        self.tensor(&name, Shape { rows: rows as u64, columns: columns as u64 }).map(drop)
    }

    /// A vector, which is never quantised.
    fn vector(&mut self, name: String, length: usize) -> Result<(), Error> {
        let tensor = self.tensor(&name, Shape { rows: 1, columns: length as u64 })?;
        if tensor.format.is_plain() {
            return Ok(());
        }
        Err(wrong(&name, "F32, F16 or BF16 for a vector", tensor.format.to_string()))
    }

    fn tensor(&mut self, name: &str, shape: Shape) -> Result<&TensorInfo, Error> {
        let tensor = self.tensors.require(name)?;
        if tensor.shape != shape {
            return Err(wrong(name, shape.to_string(), tensor.shape.to_string()));
        }
        self.used.insert(&tensor.name);
        Ok(tensor)
    }

    fn refuse_unused(&self) -> Result<(), Error> {
        let unused = self.tensors.iter().find(|tensor| !self.used.contains(tensor.name.as_str()));
        unused.map_or(Ok(()), |tensor| {
            Err(Error::Unsupported {
                what: "a tensor that this architecture does not use:",
                got: shown(&tensor.name),
                hint: "the model has parts that would be left out",
            })
        })
    }
}

fn wrong(name: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
    Error::Gguf { place: format!("tensor {}", shown(name)), expected: expected.into(), got: got.into() }
}
