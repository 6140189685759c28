//! Every leaf is provable, and nothing else is.

use super::*;

fn leaves(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("leaf {i}").into_bytes()).collect()
}

fn place(index: usize, count: usize) -> Place {
    Place { index: index as u64, count: count as u64 }
}

/// RFC 9162 section 2.1.1 word for word: the definition that the code must agree with.
fn root_by_definition(tree: Tree, leaves: &[Vec<u8>]) -> TreeHash {
    let hash = |parts: &[&[u8]]| TreeHash(Sha256::digest(parts.concat()).into());
    match leaves {
        [] => hash(&[&[2], tree.purpose()]),
        [leaf] => hash(&[&[0], tree.purpose(), leaf]),
        _ => {
            let mut k = 1;
            while k * 2 < leaves.len() {
                k *= 2;
            }
            let left = root_by_definition(tree, &leaves[..k]);
            let right = root_by_definition(tree, &leaves[k..]);
            hash(&[&[1], tree.purpose(), &left.0, &right.0])
        }
    }
}

#[test]
fn roots_follow_the_definition() {
    for count in 0..70 {
        for tree in [Tree::Transactions, Tree::Receipts] {
            assert_eq!(tree.root(&leaves(count)), root_by_definition(tree, &leaves(count)), "{count}");
        }
    }
}

#[test]
fn every_leaf_is_provable() {
    for count in 1..70 {
        let leaves = leaves(count);
        let root = Tree::Receipts.root(&leaves);
        for (index, leaf) in leaves.iter().enumerate() {
            let path = Tree::Receipts.path(&leaves, index).expect("the leaf is there");
            assert_eq!(
                Tree::Receipts.verify(root, leaf, place(index, count), &path),
                Ok(()),
                "{index}/{count}"
            );
        }
        assert_eq!(Tree::Receipts.path(&leaves, count), None);
    }
}

#[test]
fn empty_trees_prove_nothing() {
    let root = Tree::Receipts.root::<&[u8]>(&[]);
    assert_ne!(root, Tree::Transactions.root::<&[u8]>(&[]));
    let got = Tree::Receipts.verify(root, b"", Place { index: 0, count: 0 }, &[]);
    assert_eq!(got, Err(MerkleError::Index { index: 0, count: 0 }));
}

/// No leaf can be shown at another index, and no other leaf at its index.
#[test]
fn a_liar_cannot_move_or_swap_a_leaf() {
    let count = 13;
    let leaves = leaves(count);
    let root = Tree::Receipts.root(&leaves);
    for (index, leaf) in leaves.iter().enumerate() {
        let path = Tree::Receipts.path(&leaves, index).expect("the leaf is there");
        for other in (0..count).filter(|other| *other != index) {
            assert!(
                Tree::Receipts.verify(root, leaf, place(other, count), &path).is_err(),
                "{index} at {other}"
            );
            assert!(Tree::Receipts.verify(root, &leaves[other], place(index, count), &path).is_err());
        }
    }
}

/// A count that changes the leaf's path length is refused; every flipped bit of the path is refused.
#[test]
fn a_liar_cannot_change_the_path() {
    let (count, index) = (11, 6);
    let leaves = leaves(count);
    let root = Tree::Receipts.root(&leaves);
    let path = Tree::Receipts.path(&leaves, index).expect("the leaf is there");
    let verify = |path: &[TreeHash]| Tree::Receipts.verify(root, &leaves[index], place(index, count), path);
    assert_eq!(verify(&path), Ok(()));
    let shorter = verify(&path[1..]).expect_err("one hash is missing");
    assert_eq!(shorter, MerkleError::Length { expected: path.len(), got: path.len() - 1 });
    let longer = [path.clone(), vec![TreeHash([0; 32])]].concat();
    assert!(matches!(verify(&longer), Err(MerkleError::Length { .. })));
    for bit in 0..path.len() * 256 {
        let mut forged = path.clone();
        forged[bit / 256].0[bit / 8 % 32] ^= 1 << (bit % 8);
        assert!(matches!(verify(&forged), Err(MerkleError::Root { .. })), "bit {bit}");
    }
}

/// An inner node is no leaf: its 64 bytes cannot be passed off as a leaf's.
#[test]
fn a_node_is_no_leaf() {
    let tree = Tree::Receipts;
    let (a, b) = (tree.leaf(b"a"), tree.leaf(b"b"));
    let forged = [a.0, b.0].concat();
    let root = tree.root(&["a", "b"]);
    assert!(tree.verify(root, &forged, Place { index: 0, count: 1 }, &[]).is_err());
}

#[test]
fn a_proof_for_one_purpose_is_none_for_another() {
    let leaves = leaves(5);
    let path = Tree::Receipts.path(&leaves, 3).expect("the leaf is there");
    let root = Tree::Receipts.root(&leaves);
    assert_ne!(root, Tree::Transactions.root(&leaves));
    assert!(Tree::Transactions.verify(root, &leaves[3], place(3, 5), &path).is_err());
}

#[test]
fn hostile_places_do_not_panic() {
    let root = TreeHash([0; 32]);
    for index in [0, 1, u64::MAX - 1, u64::MAX] {
        for count in [0, 1, 2, u64::MAX - 1, u64::MAX] {
            for length in [0, 1, 63, 64, 65] {
                let path = vec![TreeHash([1; 32]); length];
                assert!(Tree::Receipts.verify(root, b"x", Place { index, count }, &path).is_err());
            }
        }
    }
}
