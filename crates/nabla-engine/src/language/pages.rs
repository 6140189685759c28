//! Keys and values of sequences, in pages of sixteen tokens.
//!
//! One arena holds all pages; a page has a part for each block and head of keys. A sequence names its pages in
//! order, and may share the first of them with others: a full page never changes.
//!
//! # When things go wrong
//! [`Pages::take`] gives `None` where the arena is full: whoever admits requests decides who waits.

use super::Config;
use crate::kernels::decoder::attention::{KEYS, part_elements, store};

/// The arena.
#[derive(Debug)]
pub(super) struct Pages {
    arena: Vec<f32>,
    /// Elements of a page.
    page: usize,
    /// Elements of a part.
    part: usize,
    heads: usize,
    size: usize,
    /// How many sequences name each page.
    users: Vec<u32>,
    free: Vec<usize>,
}

/// The pages of one sequence, and how many tokens they hold.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Sequence {
    pub(super) pages: Vec<usize>,
    pub(super) tokens: usize,
}

impl Pages {
    /// Elements of one page of a model.
    pub(super) fn page_elements(config: &Config) -> usize {
        config.block_count * config.attention.kv_head_count * part_elements(config.attention.head_size)
    }

    /// Room for so many pages.
    pub(super) fn new(config: &Config, count: usize) -> Self {
        let page = Self::page_elements(config);
        Self {
            arena: vec![0.0; page * count],
            page,
            part: part_elements(config.attention.head_size),
            heads: config.attention.kv_head_count,
            size: config.attention.head_size,
            users: vec![0; count],
            free: (0..count).rev().collect(),
        }
    }

    pub(super) fn arena(&self) -> &[f32] {
        &self.arena
    }

    pub(super) fn free_count(&self) -> usize {
        self.free.len()
    }

    /// How many name a page.
    pub(super) fn users(&self, page: usize) -> u32 {
        self.users[page]
    }

    /// A page that nobody names.
    pub(super) fn take(&mut self) -> Option<usize> {
        let page = self.free.pop()?;
        self.users[page] = 1;
        Some(page)
    }

    /// One more sequence names it.
    pub(super) fn share(&mut self, page: usize) {
        self.users[page] += 1;
    }

    /// A sequence names it no more.
    pub(super) fn give(&mut self, page: usize) {
        self.users[page] -= 1;
        if self.users[page] == 0 {
            self.free.push(page);
        }
    }

    /// Pages for so many more tokens; nothing is taken if they are not all there.
    pub(super) fn grow(&mut self, sequence: &mut Sequence, tokens: usize) -> bool {
        let needed = (sequence.tokens + tokens).div_ceil(KEYS).saturating_sub(sequence.pages.len());
        if needed > self.free.len() {
            return false;
        }
        sequence.pages.extend((0..needed).filter_map(|_| self.take()));
        true
    }

    /// Where the part of a block and head starts in each page of a sequence.
    pub(super) fn starts(&self, sequence: &Sequence, block: usize, head: usize) -> Vec<usize> {
        let part = (block * self.heads + head) * self.part;
        sequence.pages.iter().map(|page| page * self.page + part).collect()
    }

    /// Keep a token's keys and values of one block, `[heads][size]` each.
    pub(super) fn store(
        &mut self,
        sequence: &Sequence,
        block: usize,
        token: usize,
        keys: &[f32],
        values: &[f32],
    ) {
        let page = sequence.pages[token / KEYS] * self.page + block * self.heads * self.part;
        let parts = self.arena[page..][..self.heads * self.part].chunks_exact_mut(self.part);
        for ((part, key), value) in
            parts.zip(keys.chunks_exact(self.size)).zip(values.chunks_exact(self.size))
        {
            store(part, self.size, token, key, value);
        }
    }
}
