//! What the gateway reads of a request to run a model: which model, and the shapes or the conversation.
//!
//! # Rules
//! - The request goes to the provider byte for byte; this reading only decides price and model. Anything
//!   that is no `InferRequest` is refused here.
//! - Elements are skipped, not built: a request of 16 MiB costs no more memory than its bytes. Whether
//!   they fit shape and datatype is the provider's to say.
//! - Number of inputs and dimensions are limited while they are read.

use std::{fmt, marker::PhantomData};

use nabla_types::{
    ModelId, RepoName,
    chat::{ChatRequest, is_chat},
    embed::{EmbedRequest, is_embed},
    payment::Nonce,
    tensor::{RANK_MAX, element_count},
};
use serde::{
    Deserialize, Deserializer,
    de::{self, IgnoredAny, SeqAccess, Visitor},
};

use crate::error::Error;

/// Most inputs of a call: what a receipt can commit to.
pub(crate) const INPUTS_MAX: usize = 64;

/// A request without its elements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallRequest {
    pub(crate) model: RepoName,
    pub(crate) model_id: Option<ModelId>,
    pub(crate) nonce: Nonce,
    pub(crate) asked: Asked,
}

/// What of the model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// A run on inputs of these shapes.
    Tensors(Vec<Vec<u64>>),
    /// The next turn of a conversation.
    Chat(Box<ChatRequest>),
    /// Vectors of texts.
    Vectors(Box<EmbedRequest>),
}

impl CallRequest {
    /// Read a request's bytes, whichever it is.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if is_chat(bytes) {
            Self::parse_chat(bytes)
        } else if is_embed(bytes) {
            Self::parse_embed(bytes)
        } else {
            Self::parse_tensors(bytes)
        }
    }

    /// Read an `EmbedRequest`.
    pub(crate) fn parse_embed(bytes: &[u8]) -> Result<Self, Error> {
        let embed = EmbedRequest::from_bytes(bytes).map_err(|error| Error::BadChat { error })?;
        let (model, model_id, nonce) = (embed.model.clone(), embed.model_id, embed.nonce);
        Ok(Self { model, model_id, nonce, asked: Asked::Vectors(Box::new(embed)) })
    }

    /// Read a `ChatRequest`.
    pub(crate) fn parse_chat(bytes: &[u8]) -> Result<Self, Error> {
        let chat = ChatRequest::from_bytes(bytes).map_err(|error| Error::BadChat { error })?;
        let (model, model_id, nonce) = (chat.model.clone(), chat.model_id, chat.nonce);
        Ok(Self { model, model_id, nonce, asked: Asked::Chat(Box::new(chat)) })
    }

    /// The conversation, if it is one.
    pub(crate) fn chat(&self) -> Option<&ChatRequest> {
        match &self.asked {
            Asked::Chat(chat) => Some(chat),
            Asked::Tensors(_) | Asked::Vectors(_) => None,
        }
    }

    /// Where it is asked.
    pub(crate) fn route(&self) -> &'static str {
        match self.asked {
            Asked::Tensors(_) => "infer",
            Asked::Chat(_) => "chat",
            Asked::Vectors(_) => "embed",
        }
    }

    /// Read an `InferRequest`.
    pub(crate) fn parse_tensors(bytes: &[u8]) -> Result<Self, Error> {
        let json: RequestJson = serde_json::from_slice(bytes)
            .map_err(|error| Error::BadRequest { reason: format!("the body is no request: {error}") })?;
        let shapes: Vec<Vec<u64>> = json.inputs.0.into_iter().map(|input| input.shape.0).collect();
        for shape in &shapes {
            element_count(shape).map_err(|error| Error::BadInput { reason: error.to_string() })?;
        }
        let asked = Asked::Tensors(shapes);
        Ok(Self { model: json.model, model_id: json.model_id, nonce: json.nonce, asked })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestJson {
    model: RepoName,
    #[serde(default)]
    model_id: Option<ModelId>,
    nonce: Nonce,
    inputs: Bounded<InputJson, INPUTS_MAX>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "the fields that are only skipped keep unknown ones out")]
struct InputJson {
    name: IgnoredAny,
    shape: Bounded<u64, RANK_MAX>,
    datatype: IgnoredAny,
    #[serde(default)]
    parameters: IgnoredAny,
    data: IgnoredAny,
}

/// A list of at most `MAX`, given up at the first one too many.
struct Bounded<T, const MAX: usize>(Vec<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for Bounded<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_seq(BoundedVisitor(PhantomData))
    }
}

struct BoundedVisitor<T, const MAX: usize>(PhantomData<T>);

impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for BoundedVisitor<T, MAX> {
    type Value = Bounded<T, MAX>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == MAX {
                return Err(de::Error::invalid_length(MAX + 1, &self));
            }
            items.push(item);
        }
        Ok(Bounded(items))
    }
}

#[cfg(test)]
mod tests {
    use nabla_types::{api::InferRequest, tensor::TensorJson};
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "0x0101010101010101010101010101010101010101010101010101010101010101";

    fn body(inputs: &str) -> String {
        format!(r#"{{"model":"a/b","nonce":"{NONCE}","inputs":{inputs}}}"#)
    }

    fn input(shape: &str) -> String {
        format!(r#"{{"name":"x","shape":{shape},"datatype":"FP32","data":[1,[2,"NaN"]]}}"#)
    }

    #[test]
    fn only_requests_are_read() {
        let check =
            |text: &str, expect: Result<usize, &str>| match (CallRequest::parse(text.as_bytes()), expect) {
                (Ok(CallRequest { asked: Asked::Tensors(shapes), .. }), Ok(count)) => {
                    assert_eq!(shapes.len(), count, "{text}");
                }
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
                (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
            };
        let list = |count: usize| format!("[{}]", vec![input("[2,3]"); count].join(","));
        check(&body(&list(1)), Ok(1));
        check(&body(&list(64)), Ok(64));
        check(&body(&list(65)), Err("a list of at most 64"));
        check(&body(&format!("[{}]", input("[1,1,1,1,1,1,1,1,1]"))), Err("a list of at most 8"));
        check(&body(&format!("[{}]", input("[4294967296]"))), Err("too large"));
        check(&body(&format!("[{}]", input("[-1]"))), Err("-1"));
        check(&body("[]").replace("a/b", "../b"), Err("no repository name"));
        check(&body("[]").replace("nonce", "once"), Err("unknown field"));
        check("", Err("EOF"));
        check("[]", Err("no request"));
        check(&(body("[]") + "{}"), Err("trailing"));
    }

    proptest! {
        /// What a provider would accept is read here, with the same meaning.
        #[test]
        fn agrees_with_the_full_reader(
            shapes in prop::collection::vec(prop::collection::vec(0_u64..9, 0..=8), 0..=64),
            pinned in any::<bool>(),
        ) {
            let tensor = |shape: &Vec<u64>| TensorJson {
                name: "x".to_owned(),
                shape: shape.clone(),
                datatype: "FP32".to_owned(),
                parameters: serde_json::Map::new(),
                data: serde_json::json!([1.5, "NaN"]),
            };
            let request = InferRequest {
                model: "alice/digits".parse().expect("a valid name"),
                model_id: pinned.then_some(ModelId([3; 32])),
                nonce: Nonce([1; 32]),
                inputs: shapes.iter().map(tensor).collect(),
            };
            let bytes = serde_json::to_vec(&request).expect("a request is JSON");
            let read = CallRequest::parse(&bytes).expect("a request is accepted");
            prop_assert_eq!(&read, &CallRequest {
                model: request.model, model_id: request.model_id, nonce: request.nonce,
                asked: Asked::Tensors(shapes),
            });
        }

        #[test]
        fn foreign_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = CallRequest::parse(&bytes);
        }
    }
}
