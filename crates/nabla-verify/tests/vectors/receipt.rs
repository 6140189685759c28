//! `receipt.json`: receipts that hold, and receipts that must fail at a named check.

use std::collections::BTreeMap;

use nabla_types::{
    Address, ModelId, NetworkId, Opg, PaymentId, ReceiptId, cbor,
    payment::Nonce,
    receipt::{Receipt, Salt, Sampling, SignedReceipt},
};
use nabla_verify::{Context, Outcome, verify_receipt};
use serde::{Deserialize, Serialize};

use crate::fixture::{Call, address, chat, cose::Envelope, digits, failed, genesis, proof_bytes, seed};

mod lies;

/// The whole file.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct File {
    about: Vec<String>,
    valid: Vec<Valid>,
    invalid: Vec<Invalid>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Valid {
    name: String,
    why: String,
    /// COSE bytes, hex.
    receipt: String,
    receipt_id: ReceiptId,
    /// The claims by name, for people and for readers' tests.
    claims: Receipt,
    /// What is signed, hex.
    to_be_signed: String,
    context: Given,
    /// The checks that pass; all others are skipped.
    passes: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Invalid {
    name: String,
    why: String,
    /// The valid vector that this one departs from.
    of: String,
    /// Another receipt than that of the valid vector, hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    /// What is given otherwise than in the valid vector.
    #[serde(default)]
    context: Given,
    /// Every check that fails, in order.
    fails: Vec<String>,
}

/// A [`Context`] as JSON: `request` and `response` as text, `proof` as hex.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Given {
    #[serde(skip_serializing_if = "Option::is_none")]
    network: Option<NetworkId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<Nonce>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<ModelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payment: Option<PaymentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<Salt>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payer: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

impl Given {
    fn of(call: &Call, proof: Option<&[u8]>) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is text");
        Self {
            network: Some(call.claims.network),
            nonce: Some(call.claims.nonce),
            model: Some(call.claims.model),
            payment: Some(call.claims.payment),
            request: Some(text(&call.request)),
            response: Some(text(&call.response)),
            salt: Some(call.salt),
            payer: Some(call.payer),
            proof: proof.map(hex::encode),
        }
    }

    /// This, and from `base` what is not said here.
    fn over(&self, base: &Self) -> Self {
        let Self { network, nonce, model, payment, request, response, salt, payer, proof } = self.clone();
        Self {
            network: network.or(base.network),
            nonce: nonce.or(base.nonce),
            model: model.or(base.model),
            payment: payment.or(base.payment),
            request: request.or_else(|| base.request.clone()),
            response: response.or_else(|| base.response.clone()),
            salt: salt.or(base.salt),
            payer: payer.or(base.payer),
            proof: proof.or_else(|| base.proof.clone()),
        }
    }
}

/// Everything, from fixed labels.
pub(crate) fn make() -> File {
    let about = [
        "Golden vectors of spec/receipt.md. Binary values are hex; request and response are the exact bytes as text.",
        "An invalid vector departs from the valid one named in `of`: what it does not give is as there.",
        "`fails` names every check that fails, in order; `passes` every one that passes, the others are skipped.",
        "Written by: NABLA_BLESS=1 cargo test -p nabla-verify --test vectors",
    ];
    let (digits, table, text) = (digits(), table(), text());
    let block = [digits.bytes(), table.bytes(), text.bytes()];
    let prove = |index: usize| proof_bytes(&genesis("vectors"), &block, index);
    let alone = proof_bytes(&genesis("vectors"), &block[..1], 0);
    let valid = vec![
        valid(
            "digits",
            "one image in, a class and probabilities out",
            &digits,
            Given::of(&digits, Some(&prove(0))),
        ),
        valid(
            "table",
            "every datatype, nested and pretty-printed JSON, the model pinned by the request, non-finite outputs",
            &table,
            Given::of(&table, Some(&prove(1))),
        ),
        valid(
            "text",
            "sampled, with usage in tokens and more than one begun gigamac; last leaf of an uneven tree",
            &text,
            Given::of(&text, Some(&prove(2))),
        ),
        valid(
            "alone",
            "the only receipt of its block: an empty path",
            &digits,
            Given { proof: Some(hex::encode(alone)), ..Given::default() },
        ),
        valid(
            "bare",
            "nothing but the receipt: format, signature and amount are checked, all else is skipped",
            &digits,
            Given::default(),
        ),
        valid(
            "chat",
            "a conversation answered in one piece: the prompt's tokens are left to who has the model",
            &chat(false),
            Given::of(&chat(false), None),
        ),
        valid(
            "chat-stream",
            "the same in server-sent events: the response is their bytes up to the usage",
            &chat(true),
            Given::of(&chat(true), None),
        ),
    ];
    File { about: about.map(str::to_owned).to_vec(), valid, invalid: lies::all(&digits, &table, &block) }
}

fn valid(name: &str, why: &str, call: &Call, context: Given) -> Valid {
    let signed = SignedReceipt::sign(&call.key, call.claims.clone());
    let report = verify(&signed.to_bytes(), &context);
    assert!(report.holds(), "{name}: {:?}", report.failure_text());
    let passes = report.checks.iter().filter(|c| report.passed(c.check)).map(|c| c.check.as_str().to_owned());
    Valid {
        name: name.to_owned(),
        why: why.to_owned(),
        receipt: hex::encode(signed.to_bytes()),
        receipt_id: signed.id(),
        claims: call.claims.clone(),
        to_be_signed: hex::encode(Envelope::open(&signed.to_bytes()).to_be_signed()),
        passes: passes.collect(),
        context,
    }
}

/// Check a receipt as its reader would.
fn verify(receipt: &[u8], given: &Given) -> nabla_verify::Report {
    let proof = given.proof.as_ref().map(|text| hex::decode(text).expect("hex"));
    let context = Context {
        network: given.network,
        nonce: given.nonce,
        model: given.model,
        payment: given.payment,
        request: given.request.as_ref().map(String::as_bytes),
        response: given.response.as_ref().map(String::as_bytes),
        salt: given.salt,
        payer: given.payer,
        proof: proof.as_deref(),
    };
    verify_receipt(receipt, &context)
}

/// Every vector of the file ends as it says.
pub(crate) fn run(file: &File) {
    let by_name: BTreeMap<_, _> = file.valid.iter().map(|vector| (vector.name.as_str(), vector)).collect();
    for vector in &file.valid {
        let report = verify(&hex::decode(&vector.receipt).expect("hex"), &vector.context);
        assert!(report.holds(), "{}: {:?}", vector.name, report.failure_text());
        assert_eq!(report.claims.as_ref(), Some(&vector.claims), "{}", vector.name);
        assert_eq!(report.receipt_id, Some(vector.receipt_id), "{}", vector.name);
        for check in &report.checks {
            let skipped = matches!(check.outcome, Outcome::Skipped { .. });
            assert_ne!(skipped, vector.passes.contains(&check.check.as_str().to_owned()), "{}", vector.name);
        }
    }
    for vector in &file.invalid {
        let base = by_name[vector.of.as_str()];
        let receipt = hex::decode(vector.receipt.as_ref().unwrap_or(&base.receipt)).expect("hex");
        let report = verify(&receipt, &vector.context.over(&base.context));
        assert_eq!(failed(&report), vector.fails, "{}", vector.name);
        assert!(!report.holds() && crate::fixture::says_why(&report), "{}", vector.name);
    }
}

/// A call with every datatype there is.
fn table() -> Call {
    let nonce = Nonce(seed("nonce table"));
    let model = ModelId(seed("model table"));
    let request = format!(
        r#"{{
  "model": "bob/table-1",
  "model_id": "{model}",
  "nonce": "{nonce}",
  "inputs": [
    {{"name": "f64", "shape": [2, 2], "datatype": "FP64", "data": [[0.1, -1e-300], [3, "-Infinity"]]}},
    {{"name": "i64", "shape": [2], "datatype": "INT64", "data": [-9223372036854775808, 9223372036854775807]}},
    {{"name": "i32", "shape": [1, 2], "datatype": "INT32", "data": [[-2147483648, 7]]}},
    {{"name": "i8", "shape": [2, 1], "datatype": "INT8", "data": [[-128], [127]]}},
    {{"name": "u8", "shape": [], "datatype": "UINT8", "data": 255}},
    {{"name": "bool", "shape": [3], "datatype": "BOOL", "data": [true, false, true]}},
    {{"name": "größe", "shape": [2], "datatype": "BYTES", "data": ["", "\u00e9\ud83d\ude00"]}},
    {{"name": "none", "shape": [0, 3], "datatype": "FP32", "data": []}},
    {{"name": "i16", "shape": [2], "datatype": "INT16", "data": [-32768, 32767]}},
    {{"name": "u16", "shape": [2, 1], "datatype": "UINT16", "data": [[0], [65535]]}},
    {{"name": "u32", "shape": [1], "datatype": "UINT32", "data": [4294967295]}},
    {{"name": "u64", "shape": [2], "datatype": "UINT64", "data": [9007199254740993, 18446744073709551615]}},
    {{"name": "f16", "shape": [2, 2], "datatype": "FP16", "data": [[0.1, 1.0004882812500002], [2049, "-Infinity"]]}},
    {{"name": "bf16", "shape": [3], "datatype": "BF16", "data": [1.0039062500000002, "NaN", -1e-40]}}
  ]
}}
"#
    );
    let response = format!(
        r#"{{"model_name":"bob/table-1","model_id":"{model}","outputs":[{{"name":"score","shape":[4],"datatype":"FP32","data":["NaN","Infinity",1e-45,16777217]}}]}}"#
    );
    Call::answer("table", &request, &response)
}

/// A call that samples.
fn text() -> Call {
    let nonce = Nonce(seed("nonce text"));
    let model = ModelId(seed("model text"));
    let request = format!(
        r#"{{"model":"carol/story","nonce":"{nonce}","inputs":[{{"name":"text","shape":[1],"datatype":"BYTES","data":["Once"]}}]}}"#
    );
    let response = format!(
        r#"{{"model_name":"carol/story","model_id":"{model}","outputs":[{{"name":"text","shape":[1],"datatype":"BYTES","data":[" upon a time"]}}]}}"#
    );
    let sampling = Sampling {
        seed: u64::MAX,
        temperature_micros: 700_000,
        top_p_micros: 950_000,
        top_k: 40,
        min_p_micros: 0,
        frequency_penalty_micros: -250_000,
        presence_penalty_micros: 0,
        repetition_penalty_micros: 1_000_000,
        max_tokens: 16,
    };
    Call::answer("text", &request, &response).with(|claims| {
        claims.sampling = Some(sampling);
        claims.usage.macs = 1_000_000_001;
        claims.usage.tokens_in = 1;
        claims.usage.tokens_out = 3;
        claims.amount = claims.price.amount(&claims.usage).expect("no overflow");
    })
}
