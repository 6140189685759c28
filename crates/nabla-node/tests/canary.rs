//! Nothing that is asked or answered is logged: a whole network runs with every log line captured, and the log is
//! searched for words that stand only in a prompt, in a stop text and in an answer.

#[path = "it/network.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod network;
#[path = "it/small.rs"]
mod small;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use nabla_client::{Spending, new_nonce};
use nabla_types::{
    Opg,
    chat::{ChatMessage, ChatRequest, Role, Stops},
};
use network::{TestNetwork, now_s};
use small::small;
use tracing_subscriber::fmt::MakeWriter;

const ASKED: &str = "CanaryOfThePrompt";
const SYSTEM: &str = "CanaryOfTheInstructions";
const STOP: &str = "CanaryOfTheStop";
/// What the answer must be: a schema leaves it no choice.
const ANSWERED: &str = "CanaryOfTheAnswer";

/// Everything that was logged.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn request(stream: bool, schema: &str) -> ChatRequest {
    let said = |role, content: &str| ChatMessage { role, content: content.to_owned(), name: None };
    let messages = vec![said(Role::System, SYSTEM), said(Role::User, ASKED)];
    let request = ChatRequest::new(small(), new_nonce().expect("a nonce"), messages);
    let format = format!(r#"{{"type":"json_schema","json_schema":{{"name":"a","schema":{schema}}}}}"#);
    ChatRequest {
        max_tokens: Some(40),
        stream,
        stop: Stops(vec![STOP.to_owned()]),
        logprobs: true,
        top_logprobs: Some(1),
        response_format: Some(serde_json::from_str(&format).expect("a format")),
        ..request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_and_answered_is_never_logged() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).expect("the only one of this process");
    let network = TestNetwork::start(|_| {}).await;
    let bob = network.account("bob", Opg::whole(20)).await;
    network.publish_as(&network.owner(), &small(), &small::package(7)).await;
    let fixed = format!(r#"{{"const":"{ANSWERED}"}}"#);
    for stream in [true, false] {
        let spending = Spending { account: &bob, price_max: None, now_s: now_s() };
        let request = request(stream, &fixed);
        let answer =
            Box::pin(network.gateway.chat(&request, spending, &mut |_| {})).await.expect("an answer");
        assert!(answer.content.text.contains(ANSWERED), "{}", answer.content.text);
        // A verifier has it all in its hands, too.
        let id = answer.paid.report.receipt_id.expect("an id");
        while network.ledger.receipt(id).await.expect("the ledger").expect("settled").verdicts.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    // A request that is refused is not shown either.
    let spending = Spending { account: &bob, price_max: None, now_s: now_s() };
    let refused = request(true, &format!(r#"{{"type":"{ANSWERED}"}}"#));
    Box::pin(network.gateway.chat(&refused, spending, &mut |_| {})).await.expect_err("no schema");
    network.stop().await;
    let text = log.text();
    // The log was captured, down to the finest level.
    assert!(text.contains("TRACE") && text.contains("node started"), "{} bytes", text.len());
    for canary in [ASKED, SYSTEM, STOP, ANSWERED] {
        let line = text.lines().find(|line| line.contains(canary));
        assert_eq!(line, None, "{canary} is in the log");
    }
}
