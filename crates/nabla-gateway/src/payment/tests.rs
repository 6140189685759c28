//! Each rule for a payment has one that breaks it.

use std::sync::LazyLock;

use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use nabla_pay::{AccountKey, x402};
use nabla_types::{
    BlobId, NetworkId, NodeId, RepoName,
    api::{ExactPayload, PaymentRequirements},
    payment::{CallTerms, Nonce},
    receipt::Price,
};
use proptest::prelude::*;

use super::*;

const CHAIN: u64 = 77;
const NOW: u64 = 1_700_000_000;
const MODEL: ModelId = ModelId([4; 32]);

fn key() -> AccountKey {
    AccountKey::from_secret(&[7; 32]).expect("a key")
}

fn terms() -> PaymentRequirements {
    let units = Opg::from_units(5);
    let price = Price { per_call: units, per_gigamac: units, royalty: units };
    let amount = Opg::from_units(15);
    x402::Offer { chain_id: CHAIN, call: call(), price, macs: 1, amount, timeout_seconds: 120 }.requirements()
}

static NAME: LazyLock<RepoName> = LazyLock::new(|| "alice/digits".parse().expect("a name"));
const NETWORK: NetworkId = NetworkId([6; 32]);

fn call() -> CallTerms<'static> {
    let (gateway, revision) = (NodeId([5; 32]), BlobId([3; 32]));
    CallTerms { network: NETWORK, gateway, name: &NAME, revision, model: MODEL }
}

fn payload() -> PaymentPayload {
    let answer = x402::Answer {
        chain_id: CHAIN,
        network: NETWORK,
        limit: Opg::whole(1),
        now: NOW,
        nonce: Nonce([9; 32]),
    };
    x402::pay(&key(), &terms(), &answer).expect("acceptable terms")
}

/// The payload with its authorisation changed and signed again.
fn signed(change: impl FnOnce(&mut Authorization)) -> PaymentPayload {
    let mut payload = payload();
    let mut authorization = SignedAuthorization::from(&payload.payload).authorization;
    change(&mut authorization);
    payload.payload = ExactPayload::from(&eip712::sign_authorization(&key(), CHAIN, authorization));
    payload
}

fn need() -> Need {
    Need {
        model: MODEL,
        payee: call().payee(),
        least: Opg::from_units(15),
        now_ms: NOW * 1000 + 999,
        margin_s: 10,
    }
}

fn check_all(payload: &PaymentPayload, need: &Need) -> Result<Paid, Refusal> {
    let paid = check_form(payload, CHAIN)?;
    check_terms(&paid, need).map(|()| paid)
}

#[test]
fn a_good_payment_is_good() {
    let paid = check_all(&payload(), &need()).expect("a good payment");
    assert_eq!(paid.signed.authorization.from, key().address());
    let json = serde_json::to_vec(&payload()).expect("a payload is JSON");
    for header in [STANDARD.encode(&json), STANDARD_NO_PAD.encode(&json)] {
        assert_eq!(decode(header.as_bytes()).expect("readable"), payload());
        assert!(header.len() < HEADER_BYTES_MAX / 4);
    }
}

#[test]
fn each_bad_payment_is_named() {
    let check = |payload: PaymentPayload, code: &str| {
        let refusal = check_all(&payload, &need()).expect_err(code).to_string();
        assert_eq!(refusal.split(':').next(), Some(code), "{refusal}");
    };
    let accepted = |change: fn(&mut PaymentRequirements)| {
        let mut payload = payload();
        change(&mut payload.accepted);
        payload
    };
    check(PaymentPayload { x402_version: 1, ..payload() }, "invalid_x402_version");
    check(accepted(|a| a.scheme = "upto".repeat(99)), "unsupported_scheme");
    check(accepted(|a| a.network = "eip155:1".to_owned()), "invalid_network");
    check(accepted(|a| a.asset = Address([1; 20])), "invalid_asset");
    check(accepted(|a| a.pay_to = Address([1; 20])), "invalid_exact_evm_payload_recipient_mismatch");
    check(accepted(|a| a.extra.model_id = ModelId([5; 32])), "terms_changed");
    check(signed(|a| a.to = Address::STAKE), "invalid_exact_evm_payload_recipient_mismatch");
    let other = PaymentPayload {
        accepted: PaymentRequirements { pay_to: Address::ESCROW, ..terms() },
        ..signed(|a| a.to = Address::ESCROW)
    };
    check(other, "invalid_exact_evm_payload_recipient_mismatch");
    check(signed(|a| a.value = Opg::from_units(14)), "invalid_exact_evm_payload_authorization_value");
    check(signed(|a| a.valid_after = NOW), "invalid_exact_evm_payload_authorization_valid_after");
    check(signed(|a| a.valid_before = NOW + 10), "invalid_exact_evm_payload_authorization_valid_before");
    let mut forged = payload();
    forged.payload.authorization.value = Opg::from_units(16);
    check(forged, "invalid_exact_evm_payload_signature");
    let other_chain = payload();
    assert!(matches!(check_form(&other_chain, CHAIN + 1), Err(Refusal::Network { .. })));
}

#[test]
fn the_window_is_open_to_its_last_second() {
    let ok = |payload: PaymentPayload| assert!(check_all(&payload, &need()).is_ok());
    ok(signed(|a| a.valid_after = NOW - 1));
    ok(signed(|a| a.valid_before = NOW + 11));
    ok(signed(|a| a.value = Opg::from_units(1000)));
    ok(signed(|a| a.valid_before = u64::MAX));
    let end_of_time = Need { now_ms: u64::MAX, ..need() };
    assert!(check_all(&payload(), &end_of_time).is_err());
}

#[test]
fn an_unreadable_header_is_named() {
    let check = |header: &[u8], part: &str| {
        let error = decode(header).expect_err(part).to_string();
        assert!(error.contains(part), "{error}");
    };
    check(b"", "EOF");
    check(b"%%%", "expected base64");
    check(&vec![b'A'; HEADER_BYTES_MAX + 4], "expected at most 8192 bytes");
    check(STANDARD.encode("{}").as_bytes(), "missing field");
    check(STANDARD.encode("[".repeat(4000)).as_bytes(), "invalid type");
}

proptest! {
    #[test]
    fn foreign_headers_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
        let _ = decode(STANDARD.encode(&bytes).as_bytes());
    }

    /// Whatever byte of a good payload's JSON is changed: it is unreadable, refused, or says the same payment.
    #[test]
    fn no_changed_byte_makes_another_payment(index in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut json = serde_json::to_vec(&payload()).expect("a payload is JSON");
        let at = index.index(json.len());
        json[at] = byte;
        if let Ok(changed) = decode(STANDARD.encode(&json).as_bytes())
            && let Ok(paid) = check_all(&changed, &need())
        {
            prop_assert_eq!(paid.signed, SignedAuthorization::from(&payload().payload));
        }
    }
}
