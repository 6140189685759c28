//! The receipt's own tests: one form, every field bound, nothing panics.

use super::*;
use crate::{
    Opg,
    id::{BlobId, ModelId, NetworkId, PaymentId},
    payment::Nonce,
    signature::NodeKey,
};

fn sample() -> Receipt {
    let salt = Salt([5; 32]);
    Receipt {
        network: NetworkId([1; 32]),
        provider: key().id(),
        nonce: Nonce([2; 32]),
        model_name: "alice/digits".parse().expect("a valid name"),
        revision: BlobId([3; 32]),
        model: ModelId([4; 32]),
        runtime: "nabla-engine/0.1.0".to_owned(),
        kernel_spec: 1,
        request: salt.commit(&CommitmentLabel::Request, b"{}"),
        response: salt.commit(&CommitmentLabel::Response, b"[]"),
        inputs: vec![TensorCommitment {
            name: "image".to_owned(),
            commitment: salt.commit(&CommitmentLabel::Input("image"), b"pixels"),
        }],
        outputs: vec![TensorCommitment {
            name: "probabilities".to_owned(),
            commitment: salt.commit(&CommitmentLabel::Output("probabilities"), b"numbers"),
        }],
        sampling: None,
        usage: Usage { rows: 1, macs: 1000, tokens_in: 0, tokens_out: 0 },
        price: Price {
            per_call: Opg::from_units(10),
            per_gigamac: Opg::from_units(7),
            royalty: Opg::from_units(3),
        },
        amount: Opg::from_units(20),
        payer: salt.commit(&CommitmentLabel::Payer, &[6; 20]),
        payment: PaymentId([7; 32]),
        started_ms: 1_700_000_000_100,
        finished_ms: 1_700_000_000_350,
        evidence: Evidence::Signed,
    }
}

fn key() -> NodeKey {
    NodeKey::from_seed(&[42; 32])
}

#[test]
fn round_trip_and_signature() {
    let signed = SignedReceipt::sign(&key(), sample());
    let read = SignedReceipt::from_bytes(&signed.to_bytes()).expect("own bytes are accepted");
    assert_eq!(read, signed);
    assert_eq!(read.verify(), Ok(()));
    assert_eq!(read.claims().price.amount(&read.claims().usage), Some(Opg::from_units(20)));
}

#[test]
fn sampling_is_carried() {
    let sampling = Sampling {
        seed: u64::MAX,
        temperature_micros: 700_000,
        top_p_micros: 950_000,
        top_k: 40,
        min_p_micros: 0,
        frequency_penalty_micros: -1,
        presence_penalty_micros: 0,
        repetition_penalty_micros: 1_000_000,
        max_tokens: 128,
    };
    let receipt = Receipt { sampling: Some(sampling), ..sample() };
    let bytes = SignedReceipt::sign(&key(), receipt.clone()).to_bytes();
    assert_eq!(SignedReceipt::from_bytes(&bytes).map(|s| s.claims().clone()), Ok(receipt));
}

/// Each bit of the whole envelope matters: none can be flipped and still decode and verify.
#[test]
fn no_bit_can_be_flipped() {
    let bytes = SignedReceipt::sign(&key(), sample()).to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut forged = bytes.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        let accepted = SignedReceipt::from_bytes(&forged).and_then(|signed| signed.verify());
        assert!(accepted.is_err(), "bit {bit} of byte {} is not bound", bit / 8);
    }
}

#[test]
fn every_prefix_and_a_tail_are_refused() {
    let mut bytes = SignedReceipt::sign(&key(), sample()).to_bytes();
    for cut in 0..bytes.len() {
        assert!(SignedReceipt::from_bytes(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    bytes.push(0);
    assert!(SignedReceipt::from_bytes(&bytes).is_err());
}

#[test]
fn another_algorithm_is_named() {
    let bytes = SignedReceipt::sign(&key(), sample()).to_bytes();
    let mut forged = bytes.clone();
    let at = bytes.windows(2).position(|pair| pair == [0x01, 0x27]).expect("alg: -8 is there");
    forged[at + 1] = 0x26; // ES256
    let error = SignedReceipt::from_bytes(&forged).expect_err("ES256 is refused").to_string();
    assert!(error.contains("EdDSA"), "{error}");
}

#[test]
fn a_commitment_opens_one_thing_only() {
    let salt = Salt([9; 32]);
    let commit = |label| salt.commit(&label, b"x");
    let all = [
        commit(CommitmentLabel::Request),
        commit(CommitmentLabel::Response),
        commit(CommitmentLabel::Payer),
        commit(CommitmentLabel::Input("a")),
        commit(CommitmentLabel::Output("a")),
        commit(CommitmentLabel::Input("b")),
    ];
    for (i, a) in all.iter().enumerate() {
        assert!(all[i + 1..].iter().all(|b| a != b));
    }
    assert_ne!(Salt([8; 32]).commit(&CommitmentLabel::Request, b"x"), all[0]);
}
