//! Texts as vectors: what is asked of a language model, and what it answers, in the shape of OpenAI's embeddings.
//!
//! # Rules
//! - The answer's bytes are a function of request, model and vectors; each number is the shortest decimal that reads
//!   back as the same f32.
//! - Everything is bounded while it is read, and unknown members are refused.

use serde::{Deserialize, Serialize};

use crate::{
    chat::{ChatError, bounded, has_member, member, read_object},
    id::ModelId,
    manifest::LanguageTerms,
    name::RepoName,
    payment::Nonce,
    tensor::Tensor,
};

/// Largest request, in bytes.
pub const EMBED_REQUEST_BYTES_MAX: usize = 4 << 20;
/// Most texts of a request.
pub const TEXTS_MAX: usize = 64;
/// Most numbers of a vector.
pub const WIDTH_MAX: usize = 65_536;
/// Name of the receipt's commitment to the vectors.
pub const EMBEDDINGS: &str = "embeddings";
/// Name of the receipt's commitment to the numbers of tokens of each text.
pub const PROMPT_LENGTHS: &str = "prompt_lengths";
/// Tokens that may be put round a text.
const FRAME: u32 = 2;

/// `POST /nabla/v1/embed`: a vector for each text.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedRequest {
    /// Which model, by its repository's name; the newest revision unless `model_id` says otherwise.
    pub model: RepoName,
    /// Exactly this model, or an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<ModelId>,
    /// Drawn at random by the client; it comes back in the receipt.
    pub nonce: Nonce,
    /// The texts, none of them empty.
    #[serde(deserialize_with = "bounded::<_, _, TEXTS_MAX>")]
    pub input: Vec<String>,
}

/// The answer to an [`EmbedRequest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedResponse {
    /// Always `list`.
    pub object: String,
    /// One for each text, in their order.
    #[serde(deserialize_with = "bounded::<_, _, TEXTS_MAX>")]
    pub data: Vec<Embedding>,
    /// The repository's name.
    pub model: RepoName,
    /// Tokens read.
    pub usage: EmbedUsage,
    /// What is ours.
    pub nabla: EmbedExtra,
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Always `embedding`.
    pub object: String,
    /// Which text, from 0.
    pub index: u32,
    /// The vector, of length 1.
    #[serde(deserialize_with = "bounded::<_, _, WIDTH_MAX>")]
    pub embedding: Vec<f32>,
}

/// Tokens read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedUsage {
    /// Of all texts.
    pub prompt_tokens: u64,
    /// The same.
    pub total_tokens: u64,
}

/// What is ours in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedExtra {
    /// The model that ran.
    pub model_id: ModelId,
}

impl std::fmt::Debug for EmbedRequest {
    /// Nothing of what the texts say.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EmbedRequest({}, {} texts)", self.model, self.input.len())
    }
}

/// Whether these bytes are meant as an [`EmbedRequest`]: an object with the member `input`.
#[must_use]
pub fn is_embed(bytes: &[u8]) -> bool {
    has_member(bytes, "input")
}

/// Whether these bytes are meant as an [`EmbedResponse`]: an object with the member `data`.
#[must_use]
pub fn is_embed_answer(bytes: &[u8]) -> bool {
    has_member(bytes, "data")
}

impl EmbedRequest {
    /// Read a request, and check every member.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChatError> {
        let request: Self = read_object("embed request", bytes, EMBED_REQUEST_BYTES_MAX)?;
        request.check().map(|()| request)
    }

    /// Check every member.
    ///
    /// # Errors
    /// [`ChatError::Member`].
    pub fn check(&self) -> Result<(), ChatError> {
        if self.input.is_empty() || self.input.iter().any(String::is_empty) {
            return Err(member("input", "at least one text, none of them empty", self.input.len()));
        }
        Ok(())
    }

    /// Most tokens that its texts may have: one for each byte, and what may be put round a text; never more than a
    /// context for each.
    #[must_use]
    pub fn tokens_in_max(&self, terms: &LanguageTerms) -> u64 {
        self.input.iter().map(|text| text_tokens_max(text, terms)).map(u64::from).sum()
    }
}

/// Most tokens of one text.
#[must_use]
pub fn text_tokens_max(text: &str, terms: &LanguageTerms) -> u32 {
    u32::try_from(text.len()).unwrap_or(u32::MAX).saturating_add(FRAME).min(terms.context_length)
}

impl EmbedResponse {
    /// The answer with these vectors.
    #[must_use]
    pub fn new(model: RepoName, model_id: ModelId, vectors: Vec<Vec<f32>>, prompt_tokens: u64) -> Self {
        let embedding = |(index, embedding)| Embedding { object: "embedding".to_owned(), index, embedding };
        Self {
            object: "list".to_owned(),
            data: (0..).zip(vectors).map(embedding).collect(),
            model,
            usage: EmbedUsage { prompt_tokens, total_tokens: prompt_tokens },
            nabla: EmbedExtra { model_id },
        }
    }

    /// Read an answer.
    ///
    /// # Errors
    /// [`ChatError`] for anything else than vectors of one width in their order.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChatError> {
        let what = "embed answer";
        let answer: Self = read_object(what, bytes, crate::api::INFER_BYTES_MAX)?;
        let width = answer.data.first().map_or(0, |first| first.embedding.len());
        let is_plain = |(index, one): (u32, &Embedding)| {
            one.object == "embedding" && one.index == index && one.embedding.len() == width
        };
        if answer.object != "list" || !(0..).zip(&answer.data).all(is_plain) {
            let reason = "expected a list of vectors of one width, in order".to_owned();
            return Err(ChatError::Malformed { what, reason });
        }
        Ok(answer)
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an answer is plain data")
    }

    /// The vectors as a receipt commits to them: `FP32`, a row for each text.
    ///
    /// # Panics
    /// Not for what was read, or is a model's: the limits of both are those of tensors.
    #[must_use]
    pub fn tensor(&self) -> Tensor {
        let width = self.data.first().map_or(0, |first| first.embedding.len());
        let numbers = self.data.iter().flat_map(|one| one.embedding.iter().copied()).collect();
        Tensor::f32(&[self.data.len() as u64, width as u64], numbers).expect("rows of one width")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(input: &str) -> Result<EmbedRequest, ChatError> {
        let nonce = Nonce([1; 32]);
        let bytes = format!(r#"{{"model":"a/b","nonce":"{nonce}","input":{input}}}"#);
        assert!(is_embed(bytes.as_bytes()));
        EmbedRequest::from_bytes(bytes.as_bytes())
    }

    #[test]
    fn requests_are_bounded() {
        let terms = LanguageTerms { context_length: 10, template_bytes: 0 };
        let read = request(r#"["abc", "a longer text"]"#).expect("a request");
        assert_eq!(read.tokens_in_max(&terms), 5 + 10);
        assert!(!format!("{read:?}").contains("longer"));
        for bad in ["[]", r#"[""]"#, r#""text""#, "[1]", &format!("[{}]", vec!["\"a\""; 65].join(","))] {
            assert!(request(bad).is_err(), "{bad:.40}");
        }
        assert!(!is_embed(br#"{"inputs":[]}"#));
    }

    #[test]
    fn an_answer_reads_back_bit_for_bit_and_in_order() {
        let vectors = vec![vec![0.1_f32, -0.0, 1e-45], vec![f32::MIN_POSITIVE, 0.333_333_34, 1.0]];
        let name: RepoName = "a/b".parse().expect("a name");
        let answer = EmbedResponse::new(name, ModelId([3; 32]), vectors, 7);
        let bytes = answer.to_bytes();
        let read = EmbedResponse::from_bytes(&bytes).expect("an answer");
        assert_eq!((read.to_bytes(), read.tensor().to_bytes()), (bytes.clone(), answer.tensor().to_bytes()));
        let text = String::from_utf8(bytes).expect("JSON");
        for (from, to) in [
            ("\"index\":1", "\"index\":0"),
            ("[0.1,", "["),
            ("\"list\"", "\"lists\""),
            ("\"object\":\"embedding\"", "\"object\":\"vector\""),
            ("\"usage\"", "\"x\":1,\"usage\""),
        ] {
            assert!(EmbedResponse::from_bytes(text.replacen(from, to, 1).as_bytes()).is_err(), "{from}");
        }
    }
}
