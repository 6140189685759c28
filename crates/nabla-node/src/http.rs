//! What all roles' HTTP interfaces share: errors in one shape, and reading what came.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use nabla_types::api::{ErrorBody, ErrorInfo};

/// An error answer: a status, a stable code, a message, and what to do.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    info: ErrorInfo,
}

pub(crate) type Answer<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn new(status: StatusCode, code: &str, message: impl ToString) -> Self {
        let info = ErrorInfo { code: code.to_owned(), message: message.to_string(), hint: None };
        Self { status, info }
    }

    pub(crate) fn bad_request(code: &str, message: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn not_found(code: &str, message: impl ToString) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// A fault of this node's, or of what it depends on.
    pub(crate) fn unavailable(code: &str, message: impl ToString) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message)
    }

    /// What is told of it where the status has gone out already.
    pub(crate) fn info(self) -> ErrorInfo {
        self.info
    }

    pub(crate) fn hint(mut self, hint: &str) -> Self {
        self.info.hint = Some(hint.to_owned());
        self
    }
}

impl From<nabla_client::Error> for Problem {
    /// What another node answered is passed on; that it did not answer is this node's being unavailable.
    fn from(error: nabla_client::Error) -> Self {
        let status = match &error {
            nabla_client::Error::Answered { status, .. } => StatusCode::from_u16(*status).ok(),
            nabla_client::Error::UnknownRepo { .. } => Some(StatusCode::NOT_FOUND),
            _ => None,
        };
        let message = match &error {
            nabla_client::Error::Answered { info, .. } => info.message.clone(),
            other => other.to_string(),
        };
        let problem = Self::new(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), error.code(), message);
        Self { info: ErrorInfo { hint: error.hint(), ..problem.info }, ..problem }
    }
}

impl From<tokio::task::JoinError> for Problem {
    fn from(error: tokio::task::JoinError) -> Self {
        tracing::error!(%error, "a task ended before its answer");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal_error",
            "the node failed while it worked on this",
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(ErrorBody { error: self.info })).into_response()
    }
}

/// Parse a part of the path.
pub(crate) fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Answer<T>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Problem::bad_request("bad_id", format!("{what}: {error}")))
}
