//! Limits and times of a gateway.

use serde::Deserialize;

/// How a gateway behaves. [`Config::new`] gives values that suit one host; nothing is read from the
/// environment.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Base URL under which clients reach this gateway, without a slash at the end: it names what is paid for.
    pub public_url: String,
    /// Calls and quotes worked on at once; more are answered with 429, none waits. Each may hold a request
    /// of [`INFER_BYTES_MAX`](nabla_types::api::INFER_BYTES_MAX) bytes in memory.
    pub calls_max: u32,
    /// Providers tried for one call. At least 1.
    pub attempts_max: usize,
    /// How long one provider may take to answer, in milliseconds. `attempts_max` times this should stay
    /// below the life of a reservation.
    pub attempt_timeout_ms: u64,
    /// How long one provider may take for a whole answer of a language model, in milliseconds: longer than for
    /// a run on tensors, within the life of a reservation.
    pub chat_timeout_ms: u64,
    /// Longest pause in an answer that is streamed, in milliseconds: of the provider, and of the client before
    /// it takes more.
    pub stream_pause_ms: u64,
    /// How long a client may take to send its request, in milliseconds.
    pub body_timeout_ms: u64,
    /// How long an authorisation should be good for, in seconds: `maxTimeoutSeconds` of a quote.
    pub payment_life_s: u64,
    /// How long an authorisation must still be good for when it arrives, in seconds.
    pub payment_margin_s: u64,
}

impl Config {
    /// For a gateway that is reached at `public_url`: 128 calls at once, 3 providers of 35 s each (110 s
    /// for a whole chat, pauses of 30 s in one that is streamed), 30 s to send a request, authorisations of 120 s of which 10 s are left.
    #[must_use]
    pub fn new(public_url: impl Into<String>) -> Self {
        Self {
            public_url: public_url.into(),
            calls_max: 128,
            attempts_max: 3,
            attempt_timeout_ms: 35_000,
            chat_timeout_ms: 110_000,
            stream_pause_ms: 30_000,
            body_timeout_ms: 30_000,
            payment_life_s: 120,
            payment_margin_s: 10,
        }
    }
}
