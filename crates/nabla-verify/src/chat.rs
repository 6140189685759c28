//! What can be checked of a chat, or of texts that became vectors, without the model.
//!
//! # Rules
//! - The answer's tokens stand in the answer, so their commitment is opened. The prompt's tokens follow from the
//!   messages only by the model's template and vocabulary: whether the receipt commits to the right ones is not
//!   checked here, and the outcome says so instead of passing.
//! - What the receipt says of sampling is what the request asks for. Its `max_tokens` may be less than was asked:
//!   no answer is longer than the model's context.

use nabla_types::{
    chat::{ChatContent, ChatRequest, PROMPT_TOKENS, TOKENS, is_completion, tokens_tensor},
    embed::{EMBEDDINGS, EmbedRequest, EmbedResponse, PROMPT_LENGTHS},
    manifest::LanguageTerms,
    receipt::{CommitmentLabel, Receipt, Salt, Sampling},
    tensor::Tensor,
};

use crate::{
    receipt::{failed, other_call, other_model, passed, skipped},
    report::Outcome,
};

/// Whether these bytes are meant as the answer to a chat.
pub(crate) fn is_answer(bytes: &[u8]) -> bool {
    bytes.starts_with(b"data:") || is_completion(bytes)
}

/// Whether a request for vectors says what the receipt says.
pub(crate) fn asked_vectors(claims: &Receipt, bytes: &[u8]) -> Outcome {
    let request = match EmbedRequest::from_bytes(bytes) {
        Ok(request) => request,
        Err(error) => return failed("an embed request", error),
    };
    if let Some(outcome) = other_call(claims, request.nonce, &request.model, request.model_id) {
        return outcome;
    }
    if let Some(stated) = &claims.sampling {
        return failed("no sampling", format!("{stated:?}"));
    }
    prompt_left_open(claims, &[PROMPT_TOKENS, PROMPT_LENGTHS])
}

/// Whether vectors say what the receipt says.
pub(crate) fn answered_vectors(claims: &Receipt, salt: Salt, bytes: &[u8]) -> Outcome {
    let answer = match EmbedResponse::from_bytes(bytes) {
        Ok(answer) => answer,
        Err(error) => return failed("an embed answer", error),
    };
    if let Some(outcome) = other_model(claims, &answer.model, answer.nabla.model_id) {
        return outcome;
    }
    let told = (answer.usage.prompt_tokens, answer.usage.total_tokens, 0);
    let (tokens_in, tokens_out) = (claims.usage.tokens_in, claims.usage.tokens_out);
    if told != (tokens_in, tokens_in, tokens_out) {
        return failed(format!("{tokens_in} tokens read and {tokens_out} made"), format!("{told:?}"));
    }
    output_opens(claims, salt, EMBEDDINGS, &answer.tensor())
}

/// What the inputs commit to is for those who have the model to say.
fn prompt_left_open(claims: &Receipt, names: &[&str]) -> Outcome {
    let got: Vec<&str> = claims.inputs.iter().map(|input| input.name.as_str()).collect();
    if got != names {
        return failed(format!("commitments to {names:?}"), format!("{got:?}"));
    }
    skipped("the model's template and vocabulary, which make the prompt's tokens")
}

/// Whether the one output is this tensor.
fn output_opens(claims: &Receipt, salt: Salt, name: &str, tensor: &Tensor) -> Outcome {
    let [committed] = claims.outputs.as_slice() else {
        return failed(format!("a commitment to {name:?}"), format!("{} commitments", claims.outputs.len()));
    };
    let expected = salt.commit(&CommitmentLabel::Output(name), &tensor.to_bytes());
    if committed.name != name || committed.commitment != expected {
        return failed(
            format!("a commitment to {name:?} ({expected})"),
            format!("one to {:?} ({})", committed.name, committed.commitment),
        );
    }
    passed(name)
}

/// Whether a chat's request says what the receipt says.
pub(crate) fn asked(claims: &Receipt, bytes: &[u8]) -> Outcome {
    let request = match ChatRequest::from_bytes(bytes) {
        Ok(request) => request,
        Err(error) => return failed("a chat request", error),
    };
    if let Some(outcome) = other_call(claims, request.nonce, &request.model, request.model_id) {
        return outcome;
    }
    // The context is the model's to say; everything else is compared.
    let unbounded = LanguageTerms { context_length: u32::MAX, template_bytes: 0 };
    let asked = request.sampling(&unbounded);
    let Some(stated) = &claims.sampling else {
        return failed("how tokens were chosen", "nothing of it");
    };
    if stated.max_tokens > asked.max_tokens
        || (Sampling { max_tokens: asked.max_tokens, ..stated.clone() }) != asked
    {
        return failed(format!("{asked:?}"), format!("{stated:?}"));
    }
    prompt_left_open(claims, &[PROMPT_TOKENS])
}

/// Whether a chat's answer says what the receipt says.
pub(crate) fn answered(claims: &Receipt, salt: Salt, bytes: &[u8]) -> Outcome {
    let answer = match ChatContent::from_bytes(bytes) {
        Ok(answer) => answer,
        Err(error) => return failed("a chat answer", error),
    };
    if let Some(outcome) = other_model(claims, &answer.model, answer.model_id) {
        return outcome;
    }
    if answer.created != claims.started_ms / 1000 {
        return failed(format!("an answer begun at {}", claims.started_ms / 1000), answer.created);
    }
    let id = format!("chatcmpl-{}", &claims.nonce.to_string()[2..34]);
    if answer.id != id {
        return failed(format!("the answer {id}"), answer.id);
    }
    let told = (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.tokens.len() as u64);
    let (tokens_in, tokens_out) = (claims.usage.tokens_in, claims.usage.tokens_out);
    if told != (tokens_in, tokens_out, tokens_out)
        || told.0.checked_add(told.1) != Some(answer.usage.total_tokens)
    {
        let expected = format!("{tokens_in} tokens read and {tokens_out} made");
        return failed(expected, format!("{} read, {} made, {} shown", told.0, told.1, told.2));
    }
    output_opens(claims, salt, TOKENS, &tokens_tensor(&answer.tokens))
}
