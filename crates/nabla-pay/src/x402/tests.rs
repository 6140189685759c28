//! Terms and payments that fit, and every way in which they do not.

use std::sync::LazyLock;

use nabla_types::{Address, BlobId, ModelId, NodeId, RepoName};

use super::*;

const NOW: u64 = 1_750_000_000;

fn key() -> AccountKey {
    AccountKey::from_secret(&[1; 32]).expect("a key")
}

static NAME: LazyLock<RepoName> = LazyLock::new(|| "alice/digits".parse().expect("a name"));
const NETWORK: NetworkId = NetworkId([6; 32]);

fn offer() -> Offer<'static> {
    let price = Price {
        per_call: Opg::from_units(1000),
        per_gigamac: Opg::from_units(10),
        royalty: Opg::from_units(300),
    };
    Offer {
        chain_id: 31_337,
        call: CallTerms {
            network: NETWORK,
            gateway: NodeId([5; 32]),
            name: &NAME,
            revision: BlobId([4; 32]),
            model: ModelId([1; 32]),
        },
        price,
        macs: 1,
        amount: Opg::from_units(1310),
        timeout_seconds: 60,
    }
}

fn answer() -> Answer {
    Answer {
        chain_id: 31_337,
        network: NETWORK,
        limit: Opg::from_units(1310),
        now: NOW,
        nonce: Nonce([2; 32]),
    }
}

fn paid() -> PaymentPayload {
    pay(&key(), &offer().requirements(), &answer()).expect("terms as they should be")
}

#[test]
fn a_payment_answers_its_terms() {
    let signed = check(&offer(), &paid(), NOW).expect("a good payment");
    assert_eq!(signed.authorization.from, key().address());
    assert_eq!(signed.authorization.value, offer().amount);
    let json = serde_json::to_string(&paid()).expect("JSON");
    assert_eq!(serde_json::from_str::<PaymentPayload>(&json).expect("read back"), paid());
}

/// A payer signs for nothing but OPG on its chain, to the payee of these very terms, within its limit, for a bounded time.
#[test]
fn a_payer_refuses_other_terms() {
    let refuse = |change: &dyn Fn(&mut PaymentRequirements), part: &str| {
        let mut terms = offer().requirements();
        change(&mut terms);
        let error = pay(&key(), &terms, &answer()).expect_err("not these terms").to_string();
        assert!(error.contains(part), "{part}: {error}");
    };
    refuse(&|t| t.scheme = "upto".into(), "expected scheme exact, got upto");
    refuse(&|t| t.network = "eip155:1".into(), "expected network eip155:31337, got eip155:1");
    refuse(&|t| t.asset = Address([1; 20]), "expected asset");
    refuse(&|t| t.pay_to = Address([1; 20]), "expected payee");
    refuse(&|t| t.pay_to = Address::ESCROW, "expected payee");
    refuse(&|t| t.extra.model_id = ModelId([2; 32]), "expected payee");
    refuse(&|t| t.extra.gateway = NodeId([2; 32]), "expected payee");
    refuse(&|t| t.extra.revision = BlobId([2; 32]), "expected payee");
    refuse(&|t| t.extra.repository = "alice/other".parse().expect("a name"), "expected payee");
    refuse(&|t| t.extra.name = "USDC".into(), "expected token name OPG, got USDC");
    refuse(&|t| t.extra.version = "2".into(), "expected token version 1, got 2");
    refuse(&|t| t.amount = Opg::from_units(1311), "at most");
    refuse(&|t| t.max_timeout_seconds = 86_401, "at most 86400 s");
    refuse(&|t| t.max_timeout_seconds = u64::MAX, "at most 86400 s");
}

/// The terms that the payer sends along are not believed: only those that hold are.
#[test]
fn a_gateway_refuses_other_payments() {
    let refuse = |change: &dyn Fn(&mut PaymentPayload), part: &str| {
        let mut payment = paid();
        change(&mut payment);
        let error = check(&offer(), &payment, NOW).expect_err("not this payment").to_string();
        assert!(error.contains(part), "{part}: {error}");
    };
    refuse(&|p| p.x402_version = 1, "expected version 2, got 1");
    refuse(&|p| p.accepted.scheme = "upto".into(), "expected scheme");
    refuse(&|p| p.accepted.network = "eip155:1".into(), "expected network");
    refuse(&|p| p.payload.authorization.to = Address([1; 20]), "expected payee");
    refuse(&|p| p.payload.authorization.value = Opg::from_units(1309), "expected amount");
    refuse(&|p| p.payload.authorization.nonce = Nonce([3; 32]), "expected the signature of");
    refuse(&|p| p.payload.signature.0[64] = 0, "ends in 27 or 28");
    let mut lied = paid();
    lied.accepted.amount = Opg::ZERO;
    assert!(check(&offer(), &lied, NOW).is_ok(), "what the payer says of the terms does not matter");
}

#[test]
fn a_payment_has_its_time() {
    let at = |now: u64| check(&offer(), &paid(), now).is_ok();
    // Signed at NOW for 60 seconds; good a minute before, and until 5 seconds before its end.
    let expect = [(NOW - 60, false), (NOW - 59, true), (NOW, true), (NOW + 55, true), (NOW + 56, false)];
    for (now, good) in expect {
        assert_eq!(at(now), good, "{}", i128::from(now) - i128::from(NOW));
    }
    assert!(!at(0) && !at(u64::MAX));
}

#[test]
fn a_402_says_how_to_pay() {
    let resource = Resource {
        url: "http://gateway/nabla/v1/infer".into(),
        description: "alice/digits".into(),
        mime_type: "application/json".into(),
    };
    let body = offer().payment_required("payment is needed", resource);
    let json = serde_json::to_value(&body).expect("JSON");
    assert_eq!(json["x402Version"], 2);
    assert_eq!(json["accepts"][0]["network"], "eip155:31337");
    assert_eq!(json["accepts"][0]["amount"], "1310");
    assert_eq!(json["accepts"][0]["payTo"], offer().call.payee().to_string());
}
