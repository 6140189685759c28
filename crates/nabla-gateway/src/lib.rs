//! Show the network over HTTP against one narrow Backend trait.
//!
//! A client sends a request, is quoted a price, signs a payment and gets the answer with its receipt:
//!
//! | module | what it holds |
//! |---|---|
//! | `http` | the routes |
//! | `request` | what is read of a request |
//! | `quote` | what it costs, and who would do it |
//! | `payment` | reading and checking the payment header |
//! | `call` | one paid call: reserve, run, resume |
//! | `attempts` | one provider after the other, and where the money goes if none answers |
//! | `answer` | whether an answer is what was asked and paid for |
//! | `stream` | an answer that passes through while it is made |
//! | `flight` | one payment, one call in work |
//! | [`backend`] | the seam: what is needed of the ledger and of inference nodes |
//!
//! # Example
//! ```
//! use std::sync::Arc;
//!
//! use nabla_gateway::{Backend, Config, Gateway};
//! use tokio::net::TcpListener;
//!
//! async fn serve<B: Backend>(backend: Arc<B>, listener: TcpListener) -> std::io::Result<()> {
//!     let gateway = Gateway::new(backend, Config::new("http://127.0.0.1:8400"));
//!     let stop = async { drop(tokio::signal::ctrl_c().await) };
//!     axum::serve(listener, gateway.router()).with_graceful_shutdown(stop).await?;
//!     gateway.finish().await; // calls whose clients have gone come to their end too
//!     Ok(())
//! }
//! ```
//!
//! # Rules
//! - `request`, `quote`, `payment` and `answer` are pure: no async, no clock.
//! - Money is reserved before work, and a payment buys one answer, however often it is sent.
//! - No answer goes out whose receipt does not hold, and nothing that a provider says is believed unchecked.
//! - Nothing queues: a request has a place at once or is refused.
//!
//! # When things go wrong
//! A client gets a code, a message and a hint, and is told where its money is. See `call` for clients that
//! disconnect and for a ledger that cannot be reached.
//!
//! # What is deliberately absent
//! The engine, the store, the ledger's rules, and any memory of payments: what is known of a payment is what
//! the ledger says. Also routing by anything but the providers' own words and prices (no reputation yet), and
//! limits by client address: put those in front.

mod answer;
mod attempts;
pub mod backend;
mod call;
mod config;
mod error;
mod flight;
mod gateway;
mod http;
mod payment;
mod quote;
mod request;
mod stream;
mod wire;

use std::sync::Arc;

pub use backend::{Backend, BackendError, JobAnswer, JobStream, Provider, Resolved, RunError};
pub use config::Config;
pub use gateway::Gateway;
pub use http::HEADER_PAYMENT_RESPONSE;
pub use nabla_types::api::NetworkInfo;
pub use stream::{Events, Part};
pub use wire::{ModelInfo, PriceRange};

/// The routes of a gateway over `backend`, for a process that needs no clean stop; else see [`Gateway`].
pub fn router<B: Backend>(backend: Arc<B>, config: Config) -> axum::Router {
    Gateway::new(backend, config).router()
}
