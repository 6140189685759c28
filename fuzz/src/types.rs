//! Bodies for what crosses a wire as deterministic CBOR.

use std::sync::LazyLock;

use nabla_ledger::State;
use nabla_types::{
    cbor,
    chain::{BLOCK_BYTES_MAX, Block, Genesis, InclusionProof, TX_BYTES_MAX, Tx},
    layout::{HolderAck, LAYOUT_BYTES_MAX, Layout},
    manifest::{ModelManifest, Revision, path_is_safe},
    receipt::{CommitmentLabel, Receipt, Salt, SignedReceipt},
    tensor::{NamedTensor, TENSOR_BYTES_MAX, Tensor},
};

use crate::{
    check::{accepted, canonical},
    seeds,
};

/// A signed receipt: one form only, and its claims survive JSON.
pub fn receipt(bytes: &[u8]) {
    let Some(signed) = accepted(SignedReceipt::from_bytes(bytes), bytes) else { return };
    assert_eq!(signed.to_bytes(), bytes, "two encodings of one receipt");
    assert_eq!(SignedReceipt::from_bytes(&signed.to_bytes()).as_ref(), Ok(&signed));
    let (claims, _) = (signed.claims(), signed.id());
    assert!(claims.execution_time_ms() <= claims.finished_ms);
    let _ = (signed.verify(), claims.price.amount(&claims.usage));
    let json = serde_json::to_vec(claims).expect("claims are plain data");
    assert_eq!(serde_json::from_slice::<Receipt>(&json).as_ref().ok(), Some(claims));
}

/// A layout, and the arithmetic on those that make sense.
pub fn layout(bytes: &[u8]) {
    let Some(layout) = canonical::<Layout>("layout", bytes, LAYOUT_BYTES_MAX) else { return };
    let _ = layout.id();
    if accepted(layout.check(), bytes).is_some() {
        assert!(layout.shard_bytes() * u64::from(layout.k) >= layout.size_bytes);
        assert_eq!(layout.stored_bytes(), layout.shard_bytes() * u64::from(layout.n()));
    }
}

/// A model's manifest.
pub fn manifest(bytes: &[u8]) {
    let Some(manifest) = accepted(ModelManifest::from_bytes(bytes), bytes) else { return };
    assert_eq!(manifest.to_bytes(), bytes, "two encodings of one manifest");
    assert_eq!(manifest.model_id().manifest_blob(), nabla_types::BlobId::of(bytes));
    for rows in [0, 1, 64, u64::MAX] {
        let _ = manifest.usage([[rows, 8].as_slice(), &[rows; 9]]);
    }
}

/// A revision: its paths stay inside their folder.
pub fn revision(bytes: &[u8]) {
    let Some(revision) = accepted(Revision::from_bytes(bytes), bytes) else { return };
    assert_eq!(cbor::encode(&revision), bytes, "two encodings of one revision");
    for file in &revision.files {
        let inside = std::path::Path::new(&file.path)
            .components()
            .all(|part| matches!(part, std::path::Component::Normal(_)));
        assert!(path_is_safe(&file.path) && inside, "{:?} leaves its folder", file.path);
    }
}

/// A genesis, and the state that it begins.
pub fn genesis(bytes: &[u8]) {
    let Some(genesis) = canonical::<Genesis>("genesis", bytes, Genesis::BYTES_MAX) else { return };
    let Some(state) = accepted(State::genesis(genesis), bytes) else { return };
    assert!(state.recount().is_some(), "money was made or lost");
}

/// A transaction against a ledger at each of its heights: refused or applied, never a panic, and money stays.
pub fn transaction(bytes: &[u8]) {
    let Some(tx) = canonical::<Tx>("transaction", bytes, TX_BYTES_MAX) else { return };
    let _ = (tx.id(), tx.kind());
    for state in LEDGER.iter() {
        let time_ms = state.time_ms() + 1;
        let good = accepted(state.check_tx(&tx, time_ms), bytes).is_some();
        let proposal = state.propose(vec![tx.clone()], time_ms).expect("money is neither made nor lost");
        assert_eq!(good, proposal.accepted.len() == 1, "checked and proposed differently");
        assert_eq!(good, proposal.rejected.is_empty() && proposal.deferred.is_empty());
    }
}

/// A block against the state that it says it follows.
pub fn block(bytes: &[u8]) {
    let Some(block) = canonical::<Block>("block", bytes, BLOCK_BYTES_MAX) else { return };
    for state in LEDGER.iter() {
        let mut after = state.clone();
        match after.apply(&block) {
            Ok(()) => assert!(after.recount().is_some(), "money was made or lost"),
            Err(_) => assert!(after == *state, "a refused block left a trace"),
        }
    }
}

/// A proof that a receipt stands in a block.
pub fn inclusion_proof(bytes: &[u8]) {
    let max = InclusionProof::BYTES_MAX;
    let Some(proof) = canonical::<InclusionProof>("inclusion proof", bytes, max) else { return };
    let _ = (proof.genesis.network(), proof.header.verify(&proof.genesis));
}

/// A storage node's word on a shard.
pub fn holder_ack(bytes: &[u8]) {
    let Some(ack) = canonical::<HolderAck>("acknowledgement", bytes, 1024) else { return };
    let _ = ack.verify(nabla_types::NetworkId([0; 32]));
}

/// A tensor, alone and in a list with names, and its way through JSON.
pub fn tensor(bytes: &[u8]) {
    let _ = canonical::<Vec<NamedTensor>>("tensors", bytes, TENSOR_BYTES_MAX);
    let Some(tensor) = canonical::<Tensor>("tensor", bytes, TENSOR_BYTES_MAX) else { return };
    let count = nabla_types::tensor::element_count(tensor.shape()).expect("an accepted shape");
    assert_eq!(tensor.data().len() as u64, count);
    let _ = (tensor.digest(), Salt([1; 32]).commit(&CommitmentLabel::Input("x"), bytes));
    let json = NamedTensor::new("x", tensor).to_json();
    let read = NamedTensor::from_json(json.clone()).expect("our own JSON");
    // JSON keeps no NaN payload, so it is compared from here on.
    assert_eq!(NamedTensor::from_json(read.to_json()).as_ref(), Ok(&read), "{json:?}");
}

/// The golden ledger at each height.
static LEDGER: LazyLock<Vec<State>> = LazyLock::new(|| {
    let genesis = cbor::decode("genesis", &seeds::ledger_genesis(), Genesis::BYTES_MAX).expect("golden");
    let mut states = vec![State::genesis(genesis).expect("golden")];
    for bytes in seeds::ledger_blocks() {
        let mut state = states[states.len() - 1].clone();
        let block: Block = cbor::decode("block", &bytes, BLOCK_BYTES_MAX).expect("golden");
        state.apply(&block).expect("golden");
        states.push(state);
    }
    states
});
