//! Which node holds which shard: rendezvous hashing.
//!
//! Every node has, for every blob, a weight that anyone can compute: `BLAKE3(blob, node)` in a domain of
//! its own. The node with the highest weight gets shard 0, the next one shard 1. No table, no
//! coordinator, and a node that comes or goes moves only what its own weight decides.
//!
//! # Rules
//! - The answer depends on the *set* of candidates: neither order nor repetition changes it.
//! - With at least `n` candidates every shard is on a node of its own; with fewer, it starts again from
//!   the first, so a lost node then costs several shards.
//! - Placement is where to *put*. Where to *find* is what the holders' signed words on the ledger say.
//!
//! # Deliberately absent
//! Weights by free space or stake, and failure domains. Whoever can make many node ids can be placed
//! where it wants: candidates must be nodes with stake, which is the caller's to decide.
//!
//! # Example
//! ```
//! use nabla_store::placement::place;
//! use nabla_types::{BlobId, NodeId};
//!
//! let nodes = [NodeId([1; 32]), NodeId([2; 32]), NodeId([3; 32])];
//! let holders = place(BlobId::of(b"weights"), &nodes, 2);
//! assert_eq!(holders.len(), 2);
//! assert_ne!(holders[0], holders[1]);
//! ```

use nabla_types::{BlobId, NodeId};

/// The domain of the weights. Another one is another placement.
const DOMAIN: &str = "nabla placement v1";

/// All candidates, best first, each once.
#[must_use]
pub fn rank(blob: BlobId, candidates: &[NodeId]) -> Vec<NodeId> {
    let mut ranked: Vec<_> = candidates.iter().map(|&node| (weight(blob, node), node)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked.dedup();
    ranked.into_iter().map(|(_, node)| node).collect()
}

/// The holder of each of the shards `0..n`. Empty if there is no candidate.
#[must_use]
pub fn place(blob: BlobId, candidates: &[NodeId], n: u16) -> Vec<NodeId> {
    rank(blob, candidates).into_iter().cycle().take(usize::from(n)).collect()
}

fn weight(blob: BlobId, node: NodeId) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    hasher.update(&blob.0).update(&node.0);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn nodes(count: u8) -> Vec<NodeId> {
        (0..count).map(|i| NodeId(*blake3::hash(&[i]).as_bytes())).collect()
    }

    #[test]
    fn every_shard_has_a_node_of_its_own_while_there_are_enough() {
        let five = nodes(5);
        for i in 0..100_u8 {
            let mut holders = place(BlobId::of(&[i]), &five, 5);
            holders.sort_unstable();
            holders.dedup();
            assert_eq!(holders.len(), 5);
        }
    }

    #[test]
    fn too_few_nodes_are_used_in_turn() {
        let holders = place(BlobId::of(b"x"), &nodes(2), 5);
        assert_eq!(holders.len(), 5);
        assert_eq!((holders[0], holders[1]), (holders[2], holders[3]));
        assert_ne!(holders[0], holders[1]);
        assert!(place(BlobId::of(b"x"), &[], 5).is_empty());
    }

    #[test]
    fn neither_order_nor_repetition_matters() {
        let mut candidates = nodes(7);
        let expect = rank(BlobId::of(b"x"), &candidates);
        candidates.reverse();
        candidates.extend_from_within(2..5);
        assert_eq!(rank(BlobId::of(b"x"), &candidates), expect);
    }

    #[test]
    fn a_node_that_leaves_changes_nobody_elses_rank() {
        let candidates = nodes(9);
        for i in 0..50_u8 {
            let blob = BlobId::of(&[i]);
            let mut expect = rank(blob, &candidates);
            expect.retain(|node| *node != candidates[4]);
            let left: Vec<_> = candidates.iter().copied().filter(|n| *n != candidates[4]).collect();
            assert_eq!(rank(blob, &left), expect);
        }
    }

    #[test]
    fn first_places_are_spread_evenly() {
        let candidates = nodes(10);
        let mut firsts = BTreeMap::new();
        for i in 0..10_000_u32 {
            *firsts.entry(rank(BlobId::of(&i.to_le_bytes()), &candidates)[0]).or_insert(0_u32) += 1;
        }
        // 1000 expected, standard deviation 30: these fixed inputs stay within four of them.
        assert_eq!(firsts.len(), 10);
        assert!(firsts.values().all(|count| (880..1120).contains(count)), "{firsts:?}");
    }

    #[test]
    fn golden_placement() {
        let blob = BlobId::of(b"nabla");
        let order: Vec<u8> = rank(blob, &(0..5).map(|i| NodeId([i; 32])).collect::<Vec<_>>())
            .iter()
            .map(|node| node.0[0])
            .collect();
        assert_eq!(order, [0, 2, 1, 3, 4]);
    }
}
