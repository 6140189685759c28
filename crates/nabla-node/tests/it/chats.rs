//! Chats on whole networks: answered, streamed, paid for what was used, replayed.

use nabla_client::{ChatAnswer, Error, Spending, new_nonce};
use nabla_node::replay::{Replay, replay_chat};
use nabla_pay::AccountKey;
use nabla_types::{
    Opg, PaymentId, ReceiptId,
    api::PaymentPayload,
    chain::{Outcome, Payment, PaymentStatus},
    chat::{ChatContent, ChatMessage, ChatRequest, FinishReason, Micros, Role, Stops},
    embed::EmbedRequest,
    receipt::Receipt,
};

use crate::{
    network::{TestNetwork, now_s, status_of},
    small::{self, small},
};

const SEED: u64 = 7;

async fn network() -> (TestNetwork, AccountKey) {
    let network = TestNetwork::start(|_| {}).await;
    let owner = network.account("bob", Opg::whole(20)).await;
    let alice = network.owner();
    network.publish_as(&alice, &small(), &small::package(SEED)).await;
    (network, owner)
}

fn message(role: Role, content: &str) -> ChatMessage {
    ChatMessage { role, content: content.to_owned(), name: None }
}

fn asked(max_tokens: u32, stream: bool) -> ChatRequest {
    let messages = vec![message(Role::System, "Be brief."), message(Role::User, "Tell me a story")];
    let request = ChatRequest::new(small(), new_nonce().expect("a nonce"), messages);
    ChatRequest { max_tokens: Some(max_tokens), stream, ..request }
}

impl TestNetwork {
    /// A paid request whose answer is read as it comes.
    async fn stream(&self, body: &bytes::Bytes, payment: &PaymentPayload) -> reqwest::Response {
        use base64::prelude::{BASE64_STANDARD, Engine as _};
        let header = BASE64_STANDARD.encode(serde_json::to_vec(payment).expect("plain data"));
        let url = format!("{}/nabla/v1/chat", self.url);
        let request = self.http.request(reqwest::Method::POST, &url).header("payment-signature", header);
        request.body(body.clone()).send().await.expect("the gateway answers")
    }

    /// The payment, once it is settled.
    async fn settled(&self, id: PaymentId) -> Payment {
        loop {
            let payment = self.ledger.payment(id).await.expect("the ledger answers").expect("it is reserved");
            if !matches!(payment.status, PaymentStatus::Reserved { .. }) {
                return payment;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Wait for the verifier's word on a receipt.
    async fn verdict(&self, id: ReceiptId, expected: Outcome) {
        loop {
            let record = self.ledger.receipt(id).await.expect("the ledger answers").expect("it is settled");
            if let Some(verdict) = record.verdicts.first() {
                assert_eq!(verdict.outcome, expected);
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn chat(&self, account: &AccountKey, request: &ChatRequest) -> Result<(ChatAnswer, String), Error> {
        let spending = Spending { account, price_max: None, now_s: now_s() };
        let mut shown = String::new();
        let answer = Box::pin(self.gateway.chat(request, spending, &mut |text| shown.push_str(text))).await?;
        Ok((answer, shown))
    }
}

fn replayed(answer: &ChatAnswer, claims: &Receipt, response: &[u8]) -> Replay {
    let (model, manifest) = (small::model(SEED), small::package(SEED).manifest);
    let paid = &answer.paid;
    replay_chat(&model, &manifest, claims, (&paid.request, response), paid.salt).expect("it can be replayed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_is_answered_streamed_paid_and_replayed() {
    let (network, bob) = network().await;
    let before = network.balance(bob.address()).await;
    let mut request = asked(24, true);
    let (streamed, shown) = network.chat(&bob, &request).await.expect("an answer");
    let claims = &streamed.paid.claims;
    assert_eq!(shown, streamed.content.text);
    assert_eq!((streamed.content.tokens.len(), streamed.content.finish), (24, FinishReason::Length));
    assert_eq!(claims.sampling.as_ref().map(|sampling| sampling.max_tokens), Some(24));
    // What was not used is back.
    let paid = claims.amount;
    let after = network.balance(bob.address()).await;
    assert_eq!(after.checked_add(paid), Some(before));
    assert_eq!(replayed(&streamed, claims, &streamed.paid.response), Replay::Equal);

    // In one piece it is the same answer, as the seed is.
    request.seed = Some(request.seed());
    request.nonce = new_nonce().expect("a nonce");
    request.stream = false;
    let (whole, shown) = network.chat(&bob, &request).await.expect("an answer");
    assert_eq!((&whole.content.tokens, &shown), (&streamed.content.tokens, &streamed.content.text));
    assert_eq!(replayed(&whole, &whole.paid.claims, &whole.paid.response), Replay::Equal);

    // And another verifier agrees with both.
    for answer in [&streamed, &whole] {
        let id = answer.paid.report.receipt_id.expect("an id");
        network.verdict(id, Outcome::Equal).await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_get_what_each_would_get_alone() {
    let (network, bob) = network().await;
    let alone = asked(16, false);
    let (alone_answer, _) = network.chat(&bob, &alone).await.expect("an answer");
    let mut requests: Vec<ChatRequest> = (0..6).map(|number| asked(8 + number, number % 2 == 0)).collect();
    requests.push(ChatRequest { seed: Some(alone.seed()), nonce: new_nonce().expect("a nonce"), ..alone });
    let mut calls = tokio::task::JoinSet::new();
    let network = std::sync::Arc::new(network);
    let bob = std::sync::Arc::new(bob);
    for request in requests {
        let (network, bob) = (network.clone(), bob.clone());
        calls.spawn(async move { network.chat(&bob, &request).await.map(|(answer, _)| answer) });
    }
    let answers: Result<Vec<_>, _> = calls.join_all().await.into_iter().collect();
    let answers = answers.expect("all are answered");
    for answer in &answers {
        assert_eq!(replayed(answer, &answer.paid.claims, &answer.paid.response), Replay::Equal);
    }
    let same = answers.iter().filter(|answer| answer.content.tokens == alone_answer.content.tokens).count();
    assert_eq!(same, 1);
    std::sync::Arc::into_inner(network).expect("all calls are done").stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_setting_reaches_the_model_and_the_replay() {
    let (network, bob) = network().await;
    let plain = asked(24, true);
    let plain = ChatRequest { seed: Some(3), temperature: Some(Micros::ZERO), ..plain };
    let (answer, _) = network.chat(&bob, &plain).await.expect("an answer");
    let likeliest = answer.content.tokens[0];
    let fresh = |request: ChatRequest| ChatRequest { nonce: new_nonce().expect("a nonce"), ..request };
    let hot = ChatRequest { temperature: Some(Micros(1_900_000)), ..plain.clone() };
    let banned = ChatRequest {
        logit_bias: [(likeliest, Micros(-100_000_000))].into_iter().collect(),
        ..plain.clone()
    };
    let stopped = ChatRequest { stop: Stops(vec!["e".to_owned(), "no such text".to_owned()]), ..hot.clone() };
    let told = ChatRequest { logprobs: true, top_logprobs: Some(2), ..hot.clone() };
    let penalised = ChatRequest {
        repetition_penalty: Some(Micros(1_500_000)),
        frequency_penalty: Some(Micros(700_000)),
        presence_penalty: Some(Micros(-300_000)),
        top_k: Some(20),
        top_p: Some(Micros(900_000)),
        min_p: Some(Micros(10_000)),
        ..hot.clone()
    };
    for (name, request) in
        [("hot", hot), ("banned", banned), ("stopped", stopped), ("told", told), ("penalised", penalised)]
    {
        let (answer, _) = network.chat(&bob, &fresh(request)).await.expect("an answer");
        assert_eq!(replayed(&answer, &answer.paid.claims, &answer.paid.response), Replay::Equal, "{name}");
        let shows = String::from_utf8_lossy(&answer.paid.response).contains("\"top_logprobs\":[{");
        assert_eq!(shows, name == "told");
        if name == "banned" {
            assert!(!answer.content.tokens.contains(&likeliest));
        }
    }
    network.stop().await;
}

/// Beside the honest provider stand those that change a token, the text behind it, the end, or what they charge.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_names_the_first_token_that_differs() {
    let (network, bob) = network().await;
    for stream in [true, false] {
        let (answer, _) = network.chat(&bob, &asked(12, stream)).await.expect("an answer");
        let text = String::from_utf8(answer.paid.response.to_vec()).expect("JSON");
        let salt = answer.paid.salt;
        // The liar signs what it says.
        let lied = |text: String, change: &dyn Fn(&mut Receipt)| {
            use nabla_types::chat::{TOKENS, tokens_tensor};
            use nabla_types::receipt::CommitmentLabel;
            let mut claims = answer.paid.claims.clone();
            claims.response = salt.commit(&CommitmentLabel::Response, text.as_bytes());
            if let Ok(content) = ChatContent::from_bytes(text.as_bytes()) {
                let tokens = tokens_tensor(&content.tokens).to_bytes();
                claims.outputs[0].commitment = salt.commit(&CommitmentLabel::Output(TOKENS), &tokens);
            }
            change(&mut claims);
            match replayed(&answer, &claims, text.as_bytes()) {
                Replay::Different { what, .. } => what,
                Replay::Equal => "nothing".to_owned(),
            }
        };
        assert_eq!(lied(text.clone(), &|_| {}), "nothing");
        let token = answer.content.tokens[5];
        let other = if token == 100 { 101 } else { 100 };
        let tokens: Vec<String> = answer.content.tokens.iter().map(u32::to_string).collect();
        if !stream {
            let mut changed = tokens.clone();
            changed[5] = other.to_string();
            let changed = text.replace(&tokens.join(","), &changed.join(","));
            assert_eq!(lied(changed, &|_| {}), "token 5 of the answer");
        }
        let said = lied(text.replace("assistant", "assistanz"), &|_| {});
        assert_eq!(said, "answer", "a role that does not exist cannot be read");
        let finish = lied(text.replace("\"length\"", "\"stop\""), &|_| {});
        assert_eq!(finish, "the answer's end");
        let cancelled = lied(text.replace("\"length\"", "\"cancelled\""), &|_| {});
        assert_eq!(cancelled, "the answer's end");
        let moved = lied(text.replace("\"object\":", "\"object\" :"), &|_| {});
        assert!(moved.starts_with("byte "), "{moved}");
        assert_eq!(lied(text.clone(), &|claims| claims.usage.tokens_in += 1), "usage");
        assert_eq!(lied(text.clone(), &|claims| claims.usage.macs -= 1), "usage");
        assert_eq!(lied(text.clone(), &|claims| claims.kernel_spec += 1), "kernel spec");
        assert_eq!(
            lied(text.clone(), &|claims| claims.inputs[0].commitment.0[0] ^= 1),
            "the prompt's tokens"
        );
        assert_eq!(
            lied(text.clone(), &|claims| claims.outputs[0].commitment.0[0] ^= 1),
            "the answer's tokens"
        );
        let hotter = lied(text.clone(), &|claims| {
            claims.sampling.as_mut().expect("a chat").temperature_micros += 1;
        });
        assert_eq!(hotter, "sampling");
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_model_cannot_answer_is_refused_and_costs_nothing() {
    let (network, bob) = network().await;
    let before = network.balance(bob.address()).await;
    let long = ChatRequest {
        messages: vec![message(Role::User, &"a".repeat(small::CONTEXT as usize + 1))],
        ..asked(4, true)
    };
    let schema = r#"{"type":"json_schema","json_schema":{"name":"","schema":{"type":"nonsense"}}}"#;
    let bad_schema =
        ChatRequest { response_format: serde_json::from_str(schema).expect("a format"), ..asked(4, false) };
    let unknown_token = ChatRequest { model: crate::network::digits(), ..asked(4, false) };
    for request in [long, bad_schema, unknown_token] {
        let error = network.chat(&bob, &request).await.expect_err("refused");
        assert_eq!(status_of(&error), 422, "{error}");
    }
    assert_eq!(network.balance(bob.address()).await, before);
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_pays_for_what_was_made_and_can_fetch_it() {
    let (network, bob) = network().await;
    // Once, so that the model is warm.
    network.chat(&bob, &asked(1, false)).await.expect("an answer");
    let request = asked(500, true);
    let body = bytes::Bytes::from(serde_json::to_vec(&request).expect("a request"));
    let terms = network.terms(&body).await;
    let payment = network.pay(&bob, &terms, 77);
    let id = nabla_types::payment::SignedAuthorization::from(&payment.payload).authorization.payment_id();
    let mut stream = network.stream(&body, &payment).await;
    assert_eq!(stream.status().as_u16(), 200);
    stream.chunk().await.expect("the stream has begun").expect("bytes");
    drop(stream);
    let settled = network.settled(id).await;
    let PaymentStatus::Settled { .. } = settled.status else { panic!("{settled:?}") };
    let again = network.stream(&body, &payment).await;
    let bytes = again.bytes().await.expect("the stored stream");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains("\"finish_reason\":\"cancelled\"") && text.ends_with("data: [DONE]\n\n"), "{text}");
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_nobody_talks_with_makes_room_for_another() {
    let one = small::model(SEED).resident_bytes() + (8 << 20);
    let network =
        TestNetwork::start(|config| config.inference.language_bytes_max = one * 4 / 3 * 3 / 2).await;
    let bob = network.account("bob", Opg::whole(20)).await;
    let alice = network.owner();
    network.publish_as(&alice, &small(), &small::package(SEED)).await;
    network.publish_as(&alice, &"alice/other".parse().expect("a name"), &small::package(8)).await;
    for name in ["alice/small", "alice/other", "alice/small"] {
        let request = ChatRequest { model: name.parse().expect("a name"), ..asked(2, false) };
        network.chat(&bob, &request).await.expect("an answer");
    }
    network.stop().await;
}

#[test]
fn a_manifest_that_lies_about_its_model_is_refused() {
    use nabla_node::language::check_manifest;
    use nabla_types::manifest::{LanguageTerms, ModelManifest};

    let (model, manifest) = (small::model(SEED), small::package(SEED).manifest);
    assert_eq!(check_manifest(&manifest, &model), Ok(()));
    let terms = manifest.language.expect("terms");
    let lies = [
        ModelManifest { macs_per_row: manifest.macs_per_row - 1, ..manifest.clone() },
        ModelManifest { row_elements: 2, ..manifest.clone() },
        ModelManifest { batched: true, ..manifest.clone() },
        ModelManifest {
            language: Some(LanguageTerms { context_length: terms.context_length + 1, ..terms }),
            ..manifest.clone()
        },
        ModelManifest {
            language: Some(LanguageTerms { template_bytes: terms.template_bytes - 1, ..terms }),
            ..manifest.clone()
        },
        ModelManifest { language: None, ..manifest.clone() },
    ];
    for lie in lies {
        assert!(check_manifest(&lie, &model).is_err(), "{lie:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_become_vectors_that_are_paid_and_replayed() {
    let (network, bob) = network().await;
    let before = network.balance(bob.address()).await;
    let input = ["a fox", "the same fox", "a fox"].map(str::to_owned).to_vec();
    let request =
        EmbedRequest { model: small(), model_id: None, nonce: new_nonce().expect("a nonce"), input };
    let spending = Spending { account: &bob, price_max: None, now_s: now_s() };
    let answer = Box::pin(network.gateway.embed(&request, spending)).await.expect("vectors");
    assert_eq!(answer.vectors.len(), 3);
    assert_eq!(answer.vectors[0], answer.vectors[2]);
    assert_ne!(answer.vectors[0], answer.vectors[1]);
    let claims = &answer.paid.claims;
    let after = network.balance(bob.address()).await;
    assert_eq!(after.checked_add(claims.amount), Some(before));
    network.verdict(answer.paid.report.receipt_id.expect("an id"), Outcome::Equal).await;

    let (model, manifest, salt) = (small::model(SEED), small::package(SEED).manifest, answer.paid.salt);
    let text = String::from_utf8(answer.paid.response.to_vec()).expect("JSON");
    let lied = |text: String, change: &dyn Fn(&mut Receipt)| {
        use nabla_types::{
            embed::{EMBEDDINGS, EmbedResponse},
            receipt::CommitmentLabel,
        };
        let mut claims = claims.clone();
        claims.response = salt.commit(&CommitmentLabel::Response, text.as_bytes());
        if let Ok(read) = EmbedResponse::from_bytes(text.as_bytes()) {
            let label = CommitmentLabel::Output(EMBEDDINGS);
            claims.outputs[0].commitment = salt.commit(&label, &read.tensor().to_bytes());
        }
        change(&mut claims);
        let sides = (answer.paid.request.as_ref(), text.as_bytes());
        match replay_chat(&model, &manifest, &claims, sides, salt).expect("it can be replayed") {
            Replay::Different { what, .. } => what,
            Replay::Equal => "nothing".to_owned(),
        }
    };
    assert_eq!(lied(text.clone(), &|_| {}), "nothing");
    let number = answer.vectors[1][0].to_string();
    assert_eq!(lied(text.replacen(&number, "0.5", 1), &|_| {}), "the vectors");
    assert!(lied(text.replacen("\"list\"", "\"list\" ", 1), &|_| {}).starts_with("byte "));
    assert_eq!(lied(text.clone(), &|claims| claims.usage.macs += 1), "usage");
    assert_eq!(lied(text.clone(), &|claims| claims.kernel_spec += 1), "kernel spec");
    assert_eq!(lied(text, &|claims| claims.inputs[1].commitment.0[0] ^= 1), "the prompt's tokens");
    network.stop().await;
}
