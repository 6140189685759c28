//! A client of the gateway: sends, pays, and reads answers.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Request, StatusCode},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use bytes::Bytes;
use nabla_gateway::{Config, Gateway, HEADER_PAYMENT_RESPONSE};
use nabla_pay::{AccountKey, x402};
use nabla_types::{
    Opg,
    api::{
        ErrorInfo, HEADER_PAYMENT, HEADER_PAYMENT_REQUIRED, HEADER_RECEIPT, HEADER_SALT, PaymentPayload,
        PaymentRequired, SettlementResponse,
    },
    payment::Nonce,
    receipt::Salt,
};
use nabla_verify::{Context, verify_receipt};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::fake::{CHAIN, Fake, NETWORK, NOW_MS, model};

pub(crate) const INFER: &str = "/nabla/v1/infer";
pub(crate) const CHAT: &str = "/nabla/v1/chat";
pub(crate) const EMBED: &str = "/nabla/v1/embed";
pub(crate) const BALANCE: u128 = 1_000_000;

/// A gateway over a fake network, and a payer.
pub(crate) struct Net {
    pub(crate) fake: Arc<Fake>,
    pub(crate) gateway: Gateway<Fake>,
    pub(crate) router: Router,
    payer: AccountKey,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Net {
    pub(crate) fn new(nodes: u8) -> Self {
        Self::with(nodes, Config::new("http://gateway"))
    }

    pub(crate) fn with(nodes: u8, config: Config) -> Self {
        let payer = AccountKey::from_secret(&[7; 32]).expect("a key");
        let fake = Fake::new(nodes, &[(payer.address(), BALANCE)]);
        let gateway = Gateway::new(Arc::clone(&fake), config);
        let router = gateway.router();
        Self { fake, gateway, router, payer }
    }

    pub(crate) fn balance(&self) -> u128 {
        self.fake.state().balances[&self.payer.address()]
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        send(self.router.clone(), request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).expect("a request")).await
    }

    pub(crate) fn payer(&self) -> nabla_types::Address {
        self.payer.address()
    }

    pub(crate) async fn infer(&self, body: &str, payment: Option<&str>) -> Reply {
        self.send(infer_request(body, payment)).await
    }

    /// The same, as a task of its own.
    #[expect(clippy::disallowed_methods, reason = "many clients at once, and clients that go away")]
    pub(crate) fn spawn(&self, body: &str, payment: &str) -> tokio::task::JoinHandle<Reply> {
        tokio::spawn(send(self.router.clone(), infer_request(body, Some(payment))))
    }

    pub(crate) async fn terms(&self, body: &str) -> PaymentRequired {
        let reply = self.infer(body, None).await;
        assert_eq!(reply.status, 402, "{reply:?}");
        serde_json::from_slice(&reply.body).expect("terms")
    }

    /// The header of a payment, with this nonce, for what `body` costs.
    pub(crate) async fn pay(&self, body: &str, nonce: u8) -> String {
        header(&self.payload(body, nonce).await)
    }

    pub(crate) async fn payload(&self, body: &str, nonce: u8) -> PaymentPayload {
        let terms = self.terms(body).await;
        let answer = x402::Answer {
            chain_id: CHAIN,
            network: NETWORK,
            limit: Opg::whole(1),
            now: NOW_MS / 1000,
            nonce: Nonce([nonce; 32]),
        };
        x402::pay(&self.payer, &terms.accepts[0], &answer).expect("acceptable terms")
    }

    /// The payload, signed again for another value.
    pub(crate) async fn payload_of(&self, body: &str, nonce: u8, value: u128) -> PaymentPayload {
        let mut payload = self.payload(body, nonce).await;
        payload.accepted.amount = Opg::from_units(value);
        let answer = x402::Answer {
            chain_id: CHAIN,
            network: NETWORK,
            limit: Opg::whole(1),
            now: NOW_MS / 1000,
            nonce: Nonce([nonce; 32]),
        };
        x402::pay(&self.payer, &payload.accepted, &answer).expect("acceptable terms")
    }

    /// That this is an answer to `body` whose receipt a client would accept.
    #[track_caller]
    pub(crate) fn check_answer(&self, reply: &Reply, body: &str) {
        assert_eq!(reply.status, 200, "{:?}", reply.body);
        assert_eq!(reply.headers["content-type"], "application/json");
        let receipt = STANDARD_NO_PAD.decode(&reply.headers[HEADER_RECEIPT]).expect("base64");
        let salt: Salt = reply.text(HEADER_SALT).parse().expect("a salt");
        let context = Context {
            network: Some(NETWORK),
            model: Some(model()),
            request: Some(body.as_bytes()),
            response: Some(&reply.body),
            salt: Some(salt),
            payer: Some(self.payer.address()),
            ..Context::default()
        };
        let report = verify_receipt(&receipt, &context);
        assert!(report.holds(), "{:?}", report.failure());
    }
}

impl Reply {
    fn text(&self, header: &str) -> &str {
        self.headers[header].to_str().expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Status and error, in the one shape of errors.
    #[track_caller]
    pub(crate) fn error(&self) -> (u16, ErrorInfo) {
        let info = serde_json::from_value(self.json()["error"].clone()).expect("an error");
        (self.status.as_u16(), info)
    }

    #[track_caller]
    pub(crate) fn check_error(&self, status: u16, code: &str) -> ErrorInfo {
        let (got, info) = self.error();
        assert_eq!((got, info.code.as_str()), (status, code), "{info:?}");
        info
    }

    /// That this is a 402 for this reason, with the terms in its body and its header.
    #[track_caller]
    pub(crate) fn check_402(&self, code: &str) {
        assert_eq!(self.status, 402, "{:?}", self.body);
        let body: PaymentRequired = serde_json::from_slice(&self.body).expect("terms");
        assert_eq!(body.error.split(':').next(), Some(code), "{}", body.error);
        let header = STANDARD.decode(&self.headers[HEADER_PAYMENT_REQUIRED]).expect("base64");
        assert_eq!(header, self.body);
    }

    pub(crate) fn settlement(&self) -> SettlementResponse {
        let json = STANDARD.decode(self.text(HEADER_PAYMENT_RESPONSE)).expect("base64");
        serde_json::from_slice(&json).expect("a settlement")
    }
}

async fn send(router: Router, request: Request<Body>) -> Reply {
    let response = router.oneshot(request).await.expect("a router does not fail");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    Reply { status: parts.status, headers: parts.headers, body }
}

pub(crate) fn infer_request(body: &str, payment: Option<&str>) -> Request<Body> {
    let route = match body.as_bytes() {
        chat if nabla_types::chat::is_chat(chat) => CHAT,
        texts if nabla_types::embed::is_embed(texts) => EMBED,
        _ => INFER,
    };
    let mut request = Request::post(route);
    if let Some(payment) = payment {
        request = request.header(HEADER_PAYMENT, payment);
    }
    request.body(Body::from(body.to_owned())).expect("a request")
}

pub(crate) fn header(payload: &PaymentPayload) -> String {
    STANDARD.encode(serde_json::to_vec(payload).expect("a payload is JSON"))
}

/// A request with this nonce.
pub(crate) fn body(nonce: u8) -> String {
    body_with(nonce, &json!([1, 2]), &json!([[0.5, 1.5]]))
}

pub(crate) fn body_with(nonce: u8, shape: &Value, data: &Value) -> String {
    let input = json!({"name": "x", "shape": shape, "datatype": "FP32", "data": data});
    // Not the form that serde would write: it must be forwarded byte for byte.
    format!(" {}\n", json!({"model": "alice/digits", "nonce": Nonce([nonce; 32]), "inputs": [input]}))
}
