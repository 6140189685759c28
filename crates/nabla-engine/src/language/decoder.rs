//! The forward pass: some tokens of some sequences, to logits.
//!
//! # Rules
//! - A token's logits are the same bits whatever else is in the step, and however its sequence was cut in steps.
//! - Keys and values are stored before any token of the step attends.

use super::matrix::Rows;
use super::pages::{Pages, Sequence};
use super::turns::Turns;
use super::weights::{Block, Weights};
use super::{Activation, Config, RopeStyle};
use crate::Error;
use crate::kernels::Cpu;
use crate::kernels::decoder::attention::{Attend, Heads, Visible};
use crate::kernels::decoder::{Gate, Pairs, add, cap, gated, rms_norm, rms_norm_in_place, rotate};

#[cfg(test)]
mod tests;

/// Multiply-adds of attention below which threads cost more than they give.
const SHARED_MACS: usize = 1 << 16;

/// New tokens of one sequence.
#[derive(Debug)]
pub(super) struct Chunk<'a> {
    /// With pages for its tokens and the new ones.
    pub(super) sequence: &'a mut Sequence,
    pub(super) tokens: &'a [u32],
    /// How many of the last of them want logits.
    pub(super) wanted: usize,
}

/// A model that can run.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) cpu: Cpu,
    pub(super) config: Config,
    pub(super) weights: Weights,
}

/// Tables of turns, which grow with the longest sequence.
#[derive(Debug)]
pub(super) struct Positions {
    global: Turns,
    local: Option<Turns>,
}

impl Positions {
    pub(super) fn new(config: &Config, weights: &Weights) -> Self {
        Self { global: Turns::global(config, weights.rope_factors.as_deref()), local: Turns::local(config) }
    }

    fn reach(&mut self, positions: usize) {
        self.global.reach(positions);
        self.local.iter_mut().for_each(|turns| turns.reach(positions));
    }
}

/// One row of a step.
#[derive(Debug, Clone, Copy)]
struct Place {
    chunk: usize,
    position: usize,
}

impl Decoder {
    /// Run one step: logits `[wanted][vocabulary]` of all chunks, in order. The sequences are longer afterwards.
    ///
    /// # Errors
    /// [`Error`] if an embedding cannot be read: never for tokens below the vocabulary's size.
    pub(super) fn step(
        &self,
        pages: &mut Pages,
        positions: &mut Positions,
        chunks: &mut [Chunk<'_>],
    ) -> Result<Vec<f32>, Error> {
        let states = self.states(pages, positions, chunks)?;
        let mut logits =
            Rows::new(&self.cpu, &states, self.config.embedding_length).times(&self.weights.output);
        if let Some(limit) = self.config.logit_cap {
            cap(self.cpu.isa(), &mut logits, limit);
        }
        Ok(logits)
    }

    /// Run one step up to what logits are made of: `[wanted][width]`, normalised.
    ///
    /// # Errors
    /// As [`Decoder::step`].
    pub(super) fn states(
        &self,
        pages: &mut Pages,
        positions: &mut Positions,
        chunks: &mut [Chunk<'_>],
    ) -> Result<Vec<f32>, Error> {
        let places: Vec<Place> = chunks
            .iter()
            .enumerate()
            .flat_map(|(chunk, Chunk { sequence, tokens, .. })| {
                (0..tokens.len()).map(move |index| Place { chunk, position: sequence.tokens + index })
            })
            .collect();
        positions.reach(places.iter().map(|place| place.position + 1).max().unwrap_or(0));
        let mut x = self.embed(chunks)?;
        for (index, block) in self.weights.blocks.iter().enumerate() {
            self.attention(pages, positions, chunks, &places, (index, block), &mut x);
            self.feed_forward(block, &mut x);
        }
        let wanted = wanted_rows(chunks, &x, self.config.embedding_length);
        for chunk in chunks {
            chunk.sequence.tokens += chunk.tokens.len();
        }
        let mut normed = vec![0.0; wanted.len()];
        rms_norm(self.cpu.isa(), &wanted, &self.weights.output_norm, self.config.rms_epsilon, &mut normed);
        Ok(normed)
    }

    fn embed(&self, chunks: &[Chunk<'_>]) -> Result<Vec<f32>, Error> {
        let width = self.weights.embedding.columns();
        let tokens: Vec<u32> = chunks.iter().flat_map(|chunk| chunk.tokens).copied().collect();
        let mut x = vec![0.0; tokens.len() * width];
        for (token, row) in tokens.iter().zip(x.chunks_exact_mut(width)) {
            self.weights.embedding.row(*token as usize, row)?;
            if let Some(scale) = self.config.embedding_scale {
                row.iter_mut().for_each(|x| *x *= scale);
            }
        }
        Ok(x)
    }

    fn attention(
        &self,
        pages: &mut Pages,
        positions: &Positions,
        chunks: &[Chunk<'_>],
        places: &[Place],
        (index, block): (usize, &Block),
        x: &mut [f32],
    ) {
        let (isa, config) = (self.cpu.isa(), &self.config);
        let (width, size) = (config.embedding_length, config.attention.head_size);
        let mut normed = vec![0.0; x.len()];
        rms_norm(isa, x, &block.attention_norm, config.rms_epsilon, &mut normed);
        let mut rows = Rows::new(&self.cpu, &normed, width);
        let [mut queries, mut keys, mut values] =
            block.projections.each_ref().map(|matrix| rows.times(matrix));
        if let Some([q, k, v]) = &block.biases {
            for (rows, bias) in [(&mut queries, q), (&mut keys, k), (&mut values, v)] {
                add(isa, rows, bias);
            }
        }
        if let Some([q, k]) = &block.head_norms {
            rms_norm_in_place(isa, &mut queries, q, config.rms_epsilon);
            rms_norm_in_place(isa, &mut keys, k, config.rms_epsilon);
        }
        let windowed = config.window.as_ref().filter(|window| window.blocks[index]);
        let turns = positions.local.as_ref().filter(|_| windowed.is_some()).unwrap_or(&positions.global);
        let pairs = match config.rope.style {
            RopeStyle::Interleaved => Pairs::Neighbours,
            RopeStyle::Halves => Pairs::Halves,
        };
        let kv_width = config.attention.kv_head_count * size;
        let of_keys = keys.chunks_exact_mut(kv_width).zip(values.chunks_exact(kv_width));
        for ((place, query), (key, value)) in
            places.iter().zip(queries.chunks_exact_mut(config.attention.head_count * size)).zip(of_keys)
        {
            rotate(isa, query, size, pairs, turns.at(place.position));
            rotate(isa, key, size, pairs, turns.at(place.position));
            pages.store(chunks[place.chunk].sequence, index, place.position, key, value);
        }
        let seen = windowed.map_or(usize::MAX, |window| window.tokens);
        let attended = self.attend(pages, chunks, places, index, seen, &queries);
        let mut output = Rows::new(&self.cpu, &attended, config.attention.head_count * size)
            .times(&block.attention_output);
        if let Some(norm) = &block.post_attention_norm {
            rms_norm_in_place(isa, &mut output, norm, config.rms_epsilon);
        }
        add(isa, x, &output);
    }

    /// All heads of all rows over what they see.
    fn attend(
        &self,
        pages: &Pages,
        chunks: &[Chunk<'_>],
        places: &[Place],
        block: usize,
        seen: usize,
        queries: &[f32],
    ) -> Vec<f32> {
        let attention = &self.config.attention;
        let (size, heads) = (attention.head_size, attention.kv_head_count);
        let starts: Vec<Vec<usize>> = chunks
            .iter()
            .flat_map(|chunk| (0..heads).map(|head| pages.starts(chunk.sequence, block, head)))
            .collect();
        let of_group = attention.head_count / heads * size;
        let mut out = vec![0.0; queries.len()];
        let macs: usize = places.iter().map(|place| place.position * 2 * attention.head_count * size).sum();
        let grain = if macs < SHARED_MACS { usize::MAX } else { 0 };
        self.cpu.chunks(&mut out, of_group, grain, |index, out| {
            let (place, head) = (places[index / heads], index % heads);
            let to = place.position + 1;
            self.cpu.isa().run(Attend {
                heads: Heads {
                    size,
                    queries: &queries[index * of_group..][..of_group],
                    scale: attention.scale,
                    cap: attention.score_cap,
                },
                visible: Visible {
                    arena: pages.arena(),
                    starts: &starts[place.chunk * heads + head],
                    from: to.saturating_sub(seen),
                    to,
                },
                out,
            });
        });
        out
    }

    fn feed_forward(&self, block: &Block, x: &mut [f32]) {
        let (isa, config) = (self.cpu.isa(), &self.config);
        let mut normed = vec![0.0; x.len()];
        rms_norm(isa, x, &block.feed_forward_norm, config.rms_epsilon, &mut normed);
        let mut rows = Rows::new(&self.cpu, &normed, config.embedding_length);
        let (mut gates, up) = (rows.times(&block.gate), rows.times(&block.up));
        let gate = match config.architecture.traits().activation {
            Activation::Silu => Gate::Silu,
            Activation::GeluTanh => Gate::GeluTanh,
        };
        gated(isa, gate, &mut gates, &up);
        let mut output = Rows::new(&self.cpu, &gates, config.feed_forward_length).times(&block.down);
        if let Some(norm) = &block.post_feed_forward_norm {
            rms_norm_in_place(isa, &mut output, norm, config.rms_epsilon);
        }
        add(isa, x, &output);
    }
}

/// The last rows of each chunk, as many as want logits.
fn wanted_rows(chunks: &[Chunk<'_>], x: &[f32], width: usize) -> Vec<f32> {
    let mut rows = Vec::new();
    let mut end = 0;
    for chunk in chunks {
        end += chunk.tokens.len();
        let first = end - chunk.wanted.min(chunk.tokens.len());
        rows.extend_from_slice(&x[first * width..end * width]);
    }
    rows
}
