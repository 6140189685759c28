//! Chats: whole and streamed, what they cost, and who lies about them.

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use nabla_gateway::Config;
use nabla_types::{
    api::HEADER_SALT,
    chain::PaymentStatus,
    chat::{ChatContent, FinishReason, StreamItem},
    payment::Nonce,
    receipt::Salt,
};
use nabla_verify::{CheckName, Context, verify_receipt};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    client::{BALANCE, Net, Reply, infer_request},
    fake::{Conduct, Lie, PER_CALL, ROYALTY},
    talker::{Mischief, events, model},
};

/// The prompt's bytes, which are its tokens.
const PROMPT: &str = "hello";
const TOKENS_OUT: u128 = 6;
/// What the call is quoted for: bytes of the prompt and of two templates, and the tokens that are asked for.
const QUOTED: u128 = PER_CALL + ROYALTY + 5 + 2 * 4 + TOKENS_OUT;
/// What it costs in the end.
const COSTS: u128 = PER_CALL + ROYALTY + 5 + TOKENS_OUT;

fn chat_with(nonce: u8, members: Value) -> String {
    let mut body = json!({
        "model": "alice/fabula", "nonce": Nonce([nonce; 32]), "max_tokens": 6, "temperature": 0.7,
        "messages": [{"role": "user", "content": PROMPT}],
    });
    let Value::Object(members) = members else { panic!("members") };
    body.as_object_mut().expect("an object").extend(members);
    format!(" {body}\n")
}

fn whole(nonce: u8) -> String {
    chat_with(nonce, json!({}))
}

fn streamed(nonce: u8) -> String {
    chat_with(nonce, json!({"stream": true}))
}

/// A stream, taken apart.
struct Read {
    response: Vec<u8>,
    receipt: Option<(Vec<u8>, Salt)>,
    failed: Option<nabla_types::api::ErrorInfo>,
    is_done: bool,
}

fn read(body: &[u8]) -> Read {
    let mut read = Read { response: Vec::new(), receipt: None, failed: None, is_done: false };
    for event in events(body) {
        assert!(!read.is_done && read.failed.is_none(), "nothing follows the end");
        match StreamItem::of(&event).expect("an event") {
            StreamItem::Chunk(_) => read.response.extend_from_slice(&event),
            StreamItem::Receipt { receipt, salt } => read.receipt = Some((receipt, salt)),
            StreamItem::Failed(info) => read.failed = Some(info),
            StreamItem::Done => read.is_done = true,
        }
    }
    read
}

/// That these are an answer and its receipt, which a client would accept.
#[track_caller]
fn check_receipt(net: &Net, request: &str, response: &[u8], receipt: &[u8], salt: Salt) -> ChatContent {
    let context = Context {
        model: Some(model()),
        request: Some(request.as_bytes()),
        response: Some(response),
        salt: Some(salt),
        payer: Some(net.payer()),
        ..Context::default()
    };
    let report = verify_receipt(receipt, &context);
    assert!(report.holds() && report.passed(CheckName::Outputs), "{:?}", report.failure());
    assert!(!report.passed(CheckName::Inputs), "the prompt's tokens were not checked");
    ChatContent::from_bytes(response).expect("an answer")
}

#[track_caller]
fn check_stream(net: &Net, reply: &Reply, request: &str) -> ChatContent {
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.headers["content-type"], "text/event-stream");
    let read = read(&reply.body);
    assert!(read.is_done && read.failed.is_none());
    let (receipt, salt) = read.receipt.expect("a receipt");
    assert_eq!(reply.headers[HEADER_SALT], salt.to_string());
    check_receipt(net, request, &read.response, &receipt, salt)
}

#[tokio::test]
async fn a_whole_chat_costs_what_it_used() {
    let net = Net::new(2);
    let body = whole(1);
    net.infer(&body, None).await.check_402("payment_required");
    assert_eq!(net.terms(&body).await.accepts[0].amount.units(), QUOTED);
    assert!(net.terms(&body).await.resource.url.ends_with("/nabla/v1/chat"));
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    let json = reply.json();
    assert_eq!(json["choices"][0]["message"]["content"], " w0 w1 w2 w3 w4 w5");
    assert_eq!(json["usage"], json!({"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}));
    assert_eq!(net.balance(), BALANCE - COSTS);
}

#[tokio::test]
async fn a_streamed_chat_is_the_same_with_its_receipt_at_the_end() {
    let net = Net::new(2);
    let body = streamed(1);
    let payment = net.pay(&body, 1).await;
    let reply = net.infer(&body, Some(&payment)).await;
    let content = check_stream(&net, &reply, &body);
    assert_eq!((content.text.as_str(), content.finish), (" w0 w1 w2 w3 w4 w5", FinishReason::Length));
    assert_eq!(content.tokens, [0, 1, 2, 3, 4, 5]);
    assert_eq!(net.balance(), BALANCE - COSTS);
    // The same again is the stored stream.
    let again = net.infer(&body, Some(&payment)).await;
    assert_eq!(again.body, reply.body);
    assert_eq!((net.fake.counts(), net.balance()), ((2, 1), BALANCE - COSTS));
}

#[tokio::test]
async fn a_quote_takes_conversations_too() {
    let net = Net::new(1);
    let body = streamed(1);
    let request = axum::http::Request::post("/nabla/v1/quote").body(body.clone().into()).expect("a request");
    let quote = net.send(request).await;
    assert_eq!(quote.status, 200);
    assert_eq!(quote.json(), net.infer(&body, None).await.json());
}

#[tokio::test]
async fn tensors_and_conversations_go_to_models_of_their_kind() {
    let net = Net::new(1);
    let body = whole(1).replace("alice/fabula", "alice/digits");
    let info = net.infer(&body, None).await.check_error(422, "bad_input");
    assert!(info.message.contains("/nabla/v1/infer"), "{}", info.message);
    let body = crate::client::body(1).replace("alice/digits", "alice/fabula");
    let info = net.infer(&body, None).await.check_error(422, "bad_input");
    assert!(info.message.contains("/nabla/v1/chat"), "{}", info.message);
}

#[tokio::test]
async fn what_cannot_be_asked_is_refused_by_name_before_anything_is_paid() {
    let net = Net::new(1);
    let tools = chat_with(1, json!({"tools": []}));
    let info = net.infer(&tools, None).await.check_error(400, "bad_request");
    assert!(info.message.contains("tools") && info.hint.is_some(), "{info:?}");
    let hot = chat_with(1, json!({"temperature": 9}));
    net.infer(&hot, None).await.check_error(422, "bad_input");
    let long = chat_with(1, json!({"stop": "x".repeat(5 << 20)}));
    net.infer(&long, None).await.check_error(413, "request_too_large");
    assert_eq!(net.fake.counts(), (0, 0));
}

#[tokio::test]
async fn before_the_first_event_another_provider_takes_over() {
    for conduct in [Conduct::Down, Conduct::Rejects(503)] {
        let net = Net::new(2);
        net.fake.behave(0, conduct);
        let body = streamed(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        check_stream(&net, &reply, &body);
        assert_eq!(net.fake.payment().provider, net.fake.node(1));
        assert_eq!(net.balance(), BALANCE - COSTS);
    }
    for mischief in [Mischief::Dies(0), Mischief::Fails(0)] {
        let net = Net::new(2);
        net.fake.state().mischief.insert(net.fake.node(0), mischief);
        let body = streamed(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        check_stream(&net, &reply, &body);
    }
}

#[tokio::test]
async fn a_rejected_conversation_is_an_error_and_no_stream() {
    let net = Net::new(2);
    net.fake.behave(0, Conduct::Rejects(422));
    let body = streamed(1);
    net.infer(&body, Some(&net.pay(&body, 1).await)).await.check_error(422, "bad_input");
    assert_eq!(net.balance(), BALANCE);
}

/// A stream with this mischief: what its client reads, and what it has paid.
async fn with_mischief(mischief: Mischief) -> (Net, Reply, String) {
    let net = Net::new(2);
    net.fake.state().mischief.insert(net.fake.node(0), mischief);
    let body = streamed(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    assert_eq!(reply.status, 200, "{mischief:?}: {:?}", reply.body);
    (net, reply, body)
}

/// No stream that was tampered with ends as if it were whole.
#[tokio::test]
async fn a_stream_that_was_tampered_with_ends_with_an_error() {
    let tampered = [
        Mischief::Alters(0),
        Mischief::Alters(3),
        Mischief::Drops(2),
        Mischief::Drops(5),
        Mischief::Drops(6),
        Mischief::Drops(7),
        Mischief::Doubles(2),
        Mischief::Doubles(7),
        Mischief::Swaps(1),
        Mischief::Swaps(6),
        Mischief::Adds(0),
        Mischief::Adds(5),
        Mischief::OtherCall,
        Mischief::OtherSalt,
        Mischief::Babbles,
        Mischief::Floods,
        Mischief::ForgetsReceipt,
    ];
    for mischief in tampered {
        let (net, reply, _) = with_mischief(mischief).await;
        let read = read(&reply.body);
        let info = read.failed.unwrap_or_else(|| panic!("{mischief:?}: no error"));
        assert_eq!(info.code, "stream_broken", "{mischief:?}");
        assert!(read.receipt.is_none() && !read.is_done, "{mischief:?}");
        assert!(net.balance() >= BALANCE - COSTS, "{mischief:?}");
    }
}

#[tokio::test]
async fn a_receipt_that_lies_about_a_stream_is_not_passed_on() {
    let lies = [
        Lie::Nonce,
        Lie::Model,
        Lie::ModelName,
        Lie::Revision,
        Lie::Payment,
        Lie::Network,
        Lie::Payer,
        Lie::Amount,
        Lie::Price,
        Lie::Usage,
        Lie::Tokens,
        Lie::Sampling,
        Lie::Outputs,
        Lie::Inputs,
        Lie::KernelSpec,
        Lie::Provider,
        Lie::ReceiptByte,
    ];
    for lie in lies {
        let (net, reply, _) = with_mischief(Mischief::Lies(lie)).await;
        let read = read(&reply.body);
        assert!(read.receipt.is_none() && !read.is_done, "{lie:?}");
        assert_eq!(read.failed.expect("an error").code, "stream_broken", "{lie:?}");
        drop(net);
    }
}

#[tokio::test]
async fn a_liar_about_a_whole_chat_is_passed_over() {
    for lie in
        [Lie::Tokens, Lie::Usage, Lie::Sampling, Lie::Outputs, Lie::Inputs, Lie::ResponseByte, Lie::Price]
    {
        let net = Net::new(2);
        net.fake.behave(0, Conduct::Lies(lie));
        let body = whole(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        assert_eq!(reply.status, 200, "{lie:?}");
        assert_eq!(net.fake.payment().provider, net.fake.node(1), "{lie:?}");
    }
}

#[tokio::test]
async fn a_provider_that_dies_amid_a_stream_is_not_paid() {
    for mischief in [Mischief::Dies(3), Mischief::Fails(3)] {
        let (net, reply, body) = with_mischief(mischief).await;
        let read = read(&reply.body);
        assert_eq!(events(&read.response).len(), 3);
        let info = read.failed.expect("an error");
        assert!(info.message.ends_with("the payment was released to its payer"), "{}", info.message);
        assert_eq!((net.balance(), net.fake.payment().status), (BALANCE, PaymentStatus::Released));
        let again = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        again.check_error(409, "payment_released");
    }
}

/// Time is paused: it moves on by itself as soon as everything waits for it.
#[tokio::test(start_paused = true)]
async fn a_provider_that_falls_silent_is_left() {
    let (net, reply, _) = with_mischief(Mischief::Hangs(2)).await;
    let info = read(&reply.body).failed.expect("an error");
    assert!(info.message.contains("a pause of more than 30000 ms"), "{}", info.message);
    assert_eq!(net.balance(), BALANCE);
}

/// Send, and give the body back as it comes.
async fn begin(net: &Net, body: &str, payment: &str) -> Body {
    let response = net.router.clone().oneshot(infer_request(body, Some(payment))).await;
    response.expect("a router does not fail").into_body()
}

async fn next(body: &mut Body) -> Option<Bytes> {
    let frame = std::future::poll_fn(|context| std::pin::Pin::new(&mut *body).poll_frame(context)).await?;
    frame.expect("a channel does not fail").into_data().ok()
}

/// Until the gateway has no call in work.
async fn finished(net: &Net) {
    net.gateway.finish().await;
}

/// More than waits in all channels on the way.
fn long(nonce: u8) -> String {
    chat_with(nonce, json!({"stream": true, "max_tokens": 500}))
}

#[tokio::test]
async fn a_client_that_goes_away_pays_for_what_was_made() {
    let net = Net::new(2);
    let body = long(1);
    let payment = net.pay(&body, 1).await;
    let mut stream = begin(&net, &body, &payment).await;
    for _ in 0..3 {
        next(&mut stream).await.expect("an event");
    }
    drop(stream);
    finished(&net).await;
    // The provider hears of it and settles.
    while !matches!(net.fake.payment().status, PaymentStatus::Settled { .. }) {
        tokio::task::yield_now().await;
    }
    let paid = BALANCE - net.balance();
    assert!(paid > PER_CALL + ROYALTY + 5 + 3 && paid < PER_CALL + ROYALTY + 5 + 200, "{paid}");
    assert_eq!(net.fake.counts(), (1, 1));
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_was_made() {
    let net = Net::new(2);
    let body = long(1);
    let payment = net.pay(&body, 1).await;
    let mut stream = begin(&net, &body, &payment).await;
    next(&mut stream).await.expect("an event");
    drop(stream);
    while !matches!(net.fake.payment().status, PaymentStatus::Settled { .. }) {
        tokio::task::yield_now().await;
    }
    let reply = net.infer(&body, Some(&payment)).await;
    let content = check_stream(&net, &reply, &body);
    assert_eq!(content.finish, FinishReason::Cancelled);
    assert!(content.tokens.len() < 500);
    assert_eq!(net.fake.counts().1, 1);
}

/// Time is paused: it moves on by itself as soon as everything waits for it.
#[tokio::test(start_paused = true)]
async fn a_client_that_reads_nothing_is_left() {
    let net = Net::new(1);
    let body = long(1);
    let payment = net.pay(&body, 1).await;
    let mut stream = begin(&net, &body, &payment).await;
    next(&mut stream).await.expect("an event");
    finished(&net).await;
    while !matches!(net.fake.payment().status, PaymentStatus::Settled { .. }) {
        tokio::task::yield_now().await;
    }
    assert!(BALANCE - net.balance() < PER_CALL + ROYALTY + 5 + 200);
    // What waited for it is still there, and then it ends without a receipt.
    let mut rest = Vec::new();
    while let Some(bytes) = next(&mut stream).await {
        rest.extend_from_slice(&bytes);
    }
    assert!(read(&rest).receipt.is_none());
}

#[tokio::test]
async fn who_sends_the_same_waits_for_the_whole_stream() {
    let net = Net::with(1, Config { calls_max: 8, ..Config::new("http://gateway") });
    let body = streamed(1);
    let payment = net.pay(&body, 1).await;
    let mut first = begin(&net, &body, &payment).await;
    let begun = next(&mut first).await.expect("an event");
    let second = net.spawn(&body, &payment);
    let mut all = begun.to_vec();
    while let Some(bytes) = next(&mut first).await {
        all.extend_from_slice(&bytes);
    }
    let second = second.await.expect("no task panics");
    check_stream(&net, &second, &body);
    assert_eq!(second.body, all);
    assert_eq!((net.fake.counts().1, net.balance()), (1, BALANCE - COSTS));
    let other = streamed(2);
    net.infer(&other, Some(&payment)).await.check_error(409, "payment_replayed");
}

fn texts(nonce: u8) -> String {
    json!({"model": "alice/fabula", "nonce": Nonce([nonce; 32]), "input": ["hello", "you"]}).to_string()
}

#[tokio::test]
async fn vectors_cost_the_tokens_that_were_read() {
    let net = Net::new(2);
    let body = texts(1);
    let quoted = PER_CALL + ROYALTY + (5 + 2) + (3 + 2);
    assert_eq!(net.terms(&body).await.accepts[0].amount.units(), quoted);
    assert!(net.terms(&body).await.resource.url.ends_with("/nabla/v1/embed"));
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    assert_eq!(reply.status, 200, "{:?}", reply.body);
    assert_eq!(reply.json()["data"][1]["embedding"], json!([3.0]));
    assert_eq!(net.balance(), BALANCE - PER_CALL - ROYALTY - 5 - 3);
    let info = net.infer(&body.replace("fabula", "digits"), None).await.check_error(422, "bad_input");
    assert!(info.message.contains("takes tensors"), "{}", info.message);
    net.infer(&body.replace("[\"hello\",\"you\"]", "[]"), None).await.check_error(422, "bad_input");
}

#[tokio::test]
async fn a_liar_about_vectors_is_passed_over() {
    for lie in [Lie::Tokens, Lie::Usage, Lie::Outputs, Lie::Inputs, Lie::ResponseByte, Lie::Price, Lie::Nonce]
    {
        let net = Net::new(2);
        net.fake.behave(0, Conduct::Lies(lie));
        let body = texts(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        assert_eq!(reply.status, 200, "{lie:?}");
        assert_eq!(net.fake.payment().provider, net.fake.node(1), "{lie:?}");
    }
}
