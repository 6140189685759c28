//! Bodies for what people and HTTP clients write: text and JSON.

use std::{fmt::Display, str::FromStr};

use nabla_pay::{AccountKey, eip712::verify_authorization, x402};
use nabla_types::{
    Address, BlobId, ModelId, NodeId, Opg, PaymentId, ReceiptId, RepoName,
    api::{
        ErrorBody, ExactPayload, Included, InferRequest, InferResponse, LedgerStatus, NetworkInfo, NodeInfo,
        PaymentPayload, PaymentRequired, ReceiptRecord, SettlementResponse,
    },
    cbor,
    chain::{Account, NodeRecord, Payment, RepoRecord, StoredBlob},
    chat::{ChatContent, ChatRequest, EventReader, StreamItem, is_chat},
    manifest::{LanguageTerms, path_is_safe},
    payment::{AccountSignature, Nonce, SignedAuthorization},
    receipt::{Commitment, Salt},
    signature::Signature,
    tensor::{NamedTensor, Tensor, TensorJson},
};

use crate::{
    check::{accepted, json},
    seeds,
};

/// Amounts, ids, names, nonces, salts, signatures, paths: what is read is shown, and reads the same.
pub fn text(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    same::<Opg>(&text);
    same::<RepoName>(&text);
    same::<Address>(&text);
    same::<NodeId>(&text);
    same::<ModelId>(&text);
    same::<BlobId>(&text);
    same::<PaymentId>(&text);
    same::<ReceiptId>(&text);
    same::<Nonce>(&text);
    same::<Salt>(&text);
    same::<Commitment>(&text);
    same::<Signature>(&text);
    same::<AccountSignature>(&text);
    if path_is_safe(&text) {
        assert!(!text.contains("..") || !text.split('/').any(|part| part == ".."), "{text:?}");
    }
}

fn same<T: FromStr<Err: Display> + Display + PartialEq>(text: &str) {
    if let Some(value) = accepted(text.parse::<T>(), text.as_bytes()) {
        let again = value.to_string().parse::<T>().ok();
        assert!(again.as_ref() == Some(&value), "{text:?} reads as {value}, which reads as something else");
    }
}

/// One tensor in JSON.
pub fn tensor_json(bytes: &[u8]) {
    if let Some(tensor) = json::<TensorJson>(bytes) {
        named_tensor(tensor, bytes);
    }
}

fn named_tensor(json: TensorJson, bytes: &[u8]) {
    let name = json.name.clone();
    let Some(tensor) = accepted(NamedTensor::from_json(json), bytes) else { return };
    assert_eq!(tensor.name, name);
    assert_eq!(NamedTensor::from_json(tensor.to_json()).as_ref(), Ok(&tensor), "JSON and back");
    assert_eq!(Tensor::from_bytes(&tensor.tensor.to_bytes()).as_ref(), Ok(&tensor.tensor), "CBOR and back");
}

/// A request to run a model, and the answer to one.
pub fn infer(bytes: &[u8]) {
    let request = json::<InferRequest>(bytes).map(|request| request.inputs);
    let response = json::<InferResponse>(bytes).map(|response| response.outputs);
    for tensor in request.into_iter().chain(response).flatten() {
        named_tensor(tensor, bytes);
    }
}

/// A chat's request, its answer, and a stream however it is cut.
pub fn chat(bytes: &[u8]) {
    if let Some(request) = accepted(ChatRequest::from_bytes(bytes), bytes) {
        let written = serde_json::to_vec(&request).expect("what was read can be written");
        assert_eq!(ChatRequest::from_bytes(&written).as_ref(), Ok(&request), "reads back as another request");
        let terms = LanguageTerms { context_length: 512, template_bytes: u32::MAX };
        assert!(request.tokens_in_max(&terms) <= 512 && request.tokens_out_max(&terms) <= 512);
        assert_eq!(request.sampling(&terms).seed, request.seed());
        assert!(is_chat(bytes), "a request that would be taken for another");
    }
    let _ = accepted(ChatContent::from_bytes(bytes), bytes);
    let (mut whole, mut cut) = (EventReader::default(), EventReader::default());
    whole.push(bytes);
    let mut events = Vec::new();
    for piece in bytes.chunks(usize::from(bytes.first().copied().unwrap_or(0)) + 1) {
        cut.push(piece);
        while let Ok(Some(event)) = cut.next_event() {
            events.push(event);
        }
    }
    for event in events {
        let _ = accepted(StreamItem::of(&event), bytes);
        assert_eq!(whole.next_event().as_ref(), Ok(&Some(event)), "events depend on where a stream is cut");
    }
}

/// The other JSON bodies that nodes and clients read from each other.
pub fn api(bytes: &[u8]) {
    let _ = (json::<NetworkInfo>(bytes), json::<NodeInfo>(bytes), json::<LedgerStatus>(bytes));
    let _ = (json::<Included>(bytes), json::<ReceiptRecord>(bytes), json::<SettlementResponse>(bytes));
    let _ = (json::<ErrorBody>(bytes), json::<Account>(bytes), json::<NodeRecord>(bytes));
    let _ = (json::<Payment>(bytes), json::<RepoRecord>(bytes), json::<StoredBlob>(bytes));
}

/// A payment as it comes in a header, after base64: what passes is what the offer asks for.
pub fn payment(bytes: &[u8]) {
    let Some(payload) = json::<PaymentPayload>(bytes) else { return };
    let signed = SignedAuthorization::from(&payload.payload);
    assert_eq!(ExactPayload::from(&signed), payload.payload, "two forms of one authorisation");
    let encoded = cbor::encode(&signed);
    assert_eq!(cbor::decode("authorisation", &encoded, 1024).as_ref(), Ok(&signed));
    let offer = seeds::offer();
    if accepted(x402::check(&offer, &payload, seeds::NOW_S), bytes).is_some() {
        assert!(verify_authorization(offer.chain_id, &signed).is_ok());
        assert_eq!((signed.authorization.to, signed.authorization.value), (offer.call.payee(), offer.amount));
    }
}

/// The terms of a 402: nothing is signed that is not for the payee of these terms and within the limit.
pub fn terms(bytes: &[u8]) {
    let Some(required) = json::<PaymentRequired>(bytes) else { return };
    let key = AccountKey::from_secret(&[7; 32]).expect("a small number is a key");
    let answer = seeds::answer();
    for terms in &required.accepts {
        if let Some(payload) = accepted(x402::pay(&key, terms, &answer), bytes) {
            let paid = SignedAuthorization::from(&payload.payload).authorization;
            assert_eq!((paid.from, paid.to, paid.value), (key.address(), terms.pay_to, terms.amount));
            assert!(paid.to.is_call_payee(), "money goes to an account");
            assert!(paid.value <= answer.limit, "more is signed than the payer allows");
        }
    }
}
