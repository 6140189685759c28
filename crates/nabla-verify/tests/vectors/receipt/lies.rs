//! Every way of being wrong that we could think of, each with the checks that must catch it.

use ed25519_dalek::SigningKey;
use nabla_types::{
    chain::{InclusionProof, SignedHeader},
    signature::Domain,
};
use nabla_verify::merkle::Tree;

use super::*;
use crate::fixture::{commit_all, cose::encoded_key, key, proof, read_all};

/// The seed of the provider's key.
fn provider() -> [u8; 32] {
    seed("provider")
}

/// All invalid vectors. `block` holds the receipts that stand with `digits` in its block.
pub(super) fn all(digits: &Call, table: &Call, block: &[Vec<u8>; 3]) -> Vec<Invalid> {
    let mut list = Vec::new();
    bytes(digits, &mut list);
    headers(digits, &mut list);
    claims(digits, &mut list);
    signatures(digits, &mut list);
    contexts(&mut list);
    requests(digits, &mut list);
    responses(digits, &mut list);
    contents(digits, &mut list);
    proofs(block, &mut list);
    others(table, block, &mut list);
    chats(&mut list);
    chat_claims(&mut list);
    list
}

type List = Vec<Invalid>;

/// A receipt that is wrong whatever is known of the call. Nothing else is given, so nothing else fails.
fn lone(list: &mut List, name: &str, why: &str, fails: &str, receipt: &[u8]) {
    push(list, name, why, "bare", Some(receipt), Given::default(), &[fails]);
}

fn push(
    list: &mut List,
    name: &str,
    why: &str,
    of: &str,
    receipt: Option<&[u8]>,
    context: Given,
    fails: &[&str],
) {
    list.push(Invalid {
        name: name.to_owned(),
        why: why.to_owned(),
        of: of.to_owned(),
        receipt: receipt.map(hex::encode),
        context,
        fails: fails.iter().map(|check| (*check).to_owned()).collect(),
    });
}

fn bytes(digits: &Call, list: &mut List) {
    let good = digits.bytes();
    let half = &good[..good.len() / 2];
    let mut add = |name: &str, why: &str, receipt: &[u8]| lone(list, name, why, "format", receipt);
    add("empty", "no bytes", b"");
    add("cut-short", "half of a receipt", half);
    add("last-byte-missing", "the signature has 63 bytes left", &good[..good.len() - 1]);
    add("trailing-byte", "one byte follows", &[&good[..], &[0]].concat());
    add("untagged", "COSE_Sign1 without tag 18", &good[1..]);
    add("long-tag", "tag 18 in two bytes", &[&[0xd8, 0x12], &good[1..]].concat());
    add("tagged-twice", "tag 61 (CWT) around it", &[&[0xd8, 0x3d], &good[..]].concat());
    add("json", "not CBOR", b"{\"alg\":\"EdDSA\"}");
}

fn headers(digits: &Call, list: &mut List) {
    let good = Envelope::open(&digits.bytes());
    let mut add = |name: &str, why: &str, change: &dyn Fn(&mut Envelope)| {
        let mut forged = good.clone();
        change(&mut forged);
        lone(list, name, why, "format", &forged.sign(&provider()).bytes());
    };
    add("algorithm-es256", "alg is -7; the signature is good ed25519 all the same", &|e| {
        e.protected = vec![0xa2, 1, 0x26, 3, 0x18, 61];
    });
    add("tag-of-a-mac", "tag 17, COSE_Mac0", &|e| e.tag = Some(17));
    add("no-algorithm", "the protected header names only the content type", &|e| {
        e.protected = vec![0xa1, 3, 0x18, 61];
    });
    add("empty-protected-header", "no protected header", &|e| e.protected = vec![]);
    add("another-content-type", "application/cbor", &|e| e.protected = vec![0xa2, 1, 0x27, 3, 0x18, 60]);
    add("key-id-in-protected-header", "one entry too many", &|e| {
        e.protected = vec![0xa3, 1, 0x27, 3, 0x18, 61, 4, 0x41, 0];
    });
    add("unprotected-header", "the unprotected header holds a key id", &|e| {
        e.unprotected = vec![0xa1, 4, 0x41, 0];
    });
    add("long-empty-header", "the empty unprotected header in two bytes", &|e| e.unprotected = vec![0xb8, 0]);
}

/// Claims that break a rule of the map, signed by the provider.
fn claims(digits: &Call, list: &mut List) {
    let good = Envelope::open(&digits.bytes());
    let mut add = |name: &str, why: &str, forged: Envelope| {
        lone(list, name, why, "format", &forged.sign(&provider()).bytes());
    };
    let open = || good.clone();
    add("claim-missing", "no evidence class", open().edit(|pairs| pairs.truncate(24)));
    add("claim-unknown", "a claim -70016 too many", open().edit(|p| p.push((encoded_key(-70016), vec![0]))));
    add("claim-twice", "the evidence class twice", open().edit(|pairs| pairs.push(pairs[24].clone())));
    add(
        "claim-replaced",
        "cti (7) in the place of eat_nonce (10)",
        open().edit(|pairs| pairs[2].0 = vec![7]),
    );
    add("claims-out-of-order", "the first two claims swapped", open().edit(|pairs| pairs.swap(0, 1)));
    add("long-integer", "the kernel spec 1 in two bytes", open().set(-70004, &[0x18, 1]));
    add("integer-as-bignum", "the kernel spec 1 as a tagged bignum", open().set(-70004, &[0xc2, 0x41, 1]));
    add("float", "the kernel spec as 1.0", open().set(-70004, &[0xf9, 0x3c, 0]));
    add("kernel-spec-of-33-bits", "2^32", open().set(-70004, &[0x1b, 0, 0, 0, 1, 0, 0, 0, 0]));
    add("kernel-spec-true", "a truth value where a number stands", open().set(-70004, &[0xf5]));
    add("indefinite-string", "the runtime in chunks", open().set(-70003, &[0x7f, 0x61, b'x', 0xff]));
    add("not-utf-8", "the runtime is no UTF-8", open().set(-70003, &[0x62, 0xc3, 0x28]));
    add("issuer-short", "a provider of 31 bytes", open().set(1, &[&[0x58, 31][..], &[7; 31]].concat()));
    add("nonce-text", "the nonce as text", open().set(10, &[&[0x78, 32][..], &[b'a'; 32]].concat()));
    add("another-profile", "AIR's profile", open().set(265, b"\x78\x21https://spec.cyntrisec.com/air/v1"));
    add("version-2", "a later version", open().set(-70001, &[2]));
    add("model-name", "not owner/name", open().set(-65537, b"\x66digits"));
    add("model-name-dots", "a part that starts with a dot", open().set(-65537, b"\x68../model"));
    add(
        "evidence-unknown",
        "an evidence class that no receipt can claim for itself",
        open().set(-70015, &[1]),
    );
    add("sampling-undefined", "undefined is not null", open().set(-70007, &[0xf7]));
    add("usage-short", "three numbers, not four", open().set(-70008, &[0x83, 1, 2, 3]));
    add("amount-as-integer", "an amount is 16 bytes", open().set(-70010, &[0x1a, 0, 1, 0, 0]));
    add("issued-at", "iat is not the second in which work ended", open().set(6, &[0]));
    add("execution-time", "not the time between start and end", open().set(-65546, &[0]));
    let tensor = [&[0x82, 0x61, b'x', 0x58, 32][..], &[0; 32]].concat();
    add("too-many-inputs", "65 inputs", open().set(-70005, &[&[0x98, 65][..], &tensor.repeat(65)].concat()));
    add("claims-in-a-tag", "tag 61 around the claims", {
        let payload = [&[0xd8, 0x3d][..], &good.payload].concat();
        Envelope { payload, ..open() }
    });
    add("claims-and-a-byte", "one byte follows the claims", {
        let payload = [&good.payload[..], &[0]].concat();
        Envelope { payload, ..open() }
    });
}

fn signatures(digits: &Call, list: &mut List) {
    let good = Envelope::open(&digits.bytes());
    let mut add = |name: &str, why: &str, forged: &Envelope| {
        lone(list, name, why, "signature", &forged.bytes());
    };
    let flipped = |bit: usize| {
        let mut forged = good.clone();
        forged.signature[bit / 8] ^= 1 << (bit % 8);
        forged
    };
    add("signature-first-bit", "one bit of R", &flipped(0));
    add("signature-last-bit", "the highest bit of S", &flipped(511));
    add("signature-zero", "64 zero bytes", &Envelope { signature: vec![0; 64], ..good.clone() });
    add("signature-malleated", "S + L: the same equation, not canonical", &malleated(&good));
    add("provider-swap", "signed by another node than it names", &good.clone().sign(&seed("stranger")));
    let signed_by_other = good.clone().set(1, &[&[0x58, 32][..], &crate::fixture::stranger().0].concat());
    add("provider-renamed", "another provider named, the signature kept", &signed_by_other);
    add("nonce-replaced", "a claim changed after signing", &{
        good.clone().set(10, &[&[0x58, 32][..], &[0xab; 32]].concat())
    });
    add("no-external-aad", "signed as AIR signs, with empty external_aad", &{
        Envelope { external_aad: vec![], ..good.clone() }.sign(&provider())
    });
    add("payload-only", "the signature covers the payload, not Sig_structure", &{
        use ed25519_dalek::Signer;
        let signature = SigningKey::from_bytes(&provider()).sign(&good.payload).to_bytes().to_vec();
        Envelope { signature, ..good.clone() }
    });
    add("small-order-provider", "the neutral element as key: R = B, S = 1 satisfies every message", &{
        let neutral = [&[1][..], &[0; 31]].concat();
        let base_point = [&[0x58][..], &[0x66; 31]].concat();
        let forged = good.clone().set(1, &[&[0x58, 32][..], &neutral].concat());
        Envelope { signature: [base_point, neutral].concat(), ..forged }
    });
}

/// `S + L`, where `L` is the order of the group.
fn malleated(good: &Envelope) -> Envelope {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let (mut forged, mut carry) = (good.clone(), 0_u16);
    for (byte, order) in forged.signature[32..].iter_mut().zip(ORDER) {
        let [low, high] = (u16::from(*byte) + u16::from(order) + carry).to_le_bytes();
        (*byte, carry) = (low, u16::from(high));
    }
    forged
}

/// A good receipt, read by someone who has something else in hand.
fn contexts(list: &mut List) {
    let mut add = |name: &str, why: &str, context: Given, fails: &[&str]| {
        push(list, name, why, "digits", None, context, fails);
    };
    let none = Given::default;
    let other = genesis("another").network();
    add(
        "another-network",
        "the reader is on another network",
        Given { network: Some(other), ..none() },
        &["network"],
    );
    let nonce = Nonce(seed("another nonce"));
    add("another-nonce", "the reader sent another nonce", Given { nonce: Some(nonce), ..none() }, &["nonce"]);
    let model = ModelId(seed("another model"));
    add(
        "another-model",
        "the reader asked for another model",
        Given { model: Some(model), ..none() },
        &["model"],
    );
    let payment = PaymentId(seed("another payment"));
    add(
        "another-payment",
        "the reader paid otherwise",
        Given { payment: Some(payment), ..none() },
        &["payment"],
    );
    let payer = address("another payer");
    add(
        "another-payer",
        "someone else claims to have paid",
        Given { payer: Some(payer), ..none() },
        &["payer"],
    );
    let all = ["request", "inputs", "response", "outputs", "payer"];
    let salt = Salt(seed("another salt"));
    add("another-salt", "opens nothing", Given { salt: Some(salt), ..none() }, &all);
}

/// A good receipt, and another request than the one that was sent.
fn requests(digits: &Call, list: &mut List) {
    let request = String::from_utf8(digits.request.clone()).expect("JSON is text");
    let mut asked = |name: &str, why: &str, from: &str, to: &str, fails: &[&str]| {
        assert!(request.contains(from), "{from}");
        let context = Given { request: Some(request.replace(from, to)), ..Given::default() };
        push(list, name, why, "digits", None, context, fails);
    };
    asked(
        "request-space",
        "the same request with one space more",
        "\"inputs\":",
        "\"inputs\": ",
        &["request"],
    );
    asked("request-input", "another pixel", "0.1,", "0.2,", &["request", "inputs"]);
    asked("request-negative-zero", "-0.0 and 0.0 are different bits", "-0.0", "0.0", &["request", "inputs"]);
    asked(
        "request-integer-zero",
        "-0 in JSON keeps its sign: the tensor is the same",
        "-0.0",
        "-0",
        &["request"],
    );
    asked("request-input-name", "another name", "image", "picture", &["request", "inputs"]);
    asked("request-shape", "another shape of as many elements", "[1,4]", "[2,2]", &["request", "inputs"]);
    asked("request-type", "another datatype", "FP32", "FP64", &["request", "inputs"]);
    asked("request-not-json", "cut", "}]}", "}]", &["request", "inputs"]);
    asked(
        "request-unknown-member",
        "a member that no request has",
        "\"inputs\":",
        "\"x\":1,\"inputs\":",
        &["request", "inputs"],
    );
    asked(
        "request-member-twice",
        "the model twice",
        "{\"model\":",
        "{\"model\":\"a/b\",\"model\":",
        &["request", "inputs"],
    );
    asked("request-bare-nan", "NaN without quotes is no JSON", "0.1,", "NaN,", &["request", "inputs"]);
    asked("request-lone-surrogate", "no text", "image", "\\ud800", &["request", "inputs"]);
    asked("request-too-large-number", "1e39 is no FP32", "0.1,", "1e39,", &["request", "inputs"]);
}

/// A good receipt, and another response than the one that was given.
fn responses(digits: &Call, list: &mut List) {
    let response = String::from_utf8(digits.response.clone()).expect("JSON is text");
    let mut answered = |name: &str, why: &str, from: &str, to: &str, fails: &[&str]| {
        assert!(response.contains(from), "{from}");
        let context = Given { response: Some(response.replace(from, to)), ..Given::default() };
        push(list, name, why, "digits", None, context, fails);
    };
    answered("response-space", "the same answer and a line break", "]}]}", "]}]}\n", &["response"]);
    answered("response-output", "one number of the answer", "0.625", "0.75", &["response", "outputs"]);
    answered("response-class", "another class", "[2]", "[3]", &["response", "outputs"]);
    answered(
        "response-unknown-member",
        "a member that no response has",
        "]}]}",
        "]}],\"x\":1}",
        &["response", "outputs"],
    );
    answered("response-float-class", "2.0 is no INT64", "[2]", "[2.0]", &["response", "outputs"]);
    answered("response-model-name", "another name", "alice/digits", "alice/others", &["response", "outputs"]);
}

/// Receipts that their provider signs, but that do not fit request and response, or themselves.
fn contents(digits: &Call, list: &mut List) {
    let mut add = |name: &str, why: &str, fails: &[&str], change: &dyn Fn(&mut Receipt)| {
        // The receipt is not the one in the block: `bare` of its proof, but with all else.
        let call = digits.with(|claims| change(claims));
        push(list, name, why, "bare", Some(&call.bytes()), Given::of(digits, None), fails);
    };
    let outputs = |from: &str, to: &str| {
        let text = String::from_utf8(digits.response.clone()).expect("JSON is text").replace(from, to);
        let answer: nabla_types::api::InferResponse = serde_json::from_str(&text).expect("a response");
        commit_all(digits.salt, &read_all(answer.outputs), |name| {
            nabla_types::receipt::CommitmentLabel::Output(name)
        })
    };
    let other = genesis("another").network();
    add("signed-another-network", "made for another network", &["network"], &|c| c.network = other);
    add("signed-another-nonce", "an old receipt for a new question", &["nonce", "inputs"], &|c| {
        c.nonce = Nonce([9; 32])
    });
    add("signed-another-model", "names another model than the answer", &["model", "outputs"], &|c| {
        c.model = ModelId([9; 32]);
    });
    add("signed-another-name", "names another repository than was asked", &["inputs", "outputs"], &|c| {
        c.model_name = "alice/others".parse().expect("a name");
    });
    add("signed-another-payment", "asks to be paid from elsewhere", &["payment"], &|c| {
        c.payment = PaymentId([9; 32])
    });
    add("signed-another-payer", "commits to no one", &["payer"], &|c| c.payer.0[0] ^= 1);
    add("signed-another-request", "commits to other request bytes", &["request"], &|c| c.request.0[31] ^= 1);
    add("signed-another-response", "commits to other response bytes", &["response"], &|c| {
        c.response.0[0] ^= 128
    });
    add(
        "signed-swapped-roles",
        "the response's commitment as the request's",
        &["request", "response"],
        &|c| {
            std::mem::swap(&mut c.request, &mut c.response);
        },
    );
    add("signed-no-inputs", "commits to no input", &["inputs"], &|c| c.inputs.clear());
    add("signed-renamed-input", "the right commitment under another name", &["inputs"], &|c| {
        c.inputs[0].name.push('s');
    });
    add("signed-input-as-output", "an input's commitment as an output's", &["outputs"], &|c| {
        c.outputs[0].commitment = c.inputs[0].commitment;
    });
    add("signed-outputs-in-another-order", "the same, swapped", &["outputs"], &|c| c.outputs.swap(0, 1));
    add("signed-one-output-more", "an output that was not sent", &["outputs"], &|c| {
        c.outputs.push(c.outputs[0].clone());
    });
    add("signed-another-output", "one last bit of a probability", &["outputs"], &|c| {
        c.outputs = outputs("0.625", "0.62500006");
    });
    add("amount-too-high", "one unit more than price and usage give", &["amount"], &|c| {
        c.amount = Opg::from_units(c.amount.units() + 1);
    });
    add("amount-too-low", "nothing", &["amount"], &|c| c.amount = Opg::ZERO);
    add("usage-of-another-amount", "a second gigamac begun", &["amount"], &|c| c.usage.macs = 1_000_000_001);
    add("amount-overflow", "price and usage give more than 2^128", &["amount"], &|c| {
        c.price.per_gigamac = Opg::from_units(u128::MAX);
    });
}

/// Departures from the valid vectors other than `digits`.
fn others(table: &Call, block: &[Vec<u8>; 3], list: &mut List) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is text");
    let mut answered = |name: &str, why: &str, from: &str, to: &str| {
        let context = Given { response: Some(text(&table.response).replace(from, to)), ..Given::default() };
        push(list, name, why, "table", None, context, &["response", "outputs"]);
    };
    answered("response-bare-nan", "the tensor would be the same, but it is no JSON", "\"NaN\"", "NaN");
    answered(
        "response-overflow",
        "the tensor would be the same, but no number is 1e999",
        "\"Infinity\"",
        "1e999",
    );
    let mut asked = |name: &str, why: &str, from: &str, to: &str| {
        let changed = text(&table.request).replacen(from, to, 1);
        let context = Given { request: Some(changed), ..Given::default() };
        push(list, name, why, "table", None, context, &["request", "inputs"]);
    };
    asked("request-uint64-too-large", "2^64 is no UINT64", "18446744073709551615", "18446744073709551616");
    asked(
        "request-uint64-as-float",
        "2^64 - 1, but in a float",
        "18446744073709551615",
        "18446744073709551615.0",
    );
    asked("request-uint16-negative", "-1 is no UINT16", "65535", "-1");
    asked("request-fp16-overflow", "65520 rounds to an infinity", "2049", "65520");
    asked(
        "request-fp16-tie",
        "rounds to the even neighbour, another one",
        "1.0004882812500002",
        "1.00048828125",
    );
    asked(
        "request-bf16-tie",
        "rounds to the even neighbour, another one",
        "1.0039062500000002",
        "1.00390625",
    );
    let call = table.with(|claims| claims.model = ModelId([9; 32]));
    let fails = ["model", "inputs", "outputs"];
    let why = "names another model than the request insists on";
    push(
        list,
        "signed-not-the-pinned-model",
        why,
        "bare",
        Some(&call.bytes()),
        Given::of(table, None),
        &fails,
    );
    let mut forged = proof(&genesis("vectors"), &block[..1], 0);
    forged.leaf_index = 1;
    let context = Given { proof: Some(hex::encode(cbor::encode(&forged))), ..Given::default() };
    let why = "the second leaf of one: its path is empty too";
    push(list, "proof-index-of-none", why, "alone", None, context, &["inclusion"]);
}

/// The receipt `digits` with proofs of something else.
fn proofs(block: &[Vec<u8>; 3], list: &mut List) {
    let home = genesis("vectors");
    let good = proof(&home, block, 0);
    let bytes = cbor::encode(&good);
    let mut add = |name: &str, why: &str, proof: &[u8]| {
        let context = Given { proof: Some(hex::encode(proof)), ..Given::default() };
        push(list, name, why, "digits", None, context, &["inclusion"]);
    };
    add("proof-empty", "no bytes", b"");
    add("proof-cut-short", "the last byte is missing", &bytes[..bytes.len() - 1]);
    add("proof-trailing-byte", "one byte follows", &[&bytes[..], &[0]].concat());
    add("proof-of-another", "of the next receipt in the block", &proof_bytes(&home, block, 1));
    add("proof-of-another-block", "of a block without this receipt", &proof_bytes(&home, &block[1..], 0));
    let mut forge = |name: &str, why: &str, change: &dyn Fn(&mut InclusionProof)| {
        let mut forged = good.clone();
        change(&mut forged);
        add(name, why, &cbor::encode(&forged));
    };
    forge("proof-index", "the neighbour's index", &|p| p.leaf_index = 1);
    forge("proof-index-too-high", "no such leaf", &|p| p.leaf_index = 3);
    forge("proof-path-bit", "one bit of the path", &|p| p.path[1].0[31] ^= 1);
    forge("proof-path-short", "a hash is missing", &|p| p.path.truncate(1));
    forge("proof-path-long", "a hash too many", &|p| p.path.push(p.path[0]));
    forge("proof-path-swapped", "another order", &|p| p.path.swap(0, 1));
    forge("proof-header-bit", "the root was changed after signing", &|p| {
        p.header.header.receipts_root.0[0] ^= 1
    });
    forge("proof-header-height", "the height was changed after signing", &|p| p.header.header.height += 1);
    forge("proof-signature", "one bit of the validator's signature", &|p| p.header.signature.0[0] ^= 1);
    forge("proof-of-another-validator", "signed by a node that the genesis does not name", &|p| {
        p.header = SignedHeader::sign(&key("stranger"), p.header.header.clone());
    });
    forge("proof-of-another-genesis", "a genesis with the forger as validator is another network", &|p| {
        p.genesis.validator = key("stranger").id();
        p.header = SignedHeader::sign(&key("stranger"), p.header.header.clone());
    });
    forge("proof-header-of-another-network", "the validator's header on another network", &|p| {
        p.header.header.network = genesis("another").network();
        p.header = SignedHeader::sign(&key("validator"), p.header.header.clone());
    });
    forge("proof-header-says-another-network", "the same, but signed for this one", &|p| {
        p.header.header.network = genesis("another").network();
        let header = cbor::encode(&p.header.header);
        p.header.signature = key("validator").sign(Domain::BLOCK, genesis("vectors").network(), &header);
    });
    forge("proof-in-the-transactions", "the receipt as a leaf of the tree of transactions", &|p| {
        p.header.header.receipts_root = Tree::Transactions.root(block);
        p.path = Tree::Transactions.path(block, 0).expect("a leaf");
        p.header = SignedHeader::sign(&key("validator"), p.header.header.clone());
    });
    forge("proof-without-purpose", "the tree of RFC 9162 as it stands, without our purpose", &|p| {
        use sha2::{Digest, Sha256};
        p.header.header.receipts_root.0 =
            Sha256::new().chain_update([0]).chain_update(&block[0]).finalize().into();
        p.header.header.receipt_count = 1;
        p.path = vec![];
        p.header = SignedHeader::sign(&key("validator"), p.header.header.clone());
    });
}

/// Good receipts of chats, and another request or response than they commit to.
fn chats(list: &mut List) {
    for (of, stream) in [("chat", false), ("chat-stream", true)] {
        let call = chat(stream);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("JSON is text");
        let mut asked = |name: &str, why: &str, from: &str, to: &str, fails: &[&str]| {
            let request = text(&call.request);
            assert!(request.contains(from), "{from}");
            let context = Given { request: Some(request.replacen(from, to, 1)), ..Given::default() };
            push(list, &format!("{of}-{name}"), why, of, None, context, fails);
        };
        let both = ["request", "inputs"];
        asked("word", "another question: its tokens are the model's to say", "Hi", "Ho", &["request"]);
        asked("rounded", "the same in millionths", "0.7", "0.7000004", &["request"]);
        asked("hotter", "another temperature", "0.7", "0.700001", &both);
        asked("seed", "another seed", "18446744073709551615", "1", &both);
        asked("seed-too-large", "2^64 is no seed", "18446744073709551615", "18446744073709551616", &both);
        asked(
            "fewer-tokens",
            "fewer tokens than the receipt allows",
            "\"max_tokens\":9",
            "\"max_tokens\":8",
            &both,
        );
        asked("more-tokens", "the context may be shorter than what was asked", ":9,", ":10,", &["request"]);
        asked("tools", "a member that no chat has", "\"seed\"", "\"tools\":[],\"seed\"", &both);
        asked("robot", "a role that there is not", "\"user\"", "\"robot\"", &both);
        asked("too-hot", "a temperature above 2", "0.7", "2.1", &both);
        let mut answered = |name: &str, why: &str, from: &str, to: &str, fails: &[&str]| {
            let response = text(&call.response);
            assert!(response.contains(from), "{from}");
            let context = Given { response: Some(response.replacen(from, to, 1)), ..Given::default() };
            push(list, &format!("{of}-{name}"), why, of, None, context, fails);
        };
        let both = ["response", "outputs"];
        answered("letter", "another text for the same tokens", "Once", "once", &["response"]);
        answered("token", "another token", "[7", "[8", &both);
        answered(
            "count",
            "fewer tokens told than shown",
            "completion_tokens\":5",
            "completion_tokens\":4",
            &both,
        );
        answered("sum", "a sum that is none", "total_tokens\":9", "total_tokens\":8", &both);
        answered("later", "another second", "1785000000", "1785000001", &both);
        answered("other-id", "another nonce's id", "chatcmpl-", "chatcmpl-0", &both);
        answered("hidden", "a member that no answer has", "\"index\":0", "\"index\":0,\"x\":1", &both);
        answered("finish", "an end that there is not", "\"stop\"", "\"enough\"", &both);
        if stream {
            let cut = text(&call.response);
            let events: Vec<&str> = cut.split_inclusive("\n\n").collect();
            let mut events_are = |name: &str, why: &str, events: &[&str], fails: &[&str]| {
                let context = Given { response: Some(events.concat()), ..Given::default() };
                push(list, &format!("{of}-{name}"), why, of, None, context, fails);
            };
            events_are("cut", "its last event is missing", &events[..events.len() - 1], &both);
            events_are("gap", "its second event is missing", &[&events[..1], &events[2..]].concat(), &both);
            events_are("empty", "no event at all", &["data: [DONE]\n\n"], &both);
            let swapped = [&[events[1], events[0]], &events[2..]].concat();
            events_are("swapped", "its first two events in another order", &swapped, &both);
            let ping = [&events[..1], &[": ping\n\n"], &events[1..]].concat();
            events_are("comment", "a comment between events", &ping, &both);
        }
    }
}

/// Receipts of chats that their provider signs, but that do not fit request and response.
fn chat_claims(list: &mut List) {
    let call = chat(true);
    let mut add = |name: &str, why: &str, fails: &[&str], change: &dyn Fn(&mut Receipt)| {
        let changed = call.with(|claims| change(claims));
        push(list, name, why, "bare", Some(&changed.bytes()), Given::of(&call, None), fails);
    };
    add("chat-signed-unsampled", "does not say how tokens were chosen", &["inputs"], &|c| c.sampling = None);
    add("chat-signed-colder", "another temperature than was asked for", &["inputs"], &|c| {
        c.sampling.as_mut().expect("a chat").temperature_micros = 0;
    });
    add("chat-signed-no-prompt", "commits to no prompt", &["inputs"], &|c| c.inputs.clear());
    add(
        "chat-signed-one-token-more",
        "charges for a token that was not made",
        &["outputs", "amount"],
        &|c| {
            c.usage.tokens_out += 1;
            c.usage.macs += 1_000_000_000;
        },
    );
    add("chat-signed-longer-prompt", "charges for more tokens than it says were read", &["outputs"], &|c| {
        c.usage.tokens_in += 1;
    });
    add("chat-signed-other-tokens", "commits to other tokens than it shows", &["outputs"], &|c| {
        c.outputs[0].commitment = c.inputs[0].commitment;
    });
    add("chat-signed-earlier", "begun in another second than the answer says", &["outputs"], &|c| {
        c.started_ms -= 1000;
    });
}
