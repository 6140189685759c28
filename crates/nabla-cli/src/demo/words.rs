//! The part of the story in words: a language model chats, is checked, and compares texts.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nabla_client::{Answer, Spending, new_nonce};
use nabla_engine::{
    Limits,
    language::{Pooling, TextModel, embed as vector_of},
};
use nabla_types::chat::{ChatMessage, ChatRequest, Role};

use super::{
    bundled,
    network::DemoNetwork,
    steps::{fresh_account, judged_equal},
    story::{Told, ensure},
};
use crate::home::now_s;

const QUESTION: &str = "Tell me a story about a dragon";
/// Bytes of the answer that are shown.
const SHOWN: usize = 160;

/// Texts that are compared: the first is nearer to the second than to the third.
const TEXTS: [&str; 3] = ["The fox found a ball.", "The fox lost a ball.", "What is 7 + 5?"];

pub(super) async fn chat(demo: &DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let dave = fresh_account(demo, "dave").await?;
    let message = ChatMessage { role: Role::User, content: QUESTION.to_owned(), name: None };
    let request = ChatRequest {
        stream: true,
        seed: Some(7),
        max_tokens: Some(200),
        ..ChatRequest::new(bundled::fabula_name(), new_nonce()?, vec![message])
    };
    let started = Instant::now();
    let (mut pieces, mut first) = (0_usize, Duration::ZERO);
    let spending = Spending { account: &dave, price_max: None, now_s: now_s() };
    let mut show = |_: &str| {
        pieces += 1;
        if pieces == 1 {
            first = started.elapsed();
        }
    };
    let answer = demo.network.gateway.chat(&request, spending, &mut show).await?;
    let took = started.elapsed();
    let (text, usage) = (&answer.content.text, &answer.content.usage);
    ensure(pieces > 5 && usage.completion_tokens > 20, || format!("a short answer: {text:?}"))?;
    let shown: String = text.chars().take(SHOWN).collect();
    told.line(format!("dave asks {}: {QUESTION}.", bundled::fabula_name()));
    told.line(format!("  \"{}...\"", shown.replace('\n', " ")));
    told.line(format!(
        "  {} tokens read, {} written in {} ms, the first after {} ms (the model was cold), for {} OPG.",
        usage.prompt_tokens,
        usage.completion_tokens,
        took.as_millis(),
        first.as_millis(),
        answer.paid.claims.amount,
    ));
    told.line("  It came in pieces; the receipt covers each byte of the stream: none cut, moved or altered.");
    let verdict = judged_equal(demo, &answer.paid).await?;
    told.line(format!(
        "Verifier {} read the whole answer in one pass and found every token to be the model's: block {}.",
        verdict.verifier.short(),
        verdict.height
    ));
    check_lie(demo, &answer.paid, &mut told)?;
    told.figure("prompt_tokens", usage.prompt_tokens);
    told.figure("completion_tokens", usage.completion_tokens);
    told.milliseconds("first_token_ms", first);
    told.figure("verdict", "equal");
    Ok(((), told))
}

/// One byte of the stream, changed: the receipt no longer fits.
fn check_lie(demo: &DemoNetwork, answer: &Answer, told: &mut Told) -> Result<()> {
    let mut response = answer.response.to_vec();
    let place = response.len() / 2;
    let byte = response.get_mut(place).context("a stream has bytes")?;
    *byte ^= 1;
    let context = nabla_verify::Context {
        network: Some(demo.network.info.network),
        request: Some(&answer.request),
        response: Some(&response),
        salt: Some(answer.salt),
        ..nabla_verify::Context::default()
    };
    let report = nabla_verify::verify_receipt(&answer.receipt, &context);
    let reason = report.failure_text().context("a changed stream was not noticed")?;
    told.line(format!(
        "With one bit of the stream changed: {}.",
        reason.chars().take(90).collect::<String>()
    ));
    Ok(())
}

/// Texts as vectors, on this machine.
pub(super) fn embed(demo: &DemoNetwork) -> Result<((), Told)> {
    let mut told = Told::default();
    let limits = Limits::default();
    let model = TextModel::load(&demo.engine, &bundled::fabula(), &limits)?;
    let started = Instant::now();
    let vectors = TEXTS
        .iter()
        .map(|text| Ok(vector_of(&model, &model.text_prompt(text)?, Pooling::Mean, &limits)?))
        .collect::<Result<Vec<Vec<f32>>>>()?;
    let took = started.elapsed();
    let similarity = |other: usize| vectors[0].iter().zip(&vectors[other]).map(|(a, b)| a * b).sum::<f32>();
    let (near, far) = (similarity(1), similarity(2));
    ensure(near > far, || format!("expected {:?} nearer to {:?}: {near} and {far}", TEXTS[0], TEXTS[1]))?;
    told.line(format!(
        "{:?} is {near:.3} like {:?} and {far:.3} like {:?}; {} numbers each, {:.1} ms for three.",
        TEXTS[0],
        TEXTS[1],
        TEXTS[2],
        vectors[0].len(),
        took.as_secs_f64() * 1000.0
    ));
    told.figure("near", near);
    told.figure("far", far);
    Ok(((), told))
}
