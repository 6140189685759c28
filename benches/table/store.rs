//! Coding and hashing of 64 MiB: any 3 of 5 shards rebuild it.

use std::hint::black_box;

use nabla_benches::{Case, Group, Row, Settings, Work};
use nabla_store::{Code, check_shard, encode, rebuild};
use nabla_types::BlobId;

const MEMCPY: &str = "memcpy";
const BLAKE3: &str = "blake3";

pub(crate) fn measure(settings: &Settings) -> Vec<Row> {
    let length = if settings.quick { 8 << 20 } else { 64 << 20 };
    let blob: Vec<u8> =
        (0..length).map(|index: u32| index.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
    let code = Code::new(3, 5).expect("a code");
    let encoded = encode(&blob, code).expect("a blob");
    let (layout, work) = (&encoded.layout, Work::bytes(blob.len()));
    let shard = |index: u16| (index, encoded.shards[usize::from(index)].to_vec());
    let rebuilding = |name: &str, indices: [u16; 3]| {
        Case::new(name, work, move |watch| {
            let shards = indices.map(shard);
            let rebuilt = watch.time(|| rebuild(layout, shards)).expect("three good shards");
            assert_eq!(rebuilt.len(), layout.size_bytes.try_into().unwrap_or(0));
        })
    };
    let mut copy = vec![0; blob.len()];
    let both = [BLAKE3, MEMCPY];
    Group::default()
        .with(Case::new(MEMCPY, work, |watch| watch.time(|| copy.copy_from_slice(black_box(&blob)))))
        .with(Case::whole(BLAKE3, work, || blake3::hash(black_box(&blob))))
        .with(Case::whole("encode, 3 of 5", work, || encode(&blob, code)).against(&both))
        .with(rebuilding("rebuild from the data shards", [0, 1, 2]).against(&both))
        .with(rebuilding("rebuild from both parity shards", [2, 3, 4]).against(&both))
        .with(Case::whole("hash a blob", work, || BlobId::of(&blob)).against(&both))
        .with(check_case(layout, &encoded.shards[4]).against(&both))
        .measure(settings)
}

/// What everyone does with a shard on its arrival.
fn check_case<'a>(layout: &'a nabla_types::layout::Layout, shard: &'a [u8]) -> Case<'a> {
    Case::new("check one shard", Work::bytes(shard.len()), |watch| {
        watch.time(|| check_shard(layout, 4, shard)).expect("a good shard");
    })
}
