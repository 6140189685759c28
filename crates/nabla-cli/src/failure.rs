//! Errors as a person meets them: what went wrong, what to do, and an exit code.

use std::path::{Path, PathBuf};

use nabla_client::Error as ClientError;

/// A failure of this program's own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file that cannot be used.
    #[error("{}: {reason}", path.display())]
    BadFile { path: PathBuf, reason: String, hint: Option<String> },
    /// An argument that makes no sense.
    #[error("{reason}")]
    BadArgument { reason: String, hint: Option<String> },
    /// There is no such thing here.
    #[error("{what}")]
    NotFound { what: String, hint: String },
    /// A check did not hold.
    #[error("{reason}")]
    NotVerified { reason: String },
    /// A step of the demonstration did not hold.
    #[error("the demonstration failed at step {step}: {reason}")]
    Demo { step: String, reason: String },
}

impl Failure {
    pub(crate) fn bad_file(path: &Path, reason: impl ToString) -> Self {
        Self::BadFile { path: path.to_owned(), reason: reason.to_string(), hint: None }
    }
}

/// What is printed of an error, and the exit code.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Summary {
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
    #[serde(skip)]
    pub(crate) exit: u8,
}

/// Exit codes; `nabla --help` lists them.
mod exit {
    pub(super) const FAILED: u8 = 1;
    pub(super) const BAD_INPUT: u8 = 3;
    pub(super) const NOT_FOUND: u8 = 4;
    pub(super) const PAYMENT: u8 = 5;
    pub(super) const UNREACHABLE: u8 = 6;
    pub(super) const NOT_VERIFIED: u8 = 7;
}

/// Sum up an error from its chain of causes: the first that this program knows decides code and hint.
pub(crate) fn summary(error: &anyhow::Error) -> Summary {
    let message = chain_text(error);
    let known = error.chain().find_map(|cause| {
        let own = cause.downcast_ref::<Failure>().map(own);
        let client = || cause.downcast_ref::<ClientError>().map(client);
        let node = || cause.downcast_ref::<nabla_node::Error>().map(node);
        let engine = || cause.downcast_ref::<nabla_engine::Error>().map(engine);
        let images = || cause.downcast_ref::<nabla_engine::images::ImageError>().map(images);
        own.or_else(client).or_else(node).or_else(engine).or_else(images)
    });
    let (code, hint, exit) = known.unwrap_or_else(|| ("failed".to_owned(), None, exit::FAILED));
    Summary { code, message, hint, exit }
}

/// The error and its causes in one line, each said once.
fn chain_text(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.contains(&cause) {
            text = if text.is_empty() { cause } else { format!("{text}: {cause}") };
        }
    }
    text
}

fn own(failure: &Failure) -> (String, Option<String>, u8) {
    let (code, hint, exit) = match failure {
        Failure::BadFile { hint, .. } => ("bad_file", hint.clone(), exit::BAD_INPUT),
        Failure::BadArgument { hint, .. } => ("bad_argument", hint.clone(), exit::BAD_INPUT),
        Failure::NotFound { hint, .. } => ("not_found", Some(hint.clone()), exit::NOT_FOUND),
        Failure::NotVerified { .. } => ("not_verified", None, exit::NOT_VERIFIED),
        Failure::Demo { .. } => ("demo_failed", None, exit::FAILED),
    };
    (code.to_owned(), hint, exit)
}

fn client(error: &ClientError) -> (String, Option<String>, u8) {
    let exit = match (error, error.code()) {
        (ClientError::Unreachable { .. }, _) => exit::UNREACHABLE,
        (
            ClientError::BadReceipt { .. } | ClientError::TooFewShards { .. } | ClientError::WrongBlob { .. },
            _,
        ) => exit::NOT_VERIFIED,
        (ClientError::UnknownRepo { .. }, _) => exit::NOT_FOUND,
        (ClientError::Terms(_), _) | (ClientError::Answered { status: 402 | 409, .. }, _) => exit::PAYMENT,
        (ClientError::Answered { status: 404, .. }, _) => exit::NOT_FOUND,
        (ClientError::Answered { status: 400 | 413 | 422, .. }, _) => exit::BAD_INPUT,
        _ => exit::FAILED,
    };
    (error.code().to_owned(), error.hint(), exit)
}

fn engine(error: &nabla_engine::Error) -> (String, Option<String>, u8) {
    let (code, exit) = match error {
        nabla_engine::Error::Input { .. } => ("bad_input", exit::BAD_INPUT),
        nabla_engine::Error::Kernels { .. } | nabla_engine::Error::Setting { .. } => {
            ("bad_argument", exit::BAD_INPUT)
        }
        nabla_engine::Error::FloatMode { .. } => ("failed", exit::FAILED),
        _ => ("bad_model", exit::BAD_INPUT),
    };
    (code.to_owned(), None, exit)
}

fn images(error: &nabla_engine::images::ImageError) -> (String, Option<String>, u8) {
    use nabla_engine::images::ImageError;
    let code = match error {
        ImageError::Request { .. } => "bad_argument",
        ImageError::Stopped { .. } => return ("stopped".to_owned(), None, exit::FAILED),
        _ => "bad_model",
    };
    (code.to_owned(), None, exit::BAD_INPUT)
}

fn node(error: &nabla_node::Error) -> (String, Option<String>, u8) {
    let exit = match error {
        nabla_node::Error::Config { .. } | nabla_node::Error::BadFile { .. } => exit::BAD_INPUT,
        nabla_node::Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            exit::BAD_INPUT
        }
        nabla_node::Error::Ledger { source, .. } => client(source).2,
        _ => exit::FAILED,
    };
    ("node_failed".to_owned(), error.hint().map(str::to_owned), exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_cause_decides() {
        let failure = Failure::NotFound { what: "no wallet".into(), hint: "make one".into() };
        let error = anyhow::Error::from(failure).context("cannot pay");
        let summary = summary(&error);
        assert_eq!((summary.exit, summary.message.as_str()), (4, "cannot pay: no wallet"));
        assert_eq!(summary.hint.as_deref(), Some("make one"));
    }
}
