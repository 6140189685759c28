//! The routes.
//!
//! | route | what |
//! |---|---|
//! | `GET /nabla/v1/network` | which network this is |
//! | `GET /nabla/v1/models/{owner}/{name}` | a model, its price, who would run it |
//! | `POST /nabla/v1/embed` | an `EmbedRequest`, likewise; vectors of texts |
//! | `POST /nabla/v1/quote` | any of these; the terms of its 402, as 200 |
//! | `POST /nabla/v1/infer` | an `InferRequest`; without payment its terms as 402, with payment its answer |
//! | `POST /nabla/v1/chat` | a `ChatRequest`, likewise; its answer in one piece or in server-sent events |
//!
//! Everything but the first takes a place while it works; without a free one it is refused with 429. A body
//! is read only with a place, up to a size and within a time.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::Bytes;
use nabla_types::{
    RepoName,
    api::{HEADER_PAYMENT, HEADER_RECEIPT, HEADER_SALT, INFER_BYTES_MAX, NetworkInfo, PaymentRequired},
};
use tokio::time::timeout;

use crate::{
    answer::Answer,
    backend::Backend,
    call::{self, Call, Streamed},
    error::{Error, base64_json},
    gateway::Shared,
    payment, quote,
    request::CallRequest,
    stream::{self, Events},
    wire::ModelInfo,
};

/// Header of an answer that says where its payment stands: base64 of a `SettlementResponse`.
pub const HEADER_PAYMENT_RESPONSE: &str = "payment-response";

/// Why a quote asks for payment.
const PAYMENT_REQUIRED: &str = "payment_required: sign an authorisation for these terms";

const MODELS: &str = "/nabla/v1/models/";

pub(crate) fn routes<B: Backend>(shared: Arc<Shared<B>>) -> Router {
    Router::new()
        .route("/nabla/v1/network", get(network))
        .route("/nabla/v1/models/{owner}/{name}", get(model))
        .route("/nabla/v1/quote", post(quote))
        .route("/nabla/v1/infer", post(infer))
        .route("/nabla/v1/chat", post(chat))
        .route("/nabla/v1/embed", post(embed))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(INFER_BYTES_MAX))
        .with_state(shared)
}

type Of<B> = State<Arc<Shared<B>>>;

async fn network<B: Backend>(State(shared): Of<B>) -> Json<NetworkInfo> {
    Json(shared.backend.network())
}

async fn model<B: Backend>(State(shared): Of<B>, uri: Uri) -> Result<Json<ModelInfo>, Error> {
    let _place = shared.place()?;
    let name = uri.path().strip_prefix(MODELS).unwrap_or_default();
    let name: RepoName = name.parse().map_err(|error| Error::BadRequest { reason: format!("{error}") })?;
    let resolved = shared.backend.resolve(&name).await?;
    let providers = shared.backend.providers(resolved.manifest.model_id()).await?;
    quote::model_info(resolved, providers).map(Json)
}

async fn quote<B: Backend>(State(shared): Of<B>, request: Request) -> Result<Json<PaymentRequired>, Error> {
    let _place = shared.place()?;
    let request = CallRequest::parse(&body(&shared, request).await?)?;
    let quote = shared.quote(&request).await?;
    Ok(Json(shared.terms(&request, &quote, PAYMENT_REQUIRED)))
}

async fn infer<B: Backend>(State(shared): Of<B>, request: Request) -> Result<Response, Error> {
    paid(shared, request, CallRequest::parse_tensors).await
}

async fn chat<B: Backend>(State(shared): Of<B>, request: Request) -> Result<Response, Error> {
    paid(shared, request, CallRequest::parse_chat).await
}

async fn embed<B: Backend>(State(shared): Of<B>, request: Request) -> Result<Response, Error> {
    paid(shared, request, CallRequest::parse_embed).await
}

/// A request that is to be paid for.
async fn paid<B: Backend>(
    shared: Arc<Shared<B>>,
    request: Request,
    parse: fn(&[u8]) -> Result<CallRequest, Error>,
) -> Result<Response, Error> {
    let place = shared.place()?;
    let payload =
        payment_header(request.headers())?.map(|value| payment::decode(value.as_bytes())).transpose()?;
    let bytes = body(&shared, request).await?;
    let request = parse(&bytes)?;
    let chain_id = shared.backend.network().chain_id;
    let reason = match payload.map(|payload| payment::check_form(&payload, chain_id)) {
        Some(Ok(paid)) => {
            let is_stream = request.chat().is_some_and(|chat| chat.stream);
            let call = Call { request, bytes, paid };
            return if is_stream {
                call::follow(shared, call, place).await.map(streamed)
            } else {
                call::see_through(shared, call, place).await.map(Answer::into_response)
            };
        }
        Some(Err(refusal)) => refusal.to_string(),
        None => PAYMENT_REQUIRED.to_owned(),
    };
    let quote = shared.quote(&request).await?;
    Err(shared.payment_error(&request, &quote, &reason))
}

fn streamed(answer: Streamed) -> Response {
    let (salt, events) = match answer {
        Streamed::Begun(salt, parts) => (salt, Body::new(Events(parts))),
        Streamed::Whole(answer) => {
            (answer.salt, Body::from([answer.response.as_ref(), &stream::tail(&answer)].concat()))
        }
    };
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (HeaderName::from_static(HEADER_SALT), salt.to_string()),
    ];
    (headers, events).into_response()
}

async fn unknown(uri: Uri) -> Error {
    Error::NotFound { path: shown(uri.path()) }
}

async fn wrong_method(method: Method, uri: Uri) -> Error {
    Error::Method { path: shown(uri.path()), method: shown(method.as_str()) }
}

fn shown(text: &str) -> String {
    text.chars().take(160).collect()
}

/// The payment header. Two of them have no one meaning.
fn payment_header(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Error> {
    let mut values = headers.get_all(HEADER_PAYMENT).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(Error::PaymentHeader { reason: "expected it once, got it twice".to_owned() }),
        None => Ok(first),
    }
}

/// The request's body, whole.
async fn body<B: Backend>(shared: &Shared<B>, request: Request) -> Result<Bytes, Error> {
    let timeout_ms = shared.config.body_timeout_ms;
    match timeout(Duration::from_millis(timeout_ms), Bytes::from_request(request, &())).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(rejection)) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => Err(Error::TooLarge),
        Ok(Err(rejection)) => Err(Error::BadRequest { reason: rejection.body_text() }),
        Err(_) => Err(Error::SlowBody { timeout_ms }),
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let json = HeaderValue::from_static("application/json");
        let mut response = ([(header::CONTENT_TYPE, json)], self.response).into_response();
        let headers = [
            (HEADER_RECEIPT, HeaderValue::try_from(STANDARD_NO_PAD.encode(&self.receipt)).ok()),
            (HEADER_SALT, HeaderValue::try_from(self.salt.to_string()).ok()),
            (HEADER_PAYMENT_RESPONSE, self.settlement.as_ref().and_then(base64_json)),
        ];
        for (name, value) in headers {
            if let Some(value) = value {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}
