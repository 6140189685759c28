//! What a client is told when a call does not succeed.
//!
//! # Rules
//! - Every error has one body shape, [`ErrorBody`], with a stable code and, where there is something to do,
//!   a hint. The one exception is a 402, whose body is x402's `PaymentRequired`: its `error` text begins
//!   with a code, and the same terms stand in the `PAYMENT-REQUIRED` header.
//! - An error that comes after money was reserved says where that money is.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use nabla_types::{
    ModelId, NodeId, RepoName,
    api::{ErrorBody, ErrorInfo, HEADER_PAYMENT_REQUIRED, INFER_BYTES_MAX, PaymentRequired},
    chat::ChatError,
};

use crate::backend::BackendError;

/// Why a request is not answered. `Clone`, because all clients waiting for one payment get the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Error {
    #[error("there is nothing at {path}")]
    NotFound { path: String },
    #[error("{path} does not take {method}")]
    Method { path: String, method: String },
    #[error("all {calls_max} places for calls are taken")]
    Busy { calls_max: u32 },
    #[error("the request is larger than {INFER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the request did not arrive within {timeout_ms} ms")]
    SlowBody { timeout_ms: u64 },
    #[error("{reason}")]
    BadRequest { reason: String },
    #[error("{reason}")]
    BadInput { reason: String },
    #[error("{error}")]
    BadChat { error: ChatError },
    #[error("{name} stands for model {newest} now, the request asks for {asked}")]
    OtherModel { name: RepoName, asked: ModelId, newest: ModelId },
    #[error("no inference node has a free place for model {}", model.short())]
    NoProvider { model: ModelId },
    #[error("the PAYMENT-SIGNATURE header is not readable: {reason}")]
    PaymentHeader { reason: String },
    #[error("{}", terms.error)]
    Payment { terms: Box<PaymentRequired> },
    #[error("this payment was released to its payer before")]
    PaymentReleased,
    #[error("the reservation of this payment has expired")]
    PaymentExpired,
    #[error("this payment is reserved by gateway {gateway}")]
    OtherGateway { gateway: NodeId },
    #[error("this payment belongs to another request")]
    PaymentReplayed,
    #[error("no inference node gave a good answer in {attempts} attempts; {}", money(*released))]
    NoProviderAnswered { attempts: usize, released: bool },
    #[error("the payment is settled, but provider {provider} does not give its answer again")]
    AnswerUnavailable { provider: NodeId },
    #[error("the answer broke off: {reason}; {}", money(*released))]
    StreamBroken { reason: String, released: bool },
    #[error("the answer broke off: {reason}; the payment is settled")]
    StreamSettled { reason: String },
    #[error("the client that followed this answer went away; what was made until then is being settled")]
    StreamLeft,
    #[error("the ledger did not say what became of the payment: {reason}")]
    PaymentUnknown { reason: String },
    #[error("{}", info.message)]
    Rejected { status: u16, info: ErrorInfo },
    #[error("{0}")]
    Backend(#[from] BackendError),
    #[error("the gateway failed while it worked on this call")]
    Internal,
}

/// Where the money of a failed call is.
pub(crate) fn money(released: bool) -> &'static str {
    if released {
        "the payment was released to its payer"
    } else {
        "the payment could not be released now and goes back when its reservation expires"
    }
}

const SIGN_ANEW: &str = "sign a new authorisation, with a new nonce";
const SAME_AGAIN: &str = "send the same request with the same payment again: it is paid once";

impl Error {
    /// For a backend's error when money may be reserved.
    pub(crate) fn unknown(error: BackendError) -> Self {
        Self::PaymentUnknown { reason: error.info.message }
    }

    /// Status, code, and what to do.
    fn describe(&self) -> (u16, &str, Option<&str>) {
        match self {
            Self::NotFound { .. } => (404, "not_found", Some("see /nabla/v1/network")),
            Self::Method { .. } => (405, "method_not_allowed", None),
            Self::Busy { .. } => (429, "gateway_busy", Some("try again in a second")),
            Self::TooLarge => (413, "request_too_large", Some("send fewer rows at once")),
            Self::SlowBody { .. } => (408, "request_timeout", Some("send the request in one go")),
            Self::BadRequest { .. } => (400, "bad_request", None),
            Self::BadInput { .. } => (422, "bad_input", None),
            Self::BadChat { error } => match error {
                ChatError::TooLong { .. } => (413, "request_too_large", error.hint()),
                ChatError::Malformed { .. } => (400, "bad_request", error.hint()),
                ChatError::Member { .. } => (422, "bad_input", error.hint()),
            },
            Self::OtherModel { .. } => {
                (409, "model_changed", Some("leave model_id out to run the newest revision"))
            }
            Self::NoProvider { .. } => (503, "no_provider", Some("try again later; nothing was charged")),
            Self::PaymentHeader { .. } => {
                (400, "bad_payment_header", Some("expected base64 of an x402 version 2 PaymentPayload"))
            }
            Self::Payment { .. } => (402, "payment_required", None),
            Self::PaymentReleased => (409, "payment_released", Some(SIGN_ANEW)),
            Self::PaymentExpired => (409, "payment_expired", Some(SIGN_ANEW)),
            Self::OtherGateway { .. } => (409, "payment_elsewhere", Some("ask the gateway that reserved it")),
            Self::PaymentReplayed => (409, "payment_replayed", Some(SIGN_ANEW)),
            Self::NoProviderAnswered { released: true, .. } => (503, "no_provider_answered", Some(SIGN_ANEW)),
            Self::NoProviderAnswered { .. } => (503, "no_provider_answered", Some(SAME_AGAIN)),
            Self::StreamBroken { .. } => (503, "stream_broken", Some(SIGN_ANEW)),
            Self::StreamSettled { .. } => (503, "stream_broken", Some(SAME_AGAIN)),
            Self::StreamLeft => (503, "stream_left", Some(SAME_AGAIN)),
            Self::AnswerUnavailable { .. } => (503, "answer_unavailable", Some(SAME_AGAIN)),
            Self::PaymentUnknown { .. } => (503, "payment_unknown", Some(SAME_AGAIN)),
            Self::Rejected { status, info } | Self::Backend(BackendError { status, info }) => {
                (*status, &info.code, info.hint.as_deref())
            }
            Self::Internal => (500, "internal", Some(SAME_AGAIN)),
        }
    }

    /// What a client is told whose answer has begun.
    pub(crate) fn info(&self) -> ErrorInfo {
        self.body().error
    }

    fn body(&self) -> ErrorBody {
        let (_, code, hint) = self.describe();
        let message = match self {
            Self::Backend(error) => error.info.message.clone(),
            other => other.to_string(),
        };
        ErrorBody { error: ErrorInfo { code: code.to_owned(), message, hint: hint.map(str::to_owned) } }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        if let Self::Payment { terms } = self {
            return payment_required(&terms);
        }
        let status = StatusCode::from_u16(self.describe().0).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        let mut response = (status, Json(self.body())).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn payment_required(terms: &PaymentRequired) -> Response {
    let mut response = (StatusCode::PAYMENT_REQUIRED, Json(terms)).into_response();
    if let Some(value) = base64_json(terms) {
        response.headers_mut().insert(HEADER_PAYMENT_REQUIRED, value);
    }
    response
}

/// A header that holds base64 of JSON, as x402 has it. `None` cannot happen for our types: base64 is always a
/// header value, and none of them fails to serialise.
pub(crate) fn base64_json<T: serde::Serialize>(value: &T) -> Option<HeaderValue> {
    HeaderValue::try_from(STANDARD.encode(serde_json::to_vec(value).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_a_code_a_message_and_a_hint() {
        let check = |error: Error, status: u16, code: &str, message: &str| {
            let body = error.body().error;
            assert_eq!((body.code.as_str(), body.message.as_str()), (code, message));
            assert_eq!(error.into_response().status().as_u16(), status);
        };
        check(Error::TooLarge, 413, "request_too_large", "the request is larger than 16777216 bytes");
        let backend = BackendError::new(404, "unknown_model", "no model alice/x").with_hint("see the list");
        check(backend.into(), 404, "unknown_model", "no model alice/x");
        let lost = Error::NoProviderAnswered { attempts: 3, released: false };
        assert!(lost.to_string().ends_with("goes back when its reservation expires"));
        check(BackendError::new(7, "odd", "an odd status").into(), 503, "odd", "an odd status");
    }

    #[test]
    fn what_is_busy_says_when_to_come_back() {
        let response = Error::Busy { calls_max: 1 }.into_response();
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    }
}
