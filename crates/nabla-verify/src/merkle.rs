//! The tree that a block commits to its transactions and its receipts with: RFC 9162 section 2.1, each
//! hash bound to what the tree is for.
//!
//! # Rules
//! - `leaf = SHA-256(0x00 || purpose || bytes)`, `node = SHA-256(0x01 || purpose || left || right)`,
//!   `empty = SHA-256(0x02 || purpose)`. The purposes are [`Tree::purpose`]; each ends in a zero byte and
//!   none is the beginning of another, so no leaf or node of one tree is one of the other's.
//! - `n` leaves are split at the largest power of two below `n`; nothing is ever duplicated to fill up.
//! - A proof is the audit path of RFC 9162 section 2.1.3.1, from the leaf upwards. For one leaf, index and
//!   count exactly one path length is right, so a proof cannot be shortened or padded.
//!
//! # When things go wrong
//! [`Tree::verify`] says what was expected and what was got. It allocates nothing, and costs one hash for
//! each element of the path, at most 64.
//!
//! # Example
//! ```
//! use nabla_verify::merkle::{Place, Tree};
//!
//! let leaves = ["a", "b", "c"];
//! let root = Tree::Receipts.root(&leaves);
//! let path = Tree::Receipts.path(&leaves, 2).expect("there is a third leaf");
//! let place = Place { index: 2, count: 3 };
//! assert!(Tree::Receipts.verify(root, b"c", place, &path).is_ok());
//! assert!(Tree::Transactions.verify(root, b"c", place, &path).is_err());
//! ```

use nabla_types::TreeHash;
use sha2::{Digest, Sha256};

const PREFIX_LEAF: u8 = 0;
const PREFIX_NODE: u8 = 1;
const PREFIX_EMPTY: u8 = 2;

/// What a tree is for. Trees of different purposes share no hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree {
    /// A block's transactions: each leaf is one transaction's encoding.
    Transactions,
    /// A block's receipts: each leaf is one receipt's COSE bytes.
    Receipts,
}

/// Where a leaf stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The leaf's index, from 0.
    pub index: u64,
    /// How many leaves the tree has.
    pub count: u64,
}

/// Why a leaf is not shown to be in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MerkleError {
    /// The tree has no such leaf.
    #[error("expected an index below the {count} leaves, got {index}")]
    Index {
        /// The claimed index.
        index: u64,
        /// Leaves in the tree.
        count: u64,
    },
    /// A path for another index or count.
    #[error("expected a path of {expected} hashes, got {got}")]
    Length {
        /// Hashes needed for this index and count.
        expected: usize,
        /// Hashes given.
        got: usize,
    },
    /// Another leaf, another tree, or a forged path.
    #[error("expected the root {expected}, the leaf and its path give {got}")]
    Root {
        /// The root that was committed to.
        expected: TreeHash,
        /// The root that follows from leaf and path.
        got: TreeHash,
    },
}

impl Tree {
    /// The bytes that bind every hash of this tree to its purpose.
    #[must_use]
    pub const fn purpose(self) -> &'static [u8] {
        match self {
            Self::Transactions => b"nabla transactions 1\0",
            Self::Receipts => b"nabla receipts 1\0",
        }
    }

    /// The root over `leaves`, in their order.
    #[must_use]
    pub fn root<L: AsRef<[u8]>>(self, leaves: &[L]) -> TreeHash {
        let hashes: Vec<TreeHash> = leaves.iter().map(|leaf| self.leaf(leaf.as_ref())).collect();
        self.subtree(&hashes)
    }

    /// The path from the leaf at `index` to the root, or `None` if there is no such leaf.
    #[must_use]
    pub fn path<L: AsRef<[u8]>>(self, leaves: &[L], index: usize) -> Option<Vec<TreeHash>> {
        let hashes: Vec<TreeHash> = leaves.iter().map(|leaf| self.leaf(leaf.as_ref())).collect();
        hashes.get(index)?;
        let (mut below, mut index, mut path) = (hashes.as_slice(), index, Vec::new());
        while below.len() > 1 {
            let (left, right) = below.split_at(split(below.len()));
            let sibling;
            (below, sibling) = if index < left.len() { (left, right) } else { (right, left) };
            index = if index < left.len() { index } else { index - left.len() };
            path.push(self.subtree(sibling));
        }
        path.reverse();
        Some(path)
    }

    /// Check that `leaf` stands at `place` in the tree of this purpose and `root`.
    ///
    /// # Errors
    /// [`MerkleError`], with what was expected and what was got.
    pub fn verify(
        self,
        root: TreeHash,
        leaf: &[u8],
        place: Place,
        path: &[TreeHash],
    ) -> Result<(), MerkleError> {
        let Place { index, count } = place;
        if index >= count {
            return Err(MerkleError::Index { index, count });
        }
        let expected = path_length(index, count);
        if path.len() != expected {
            return Err(MerkleError::Length { expected, got: path.len() });
        }
        match self.climb(self.leaf(leaf), place, path) {
            got if got == root => Ok(()),
            got => Err(MerkleError::Root { expected: root, got }),
        }
    }

    /// RFC 9162 section 2.1.3.2: the root that a leaf's hash and its path give.
    fn climb(self, leaf: TreeHash, place: Place, path: &[TreeHash]) -> TreeHash {
        let (mut hash, mut index, mut last) = (leaf, place.index, place.count - 1);
        for sibling in path {
            if index & 1 == 1 || index == last {
                hash = self.node(sibling, &hash);
                while index & 1 == 0 && index != 0 {
                    (index, last) = (index >> 1, last >> 1);
                }
            } else {
                hash = self.node(&hash, sibling);
            }
            (index, last) = (index >> 1, last >> 1);
        }
        hash
    }

    fn subtree(self, hashes: &[TreeHash]) -> TreeHash {
        match hashes {
            [] => self.hash(PREFIX_EMPTY, &[]),
            [one] => *one,
            _ => {
                let (left, right) = hashes.split_at(split(hashes.len()));
                self.node(&self.subtree(left), &self.subtree(right))
            }
        }
    }

    fn leaf(self, bytes: &[u8]) -> TreeHash {
        self.hash(PREFIX_LEAF, &[bytes])
    }

    fn node(self, left: &TreeHash, right: &TreeHash) -> TreeHash {
        self.hash(PREFIX_NODE, &[&left.0, &right.0])
    }

    fn hash(self, prefix: u8, parts: &[&[u8]]) -> TreeHash {
        let mut hash = Sha256::new();
        hash.update([prefix]);
        hash.update(self.purpose());
        parts.iter().for_each(|part| hash.update(part));
        TreeHash(hash.finalize().into())
    }
}

/// The largest power of two below `count`, which is at least 2.
fn split(count: usize) -> usize {
    1 << (count - 1).ilog2()
}

/// How many hashes the path of this leaf has.
fn path_length(index: u64, count: u64) -> usize {
    let (mut index, mut last, mut length) = (index, count - 1, 0);
    while last > 0 {
        // The last node of an odd level moves up without a sibling.
        if index & 1 == 1 || index != last {
            length += 1;
        }
        (index, last) = (index >> 1, last >> 1);
    }
    length
}

#[cfg(test)]
mod tests;
