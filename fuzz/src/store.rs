//! Bodies for shards: what storage nodes send, and layouts that lie.

use nabla_store::{Code, Error, Rebuilder, encode, shard_id};
use nabla_types::{
    BlobId,
    layout::{self, LAYOUT_BYTES_MAX, Layout},
};

use crate::{
    check::{accepted, canonical},
    sections::{Sections, array},
};

/// A frame as storage nodes get it, many times over: a layout, then shards that each begin with their index.
pub fn shards(bytes: &[u8]) {
    let mut sections = Sections(bytes);
    let Some(layout) = canonical::<Layout>("layout", sections.part(), LAYOUT_BYTES_MAX) else { return };
    let Some(mut rebuilder) = accepted(Rebuilder::new(layout.clone()), bytes) else { return };
    while !sections.is_empty() {
        let frame = sections.part();
        let index = u16::from_be_bytes(array(frame));
        let shard = frame.get(2..).unwrap_or_default().to_vec();
        let before = rebuilder.needed();
        match rebuilder.add(index, shard) {
            Ok(needed) => assert!(needed <= before),
            Err(_) => assert_eq!(rebuilder.needed(), before, "a refused shard counts"),
        }
    }
    if let Some(blob) = accepted(rebuilder.finish(), bytes) {
        assert_eq!((BlobId::of(&blob), blob.len() as u64), (layout.blob, layout.size_bytes));
    }
}

/// Any code over any bytes: the shards that are left rebuild the blob; a layout that vouches for other shards
/// is found out.
pub fn code(bytes: &[u8]) {
    let (head, blob) = bytes.split_at(bytes.len().min(8));
    let [k, n, seed, lie, ..] = array::<8>(head);
    let Ok(code) = Code::new(u16::from(k % 40), u16::from(n % 48)) else { return };
    let encoded = encode(blob, code).expect("a small blob");
    let (layout, n) = (encoded.layout, usize::from(code.n()));
    let chosen: Vec<usize> =
        (0..n).map(|step| (usize::from(seed) + step) % n).take(usize::from(code.k())).collect();
    let at = |index: usize| u16::try_from(index).expect("at most 48");
    let honest = chosen.iter().map(|&index| (at(index), encoded.shards[index].to_vec()));
    assert_eq!(nabla_store::rebuild(&layout, honest).expect("k good shards"), blob);

    let mut lying = layout.clone();
    let false_shards: Vec<(u16, Vec<u8>)> = chosen
        .iter()
        .map(|&index| {
            let mut shard = encoded.shards[index].to_vec();
            let length = shard.len();
            shard[usize::from(lie) % length] ^= 1;
            lying.shards[index] = shard_id(&shard);
            (at(index), shard)
        })
        .collect();
    match nabla_store::rebuild(&lying, false_shards) {
        Err(Error::WrongBlob { .. }) => {}
        Ok(rebuilt) => assert_eq!(rebuilt, blob, "padding was changed, nothing else"),
        Err(error) => panic!("expected another blob to be found out, got {error}"),
    }
    assert!(layout::shard_bytes(layout.size_bytes, layout.k) * u64::from(layout.k) >= layout.size_bytes);
}
