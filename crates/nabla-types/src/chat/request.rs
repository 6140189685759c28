//! What is asked of a language model.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

use super::{ChatError, Micros, member};
use crate::{id::ModelId, manifest::LanguageTerms, name::RepoName, payment::Nonce, receipt::Sampling};

/// Largest request, in bytes.
pub const CHAT_REQUEST_BYTES_MAX: usize = 4 << 20;
/// Most messages of a conversation.
pub const MESSAGES_MAX: usize = 4096;
/// Most texts that end an answer.
pub const STOPS_MAX: usize = 16;
/// Longest of them, in bytes.
pub const STOP_BYTES_MAX: usize = 256;
/// Most tokens whose logits are changed.
pub const BIASES_MAX: usize = 1024;
/// Most candidates that are told of each token.
pub const LOGPROBS_MAX: u8 = 20;
/// Most values (objects, lists, texts, numbers) of a schema.
pub const SCHEMA_NODES_MAX: usize = 10_000;
/// Tokens that are made where a request does not say how many.
pub const MAX_TOKENS_DEFAULT: u32 = 256;

/// `POST /nabla/v1/chat`: go on with a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// Which model, by its repository's name; the newest revision unless `model_id` says otherwise.
    pub model: RepoName,
    /// Exactly this model, or an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_id: Option<ModelId>,
    /// Drawn at random by the client; it comes back in the receipt.
    pub nonce: Nonce,
    /// The conversation so far, oldest first.
    #[serde(deserialize_with = "bounded::<_, _, MESSAGES_MAX>")]
    pub messages: Vec<ChatMessage>,
    /// Most tokens to make; [`MAX_TOKENS_DEFAULT`] if left out, never more than the model's context.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "max_completion_tokens")]
    pub max_tokens: Option<u32>,
    /// 0 (always the likeliest) to 2; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Micros>,
    /// Part of the probability that candidates reach, up to 1; 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Micros>,
    /// How many tokens are candidates; all if 0 or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Least probability of a candidate, of the likeliest's; 0 to 1, 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<Micros>,
    /// For each time that a token stands in the answer; -2 to 2, 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<Micros>,
    /// For tokens that stand in the answer; -2 to 2, 0 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<Micros>,
    /// For tokens that stand anywhere; 0.01 to 100, 1 if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<Micros>,
    /// Added to the logits of tokens, by their ids in decimal; -100 to 100.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "biases")]
    pub logit_bias: BTreeMap<u32, Micros>,
    /// Texts that end the answer, which does not hold them.
    #[serde(default, skip_serializing_if = "Stops::is_empty")]
    pub stop: Stops,
    /// What chance comes from; from the nonce if left out, see [`ChatRequest::seed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Whether the probability of each token is told.
    #[serde(default, skip_serializing_if = "is_false")]
    pub logprobs: bool,
    /// And of how many of its rivals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<u8>,
    /// The form that the answer must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// Whether the answer comes in server-sent events, as it is made.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stream: bool,
    /// OpenAI's options of a stream: taken, and without effect, since usage is always told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
}

/// One turn of a conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// The speaker's name, for templates that show one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// The form that an answer must have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResponseFormat {
    /// Which one.
    #[serde(rename = "type")]
    pub kind: FormatKind,
    /// For [`FormatKind::JsonSchema`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<JsonSchema>,
}

/// Forms of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatKind {
    /// Any text.
    Text,
    /// A JSON object.
    JsonObject,
    /// JSON that satisfies a schema.
    JsonSchema,
}

/// A schema, as OpenAI wraps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonSchema {
    /// Its name, without effect.
    pub name: String,
    /// Without effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The schema.
    pub schema: Schema,
    /// Without effect: an answer always satisfies the schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

/// OpenAI's options of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamOptions {
    /// Without effect: usage is always told.
    #[serde(default)]
    pub include_usage: bool,
}

/// A JSON schema of at most [`SCHEMA_NODES_MAX`] values.
#[derive(Debug, Clone, PartialEq)]
pub struct Schema(pub Value);

/// One text that ends an answer, or a list of them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Stops(pub Vec<String>);

impl fmt::Debug for ChatMessage {
    /// Its speaker and length: what is said is nobody else's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({} bytes)", self.role, self.content.len())
    }
}

impl fmt::Debug for Stops {
    /// Their number: they are part of what is asked.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stops({})", self.0.len())
    }
}

impl Stops {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// Whether these bytes are meant as a [`ChatRequest`]: an object with the member `messages`. Every other
/// request is one for tensors.
#[must_use]
pub fn is_chat(bytes: &[u8]) -> bool {
    has_member(bytes, "messages")
}

/// Whether these bytes are meant as a chat's whole answer: an object with the member `choices`.
#[must_use]
pub fn is_completion(bytes: &[u8]) -> bool {
    has_member(bytes, "choices")
}

/// Whether these bytes are an object that has this member once, and not null.
pub(crate) fn has_member(bytes: &[u8], name: &'static str) -> bool {
    struct Peek(&'static str);
    impl<'de> Visitor<'de> for Peek {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
            let mut found = 0;
            while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                if name == self.0 {
                    found += if map.next_value::<Option<IgnoredAny>>()?.is_some() { 1 } else { 2 };
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(found)
        }
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let found = json.deserialize_map(Peek(name)).ok().filter(|_| json.end().is_ok());
    is_object(bytes) && found == Some(1)
}

/// A document of at most so many bytes, as this type.
pub(crate) fn read_object<T: for<'de> Deserialize<'de>>(
    what: &'static str,
    bytes: &[u8],
    max: usize,
) -> Result<T, ChatError> {
    if bytes.len() > max {
        return Err(ChatError::TooLong { what, got: bytes.len(), max });
    }
    if !is_object(bytes) {
        return Err(ChatError::Malformed { what, reason: "expected an object".to_owned() });
    }
    serde_json::from_slice(bytes).map_err(|error| ChatError::Malformed { what, reason: error.to_string() })
}

/// serde would read a list of values as an object without names, too.
fn is_object(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"{")
}

impl ChatRequest {
    /// A plain request; every setting is left out.
    #[must_use]
    pub fn new(model: RepoName, nonce: Nonce, messages: Vec<ChatMessage>) -> Self {
        Self {
            model,
            model_id: None,
            nonce,
            messages,
            max_tokens: None,
            temperature: None,
            top_p: None,
            top_k: None,
            min_p: None,
            frequency_penalty: None,
            presence_penalty: None,
            repetition_penalty: None,
            logit_bias: BTreeMap::new(),
            stop: Stops::default(),
            seed: None,
            logprobs: false,
            top_logprobs: None,
            response_format: None,
            stream: false,
            stream_options: None,
        }
    }

    /// Read a request, and check every member.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ChatError> {
        let request: Self = read_object("chat request", bytes, CHAT_REQUEST_BYTES_MAX)?;
        request.check()?;
        Ok(request)
    }

    /// Check every member.
    ///
    /// # Errors
    /// [`ChatError::Member`].
    pub fn check(&self) -> Result<(), ChatError> {
        if self.messages.is_empty() {
            return Err(member("messages", "at least one", "none"));
        }
        if self.max_tokens == Some(0) {
            return Err(member("max_tokens", "at least 1", 0));
        }
        self.check_numbers()?;
        self.check_form()
    }

    fn check_numbers(&self) -> Result<(), ChatError> {
        let bounds = [
            ("temperature", self.temperature, 0, 2_000_000),
            ("top_p", self.top_p, 1, 1_000_000),
            ("min_p", self.min_p, 0, 1_000_000),
            ("frequency_penalty", self.frequency_penalty, -2_000_000, 2_000_000),
            ("presence_penalty", self.presence_penalty, -2_000_000, 2_000_000),
            ("repetition_penalty", self.repetition_penalty, 10_000, 100_000_000),
        ];
        let biases =
            self.logit_bias.values().map(|bias| ("logit_bias", Some(*bias), -100_000_000, 100_000_000));
        for (name, value, least, most) in bounds.into_iter().chain(biases) {
            if let Some(value) = value.filter(|value| value.0 < least || value.0 > most) {
                return Err(member(name, format!("{} to {}", Micros(least), Micros(most)), value));
            }
        }
        Ok(())
    }

    fn check_form(&self) -> Result<(), ChatError> {
        let stops = &self.stop.0;
        if stops.len() > STOPS_MAX {
            return Err(member("stop", format!("at most {STOPS_MAX} texts"), stops.len()));
        }
        if let Some(stop) = stops.iter().find(|stop| stop.is_empty() || stop.len() > STOP_BYTES_MAX) {
            return Err(member("stop", format!("texts of 1 to {STOP_BYTES_MAX} bytes"), stop.len()));
        }
        match self.top_logprobs {
            Some(_) if !self.logprobs => {
                return Err(member("top_logprobs", "logprobs: true beside it", "none"));
            }
            Some(top) if top > LOGPROBS_MAX => {
                return Err(member("top_logprobs", format!("at most {LOGPROBS_MAX}"), top));
            }
            _ => {}
        }
        if self.stream_options.is_some() && !self.stream {
            return Err(member("stream_options", "stream: true beside it", "none"));
        }
        match &self.response_format {
            Some(ResponseFormat { kind: FormatKind::JsonSchema, json_schema: None }) => {
                Err(member("response_format", "json_schema: {\"name\", \"schema\"}", "none"))
            }
            Some(ResponseFormat {
                kind: FormatKind::Text | FormatKind::JsonObject,
                json_schema: Some(_),
            }) => Err(member("response_format", "a schema only with type json_schema", "one")),
            _ => Ok(()),
        }
    }

    /// What chance comes from: `seed`, or else the first eight bytes, little endian, of
    /// `SHA-256("nabla seed 1\0" || nonce)`. So two calls differ, and a replay does not.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| {
            let hash: [u8; 32] =
                Sha256::new().chain_update(b"nabla seed 1\0").chain_update(self.nonce.0).finalize().into();
            let mut first = [0; 8];
            first.copy_from_slice(&hash[..8]);
            u64::from_le_bytes(first)
        })
    }

    /// Most tokens that this request makes with a model of these terms.
    #[must_use]
    pub fn tokens_out_max(&self, terms: &LanguageTerms) -> u32 {
        self.max_tokens.unwrap_or(MAX_TOKENS_DEFAULT).min(terms.context_length)
    }

    /// Most tokens that its prompt may have: a token for each byte of names and contents, what the template
    /// puts round each message and the answer, and never more than the context. A prompt that renders to more
    /// is refused by whoever renders it, so the price asked for before is an upper bound.
    #[must_use]
    pub fn tokens_in_max(&self, terms: &LanguageTerms) -> u32 {
        let said =
            |message: &ChatMessage| message.content.len() + message.name.as_ref().map_or(0, String::len);
        let said: usize = self.messages.iter().map(said).sum();
        let round = u64::from(terms.template_bytes).saturating_mul(self.messages.len() as u64 + 1);
        let all = round.saturating_add(said as u64).min(u64::from(terms.context_length));
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// How tokens are chosen, as a receipt states it.
    #[must_use]
    pub fn sampling(&self, terms: &LanguageTerms) -> Sampling {
        let or = |value: Option<Micros>, default: Micros| value.unwrap_or(default);
        Sampling {
            seed: self.seed(),
            temperature_micros: or(self.temperature, Micros::ONE).unsigned(),
            top_p_micros: or(self.top_p, Micros::ONE).unsigned(),
            top_k: self.top_k.unwrap_or(0),
            min_p_micros: or(self.min_p, Micros::ZERO).unsigned(),
            frequency_penalty_micros: or(self.frequency_penalty, Micros::ZERO).0,
            presence_penalty_micros: or(self.presence_penalty, Micros::ZERO).0,
            repetition_penalty_micros: or(self.repetition_penalty, Micros::ONE).unsigned(),
            max_tokens: self.tokens_out_max(terms),
        }
    }
}

/// A list of at most `MAX`, given up at the first one too many.
pub(crate) fn bounded<'de, D: Deserializer<'de>, T: Deserialize<'de>, const MAX: usize>(
    d: D,
) -> Result<Vec<T>, D::Error> {
    struct Bounded<T, const MAX: usize>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a list of at most {MAX}")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                if items.len() == MAX {
                    return Err(de::Error::invalid_length(MAX + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    d.deserialize_seq(Bounded::<T, MAX>(PhantomData))
}

/// Biases by token ids, which JSON has as texts. None twice.
fn biases<'de, D: Deserializer<'de>>(d: D) -> Result<BTreeMap<u32, Micros>, D::Error> {
    struct Biases;
    impl<'de> Visitor<'de> for Biases {
        type Value = BTreeMap<u32, Micros>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "an object of at most {BIASES_MAX} token ids and numbers")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut biases = BTreeMap::new();
            while let Some((token, bias)) = map.next_entry::<String, Micros>()? {
                let token =
                    token.parse().map_err(|_| de::Error::custom("logit_bias: expected a token's number"))?;
                if biases.len() == BIASES_MAX {
                    return Err(de::Error::invalid_length(BIASES_MAX + 1, &self));
                }
                if biases.insert(token, bias).is_some() {
                    return Err(de::Error::custom(format!(
                        "logit_bias: expected token {token} once, got it twice"
                    )));
                }
            }
            Ok(biases)
        }
    }
    d.deserialize_map(Biases)
}

impl Serialize for Stops {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Stops {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a text, or a list of at most {STOPS_MAX}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(vec![text.to_owned()])
            }

            fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
                Ok(Vec::new())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
                bounded::<_, _, STOPS_MAX>(de::value::SeqAccessDeserializer::new(list))
            }
        }
        d.deserialize_any(OneOrMore).map(Self)
    }
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let mut nodes_left = SCHEMA_NODES_MAX;
        Node(&mut nodes_left).deserialize(d).map(Self)
    }
}

/// Any JSON, as long as there are nodes left.
struct Node<'n>(&'n mut usize);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Value, D::Error> {
        let Some(left) = self.0.checked_sub(1) else {
            return Err(de::Error::custom(format!("expected a schema of at most {SCHEMA_NODES_MAX} values")));
        };
        *self.0 = left;
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(Node(&mut *self.0))? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value_seed(Node(&mut *self.0))?;
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}
