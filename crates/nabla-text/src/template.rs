//! Chat templates: messages to a prompt, by the model's own Jinja template.
//!
//! # Rules
//! - A template is a stranger's program. It runs with limits on its bytes, its instructions, the bytes that
//!   it makes, reads and compares, its nesting and its recursion, and reaches nothing but what is in
//!   [`Render`].
//! - [`ChatTemplate::prompt`] makes tokens of it: control tokens are the template's own, never those that a
//!   caller wrote into a message.
//! - The prompt is a function of the template and of [`Render`]: the time is handed in.
//! - Whitespace is treated as `transformers` does (`trim_blocks`, `lstrip_blocks`), and `tojson` writes what
//!   Python's `json.dumps` writes, because models are trained on those prompts.
//!
//! # When things go wrong
//! A template that does not parse is refused when it is made. One that fails while it runs gives an error
//! with its line; one that goes on for too long is called a bomb; one that calls `raise_exception` refuses
//! the messages in its own words. A model without a template gives [`Error::NoTemplate`]: there is no guess,
//! since a wrong template makes a good model talk nonsense; a caller may name [`ChatTemplate::chat_ml`].
//!
//! # What is deliberately absent
//! Including other templates, blocks, and formatting by patterns (`format`, `%`).
//!
//! # Example
//! ```
//! use nabla_text::{ChatTemplate, Message, Render};
//!
//! let template = ChatTemplate::new("{% for m in messages %}[{{ m.role }}] {{ m.content.strip() }}\n{% endfor %}")?;
//! let messages = [Message::new("system", "Be brief. "), Message::new("user", "Hi")];
//! assert_eq!(template.render(&Render::of(&messages))?, "[system] Be brief.\n[user] Hi\n");
//! # Ok::<(), nabla_text::Error>(())
//! ```

mod date;
mod json;
mod sandbox;
mod syntax;

use std::sync::Arc;

use minijinja::{
    AutoEscape, Environment, ErrorKind, Value,
    machinery::{CodeGenerator, eval, make_string_output},
    syntax::SyntaxConfig,
    value::Serde,
};
use serde_json::{Map, Value as Json};

use self::sandbox::Budget;
use crate::{
    Vocabulary,
    error::{Error, at_most, cut},
};

/// Most bytes of a template.
pub const TEMPLATE_BYTES_MAX: usize = 128 << 10;
/// Most bytes of a prompt.
pub const PROMPT_BYTES_MAX: usize = crate::vocabulary::parts::TEXT_BYTES_MAX;
/// Most messages.
pub const MESSAGES_MAX: usize = 4_096;
/// Most instructions of one rendering.
pub const INSTRUCTIONS_MAX: u64 = 2_000_000;
/// Most bytes that one rendering makes, reads and compares; a value counts 64 more.
pub const WORK_BYTES_MAX: u64 = 128 << 20;

const CHAT_ML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' \
    + message['content'] + '<|im_end|>\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// One message of a conversation, with the fields that templates know.
#[derive(Debug, Clone, PartialEq)]
pub struct Message(Map<String, Json>);

impl Message {
    /// `role` says `content`.
    #[must_use]
    pub fn new(role: &str, content: &str) -> Self {
        Self(Map::new()).with("role", role.into()).with("content", content.into())
    }

    /// With another field, such as `tool_calls`, `tool_call_id` or `name`.
    #[must_use]
    pub fn with(mut self, field: &str, value: Json) -> Self {
        self.0.insert(field.to_owned(), value);
        self
    }
}

/// What a template is rendered with, and all that it sees.
#[derive(Debug, Clone, Copy)]
pub struct Render<'a> {
    /// The conversation.
    pub messages: &'a [Message],
    /// Tools that the model may call, as JSON schemas.
    pub tools: &'a [Json],
    /// End with the beginning of the model's turn.
    pub add_generation_prompt: bool,
    /// The text of the token that begins a text.
    pub bos_token: &'a str,
    /// The text of the token that ends a text.
    pub eos_token: &'a str,
    /// The time that `strftime_now` shows, in seconds since 1970, UTC. Without one the function is unknown,
    /// and most templates leave the date out.
    pub now_s: Option<i64>,
    /// Further variables that the template may know, such as `enable_thinking`.
    pub variables: &'a [(&'a str, Json)],
}

impl<'a> Render<'a> {
    /// These messages and nothing else, without a generation prompt.
    #[must_use]
    pub const fn of(messages: &'a [Message]) -> Self {
        Self {
            messages,
            tools: &[],
            add_generation_prompt: false,
            bos_token: "",
            eos_token: "",
            now_s: None,
            variables: &[],
        }
    }
}

/// A checked chat template. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: Arc<str>,
}

impl ChatTemplate {
    /// Check this template.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::BadTemplate`].
    pub fn new(source: &str) -> Result<Self, Error> {
        at_most("bytes of the chat template", TEMPLATE_BYTES_MAX, source.len())?;
        syntax::guarded(source, &whitespace())?;
        Ok(Self { source: source.into() })
    }

    /// The template of a model that may have none.
    ///
    /// # Errors
    /// [`Error::NoTemplate`], and those of [`new`](Self::new).
    pub fn of_model(source: Option<&str>) -> Result<Self, Error> {
        Self::new(source.ok_or(Error::NoTemplate)?)
    }

    /// A template that is built in: `chatml`.
    ///
    /// # Errors
    /// [`Error::UnknownTemplate`].
    pub fn named(name: &str) -> Result<Self, Error> {
        match name {
            "chatml" => Ok(Self::chat_ml()),
            _ => Err(Error::UnknownTemplate { got: cut(name) }),
        }
    }

    /// ChatML: what most models without a template of their own were trained on.
    #[must_use]
    pub fn chat_ml() -> Self {
        Self { source: CHAT_ML.into() }
    }

    /// The template itself.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt of these messages.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::TemplateFailed`], [`Error::TemplateRaised`], [`Error::TemplateBomb`].
    pub fn render(&self, render: &Render<'_>) -> Result<String, Error> {
        at_most("messages", MESSAGES_MAX, render.messages.len())?;
        let budget = Budget::new(WORK_BYTES_MAX);
        let mut environment = sandbox::environment(&budget, INSTRUCTIONS_MAX);
        if let Some(now_s) = render.now_s {
            add_time(&mut environment, now_s);
        }
        let text = self.run(&environment, render).map_err(|error| failure(&error, &budget))?;
        at_most("bytes of the prompt", PROMPT_BYTES_MAX, text.len())?;
        Ok(text)
    }

    /// The tokens of the prompt of these messages. What messages, tools and variables say never becomes a control
    /// token, whatever it is written like, and reaches the model byte for byte.
    ///
    /// # Errors
    /// As [`render`](Self::render) and [`Vocabulary::encode`]; [`Error::MarkInMessage`],
    /// [`Error::ControlCharacter`].
    pub fn prompt(&self, vocabulary: &Vocabulary, render: &Render<'_>) -> Result<Vec<u32>, Error> {
        let guarded =
            |(field, value): (&String, &Json)| Ok((field.clone(), vocabulary.guarded(field, value)?));
        let message = |message: &Message| message.0.iter().map(guarded).collect::<Result<_, Error>>();
        let messages = render.messages.iter().map(|one| message(one).map(Message));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let tools = render.tools.iter().map(|tool| vocabulary.guarded("tools", tool));
        let tools = tools.collect::<Result<Vec<_>, _>>()?;
        let variables =
            render.variables.iter().map(|(name, value)| Ok((*name, vocabulary.guarded(name, value)?)));
        let variables = variables.collect::<Result<Vec<_>, Error>>()?;
        let render = Render { messages: &messages, tools: &tools, variables: &variables, ..*render };
        vocabulary.encode_rendered(&self.render(&render)?)
    }

    fn run(&self, environment: &Environment<'_>, render: &Render<'_>) -> Result<String, minijinja::Error> {
        let tree = syntax::guarded(&self.source, &whitespace()).expect("was checked when it was made");
        let mut generator = CodeGenerator::new("chat template", &self.source);
        generator.compile_stmt(&tree);
        let (instructions, blocks) = generator.finish();
        let mut text = String::new();
        let mut output = make_string_output(&mut text);
        eval(environment, &instructions, context(render), &blocks, &mut output, AutoEscape::None)?;
        drop(output);
        Ok(text)
    }
}

/// What `transformers` sets.
fn whitespace() -> SyntaxConfig {
    let mut builder = SyntaxConfig::builder();
    builder.trim_blocks(true).lstrip_blocks(true).build().expect("the delimiters are the usual ones")
}

fn context(render: &Render<'_>) -> Value {
    let messages: Vec<Value> = render.messages.iter().map(|message| Value::from(Serde(&message.0))).collect();
    let mut pairs = vec![
        ("messages", Value::from(messages)),
        ("add_generation_prompt", Value::from(render.add_generation_prompt)),
        ("bos_token", Value::from(render.bos_token)),
        ("eos_token", Value::from(render.eos_token)),
        // Templates ask for `tools is none`, and for `tools` as a condition.
        ("tools", if render.tools.is_empty() { Value::from(()) } else { Value::from(Serde(render.tools)) }),
    ];
    pairs.extend(render.variables.iter().map(|(name, json)| (*name, Value::from(Serde(json)))));
    Value::from_pairs(pairs)
}

fn add_time(environment: &mut Environment<'_>, now_s: i64) {
    environment.add_function("strftime_now", move |pattern: String| {
        let known = date::format(now_s, &pattern);
        known.map_err(|letter| {
            minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("strftime_now does not know %{letter}"),
            )
        })
    });
}

fn bad(error: &minijinja::Error) -> Error {
    Error::BadTemplate { line: error.line().unwrap_or(0), reason: reason(error) }
}

fn reason(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => cut(&format!("{}: {detail}", error.kind())),
        None => error.kind().to_string(),
    }
}

fn failure(error: &minijinja::Error, budget: &Budget) -> Error {
    if budget.is_spent() {
        return Error::TemplateBomb { what: "bytes of work", max: WORK_BYTES_MAX };
    }
    if error.kind() == ErrorKind::OutOfFuel {
        return Error::TemplateBomb { what: "instructions", max: INSTRUCTIONS_MAX };
    }
    if budget.has_raised() {
        return Error::TemplateRaised { message: cut(error.detail().unwrap_or_default()) };
    }
    Error::TemplateFailed { line: error.line().unwrap_or(0), reason: reason(error) }
}

#[cfg(test)]
mod tests;
