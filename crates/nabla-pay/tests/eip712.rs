//! Digests and signatures are those of `eth-account`, byte for byte (`spec/vectors/eip712.json`, written by
//! `make_eip712_vectors.py`).

use nabla_pay::{
    AccountKey,
    account::recover,
    eip712::{
        authorization_digest, registration_digest, sign_authorization, sign_registration,
        verify_authorization, verify_registration,
    },
};
use nabla_types::{
    Address, Opg,
    chain::ModelRegistration,
    payment::{AccountSignature, Authorization, SignedAuthorization},
};
use serde_json::Value;

fn vectors(family: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../../spec/vectors/eip712.json")).expect("JSON");
    file[family]["vectors"].as_array().expect("a list").clone()
}

/// A field's text, parsed.
fn get<T: std::str::FromStr>(value: &Value) -> T {
    let text = value.as_str().expect("a text");
    text.parse().ok().unwrap_or_else(|| panic!("{text} is not of the expected form"))
}

/// A 32-byte id, which EIP-712 tools write with `0x`.
fn id<T: std::str::FromStr>(value: &Value) -> T {
    let text = value.as_str().and_then(|text| text.strip_prefix("0x")).expect("0x and digits");
    text.parse().ok().unwrap_or_else(|| panic!("{text} is not of the expected form"))
}

fn bytes32(value: &Value) -> [u8; 32] {
    let text = value.as_str().expect("a text").trim_start_matches("0x");
    hex::decode(text).expect("hex").try_into().expect("32 bytes")
}

fn opg(value: &Value) -> Opg {
    Opg::from_units(get(value))
}

fn authorization(message: &Value) -> Authorization {
    Authorization {
        from: get(&message["from"]),
        to: get(&message["to"]),
        value: opg(&message["value"]),
        valid_after: get(&message["validAfter"]),
        valid_before: get(&message["validBefore"]),
        nonce: get(&message["nonce"]),
    }
}

fn registration(message: &Value) -> ModelRegistration {
    ModelRegistration {
        name: get(&message["name"]),
        owner: get(&message["owner"]),
        sequence: get(&message["sequence"]),
        model: id(&message["model"]),
        revision: id(&message["revision"]),
        royalty: opg(&message["royalty"]),
        storage_fee: opg(&message["storageFee"]),
        summary: message["summary"].as_str().expect("a text").to_owned(),
    }
}

/// The vector's key, and what it signed: signer, digest, signature.
fn signer(vector: &Value) -> (AccountKey, Address, [u8; 32], AccountSignature) {
    let key = AccountKey::from_secret(&bytes32(&vector["secret"])).expect("a good key");
    (key, get(&vector["signer"]), bytes32(&vector["digest"]), get(&vector["signature"]))
}

#[test]
fn payments_are_those_of_the_standard_library() {
    for vector in vectors("authorizations") {
        let (key, address, digest, signature) = signer(&vector);
        let (chain_id, authorization) = (get(&vector["chain_id"]), authorization(&vector["message"]));
        assert_eq!(key.address(), address);
        assert_eq!(authorization_digest(chain_id, &authorization), digest, "{vector}");
        let signed = sign_authorization(&key, chain_id, authorization);
        assert_eq!(signed.signature, signature, "{vector}");
        assert_eq!(recover(&digest, &signature), Ok(address));
        assert_eq!(verify_authorization(chain_id, &signed), Ok(()));
    }
}

#[test]
fn registrations_are_those_of_the_standard_library() {
    for vector in vectors("registrations") {
        let (key, address, digest, signature) = signer(&vector);
        let (chain_id, registration) = (get(&vector["chain_id"]), registration(&vector["message"]));
        let network = id(&vector["message"]["network"]);
        assert_eq!(registration.owner, address);
        assert_eq!(registration_digest(chain_id, network, &registration), digest, "{vector}");
        assert_eq!(sign_registration(&key, chain_id, network, &registration), signature, "{vector}");
        assert_eq!(verify_registration(chain_id, network, &registration, &signature), Ok(()));
    }
}

/// Each field of a payment is signed: a signature is worth nothing for a payment that differs in any.
#[test]
fn every_field_of_a_payment_is_bound() {
    let vector = &vectors("authorizations")[1];
    let (.., signature) = signer(vector);
    let (chain_id, good): (u64, _) = (get(&vector["chain_id"]), authorization(&vector["message"]));
    let changed: [Authorization; 6] = [
        Authorization { from: Address([1; 20]), ..good.clone() },
        Authorization { to: Address([1; 20]), ..good.clone() },
        Authorization { value: Opg::from_units(2), ..good.clone() },
        Authorization { valid_after: good.valid_after + 1, ..good.clone() },
        Authorization { valid_before: good.valid_before + 1, ..good.clone() },
        Authorization { nonce: nabla_types::payment::Nonce([1; 32]), ..good.clone() },
    ];
    for authorization in changed {
        let forged = SignedAuthorization { authorization, signature };
        assert!(verify_authorization(chain_id, &forged).is_err(), "{forged:?}");
    }
    let elsewhere = SignedAuthorization { authorization: good, signature };
    assert!(verify_authorization(chain_id + 1, &elsewhere).is_err());
}

/// Each field of a registration is signed, its network too.
#[test]
fn every_field_of_a_registration_is_bound() {
    let vector = &vectors("registrations")[1];
    let (.., signature) = signer(vector);
    let (chain_id, network): (u64, nabla_types::NetworkId) =
        (get(&vector["chain_id"]), id(&vector["message"]["network"]));
    let good = registration(&vector["message"]);
    let with = |change: &dyn Fn(&mut ModelRegistration)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let changed = [
        with(&|r| r.name = "a/c".parse().expect("a name")),
        with(&|r| r.owner = Address([1; 20])),
        with(&|r| r.sequence += 1),
        with(&|r| r.model.0[31] ^= 1),
        with(&|r| r.revision.0[0] ^= 1),
        with(&|r| r.royalty = Opg::from_units(77)),
        with(&|r| r.storage_fee = Opg::from_units(77)),
        with(&|r| r.summary.push(' ')),
    ];
    for registration in changed {
        assert!(
            verify_registration(chain_id, network, &registration, &signature).is_err(),
            "{registration:?}"
        );
    }
    let mut other = network;
    other.0[0] ^= 1;
    assert!(verify_registration(chain_id, other, &good, &signature).is_err());
    assert!(verify_registration(chain_id + 1, network, &good, &signature).is_err());
}
