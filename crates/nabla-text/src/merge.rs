//! Joining neighbours, best first: what byte-level BPE and SentencePiece have in common.
//!
//! # Rules
//! - Of all neighbours that may join, those of the lowest rank do; of equal ranks the leftmost.
//! - A text of `n` symbols costs `O(n log n)`, whatever it says: each join takes one symbol away and puts
//!   at most two pairs on the heap.

use std::{cmp::Reverse, collections::BinaryHeap};

/// A stretch of the text that is, or may become, one token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// Where it begins, in bytes.
    pub(crate) start: usize,
    /// Where it ends; `start` if it went into its left neighbour.
    pub(crate) end: usize,
    /// Its token, or [`NO_TOKEN`].
    pub(crate) token: u32,
}

/// The token of a symbol that no token is written as.
pub(crate) const NO_TOKEN: u32 = u32::MAX;

/// What two neighbours become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Join {
    /// Lower is earlier.
    pub(crate) rank: u32,
    /// The token of both together.
    pub(crate) token: u32,
}

/// A pair that may join, if it still stands when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    rank: u32,
    left: usize,
    right: usize,
    end: usize,
    token: u32,
}

/// Join `symbols` until no neighbours may.
pub(crate) fn merge(symbols: Vec<Symbol>, join: impl Fn(&Symbol, &Symbol) -> Option<Join>) -> Vec<Symbol> {
    if symbols.len() < 2 {
        return symbols;
    }
    let mut line = Line::new(symbols);
    let mut heap = BinaryHeap::with_capacity(line.symbols.len());
    for left in 0..line.symbols.len() - 1 {
        heap.extend(line.candidate(left, left + 1, &join));
    }
    while let Some(Reverse(candidate)) = heap.pop() {
        if line.is_stale(&candidate) {
            continue;
        }
        line.take(&candidate);
        let (before, after) = (line.previous[candidate.left], line.next[candidate.left]);
        if before != NOWHERE {
            heap.extend(line.candidate(before, candidate.left, &join));
        }
        if after != NOWHERE {
            heap.extend(line.candidate(candidate.left, after, &join));
        }
    }
    line.symbols.retain(|symbol| symbol.start != symbol.end);
    line.symbols
}

/// No neighbour on this side.
const NOWHERE: usize = usize::MAX;

/// The symbols, each with its neighbours.
struct Line {
    symbols: Vec<Symbol>,
    previous: Vec<usize>,
    next: Vec<usize>,
}

impl Line {
    fn new(symbols: Vec<Symbol>) -> Self {
        let count = symbols.len();
        let previous = (0..count).map(|at| at.checked_sub(1).unwrap_or(NOWHERE)).collect();
        let next = (0..count).map(|at| if at + 1 < count { at + 1 } else { NOWHERE }).collect();
        Self { symbols, previous, next }
    }

    fn candidate(
        &self,
        left: usize,
        right: usize,
        join: impl Fn(&Symbol, &Symbol) -> Option<Join>,
    ) -> Option<Reverse<Candidate>> {
        let Join { rank, token } = join(&self.symbols[left], &self.symbols[right])?;
        Some(Reverse(Candidate { rank, left, right, end: self.symbols[right].end, token }))
    }

    /// One of the two has joined another since. The ends tell: a symbol that grew ends elsewhere, and one
    /// that is gone is not the left one's neighbour.
    fn is_stale(&self, candidate: &Candidate) -> bool {
        let left = &self.symbols[candidate.left];
        left.start == left.end
            || self.next[candidate.left] != candidate.right
            || self.symbols[candidate.right].end != candidate.end
    }

    fn take(&mut self, candidate: &Candidate) {
        let after = self.next[candidate.right];
        self.symbols[candidate.left].end = candidate.end;
        self.symbols[candidate.left].token = candidate.token;
        self.symbols[candidate.right].end = self.symbols[candidate.right].start;
        self.next[candidate.left] = after;
        if after != NOWHERE {
            self.previous[after] = candidate.left;
        }
    }
}
