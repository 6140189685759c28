//! Texts as vectors.

use nabla_engine::{
    Error, Limits,
    language::{Pooling, TextModel, embed},
};
use nabla_types::{
    chat::{PROMPT_TOKENS, tokens_tensor},
    embed::{PROMPT_LENGTHS, text_tokens_max},
    manifest::LanguageTerms,
    receipt::{CommitmentLabel, Salt, TensorCommitment},
};

/// What texts became.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The tokens of all texts, one behind the other.
    pub tokens: Vec<u32>,
    /// How many of them each text has.
    pub lengths: Vec<u32>,
    /// The mean over its tokens, of length 1, for each text.
    pub vectors: Vec<Vec<f32>>,
}

/// The vectors of these texts.
///
/// # Errors
/// As [`embed`]; [`Error::Limit`] for a text of more tokens than its bytes allow.
pub fn vectors_of(
    model: &TextModel,
    terms: &LanguageTerms,
    texts: &[String],
    limits: &Limits,
) -> Result<Vectors, Error> {
    let mut made = Vectors { tokens: Vec::new(), lengths: Vec::new(), vectors: Vec::new() };
    for text in texts {
        let tokens = model.text_prompt(text)?;
        let (got, max) = (tokens.len() as u64, u64::from(text_tokens_max(text, terms)));
        if got > max {
            return Err(Error::Limit { what: "tokens of a text", got, max });
        }
        made.vectors.push(embed(model, &tokens, Pooling::Mean, limits)?);
        made.lengths.push(u32::try_from(tokens.len()).unwrap_or(u32::MAX));
        made.tokens.extend(tokens);
    }
    Ok(made)
}

/// What a receipt commits to of a prompt: its tokens and, of several texts, how many each has.
#[must_use]
pub fn prompt_commitments(salt: Salt, tokens: &[u32], lengths: Option<&[u32]>) -> Vec<TensorCommitment> {
    let commit = |name: &str, numbers: &[u32]| {
        let commitment = salt.commit(&CommitmentLabel::Input(name), &tokens_tensor(numbers).to_bytes());
        TensorCommitment { name: name.to_owned(), commitment }
    };
    let lengths = lengths.map(|lengths| commit(PROMPT_LENGTHS, lengths));
    std::iter::once(commit(PROMPT_TOKENS, tokens)).chain(lengths).collect()
}
