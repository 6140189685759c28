//! A chat, checked in one pass over its tokens; vectors, made again.

use nabla_engine::{
    Error, Limits,
    language::{Finish, TextModel, replay},
};
use nabla_types::{
    chat::{AnswerHead, ChatContent, ChatRequest, ChatWriter, FinishReason, TOKENS, tokens_tensor},
    embed::{EMBEDDINGS, EmbedRequest, EmbedResponse, is_embed},
    manifest::{LanguageTerms, ModelManifest},
    receipt::{CommitmentLabel, Receipt, Salt, TensorCommitment},
};

use super::{Replay, ReplayError, different};
use crate::language::{generation_of, prompt_commitments, prompt_of, vectors_of, written};

/// Check every token of an answer, and every byte that was made of them. Takes a small part of the time that
/// answering took.
///
/// Equal means: the prompt's tokens are those that the receipt commits to, each token of the answer is the one that
/// the model gives after those before it, the answer ends where it must (or was cut off, and says so), usage, kernel
/// spec and sampling are what model and request give, and the bytes are those that these tokens make.
///
/// # Errors
/// [`ReplayError`].
pub fn replay_chat(
    model: &TextModel,
    manifest: &ModelManifest,
    claims: &Receipt,
    (request, response): (&[u8], &[u8]),
    salt: Salt,
) -> Result<Replay, ReplayError> {
    if salt.commit(&CommitmentLabel::Request, request) != claims.request {
        return Err(ReplayError::OtherRequest);
    }
    if salt.commit(&CommitmentLabel::Response, response) != claims.response {
        return Err(ReplayError::OtherAnswer);
    }
    let Some(terms) = manifest.language else {
        return Ok(different("model", "one that takes conversations", "one that takes tensors"));
    };
    if is_embed(request) {
        return replay_vectors(model, manifest, claims, (request, response), salt);
    }
    let (asked, said) = match (ChatRequest::from_bytes(request), ChatContent::from_bytes(response)) {
        (Ok(asked), Ok(said)) => (asked, said),
        (Err(error), _) => return Ok(different("request", "none", error)),
        (_, Err(error)) => return Ok(different("answer", "one that can be read", error)),
    };
    let prompt = match prompt_of(model, &asked) {
        Ok(prompt) => prompt,
        Err(refusal) => return Ok(refused(&refusal)),
    };
    if let Some(difference) =
        compare_claims(manifest, &terms, claims, &Sides { asked: &asked, prompt: &prompt, said: &said }, salt)
    {
        return Ok(difference);
    }
    compare_tokens(model, &terms, claims, (&asked, prompt), (&said, response))
}

/// Vectors are made again, and so are the bytes of the answer.
fn replay_vectors(
    model: &TextModel,
    manifest: &ModelManifest,
    claims: &Receipt,
    (request, response): (&[u8], &[u8]),
    salt: Salt,
) -> Result<Replay, ReplayError> {
    let asked = match EmbedRequest::from_bytes(request) {
        Ok(asked) => asked,
        Err(error) => return Ok(different("request", "none", error)),
    };
    let terms = manifest.language.unwrap_or_default();
    let made = match vectors_of(model, &terms, &asked.input, &Limits::default()) {
        Ok(made) => made,
        Err(error @ (Error::Kernels { .. } | Error::FloatMode { .. })) => {
            return Err(ReplayError::Run(error));
        }
        Err(refusal) => return Ok(refused(&refusal)),
    };
    let inputs = prompt_commitments(salt, &made.tokens, Some(&made.lengths));
    if claims.inputs != inputs {
        return Ok(different("the prompt's tokens", format!("{inputs:?}"), format!("{:?}", claims.inputs)));
    }
    let tokens_in = made.tokens.len() as u64;
    let usage = manifest.usage_of_tokens(tokens_in, 0);
    if usage != Some(claims.usage) {
        return Ok(different("usage", format!("{usage:?}"), format!("{:?}", claims.usage)));
    }
    if claims.kernel_spec != manifest.kernel_spec {
        return Ok(different("kernel spec", manifest.kernel_spec, claims.kernel_spec));
    }
    if let Some(sampling) = &claims.sampling {
        return Ok(different("sampling", "none", format!("{sampling:?}")));
    }
    let answer = EmbedResponse::new(claims.model_name.clone(), claims.model, made.vectors, tokens_in);
    let commitment = salt.commit(&CommitmentLabel::Output(EMBEDDINGS), &answer.tensor().to_bytes());
    let outputs = vec![TensorCommitment { name: EMBEDDINGS.to_owned(), commitment }];
    if claims.outputs != outputs {
        return Ok(different("the vectors", format!("{outputs:?}"), format!("{:?}", claims.outputs)));
    }
    Ok(compare_bytes(&answer.to_bytes(), response))
}

/// What was asked and said.
struct Sides<'a> {
    asked: &'a ChatRequest,
    prompt: &'a [u32],
    said: &'a ChatContent,
}

fn refused(refusal: &Error) -> Replay {
    different("request", format!("none, for {refusal}"), "an answer")
}

/// What needs no run of the model.
fn compare_claims(
    manifest: &ModelManifest,
    terms: &LanguageTerms,
    claims: &Receipt,
    sides: &Sides<'_>,
    salt: Salt,
) -> Option<Replay> {
    let Sides { asked, prompt, said } = sides;
    let inputs = prompt_commitments(salt, prompt, None);
    if claims.inputs != inputs {
        return Some(different("the prompt's tokens", format!("{inputs:?}"), format!("{:?}", claims.inputs)));
    }
    let commitment = salt.commit(&CommitmentLabel::Output(TOKENS), &tokens_tensor(&said.tokens).to_bytes());
    let outputs = vec![TensorCommitment { name: TOKENS.to_owned(), commitment }];
    if claims.outputs != outputs {
        return Some(different(
            "the answer's tokens",
            format!("{outputs:?}"),
            format!("{:?}", claims.outputs),
        ));
    }
    let usage = manifest.usage_of_tokens(prompt.len() as u64, said.tokens.len() as u64);
    if usage != Some(claims.usage) {
        return Some(different("usage", format!("{usage:?}"), format!("{:?}", claims.usage)));
    }
    if claims.kernel_spec != manifest.kernel_spec {
        return Some(different("kernel spec", manifest.kernel_spec, claims.kernel_spec));
    }
    let sampling = Some(asked.sampling(terms));
    (claims.sampling != sampling)
        .then(|| different("sampling", format!("{sampling:?}"), format!("{:?}", claims.sampling)))
}

/// The run, and the bytes.
fn compare_tokens(
    model: &TextModel,
    terms: &LanguageTerms,
    claims: &Receipt,
    (asked, prompt): (&ChatRequest, Vec<u32>),
    (said, response): (&ChatContent, &[u8]),
) -> Result<Replay, ReplayError> {
    let tokens_in = prompt.len() as u64;
    let replayed = generation_of(asked, terms, prompt)
        .and_then(|generation| replay(model, &generation, &said.tokens, &Limits::default()));
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error @ (Error::Kernels { .. } | Error::FloatMode { .. })) => {
            return Err(ReplayError::Run(error));
        }
        Err(refusal) => return Ok(refused(&refusal)),
    };
    if let Some(difference) = replayed.difference {
        let computed = difference.computed.map_or("the answer's end".to_owned(), |token| token.to_string());
        return Ok(different(
            &format!("token {} of the answer", difference.index),
            computed,
            difference.claimed,
        ));
    }
    let ends = match replayed.finish {
        Some(Finish::Stop) => Some(FinishReason::Stop),
        Some(Finish::Length) => Some(FinishReason::Length),
        None => None,
    };
    // An answer that would go on may have been cut off: by its client, who knows.
    if ends != (said.finish != FinishReason::Cancelled).then_some(said.finish) {
        let expected = ends.map_or("more tokens".to_owned(), |ends| format!("{ends:?}"));
        return Ok(different("the answer's end", expected, format!("{:?}", said.finish)));
    }
    let mut writer = ChatWriter::new(AnswerHead::of(claims, asked.stream, asked.logprobs));
    let mut bytes: Vec<u8> =
        replayed.pieces.iter().flat_map(|piece| writer.token(written(model, piece))).collect();
    let rest = if ends.is_some() { replayed.rest.as_str() } else { "" };
    bytes.extend(writer.finish(rest, said.finish, tokens_in));
    Ok(compare_bytes(&bytes, response))
}

/// The bytes of the answer, as they must be and as they are.
fn compare_bytes(bytes: &[u8], response: &[u8]) -> Replay {
    let differs = bytes.iter().zip(response).position(|(a, b)| a != b);
    match differs.or_else(|| (bytes.len() != response.len()).then_some(bytes.len().min(response.len()))) {
        None => Replay::Equal,
        Some(at) => {
            let around = |bytes: &[u8]| {
                let around = &bytes[at.saturating_sub(20).min(bytes.len())..bytes.len().min(at + 20)];
                String::from_utf8_lossy(around).into_owned()
            };
            different(&format!("byte {at} of the answer"), around(bytes), around(response))
        }
    }
}
