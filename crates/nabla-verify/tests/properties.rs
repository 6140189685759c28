//! Whatever is bound cannot be changed unseen, and whatever is read cannot make the verifier panic.
//!
//! Each property starts from an honest call drawn at random, lets a liar change one thing, and says which
//! checks must catch it: those and no others.

mod fixture;

use fixture::{
    Call, address, commit_all, digits, failed, genesis, key, network, proof, proof_bytes, says_why,
};
use nabla_types::{
    ModelId, Opg, PaymentId,
    api::{InferRequest, InferResponse},
    cbor,
    id::BlobId,
    payment::Nonce,
    receipt::{CommitmentLabel, RECEIPT_BYTES_MAX, Receipt, Salt, Sampling},
    tensor::{NamedTensor, Tensor, TensorData, bf16, f16},
};
use nabla_verify::{CheckName, Context, Outcome, Report, verify_receipt};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Cases per property: the whole file runs in seconds.
const CASES: u32 = 256;

fn config() -> ProptestConfig {
    ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() }
}

/// A tensor of any datatype, of two to six elements, all of which JSON can carry.
fn tensor() -> impl Strategy<Value = Tensor> {
    let data = prop_oneof![
        vec(any::<f32>().prop_map(no_nan_payload32), 2..6).prop_map(TensorData::F32),
        vec(any::<f64>().prop_map(no_nan_payload64), 2..6).prop_map(TensorData::F64),
        vec(any::<i64>(), 2..6).prop_map(TensorData::I64),
        vec(any::<i32>(), 2..6).prop_map(TensorData::I32),
        vec(any::<i8>(), 2..6).prop_map(TensorData::I8),
        vec(any::<u8>(), 2..6).prop_map(TensorData::U8),
        vec(any::<bool>(), 2..6).prop_map(TensorData::Bool),
        vec(".{0,8}", 2..6).prop_map(TensorData::String),
        vec(any::<i16>(), 2..6).prop_map(TensorData::I16),
        vec(any::<u16>(), 2..6).prop_map(TensorData::U16),
        vec(any::<u32>(), 2..6).prop_map(TensorData::U32),
        vec(any::<u64>(), 2..6).prop_map(TensorData::U64),
        vec(any::<u16>().prop_map(|x| no_nan_payload16(f16::from_bits(x))), 2..6).prop_map(TensorData::F16),
        vec(any::<u16>().prop_map(|x| no_nan_payload_b16(bf16::from_bits(x))), 2..6)
            .prop_map(TensorData::BF16),
    ];
    data.prop_map(|data| Tensor::new(vec![data.len() as u64], data).expect("as many as it holds"))
}

fn no_nan_payload32(x: f32) -> f32 {
    if x.is_nan() { f32::from_bits(0x7fc0_0000) } else { x }
}

fn no_nan_payload64(x: f64) -> f64 {
    if x.is_nan() { f64::from_bits(0x7ff8 << 48) } else { x }
}

fn no_nan_payload16(x: f16) -> f16 {
    if x.is_nan() { f16::from_bits(0x7e00) } else { x }
}

fn no_nan_payload_b16(x: bf16) -> bf16 {
    if x.is_nan() { bf16::from_bits(0x7fc0) } else { x }
}

fn tensors(least: usize) -> impl Strategy<Value = Vec<NamedTensor>> {
    vec(("[a-z]{1,6}", tensor()), least..4)
        .prop_map(|list| list.into_iter().map(|(name, tensor)| NamedTensor::new(name, tensor)).collect())
}

fn sampling() -> impl Strategy<Value = Option<Sampling>> {
    proptest::option::of(any::<(u64, u32, u32, i32, u32)>().prop_map(|(seed, a, b, c, d)| Sampling {
        seed,
        temperature_micros: a,
        top_p_micros: b,
        top_k: d,
        min_p_micros: a,
        frequency_penalty_micros: c,
        presence_penalty_micros: -(c / 2),
        repetition_penalty_micros: b,
        max_tokens: d,
    }))
}

/// An honest call, drawn at random. The request pins the model, so that everything in it is bound.
fn call() -> impl Strategy<Value = Call> {
    let numbers = any::<(u32, u64, u64, u64)>();
    let hashes = any::<([u8; 32], [u8; 32], [u8; 32], [u8; 32])>();
    (tensors(1), tensors(1), sampling(), numbers, hashes).prop_map(|(inputs, outputs, sampling, n, h)| {
        let (model, model_id, nonce) = ("alice/digits".parse().expect("a name"), ModelId(h.0), Nonce(h.1));
        let of = |tensors: &[NamedTensor]| tensors.iter().map(NamedTensor::to_json).collect();
        let request = InferRequest { model, model_id: Some(model_id), nonce, inputs: of(&inputs) };
        let response = InferResponse { model_name: request.model.clone(), model_id, outputs: of(&outputs) };
        let json = |made: Result<String, serde_json::Error>| made.expect("plain data");
        let call = Call::answer(
            "drawn",
            &json(serde_json::to_string(&request)),
            &json(serde_json::to_string(&response)),
        );
        let mut call = call.with(|claims| {
            claims.sampling = sampling;
            claims.kernel_spec = n.0;
            claims.usage.macs = n.1;
            claims.usage.rows = n.2;
            claims.started_ms = n.3;
            claims.finished_ms = n.3.saturating_add(u64::from(n.0));
            claims.payment = PaymentId(h.2);
            claims.amount = claims.price.amount(&claims.usage).expect("small prices");
        });
        call.reseal(Salt(h.3));
        call
    })
}

impl Call {
    /// The same call under another salt.
    fn reseal(&mut self, salt: Salt) {
        let request: InferRequest = serde_json::from_slice(&self.request).expect("a request");
        let response: InferResponse = serde_json::from_slice(&self.response).expect("a response");
        let (inputs, outputs) = (fixture::read_all(request.inputs), fixture::read_all(response.outputs));
        self.salt = salt;
        self.claims.request = salt.commit(&CommitmentLabel::Request, &self.request);
        self.claims.response = salt.commit(&CommitmentLabel::Response, &self.response);
        self.claims.payer = salt.commit(&CommitmentLabel::Payer, self.payer.as_bytes());
        self.claims.inputs = commit_all(salt, &inputs, |name| CommitmentLabel::Input(name));
        self.claims.outputs = commit_all(salt, &outputs, |name| CommitmentLabel::Output(name));
    }
}

fn flip(bytes: &[u8], bit: Index) -> Vec<u8> {
    let (bit, mut bytes) = (bit.index(bytes.len() * 8), bytes.to_vec());
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes
}

fn flip32(bytes: [u8; 32], bit: Index) -> [u8; 32] {
    flip(&bytes, bit).try_into().expect("as long as before")
}

/// Exactly these checks fail, each says why, and the report does not hold.
#[track_caller]
fn caught(report: &Report, by: &[&str]) {
    assert_eq!(failed(report), by, "{report:?}");
    assert!(says_why(report), "{report:?}");
    assert!(!report.holds());
    assert_eq!(report.failure().map(|check| check.check.as_str()), by.first().copied());
    let text = report.failure_text().expect("there is a failure");
    assert!(text.starts_with(by[0]) && text.contains("expected") && text.contains("got"), "{text}");
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn an_honest_call_holds(call in call(), before in 0_usize..9, after in 0_usize..9) {
        let bytes = call.bytes();
        let others = |count: usize| (0..count).map(|i| vec![u8::try_from(i).unwrap_or(0); 3]);
        let block: Vec<_> = others(before).chain([bytes.clone()]).chain(others(after)).collect();
        let proof = proof_bytes(&genesis("vectors"), &block, before);
        let report = verify_receipt(&bytes, &Context { proof: Some(&proof), ..call.context() });
        prop_assert!(report.holds(), "{:?}", report.failure_text());
        let passed = report.checks.iter().filter(|check| report.passed(check.check)).count();
        prop_assert_eq!(passed, report.checks.len() - 1);
        prop_assert!(!report.passed(CheckName::Replay) && says_why(&report));
        prop_assert_eq!(report.claims, Some(call.claims));
    }

    /// Header, payload, signature: no bit of the receipt is free.
    #[test]
    fn a_flipped_receipt_fails_at_format_or_signature(call in call(), bit: Index) {
        let report = verify_receipt(&flip(&call.bytes(), bit), &call.context());
        let first = report.failure().expect("a bit was flipped").check;
        prop_assert!(matches!(first, CheckName::Format | CheckName::Signature), "{:?}", report);
        prop_assert!(says_why(&report) && !report.holds());
        prop_assert_eq!(report.claims.is_some(), first == CheckName::Signature);
    }

    #[test]
    fn a_cut_or_longer_receipt_fails_at_format(call in call(), cut: Index, tail in vec(any::<u8>(), 1..9)) {
        let bytes = call.bytes();
        caught(&verify_receipt(&bytes[..cut.index(bytes.len())], &call.context()), &["format"]);
        caught(&verify_receipt(&[&bytes[..], &tail].concat(), &call.context()), &["format"]);
    }

    /// What the client holds: one bit of request, response, salt or payer.
    #[test]
    fn a_flipped_context_fails_at_its_check(call in call(), bit: Index) {
        let bytes = call.bytes();
        let first = |context: &Context<'_>| {
            let report = verify_receipt(&bytes, context);
            assert!(says_why(&report) && !report.holds());
            report.failure().map(|check| check.check)
        };
        let request = flip(&call.request, bit);
        prop_assert_eq!(first(&Context { request: Some(&request), ..call.context() }), Some(CheckName::Request));
        let response = flip(&call.response, bit);
        prop_assert_eq!(first(&Context { response: Some(&response), ..call.context() }), Some(CheckName::Response));
        let salt = Some(Salt(flip32(call.salt.0, bit)));
        let all = ["request", "inputs", "response", "outputs", "payer"];
        caught(&verify_receipt(&bytes, &Context { salt, ..call.context() }), &all);
        let mut payer = call.payer;
        payer.0[bit.index(20)] ^= 1;
        caught(&verify_receipt(&bytes, &Context { payer: Some(payer), ..call.context() }), &["payer"]);
    }

    /// What the reader expects: one bit of network, nonce, model or payment.
    #[test]
    fn another_expectation_fails_at_its_check(call in call(), bit: Index) {
        let (bytes, context) = (call.bytes(), call.context());
        let network = nabla_types::NetworkId(flip32(call.claims.network.0, bit));
        caught(&verify_receipt(&bytes, &Context { network: Some(network), ..context.clone() }), &["network"]);
        let nonce = Nonce(flip32(call.claims.nonce.0, bit));
        caught(&verify_receipt(&bytes, &Context { nonce: Some(nonce), ..context.clone() }), &["nonce"]);
        let model = ModelId(flip32(call.claims.model.0, bit));
        caught(&verify_receipt(&bytes, &Context { model: Some(model), ..context.clone() }), &["model"]);
        let payment = PaymentId(flip32(call.claims.payment.0, bit));
        caught(&verify_receipt(&bytes, &Context { payment: Some(payment), ..context }), &["payment"]);
    }

    /// A provider that commits to the right bytes but to other tensors: one element, or one name.
    #[test]
    fn another_tensor_fails_at_inputs_or_outputs(call in call(), which: Index, element: Index, bit: Index) {
        let request: InferRequest = serde_json::from_slice(&call.request).expect("a request");
        let mut inputs = fixture::read_all(request.inputs);
        let at = which.index(inputs.len());
        inputs[at].tensor = change(&inputs[at].tensor, element, bit);
        let lie = call.with(|c| c.inputs = commit_all(call.salt, &inputs, |name| CommitmentLabel::Input(name)));
        caught(&verify_receipt(&lie.bytes(), &call.context()), &["inputs"]);

        let response: InferResponse = serde_json::from_slice(&call.response).expect("a response");
        let mut outputs = fixture::read_all(response.outputs);
        let at = which.index(outputs.len());
        outputs[at].tensor = change(&outputs[at].tensor, element, bit);
        let lie = call.with(|c| c.outputs = commit_all(call.salt, &outputs, |name| CommitmentLabel::Output(name)));
        caught(&verify_receipt(&lie.bytes(), &call.context()), &["outputs"]);

        let renamed = call.with(|c| c.outputs[at].name.push('x'));
        caught(&verify_receipt(&renamed.bytes(), &call.context()), &["outputs"]);
        let dropped = call.with(|c| drop(c.inputs.remove(0)));
        caught(&verify_receipt(&dropped.bytes(), &call.context()), &["inputs"]);
    }

    /// A client or gateway that swaps one tensor of the request or the answer, JSON and all.
    #[test]
    fn another_element_in_the_json_fails_twice(call in call(), which: Index, element: Index, bit: Index) {
        let mut request: InferRequest = serde_json::from_slice(&call.request).expect("a request");
        let at = which.index(request.inputs.len());
        let was = NamedTensor::from_json(request.inputs[at].clone()).expect("a tensor");
        let tensor = change(&was.tensor, element, bit);
        request.inputs[at] = NamedTensor { tensor, ..was }.to_json();
        let request = serde_json::to_vec(&request).expect("plain data");
        // A NaN's payload and sign are lost in JSON: then nothing was changed.
        if request != call.request {
            let context = Context { request: Some(&request), ..call.context() };
            caught(&verify_receipt(&call.bytes(), &context), &["request", "inputs"]);
        }
    }

    /// Every byte of a proof is bound.
    #[test]
    fn a_flipped_proof_fails_at_inclusion(call in call(), bit: Index, cut: Index, index in 0_usize..5) {
        let mut block: Vec<Vec<u8>> = (0..4).map(|i| vec![i; 4]).collect();
        let bytes = call.bytes();
        block.insert(index, bytes.clone());
        let proof = proof_bytes(&genesis("vectors"), &block, index);
        let with = |proof: &[u8]| verify_receipt(&bytes, &Context { proof: Some(proof), ..call.context() });
        caught(&with(&flip(&proof, bit)), &["inclusion"]);
        caught(&with(&proof[..cut.index(proof.len())]), &["inclusion"]);
        caught(&with(&proof_bytes(&genesis("vectors"), &block, (index + 1) % 5)), &["inclusion"]);
    }

    /// What is missing is skipped, what is there is passed, and neither hides the other.
    #[test]
    fn what_is_missing_is_skipped(call in call(), has in 0_u32..512) {
        let (bytes, full) = (call.bytes(), call.context());
        let proof = proof_bytes(&genesis("vectors"), &[&bytes], 0);
        let have = |bit: u32| has >> bit & 1 == 1;
        let context = Context {
            network: full.network.filter(|_| have(0)),
            nonce: full.nonce.filter(|_| have(1)),
            model: full.model.filter(|_| have(2)),
            payment: full.payment.filter(|_| have(3)),
            request: full.request.filter(|_| have(4)),
            response: full.response.filter(|_| have(5)),
            salt: full.salt.filter(|_| have(6)),
            payer: full.payer.filter(|_| have(7)),
            proof: have(8).then_some(&proof[..]),
        };
        let expected = |name: CheckName| match name {
            CheckName::Format | CheckName::Signature | CheckName::Amount => true,
            CheckName::Network => have(0),
            CheckName::Nonce => have(1),
            CheckName::Model => have(2),
            CheckName::Payment => have(3),
            CheckName::Request | CheckName::Inputs => have(4) && have(6),
            CheckName::Response | CheckName::Outputs => have(5) && have(6),
            CheckName::Payer => have(7) && have(6),
            CheckName::Inclusion => have(8),
            CheckName::Replay => false,
        };
        let report = verify_receipt(&bytes, &context);
        prop_assert!(report.holds() && says_why(&report));
        prop_assert_eq!(report.checks.len(), 14);
        for check in &report.checks {
            let skipped = matches!(check.outcome, Outcome::Skipped { .. });
            prop_assert_eq!(report.passed(check.check), expected(check.check), "{:?}", check);
            prop_assert_eq!(skipped, !expected(check.check), "{:?}", check);
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(a in vec(any::<u8>(), 0..600), b in vec(any::<u8>(), 0..600)) {
        caught(&verify_receipt(&a, &Context { proof: Some(&b), ..Context::default() }), &["format"]);
        let call = digits();
        let context = Context { request: Some(&a), response: Some(&b), proof: Some(&a), ..call.context() };
        caught(
            &verify_receipt(&call.bytes(), &context),
            &["request", "inputs", "response", "outputs", "inclusion"],
        );
    }

    /// Bytes that begin like a receipt reach deeper: splice foreign bytes into an honest one.
    #[test]
    fn spliced_bytes_never_panic(call in call(), at: Index, splice in vec(any::<u8>(), 1..40), skip in 0_usize..40) {
        let good = call.bytes();
        let at = at.index(good.len());
        let rest = &good[(at + skip).min(good.len())..];
        let forged = [&good[..at], &splice, rest].concat();
        prop_assume!(forged != good);
        let report = verify_receipt(&forged, &call.context());
        prop_assert!(!report.holds() && says_why(&report));
    }
}

/// The tensor with one bit of one element changed, or one letter more in a text.
fn change(tensor: &Tensor, element: Index, bit: Index) -> Tensor {
    let at = element.index(tensor.data().len());
    let (shape, data) = tensor.clone().into_parts();
    let data = match data {
        TensorData::String(mut texts) => {
            texts[at].push('x');
            TensorData::String(texts)
        }
        TensorData::Bool(mut values) => {
            values[at] = !values[at];
            TensorData::Bool(values)
        }
        fixed => {
            let dtype = fixed.dtype();
            let bytes = flip(&fixed.to_le_bytes().expect("of fixed size"), bit);
            TensorData::from_le_bytes(dtype, &bytes).expect("as many bytes as before")
        }
    };
    Tensor::new(shape, data).expect("as many elements as before")
}

type Lie = (&'static str, fn(&mut Receipt), &'static [&'static str]);

/// Each claim, changed: `&[]` marks what only the signature and the block bind, because no reader of
/// bytes alone knows it better than the provider.
const LIES: &[Lie] = &[
    ("network", |c| c.network.0[0] ^= 1, &["network"]),
    ("nonce", |c| c.nonce.0[31] ^= 1, &["nonce", "inputs"]),
    ("model_name", |c| c.model_name = "alice/other".parse().expect("a name"), &["inputs", "outputs"]),
    ("revision", |c| c.revision = BlobId([7; 32]), &[]),
    ("model", |c| c.model.0[5] ^= 64, &["model", "outputs"]),
    ("runtime", |c| c.runtime.push('!'), &[]),
    ("kernel_spec", |c| c.kernel_spec += 1, &[]),
    ("request", |c| c.request.0[0] ^= 1, &["request"]),
    ("response", |c| c.response.0[31] ^= 128, &["response"]),
    ("inputs name", |c| c.inputs[0].name.push('s'), &["inputs"]),
    ("inputs commitment", |c| c.inputs[0].commitment.0[9] ^= 2, &["inputs"]),
    ("inputs count", |c| c.inputs.push(c.inputs[0].clone()), &["inputs"]),
    ("outputs name", |c| c.outputs[1].name.clear(), &["outputs"]),
    ("outputs commitment", |c| c.outputs[1].commitment.0[0] ^= 1, &["outputs"]),
    ("outputs order", |c| c.outputs.swap(0, 1), &["outputs"]),
    ("sampling", |c| c.sampling = Some(greedy()), &[]),
    ("usage rows", |c| c.usage.rows += 1, &[]),
    ("usage macs", |c| c.usage.macs += 1_000_000_000, &["amount"]),
    ("usage tokens_in", |c| c.usage.tokens_in += 1, &[]),
    ("usage tokens_out", |c| c.usage.tokens_out += 1, &[]),
    ("price per_call", |c| c.price.per_call = Opg::ZERO, &["amount"]),
    ("price per_gigamac", |c| c.price.per_gigamac = Opg::ZERO, &["amount"]),
    ("price royalty", |c| c.price.royalty = Opg::ZERO, &["amount"]),
    ("amount", |c| c.amount = Opg::whole(1), &["amount"]),
    ("payer", |c| c.payer.0[0] ^= 1, &["payer"]),
    ("payment", |c| c.payment.0[0] ^= 1, &["payment"]),
    ("started_ms", |c| c.started_ms -= 1, &[]),
    ("finished_ms", |c| c.finished_ms += 1, &[]),
];

fn greedy() -> Sampling {
    Sampling {
        seed: 0,
        temperature_micros: 0,
        top_p_micros: 1_000_000,
        top_k: 0,
        min_p_micros: 0,
        frequency_penalty_micros: 0,
        presence_penalty_micros: 0,
        repetition_penalty_micros: 1_000_000,
        max_tokens: 1,
    }
}

/// A claim changed by its own provider, who signs again: its check fails, and the block never has it.
#[test]
fn every_claim_is_bound_to_what_the_reader_knows() {
    let call = digits();
    let proof = proof_bytes(&genesis("vectors"), &[call.bytes()], 0);
    for (claim, change, by) in LIES {
        let lie = call.with(change);
        assert_ne!(lie.claims, call.claims, "{claim}");
        let report = verify_receipt(&lie.bytes(), &call.context());
        assert_eq!(failed(&report), *by, "{claim}");
        assert!(report.passed(CheckName::Signature) && says_why(&report), "{claim}");
        let context = Context { proof: Some(&proof), ..call.context() };
        let with_proof = verify_receipt(&lie.bytes(), &context);
        caught(&with_proof, &[by, &["inclusion"][..]].concat());
    }
}

/// A claim changed by somebody else, who cannot sign: the signature fails first but for nothing else.
#[test]
fn every_claim_is_bound_by_the_signature() {
    let call = digits();
    let honest = call.bytes();
    let signature = &honest[honest.len() - 64..];
    for (claim, change, by) in LIES {
        let mut forged = call.with(change).bytes();
        let at = forged.len() - 64;
        forged[at..].copy_from_slice(signature);
        let report = verify_receipt(&forged, &call.context());
        caught(&report, &[&["signature"], *by].concat());
        assert!(!verify_receipt(&forged, &Context::default()).holds(), "{claim}");
    }
}

/// Another node signs the answer as its own: what the reader can see is that the block has another one.
#[test]
fn a_swapped_provider_is_not_in_the_block() {
    let call = digits();
    let proof = proof_bytes(&genesis("vectors"), &[call.bytes()], 0);
    let mut thief = call.with(|claims| claims.provider = key("stranger").id());
    thief.key = key("stranger");
    let report = verify_receipt(&thief.bytes(), &Context { proof: Some(&proof), ..call.context() });
    caught(&report, &["inclusion"]);
    assert_eq!(report.claims.map(|claims| claims.provider), Some(key("stranger").id()));
    // Signing in the provider's name needs the provider's key.
    let mut forged = thief.bytes();
    let honest = call.bytes();
    let payload_end = honest.len() - 64;
    forged[..payload_end].copy_from_slice(&honest[..payload_end]);
    caught(&verify_receipt(&forged, &call.context()), &["signature"]);
}

/// Whoever founds a network can prove anything on it; the reader's own network id is what stops it.
#[test]
fn a_network_of_ones_own_proves_nothing_elsewhere() {
    let own = genesis("of my own");
    let call = digits().with(|claims| claims.network = own.network());
    let proof = cbor::encode(&proof(&own, &[call.bytes()], 0));
    let context = Context { proof: Some(&proof), ..call.context() };
    assert!(verify_receipt(&call.bytes(), &context).holds());
    let elsewhere = Context { network: Some(network()), ..context };
    caught(&verify_receipt(&call.bytes(), &elsewhere), &["network"]);
}

#[test]
fn without_a_good_signature_nothing_holds() {
    let mut bytes = digits().bytes();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let report = verify_receipt(&bytes, &Context::default());
    caught(&report, &["signature"]);
    assert!(!Report { receipt_id: None, claims: None, checks: vec![] }.holds());
}

#[test]
fn a_receipt_over_the_limit_is_named_before_it_is_read() {
    let call = digits().with(|claims| claims.runtime = "x".repeat(RECEIPT_BYTES_MAX));
    let report = verify_receipt(&call.bytes(), &Context::default());
    caught(&report, &["format"]);
    assert!(report.failure_text().is_some_and(|text| text.contains("at most 32768")));
}

/// Lengths that promise more than there is are refused without taking memory for them.
#[test]
fn lengths_that_lie_are_refused() {
    for head in ["d28446a2012703183da05bffffffffffffffff", "d29bffffffffffffffff", "d2845bffffffffffffffff"] {
        caught(&verify_receipt(&hex::decode(head).expect("hex"), &Context::default()), &["format"]);
    }
    let call = digits();
    let proof = hex::decode("a400a10a9bffffffffffffffff").expect("hex");
    let context = Context { proof: Some(&proof), ..call.context() };
    caught(&verify_receipt(&call.bytes(), &context), &["inclusion"]);
}

/// A payer who guesses: without the salt, the commitment to an address cannot be recognised.
#[test]
fn without_the_salt_nothing_is_opened() {
    let call = digits();
    let context = Context { salt: None, payer: Some(address("payer")), ..call.context() };
    let report = verify_receipt(&call.bytes(), &context);
    assert!(report.holds());
    for name in [CheckName::Request, CheckName::Inputs, CheckName::Outputs, CheckName::Payer] {
        assert!(!report.passed(name), "{name:?}");
    }
}
