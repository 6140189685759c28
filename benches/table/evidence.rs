//! Receipts and payments: signing and checking them.

use std::hint::black_box;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use k256::ecdsa::{
    RecoveryId, Signature, SigningKey as AccountSigningKey, VerifyingKey as AccountVerifyingKey,
};
use nabla_benches::{Case, Group, Row, Settings, Work};
use nabla_pay::{
    AccountKey,
    eip712::{sign_authorization, verify_authorization},
};
use nabla_types::{
    Address, Opg,
    payment::{Authorization, Nonce},
    receipt::SignedReceipt,
    signature::NodeKey,
};
use nabla_verify::{Context, verify_receipt};

use crate::network::Called;

pub(crate) const ED25519_SIGN: &str = "ed25519 sign";
pub(crate) const ED25519_VERIFY: &str = "ed25519 verify";
const RECOVER: &str = "secp256k1 recover";

pub(crate) fn measure(settings: &Settings, called: &Called) -> Vec<Row> {
    let seed = [5; 32];
    let key = NodeKey::from_seed(&seed);
    let mut claims = called.answer.claims.clone();
    claims.provider = key.id();
    let receipts = Work::of(1, "receipts");
    let context = called.context();
    let checked = || verify_receipt(&called.answer.receipt, &context);
    assert!(checked().holds(), "{:?}", checked());
    let signature_only = || SignedReceipt::from_bytes(&called.answer.receipt).map(|signed| signed.verify());
    Group::default()
        .with(sign_limit(&seed))
        .with(verify_limit(&seed))
        .with(
            Case::new("sign a receipt", receipts, |watch| {
                let claims = claims.clone();
                watch.time(|| SignedReceipt::sign(&key, claims));
            })
            .against(&[ED25519_SIGN]),
        )
        .with(
            Case::whole("read a receipt, check its signature", receipts, signature_only)
                .against(&[ED25519_VERIFY]),
        )
        .with(
            Case::whole("verify a receipt: request, response, block", receipts, checked)
                .against(&[ED25519_VERIFY]),
        )
        .measure(settings)
        .into_iter()
        .chain(payments(settings))
        .collect()
}

impl Called {
    /// Everything that a reader may hold.
    fn context(&self) -> Context<'_> {
        let (answer, claims) = (&self.answer, &self.answer.claims);
        Context {
            network: Some(claims.network),
            nonce: Some(claims.nonce),
            model: Some(claims.model),
            payment: Some(claims.payment),
            request: Some(&answer.request),
            response: Some(&answer.response),
            salt: Some(answer.salt),
            payer: Some(answer.payer),
            proof: Some(&self.proof),
        }
    }
}

fn sign_limit(seed: &[u8; 32]) -> Case<'static> {
    let key = SigningKey::from_bytes(seed);
    Case::whole(ED25519_SIGN, Work::of(1, "signatures"), move || key.sign(black_box(&[7; 800])))
}

/// From the 32 bytes of a key, as every reader of a receipt has it.
pub(crate) fn verify_limit(seed: &[u8; 32]) -> Case<'static> {
    let key = SigningKey::from_bytes(seed);
    let (public, signature) = (key.verifying_key().to_bytes(), key.sign(&[7; 800]));
    Case::new(ED25519_VERIFY, Work::of(1, "signatures"), move |watch| {
        let verify = || {
            VerifyingKey::from_bytes(&public).map(|key| key.verify_strict(black_box(&[7; 800]), &signature))
        };
        assert!(watch.time(verify).is_ok_and(|verified| verified.is_ok()));
    })
}

fn payments(settings: &Settings) -> Vec<Row> {
    let secret = [3; 32];
    let key = AccountKey::from_secret(&secret).expect("a small number is a key");
    let authorization = Authorization {
        from: key.address(),
        to: Address::ESCROW,
        value: Opg::whole(1),
        valid_after: 0,
        valid_before: u64::MAX,
        nonce: Nonce([8; 32]),
    };
    let signed = sign_authorization(&key, 1, authorization);
    let (digest, raw) = ([9; 32], AccountSigningKey::from_slice(&secret).expect("a small number is a key"));
    let (signature, id): (Signature, RecoveryId) = raw.sign_prehash_recoverable(&digest);
    let recover = || AccountVerifyingKey::recover_from_prehash(black_box(&digest), &signature, id);
    Group::default()
        .with(Case::whole(RECOVER, Work::of(1, "keys"), recover))
        .with(
            Case::new("verify a payment (EIP-712)", Work::of(1, "payments"), |watch| {
                watch.time(|| verify_authorization(1, &signed)).expect("a good signature");
            })
            .against(&[RECOVER]),
        )
        .measure(settings)
}
