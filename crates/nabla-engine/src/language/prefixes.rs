//! Keys and values that were computed before, found again by the tokens that they belong to.
//!
//! # Rules
//! - A full page is known by the hash of its sixteen tokens and of the page before it, so that equal hashes mean equal
//!   tokens from the start of the text. Keys and values depend on nothing else: a page that is found is bit for bit
//!   the one that would be computed.
//! - A page that only this table names is free memory: the least recently used goes first, and of one text the last.
//!
//! # When things go wrong
//! The table never refuses: it forgets.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::pages::Pages;
use crate::kernels::decoder::attention::KEYS;

/// What separates these hashes from others.
const DOMAIN: &[u8] = b"nabla pages 1";

/// The name of a full page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PageHash([u8; 32]);

impl PageHash {
    /// Before the first page.
    pub(super) fn start() -> Self {
        Self(*blake3::hash(DOMAIN).as_bytes())
    }

    /// Of the page with these tokens behind this one.
    pub(super) fn then(self, tokens: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.0);
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// Of all full pages of a text.
    pub(super) fn of(tokens: &[u32]) -> Vec<Self> {
        let step = |hash: &mut Self, page: &[u32]| {
            *hash = hash.then(page);
            Some(*hash)
        };
        tokens.chunks_exact(KEYS).scan(Self::start(), step).collect()
    }
}

#[derive(Debug)]
struct Entry {
    page: usize,
    used: u64,
    /// Pages before it.
    depth: usize,
}

/// Pages by their hashes.
#[derive(Debug, Default)]
pub(super) struct Prefixes {
    entries: HashMap<PageHash, Entry>,
    clock: u64,
}

impl Prefixes {
    /// The page with this hash, named by one more sequence.
    pub(super) fn find(&mut self, hash: PageHash, pages: &mut Pages) -> Option<usize> {
        self.clock += 1;
        let entry = self.entries.get_mut(&hash)?;
        entry.used = self.clock;
        pages.share(entry.page);
        Some(entry.page)
    }

    pub(super) fn contains(&self, hash: PageHash) -> bool {
        self.entries.contains_key(&hash)
    }

    /// Remember a page that is full; the first one of equals stays.
    pub(super) fn keep(&mut self, hash: PageHash, depth: usize, page: usize, pages: &mut Pages) {
        self.clock += 1;
        let used = self.clock;
        self.entries.entry(hash).or_insert_with(|| {
            pages.share(page);
            Entry { page, used, depth }
        });
    }

    /// Pages that nobody else names.
    pub(super) fn idle_count(&self, pages: &Pages) -> usize {
        self.entries.values().filter(|entry| pages.users(entry.page) == 1).count()
    }

    /// Forget so many pages that nobody else names, if there are as many.
    pub(super) fn forget(&mut self, count: usize, pages: &mut Pages) {
        let idle = self.entries.iter().filter(|(_, entry)| pages.users(entry.page) == 1);
        let mut idle: Vec<_> = idle.map(|(hash, entry)| (entry.used, Reverse(entry.depth), *hash)).collect();
        idle.sort_unstable_by_key(|(used, depth, _)| (*used, *depth));
        for (_, _, hash) in idle.into_iter().take(count) {
            if let Some(entry) = self.entries.remove(&hash) {
                pages.give(entry.page);
            }
        }
    }
}
