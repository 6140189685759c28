//! `nabla chat`: talk with a language model, each answer paid, streamed and checked.

use std::{
    io::{BufRead, IsTerminal},
    time::{Duration, Instant},
};

use anyhow::Result;
use nabla_client::{ChatAnswer, Spending, new_nonce};
use nabla_pay::AccountKey;
use nabla_types::{
    Opg, RepoName,
    chat::{ChatMessage, ChatRequest, Micros, Role},
};
use serde_json::json;

use super::{Context, run::keep};
use crate::{
    failure::Failure,
    home::{Network, file, now_s},
};

/// Longest line that is read from standard input, in bytes.
const LINE_BYTES_MAX: u64 = 1 << 20;

/// What is asked, and how.
#[derive(Debug)]
pub(super) struct Chat {
    pub(super) name: RepoName,
    pub(super) prompt: Option<String>,
    pub(super) system: Option<String>,
    pub(super) max_tokens: Option<u32>,
    pub(super) temperature: Option<Micros>,
    pub(super) seed: Option<u64>,
    pub(super) price_max: Opg,
}

pub(super) async fn chat(context: &Context<'_>, chat: Chat) -> Result<()> {
    let account = context.home.wallet()?;
    let network = Network::connect(&context.url).await?;
    let said = |role, content: &str| ChatMessage { role, content: content.to_owned(), name: None };
    let mut messages: Vec<ChatMessage> =
        chat.system.iter().map(|system| said(Role::System, system)).collect();
    let seat = Seat { context, network: &network, account: &account, chat: &chat };
    if let Some(prompt) = &chat.prompt {
        messages.push(said(Role::User, prompt));
        return Box::pin(seat.ask(messages)).await.map(drop);
    }
    if context.output.is_json() {
        let reason = "with --json there is one question and one document".to_owned();
        let hint = Some("give the question as an argument: nabla chat NAME \"...\" --json".to_owned());
        return Err(Failure::BadArgument { reason, hint }.into());
    }
    while let Some(line) = read_line()? {
        if line.trim().is_empty() {
            continue;
        }
        messages.push(said(Role::User, &line));
        let answer = Box::pin(seat.ask(messages.clone())).await?;
        messages.push(said(Role::Assistant, &answer.content.text));
    }
    Ok(())
}

/// The next line of standard input, `None` at its end.
#[expect(clippy::print_stderr, reason = "the prompt is no part of the result")]
fn read_line() -> Result<Option<String>> {
    use std::io::Read;
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprint!("> ");
    }
    let mut line = String::new();
    let read = stdin.lock().take(LINE_BYTES_MAX).read_line(&mut line)?;
    if read as u64 == LINE_BYTES_MAX {
        let reason = format!("expected lines of at most {LINE_BYTES_MAX} bytes");
        return Err(Failure::BadArgument { reason, hint: None }.into());
    }
    Ok((read > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// Who talks, and with whom.
struct Seat<'a> {
    context: &'a Context<'a>,
    network: &'a Network,
    account: &'a AccountKey,
    chat: &'a Chat,
}

impl Seat<'_> {
    async fn ask(&self, messages: Vec<ChatMessage>) -> Result<ChatAnswer> {
        let Chat { name, max_tokens, temperature, seed, price_max, .. } = self.chat;
        let request = ChatRequest {
            max_tokens: *max_tokens,
            temperature: *temperature,
            seed: *seed,
            stream: true,
            ..ChatRequest::new(name.clone(), new_nonce()?, messages)
        };
        let output = *self.context.output;
        let spending = Spending { account: self.account, price_max: Some(*price_max), now_s: now_s() };
        let started = Instant::now();
        let mut show = |text: &str| {
            output.piece(text);
        };
        let answer = Box::pin(self.network.gateway.chat(&request, spending, &mut show)).await;
        output.line("");
        let answer = answer?;
        self.close(&answer, started.elapsed()).await?;
        Ok(answer)
    }

    /// Keep the answer, and say what it has cost.
    #[expect(clippy::print_stderr, reason = "the answer alone goes to stdout")]
    async fn close(&self, answer: &ChatAnswer, took: Duration) -> Result<()> {
        let folder = keep(&self.context.home, self.network, &answer.paid).await?;
        let (usage, claims) = (&answer.content.usage, &answer.paid.claims);
        if !self.context.output.is_json() {
            eprintln!(
                "[{} tokens read, {} made in {} ms; {} OPG to node {}; verified, but for the prompt's tokens; \
                 nabla verify {} --replay checks every one]",
                usage.prompt_tokens,
                usage.completion_tokens,
                took.as_millis(),
                claims.amount,
                claims.provider.short(),
                folder.join(file::RECEIPT).display(),
            );
        }
        self.context.output.document(&json!({
            "text": answer.content.text, "tokens": answer.content.tokens, "usage": usage,
            "finish_reason": answer.content.finish, "receipt_id": answer.paid.report.receipt_id,
            "receipt_folder": folder, "claims": claims, "payment": answer.paid.payment, "payer": answer.paid.payer,
            "took_ms": took.as_secs_f64() * 1000.0, "checks": answer.paid.report.checks,
        }));
        Ok(())
    }
}
