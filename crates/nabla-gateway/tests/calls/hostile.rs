//! What a hostile client sends: an error in the one shape, no panic, nothing charged, nothing run.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::Body,
    http::{HeaderValue, Request},
};
use bytes::Bytes;
use http_body::Frame;
use nabla_types::api::{HEADER_PAYMENT, INFER_BYTES_MAX};
use proptest::prelude::*;
use serde_json::json;

use crate::{
    client::{BALANCE, INFER, Net, body, body_with, header},
    fake::model,
};

#[tokio::test]
async fn unknown_paths_and_methods_have_the_same_shape() {
    let net = Net::new(1);
    for path in ["/", "/nabla/v1", "/nabla/v1/models/alice", "/v1/models", "/nabla/v1/infer/x"] {
        net.get(path).await.check_error(404, "not_found");
    }
    net.get(INFER).await.check_error(405, "method_not_allowed");
    let long = format!("/{}", "x".repeat(10_000));
    assert!(net.get(&long).await.body.len() < 400);
}

#[tokio::test]
async fn bad_requests_are_named() {
    let net = Net::new(1);
    let check = async |body: &str, status: u16, code: &str| {
        net.infer(body, None).await.check_error(status, code);
        net.infer(body, Some(&net.pay(&self::body(1), 1).await)).await.check_error(status, code);
    };
    check("", 400, "bad_request").await;
    check("{}", 400, "bad_request").await;
    check(&"[".repeat(100_000), 400, "bad_request").await;
    check(&body(1).replace("alice/digits", "alice/nothing"), 404, "unknown_model").await;
    check(&body_with(1, &json!([0, 2]), &json!([])), 422, "bad_input").await;
    check(&body_with(1, &json!([1_u64 << 40]), &json!([])), 422, "bad_input").await;
    let pinned = body(1).replacen('{', &format!("{{\"model_id\":\"{}\",", "07".repeat(32)), 1);
    check(&pinned, 409, "model_changed").await;
    let right = pinned.replace(&"07".repeat(32), &model().to_string());
    net.infer(&right, None).await.check_402("payment_required");
    assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let net = Net::new(1);
    let fits = format!("{}{}", " ".repeat(INFER_BYTES_MAX - body(1).len()), body(1));
    net.infer(&fits, None).await.check_402("payment_required");
    net.infer(&(fits + " "), None).await.check_error(413, "request_too_large");
}

/// A body that never ends.
struct Dribble;

impl http_body::Body for Dribble {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Pending
    }
}

/// Time is paused: it moves on by itself as soon as everything waits for it.
#[tokio::test(start_paused = true)]
async fn a_body_that_never_comes_is_given_up() {
    let net = Net::new(1);
    let request = Request::post(INFER).body(Body::new(Dribble)).expect("a request");
    net.send(request).await.check_error(408, "request_timeout");
}

#[tokio::test]
async fn a_payment_header_has_one_meaning() {
    let net = Net::new(1);
    let payment = net.pay(&body(1), 1).await;
    let twice = Request::post(INFER)
        .header(HEADER_PAYMENT, &payment)
        .header(HEADER_PAYMENT, &payment)
        .body(Body::from(body(1)))
        .expect("a request");
    net.send(twice).await.check_error(400, "bad_payment_header");
    net.infer(&body(1), Some("%%%")).await.check_error(400, "bad_payment_header");
    let mut payload = net.payload(&body(1), 1).await;
    payload.payload.signature.0[40] ^= 1;
    net.infer(&body(1), Some(&header(&payload))).await.check_402("invalid_exact_evm_payload_signature");
    assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn foreign_headers_and_bodies_pay_for_nothing(
        header in prop::collection::vec(32_u8..127, 0..200),
        body in prop::collection::vec(any::<u8>(), 0..200),
        good_body in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(async {
            let net = Net::new(1);
            let body = if good_body { self::body(1).into_bytes() } else { body };
            let value = HeaderValue::from_bytes(&header).expect("visible bytes");
            let request = Request::post(INFER).header(HEADER_PAYMENT, value).body(Body::from(body));
            net.send(request.expect("a request")).await.check_error(400, "bad_payment_header");
            assert_eq!((net.fake.counts(), net.balance()), ((0, 0), BALANCE));
        });
    }
}
