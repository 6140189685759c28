//! What a good client sees.

use nabla_gateway::{ModelInfo, NetworkInfo};
use nabla_types::{api::InferResponse, chain::PaymentStatus};
use serde_json::json;

use crate::{
    client::{BALANCE, Net, body, body_with, header},
    fake::{AMOUNT, Conduct, PER_CALL, model},
};

#[tokio::test]
async fn ask_pay_and_get_a_checked_answer() {
    let net = Net::new(2);
    let body = body(1);
    net.infer(&body, None).await.check_402("payment_required");
    let terms = net.terms(&body).await;
    assert_eq!(terms.accepts[0].amount.units(), AMOUNT);
    assert_eq!(terms.accepts[0].max_timeout_seconds, 120);

    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
    let response: InferResponse = serde_json::from_slice(&reply.body).expect("a response");
    assert_eq!((response.model_id, response.outputs.len()), (model(), 1));
    let settlement = reply.settlement();
    assert!(settlement.success && matches!(settlement.status, PaymentStatus::Settled { .. }));
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

#[tokio::test]
async fn a_quote_is_the_terms_of_the_402() {
    let net = Net::new(1);
    let body = body(1);
    let request = axum::http::Request::post("/nabla/v1/quote").body(body.clone().into()).expect("a request");
    let quote = net.send(request).await;
    assert_eq!(quote.status, 200);
    assert_eq!(quote.json(), net.infer(&body, None).await.json());
    assert_eq!(net.fake.counts(), (0, 0));
}

#[tokio::test]
async fn network_and_model_are_shown() {
    let net = Net::new(2);
    let network: NetworkInfo =
        serde_json::from_value(net.get("/nabla/v1/network").await.json()).expect("a network");
    assert_eq!((network.chain_id, network.ledger_url.as_str()), (77, "http://ledger"));
    let info = net.get("/nabla/v1/models/alice/digits").await.json();
    let info: ModelInfo = serde_json::from_value(info).expect("a model");
    assert_eq!(info.price_per_row.map(|range| range.most.units()), Some(AMOUNT));
    assert_eq!(info.warm_providers.len(), 2);
    net.get("/nabla/v1/models/alice/nothing").await.check_error(404, "unknown_model");
    net.get("/nabla/v1/models/..%2F/nothing").await.check_error(400, "bad_request");
}

#[tokio::test]
async fn the_same_again_is_the_same_answer_and_paid_once() {
    let net = Net::new(2);
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    let first = net.infer(&body, Some(&payment)).await;
    // Much later: the authorisation is no longer good for a new call, but it has paid.
    net.fake.now_ms.fetch_add(3_600_000, std::sync::atomic::Ordering::SeqCst);
    let second = net.infer(&body, Some(&payment)).await;
    net.check_answer(&second, &body);
    assert_eq!((first.body, &first.headers), (second.body, &second.headers));
    assert_eq!(net.fake.counts(), (2, 1));
    assert_eq!(net.balance(), BALANCE - AMOUNT);
}

#[tokio::test]
async fn another_provider_takes_over() {
    let net = Net::new(3);
    net.fake.behave(0, Conduct::Down);
    net.fake.behave(1, Conduct::Down);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
    assert_eq!(net.fake.payment().provider, net.fake.node(2));
    assert_eq!(net.fake.counts(), (3, 1));
}

#[tokio::test]
async fn a_payment_for_the_best_buys_at_nobody_dearer() {
    let net = Net::new(2);
    net.fake.state().prices.insert(net.fake.node(1), PER_CALL + 1);
    net.fake.behave(0, Conduct::Down);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    reply.check_error(503, "no_provider_answered");
    assert_eq!((net.fake.counts(), net.balance()), ((1, 0), BALANCE));

    let more = net.payload_of(&body, 2, AMOUNT + 50).await;
    let reply = net.infer(&body, Some(&header(&more))).await;
    net.check_answer(&reply, &body);
    assert_eq!(net.balance(), BALANCE - AMOUNT - 1);
}

#[tokio::test]
async fn at_most_three_are_tried_and_the_money_comes_back() {
    let net = Net::new(5);
    (0..5).for_each(|node| net.fake.behave(node, Conduct::Down));
    let body = body(1);
    let payment = net.pay(&body, 1).await;
    let info = net.infer(&body, Some(&payment)).await.check_error(503, "no_provider_answered");
    assert!(info.message.contains("3 attempts; the payment was released"), "{}", info.message);
    assert_eq!((net.fake.counts(), net.balance()), ((3, 0), BALANCE));
    net.infer(&body, Some(&payment)).await.check_error(409, "payment_released");
}

/// Time is paused: it moves on by itself as soon as everything waits for it.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_left() {
    let net = Net::new(2);
    net.fake.behave(0, Conduct::Hangs);
    let body = body(1);
    let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
    net.check_answer(&reply, &body);
}

#[tokio::test]
async fn a_rejected_request_gives_the_money_back() {
    let net = Net::new(2);
    // The shape says three numbers, the data has two: only the provider looks.
    let body = body_with(1, &json!([1, 3]), &json!([0.5, 1.5]));
    let payment = net.pay(&body, 1).await;
    let info = net.infer(&body, Some(&payment)).await.check_error(422, "bad_input");
    assert!(info.message.contains("needs 3 elements, got 2"), "{}", info.message);
    assert_eq!(info.hint.as_deref(), Some("look at it; the payment was released to its payer"));
    assert_eq!((net.fake.counts().0, net.balance()), (1, BALANCE));
}

#[tokio::test]
async fn a_status_that_is_no_rejection_is_a_failure_of_the_provider() {
    for status in [200, 401, 402, 404, 409, 429, 500, 503] {
        let net = Net::new(2);
        net.fake.behave(0, Conduct::Rejects(status));
        let body = body(1);
        let reply = net.infer(&body, Some(&net.pay(&body, 1).await)).await;
        net.check_answer(&reply, &body);
    }
}
