//! HTTP with limits: sizes, times, and one shape of error.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use nabla_types::api::{ErrorBody, ErrorInfo, PaymentRequired};
use reqwest::{Method, RequestBuilder, Response};
use serde::{Serialize, de::DeserializeOwned};

use crate::Error;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for a whole call.
const CALL_TIMEOUT: Duration = Duration::from_secs(120);
/// Largest JSON answer, in bytes.
const JSON_BYTES_MAX: u64 = 64 << 20;
/// Largest error answer that is read, in bytes.
const ERROR_BYTES_MAX: u64 = 64 << 10;

/// A connection pool. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Http(reqwest::Client);

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl Http {
    /// A pool with this crate's time limits that follows no redirects and reads no proxy settings.
    ///
    /// # Panics
    /// If the HTTP library cannot be set up, which depends on nothing outside.
    #[must_use]
    pub fn new() -> Self {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(CALL_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build();
        Self(client.expect("a client without TLS needs nothing from outside"))
    }

    /// Begin a request.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        self.0.request(method, url)
    }

    /// `GET` a JSON document.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_json<T: DeserializeOwned>(&self, url: &str) -> Result<T, Error> {
        let response = send(url, self.request(Method::GET, url)).await?;
        json(url, response).await
    }

    /// `GET` at most `max` bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get_bytes(&self, url: &str, max: u64) -> Result<Bytes, Error> {
        let response = send(url, self.request(Method::GET, url)).await?;
        body(url, response, max).await
    }

    /// `POST` JSON, answered by JSON.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post_json<B: Serialize + Sync, T: DeserializeOwned>(
        &self,
        url: &str,
        value: &B,
    ) -> Result<T, Error> {
        let response = send(url, self.request(Method::POST, url).json(value)).await?;
        json(url, response).await
    }

    /// Send bytes, answered by at most `max` bytes.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn post_for_bytes(
        &self,
        method: Method,
        url: &str,
        bytes: Bytes,
        max: u64,
    ) -> Result<Bytes, Error> {
        let request = self.request(method, url).header("content-type", "application/json").body(bytes);
        let response = send(url, request).await?;
        body(url, response, max).await
    }

    /// Send bytes, answered by JSON.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn send_bytes<T: DeserializeOwned>(
        &self,
        method: Method,
        url: &str,
        bytes: Bytes,
    ) -> Result<T, Error> {
        let response = send(url, self.request(method, url).body(bytes)).await?;
        json(url, response).await
    }
}

/// Send, and turn an error status into an [`Error`].
///
/// # Errors
/// [`Error::Unreachable`], [`Error::Answered`].
pub async fn send(url: &str, request: RequestBuilder) -> Result<Response, Error> {
    let response =
        request.send().await.map_err(|source| Error::Unreachable { url: url.to_owned(), source })?;
    if response.status().is_success() {
        return Ok(response);
    }
    Err(error_answer(url, response).await)
}

pub(crate) async fn error_answer(url: &str, response: Response) -> Error {
    let status = response.status().as_u16();
    let text = body(url, response, ERROR_BYTES_MAX).await.unwrap_or_default();
    let info = serde_json::from_slice::<ErrorBody>(&text).map(|body| body.error);
    let info = info.or_else(|error| serde_json::from_slice(&text).map(refused_payment).map_err(|_| error));
    let info = info.unwrap_or_else(|_| ErrorInfo {
        code: format!("http_{status}"),
        message: String::from_utf8_lossy(&text[..text.len().min(200)]).into_owned(),
        hint: None,
    });
    Error::Answered { url: url.to_owned(), status, info }
}

/// A 402 says why in x402's way: a code and a text in one line.
fn refused_payment(terms: PaymentRequired) -> ErrorInfo {
    let (code, message) = terms.error.split_once(": ").unwrap_or(("payment_required", &terms.error));
    let hint = match code {
        "insufficient_funds" => {
            "fund the account (`nabla wallet fund` on a development network), then try again"
        }
        _ => "sign a new payment for these terms",
    };
    ErrorInfo { code: code.to_owned(), message: message.to_owned(), hint: Some(hint.to_owned()) }
}

async fn json<T: DeserializeOwned>(url: &str, response: Response) -> Result<T, Error> {
    let bytes = body(url, response, JSON_BYTES_MAX).await?;
    serde_json::from_slice(&bytes).map_err(|error| Error::Nonsense {
        url: url.to_owned(),
        expected: std::any::type_name::<T>(),
        got: error.to_string(),
    })
}

/// Read a body, never more than `max` bytes of it.
///
/// # Errors
/// [`Error::TooLarge`], [`Error::Unreachable`].
pub async fn body(url: &str, mut response: Response, max: u64) -> Result<Bytes, Error> {
    let too_large = || Error::TooLarge { url: url.to_owned(), max };
    if response.content_length().is_some_and(|length| length > max) {
        return Err(too_large());
    }
    let mut bytes = BytesMut::new();
    loop {
        let chunk = response.chunk().await;
        match chunk.map_err(|source| Error::Unreachable { url: url.to_owned(), source })? {
            None => return Ok(bytes.freeze()),
            Some(chunk) if (bytes.len() + chunk.len()) as u64 > max => return Err(too_large()),
            Some(chunk) => bytes.extend_from_slice(&chunk),
        }
    }
}
