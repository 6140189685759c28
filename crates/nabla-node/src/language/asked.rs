//! A request as the engine takes it, and a token as an answer shows it.

use nabla_engine::{
    Error,
    language::{Constraint, Generation, Piece, Sampling, TextModel},
};
use nabla_text::{Message, StopStrings};
use nabla_types::{
    chat::{ChatRequest, FormatKind, Logprob, Role, TopLogprob, WrittenToken},
    manifest::LanguageTerms,
};

/// What is told in the place of the logarithm of nothing, which JSON does not have.
const LOGPROB_LEAST: f64 = -9999.0;

/// The tokens of a conversation, up to where the answer begins.
///
/// # Errors
/// [`Error::Text`] if the template refuses the messages.
pub fn prompt_of(model: &TextModel, request: &ChatRequest) -> Result<Vec<u32>, Error> {
    let messages: Vec<Message> = request
        .messages
        .iter()
        .map(|message| {
            let role = match message.role {
                Role::System => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
            };
            let said = Message::new(role, &message.content);
            match &message.name {
                Some(name) => said.with("name", name.as_str().into()),
                None => said,
            }
        })
        .collect();
    model.chat_prompt(&messages)
}

/// What a request asks of a model of these terms. The numbers are those that the receipt states.
///
/// # Errors
/// [`Error::Text`] for stop texts that are not taken.
pub fn generation_of(
    request: &ChatRequest,
    terms: &LanguageTerms,
    prompt: Vec<u32>,
) -> Result<Generation, Error> {
    let stated = request.sampling(terms);
    let sampling = Sampling {
        temperature: decimal(stated.temperature_micros),
        top_k: stated.top_k,
        top_p: decimal(stated.top_p_micros),
        min_p: decimal(stated.min_p_micros),
        repetition_penalty: decimal(stated.repetition_penalty_micros),
        presence_penalty: decimal(stated.presence_penalty_micros),
        frequency_penalty: decimal(stated.frequency_penalty_micros),
        logit_bias: request.logit_bias.iter().map(|(token, bias)| (*token, bias.to_f32())).collect(),
        seed: stated.seed,
    };
    let constraint = request.response_format.as_ref().and_then(|format| match format.kind {
        FormatKind::Text => None,
        FormatKind::JsonObject => Some(Constraint::json_object()),
        FormatKind::JsonSchema => {
            format.json_schema.as_ref().map(|schema| Constraint::JsonSchema(schema.schema.0.to_string()))
        }
    });
    Ok(Generation {
        prompt,
        max_tokens: stated.max_tokens,
        sampling,
        stop: StopStrings::new(&request.stop.0)?,
        constraint,
        top_logprobs: request.logprobs.then(|| request.top_logprobs.unwrap_or(0)),
    })
}

/// Millionths as an f32: divided in f64, rounded once.
#[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32")]
fn decimal(micros: impl Into<f64>) -> f32 {
    (micros.into() / 1_000_000.0) as f32
}

/// A token as an answer shows it.
#[must_use]
pub fn written(model: &TextModel, piece: &Piece) -> WrittenToken {
    let name = |token: u32| {
        let bytes = model.vocabulary().piece(token).unwrap_or_default().to_vec();
        (String::from_utf8_lossy(&bytes).into_owned(), bytes)
    };
    let logprob = piece.logprobs.as_ref().map(|probabilities| {
        let (token, bytes) = name(piece.token);
        let top = probabilities.top.iter().map(|(token, logprob)| {
            let (token, bytes) = name(*token);
            TopLogprob { token, logprob: logprob.max(LOGPROB_LEAST), bytes }
        });
        let logprob = probabilities.logprob.max(LOGPROB_LEAST);
        Logprob { token, logprob, bytes, top_logprobs: top.collect() }
    });
    WrittenToken { token: piece.token, text: piece.text.clone(), logprob }
}
