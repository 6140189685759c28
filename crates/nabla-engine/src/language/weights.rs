//! All weights of a model, ready to run.

use super::matrix::{Matrix, Table, vector};
use super::{Config, Found};
use crate::gguf::{Gguf, TensorInfo};
use crate::kernels::Cpu;
use crate::{Error, Limits, ReadAt};

/// Weights of one block.
#[derive(Debug, Clone)]
pub(super) struct Block {
    pub(super) attention_norm: Vec<f32>,
    /// To queries, keys and values.
    pub(super) projections: [Matrix; 3],
    pub(super) biases: Option<[Vec<f32>; 3]>,
    /// Of heads of queries and of keys.
    pub(super) head_norms: Option<[Vec<f32>; 2]>,
    pub(super) attention_output: Matrix,
    pub(super) post_attention_norm: Option<Vec<f32>>,
    pub(super) feed_forward_norm: Vec<f32>,
    pub(super) gate: Matrix,
    pub(super) up: Matrix,
    pub(super) down: Matrix,
    pub(super) post_feed_forward_norm: Option<Vec<f32>>,
}

impl Block {
    fn matrices(&self) -> [&Matrix; 7] {
        let [q, k, v] = &self.projections;
        [q, k, v, &self.attention_output, &self.gate, &self.up, &self.down]
    }
}

/// Weights of a model.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) embedding: Table,
    pub(super) blocks: Vec<Block>,
    pub(super) output_norm: Vec<f32>,
    pub(super) output: Matrix,
    /// Factors that angles are divided by.
    pub(super) rope_factors: Option<Vec<f32>>,
}

/// Reads tensors that [`Config::check`] has seen.
struct Loader<'a> {
    cpu: &'a Cpu,
    gguf: &'a Gguf,
    source: &'a dyn ReadAt,
    limits: &'a Limits,
}

impl Weights {
    pub(super) fn load(
        cpu: &Cpu,
        gguf: &Gguf,
        source: &dyn ReadAt,
        limits: &Limits,
        config: &Config,
        found: Found,
    ) -> Result<Self, Error> {
        Limits::check("bytes of all weights", gguf.tensors.size_bytes(), limits.weight_bytes_max)?;
        let loader = Loader { cpu, gguf, source, limits };
        let embedding = gguf.tensors.require("token_embd.weight")?;
        let bytes = embedding.read(source, limits)?;
        let output = match found.tied_embeddings {
            true => Matrix::pack(cpu, embedding, &bytes, 0..config.vocabulary_size)?,
            false => loader.matrix("output.weight")?,
        };
        let blocks = (0..config.block_count).map(|block| loader.block(block, config, found));
        Ok(Self {
            output,
            blocks: blocks.collect::<Result<_, Error>>()?,
            output_norm: loader.vector("output_norm.weight")?,
            rope_factors: found.rope_factors.then(|| loader.vector("rope_freqs.weight")).transpose()?,
            embedding: Table::new(embedding, bytes),
        })
    }

    /// Multiply-adds of one token.
    pub(super) fn macs_per_token(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().flat_map(Block::matrices).map(Matrix::macs).sum();
        blocks.saturating_add(self.output.macs())
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        let blocks: u64 = self.blocks.iter().flat_map(Block::matrices).map(Matrix::resident_bytes).sum();
        blocks + self.embedding.resident_bytes() + self.output.resident_bytes()
    }
}

impl Loader<'_> {
    fn tensor(&self, name: &str) -> Result<&TensorInfo, Error> {
        self.gguf.tensors.require(name)
    }

    fn vector(&self, name: &str) -> Result<Vec<f32>, Error> {
        vector(self.source, self.tensor(name)?, self.limits)
    }

    fn matrix(&self, name: &str) -> Result<Matrix, Error> {
        let tensor = self.tensor(name)?;
        let rows = usize::try_from(tensor.shape.rows).unwrap_or(usize::MAX);
        Matrix::pack(self.cpu, tensor, &tensor.read(self.source, self.limits)?, 0..rows)
    }

    /// Matrices that are one in the file, so many rows each.
    fn parts<const N: usize>(&self, name: &str, rows: [usize; N]) -> Result<[Matrix; N], Error> {
        let tensor = self.tensor(name)?;
        let bytes = tensor.read(self.source, self.limits)?;
        let mut start = 0;
        let mut parts = Vec::with_capacity(N);
        for rows in rows {
            parts.push(Matrix::pack(self.cpu, tensor, &bytes, start..start + rows)?);
            start += rows;
        }
        Ok(parts.try_into().expect("as many parts as rows"))
    }

    fn block(&self, block: usize, config: &Config, found: Found) -> Result<Block, Error> {
        let traits = config.architecture.traits();
        let name = |part: &str| format!("blk.{block}.{part}");
        let matrix = |part: &str| self.matrix(&name(part));
        let vector = |part: &str| self.vector(&name(part));
        let attention = &config.attention;
        let (queries, keys) =
            (attention.head_count * attention.head_size, attention.kv_head_count * attention.head_size);
        let projections = match traits.fused_qkv {
            true => self.parts(&name("attn_qkv.weight"), [queries, keys, keys])?,
            false => [matrix("attn_q.weight")?, matrix("attn_k.weight")?, matrix("attn_v.weight")?],
        };
        let [gate, up] = match traits.fused_gate_up {
            true => {
                let inner = config.feed_forward_length;
                self.parts(&name("ffn_up.weight"), [inner, inner])?
            }
            false => [matrix("ffn_gate.weight")?, matrix("ffn_up.weight")?],
        };
        let biases =
            || Ok::<_, Error>([vector("attn_q.bias")?, vector("attn_k.bias")?, vector("attn_v.bias")?]);
        let head_norms = || Ok::<_, Error>([vector("attn_q_norm.weight")?, vector("attn_k_norm.weight")?]);
        let post_norm = |part: &str| traits.post_norms.then(|| vector(part)).transpose();
        Ok(Block {
            attention_norm: vector("attn_norm.weight")?,
            projections,
            biases: found.bias.then(biases).transpose()?,
            head_norms: traits.head_norms.then(head_norms).transpose()?,
            attention_output: matrix("attn_output.weight")?,
            post_attention_norm: post_norm("post_attention_norm.weight")?,
            feed_forward_norm: vector("ffn_norm.weight")?,
            gate,
            up,
            down: matrix("ffn_down.weight")?,
            post_feed_forward_norm: post_norm("post_ffw_norm.weight")?,
        })
    }
}
