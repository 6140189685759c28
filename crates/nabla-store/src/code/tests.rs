use proptest::prelude::*;
use reed_solomon_simd::{
    engine::NoSimd,
    rate::{DefaultRateEncoder, RateEncoder},
};

use super::*;

fn content(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(b"nabla code").finalize_xof().fill(&mut bytes);
    bytes
}

fn code(k: u16, n: u16) -> Code {
    Code::new(k, n).unwrap()
}

/// The shards named, as they would come over a wire.
fn some<'a>(encoded: &'a Encoded<'_>, indices: &'a [u16]) -> impl Iterator<Item = (u16, Vec<u8>)> + 'a {
    indices.iter().map(|&index| (index, encoded.shards[usize::from(index)].to_vec()))
}

#[test]
fn a_code_must_make_sense() {
    for (k, n) in [(1, 1), (1, 256), (3, 5), (256, 256)] {
        let code = code(k, n);
        assert_eq!((code.k(), code.n(), code.parity()), (k, n, n - k));
    }
    for (k, n) in [(0, 0), (0, 5), (6, 5), (1, 257), (257, 257), (u16::MAX, u16::MAX)] {
        let error = Code::new(k, n).unwrap_err();
        assert!(matches!(error, Error::Code { k: a, n: b } if (a, b) == (k, n)), "{error}");
    }
}

#[test]
fn any_three_of_five_suffice() {
    let bytes = content(100_000);
    let encoded = encode(&bytes, code(3, 5)).unwrap();
    for a in 0..5 {
        for b in a + 1..5 {
            for c in b + 1..5 {
                assert!(
                    rebuild(&encoded.layout, some(&encoded, &[c, a, b])).unwrap() == bytes,
                    "{a} {b} {c}"
                );
            }
        }
    }
}

#[test]
fn edges_of_size_and_code() {
    for size in [0, 1, 63, 64, 65, 127, 128, 129, 4 * ENCODE_CELL_BYTES, 4 * ENCODE_CELL_BYTES + 1] {
        for (k, n) in [(1, 1), (1, 3), (2, 2), (4, 4), (4, 5), (2, 9), (34, 100)] {
            let bytes = content(size);
            let encoded = encode(&bytes, code(k, n)).unwrap();
            assert!(encoded.shards.iter().all(|shard| shard.len() as u64 == encoded.layout.shard_bytes()));
            let last: Vec<u16> = (n - k..n).collect();
            let first: Vec<u16> = (0..k).collect();
            assert!(rebuild(&encoded.layout, some(&encoded, &last)).unwrap() == bytes, "{size} {k} {n}");
            assert!(rebuild(&encoded.layout, some(&encoded, &first)).unwrap() == bytes, "{size} {k} {n}");
        }
    }
}

#[test]
fn whole_parts_are_not_copied() {
    let bytes = content(5 * 64);
    let encoded = encode(&bytes, code(3, 5)).unwrap();
    let borrowed = encoded.shards.iter().map(|shard| matches!(shard, Cow::Borrowed(_)));
    assert_eq!(borrowed.collect::<Vec<_>>(), [true, true, false, false, false]);
}

/// Cells, SIMD and our loop change no byte of what the portable engine makes of whole shards.
#[test]
fn cells_equal_the_code_over_whole_shards() {
    for (k, n) in [(3_u16, 5_u16), (2, 9), (10, 12)] {
        let shard_bytes = 2 * ENCODE_CELL_BYTES + 192;
        let bytes = content(shard_bytes * usize::from(k));
        let encoded = encode(&bytes, code(k, n)).unwrap();
        let mut portable =
            DefaultRateEncoder::new(usize::from(k), usize::from(n - k), shard_bytes, NoSimd::new(), None)
                .unwrap();
        for shard in bytes.chunks(shard_bytes) {
            portable.add_original_shard(shard).unwrap();
        }
        let result = portable.encode().unwrap();
        for (ours, theirs) in zip(&encoded.shards[usize::from(k)..], result.recovery_iter()) {
            assert!(**ours == *theirs, "{k} of {n}");
        }
    }
}

#[test]
fn restoring_crosses_cells() {
    let bytes = content(2 * DECODE_STRIPE_BYTES + 1_000);
    for (k, n, kept) in [(2, 4, [2, 3].as_slice()), (2, 4, &[3, 0]), (3, 5, &[4, 1, 3]), (3, 5, &[2, 0, 4])] {
        let encoded = encode(&bytes, code(k, n)).unwrap();
        assert!(rebuild(&encoded.layout, some(&encoded, kept)).unwrap() == bytes, "{kept:?} of {n}");
    }
}

/// Stored bytes never change by accident: changing one of these is a new format.
#[test]
fn golden_layouts() {
    let golden = [
        (0, 3, 5, "cf599a038f074d5fca34fd4a2501d23e1cacaa5f7adbf9ff5099f50ab9299355"),
        (1, 1, 3, "acafda7228778459a635ad935df710eb1b46b1f309ec7a1ff46c6626d9109529"),
        (1_000, 3, 5, "96fa4d430c815f9989745aa1be45d4bcee7cb753a89457d9b938bb66d6b340ea"),
        (100_000, 4, 4, "dcf44b620fc830039a5ee2543162857bef0de7b523a5196287e7d80bbda69f26"),
        (100_000, 34, 100, "8888d59cbb40b4d025b8e68c986f3aa500c747714e7bd7ea8a007d5bb961b0c9"),
    ];
    for (size, k, n, expect) in golden {
        let layout = encode(&content(size), code(k, n)).unwrap().layout;
        assert_eq!(layout.id().to_string(), expect, "{size} bytes, {k} of {n}");
    }
}

#[test]
fn every_wrong_byte_is_caught() {
    let bytes = content(300);
    let encoded = encode(&bytes, code(3, 5)).unwrap();
    for (index, shard) in encoded.shards.iter().enumerate() {
        for position in 0..shard.len() {
            let mut liar = shard.to_vec();
            liar[position] ^= 1 << (position % 8);
            let index = u16::try_from(index).unwrap();
            match check_shard(&encoded.layout, index, &liar) {
                Err(Error::ShardHash { blob, index: named, expected, got }) => {
                    assert_eq!((blob, named), (encoded.layout.blob, index));
                    assert_eq!((expected, got), (shard_id(shard), shard_id(&liar)));
                }
                other => panic!("byte {position} of shard {index} gave {other:?}"),
            }
        }
    }
}

#[test]
fn liars_are_refused_and_change_nothing() {
    let bytes = content(1_000);
    let encoded = encode(&bytes, code(3, 5)).unwrap();
    let shard = |index: usize| encoded.shards[index].to_vec();
    let mut rebuilder = Rebuilder::new(encoded.layout.clone()).unwrap();
    assert_eq!(rebuilder.add(0, shard(0)).unwrap(), 2);

    let error = rebuilder.add(1, shard(2)).unwrap_err();
    assert!(matches!(error, Error::ShardHash { index: 1, .. }), "{error}");
    let error = rebuilder.add(1, shard(1)[1..].to_vec()).unwrap_err();
    assert!(matches!(error, Error::ShardLength { index: 1, expected: 384, got: 383, .. }), "{error}");
    let error = rebuilder.add(1, [shard(1), vec![0]].concat()).unwrap_err();
    assert!(matches!(error, Error::ShardLength { expected: 384, got: 385, .. }), "{error}");
    let error = rebuilder.add(5, shard(1)).unwrap_err();
    assert!(matches!(error, Error::ShardIndex { index: 5, n: 5, .. }), "{error}");

    assert_eq!(rebuilder.add(0, shard(0)).unwrap(), 2, "a shard counts once");
    assert_eq!(rebuilder.add(4, shard(4)).unwrap(), 1);
    assert_eq!(rebuilder.add(3, shard(3)).unwrap(), 0);
    assert!(rebuilder.finish().unwrap() == bytes);
}

#[test]
fn too_few_shards_are_counted() {
    let bytes = content(1_000);
    let encoded = encode(&bytes, code(3, 5)).unwrap();
    let error = rebuild(&encoded.layout, some(&encoded, &[4, 1, 4])).unwrap_err();
    assert!(matches!(error, Error::TooFewShards { needed: 3, found: 2, n: 5, .. }), "{error}");
    let expect = format!(
        "blob {}: 3 of 5 shards are needed, 2 found; start more of its storage nodes or publish it again",
        encoded.layout.blob.short()
    );
    assert_eq!(error.to_string(), expect);
}

#[test]
fn senseless_layouts_are_refused_before_anything_is_allocated() {
    let layout = encode(&content(1_000), code(3, 5)).unwrap().layout;
    let senseless = [
        Layout { k: 0, ..layout.clone() },
        Layout { k: 6, ..layout.clone() },
        Layout { shards: vec![], ..layout.clone() },
        Layout { shards: vec![ShardId([0; 32]); 257], ..layout.clone() },
        Layout { size_bytes: BLOB_BYTES_MAX + 1, ..layout.clone() },
        Layout { size_bytes: u64::MAX, ..layout.clone() },
    ];
    for layout in senseless {
        assert!(matches!(check_shard(&layout, 0, &[0; 64]), Err(Error::Layout(_))), "{layout:?}");
        assert!(matches!(Rebuilder::new(layout), Err(Error::Layout(_))));
    }
    // The largest size that is accepted allocates nothing either: the shards are not that long.
    let largest = Layout { size_bytes: BLOB_BYTES_MAX, ..layout };
    let error = rebuild(&largest, [(0, vec![0; 384])]).unwrap_err();
    assert!(matches!(error, Error::ShardLength { got: 384, .. }), "{error}");
}

#[test]
fn a_layout_that_lies_is_found_out() {
    let bytes = content(1_000);
    let Encoded { layout, shards } = encode(&bytes, code(3, 5)).unwrap();
    let others: Vec<_> = shards.iter().map(|shard| shard.to_vec()).enumerate().collect();
    let take = |indices: [u16; 3], shards: &[(usize, Vec<u8>)]| {
        indices.map(|index| (index, shards[usize::from(index)].1.clone()))
    };

    let another = BlobId::of(b"another");
    let error = rebuild(&Layout { blob: another, ..layout.clone() }, take([0, 1, 2], &others)).unwrap_err();
    assert!(matches!(error, Error::WrongBlob { expected, got } if (expected, got) == (another, layout.blob)));

    let error = rebuild(&Layout { size_bytes: 999, ..layout.clone() }, take([0, 1, 2], &others)).unwrap_err();
    assert!(matches!(error, Error::WrongBlob { expected, .. } if expected == layout.blob));

    // Parity that is no parity: a publisher's lie. Its hash is right, what it rebuilds is not.
    let mut lie = (layout.clone(), others);
    lie.1[3].1[7] ^= 1;
    lie.0.shards[3] = shard_id(&lie.1[3].1);
    let error = rebuild(&lie.0, take([0, 1, 3], &lie.1)).unwrap_err();
    assert!(matches!(error, Error::WrongBlob { expected, .. } if expected == layout.blob));
    assert!(rebuild(&lie.0, take([0, 1, 2], &lie.1)).unwrap() == bytes, "the data itself is good");
    assert_ne!(encode(&bytes, code(3, 5)).unwrap().layout, lie.0, "encoding again shows the lie");
}

proptest! {
    /// Any `k` shards, in any order, rebuild the blob; one fewer never do.
    #[test]
    fn any_k_shards_rebuild(
        bytes in prop::collection::vec(any::<u8>(), 0..3_000),
        k in 1_u16..12,
        parity in 0_u16..12,
        seed in any::<u64>(),
    ) {
        let n = k + parity;
        let encoded = encode(&bytes, code(k, n)).unwrap();
        let mut order: Vec<u16> = (0..n).collect();
        order.sort_by_key(|index| {
            *blake3::Hasher::new().update(&seed.to_le_bytes()).update(&index.to_le_bytes()).finalize().as_bytes()
        });
        let (kept, _) = order.split_at(usize::from(k));
        prop_assert_eq!(&rebuild(&encoded.layout, some(&encoded, kept)).unwrap(), &bytes);
        let error = rebuild(&encoded.layout, some(&encoded, &kept[1..])).unwrap_err();
        let counted = matches!(error, Error::TooFewShards { needed, found, .. } if (needed, found) == (k, k - 1));
        prop_assert!(counted, "{}", error);
    }

    /// Whatever bytes come as a shard: accepted only if they are the shard.
    #[test]
    fn foreign_bytes_are_refused(
        shard in prop::collection::vec(any::<u8>(), 0..200),
        index in 0_u16..8,
    ) {
        let encoded = encode(b"some bytes to code", code(3, 5)).unwrap();
        let is_it = encoded.shards.get(usize::from(index)).is_some_and(|real| **real == shard);
        prop_assert_eq!(check_shard(&encoded.layout, index, &shard).is_ok(), is_it);
    }
}
