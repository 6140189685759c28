//! Why something was refused.

/// Why a vocabulary, a text, a template or a grammar was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// More of something than its limit.
    #[error("{what}: expected at most {max}, got {got}")]
    TooLarge {
        /// What is counted, with its unit.
        what: &'static str,
        /// The limit.
        max: usize,
        /// How many there are.
        got: usize,
    },
    /// Two lists of a vocabulary that belong together differ in length.
    #[error("{what}: expected one for each of {tokens} tokens, got {got}")]
    UnequalLists {
        /// The list.
        what: &'static str,
        /// How many tokens there are.
        tokens: usize,
        /// How long the list is.
        got: usize,
    },
    /// A token id that the vocabulary does not have.
    #[error("{what}: expected a token below {tokens}, got {got}")]
    UnknownToken {
        /// Where it was named.
        what: &'static str,
        /// How many tokens there are.
        tokens: usize,
        /// The id.
        got: u32,
    },
    /// A pre-tokeniser that we do not have.
    #[error("pre-tokeniser {got:?} is not supported; supported are {supported}")]
    UnknownPreTokenizer {
        /// As the file names it.
        got: String,
        /// Those that are.
        supported: &'static str,
    },
    /// A merge of the list does not say which two tokens it joins, or into which.
    #[error("merge {index}: expected two tokens and the token of both, got {got:?}")]
    BadMerge {
        /// Its place in the list.
        index: usize,
        /// What it says, cut short.
        got: String,
    },
    /// A token of the type "byte" that does not say which.
    #[error("token {token}: expected the form <0x00> of a byte, got {got:?}")]
    BadByteToken {
        /// The token.
        token: u32,
        /// What it says, cut short.
        got: String,
    },
    /// A score that is not a number.
    #[error("token {token}: expected a finite score")]
    BadScore {
        /// The token.
        token: u32,
    },
    /// A byte of the text can be written by no token, and there is no token for the unknown.
    #[error("byte {byte:#04x} at {at} has no token, and the vocabulary has no unknown token")]
    NoToken {
        /// The byte.
        byte: u8,
        /// Where it stands in its stretch of text.
        at: usize,
    },
    /// A `tokenizer.json` that is none.
    #[error("tokenizer.json: {reason}")]
    BadTokenizerJson {
        /// What was expected, and what was got.
        reason: String,
    },
    /// Something in a `tokenizer.json` that we do not have.
    #[error("tokenizer.json: {part} {got:?} is not supported; {hint}")]
    UnsupportedTokenizer {
        /// The part of the file.
        part: &'static str,
        /// What it says, cut short.
        got: String,
        /// What would be.
        hint: &'static str,
    },
    /// A template that does not parse, or says what templates here may not.
    #[error("chat template, line {line}: {reason}")]
    BadTemplate {
        /// From 1; 0 if it is of no line.
        line: usize,
        /// What was expected, and what was got.
        reason: String,
    },
    /// A template that ran and failed.
    #[error("chat template failed in line {line}: {reason}")]
    TemplateFailed {
        /// From 1; 0 if it is of no line.
        line: usize,
        /// What the renderer says.
        reason: String,
    },
    /// A template that refused these messages by `raise_exception`.
    #[error("the model's chat template refuses these messages: {message}")]
    TemplateRaised {
        /// The template's words, cut short.
        message: String,
    },
    /// A template that went on for too long, or made too much.
    #[error("chat template: more {what} than {max}; it is refused as a bomb")]
    TemplateBomb {
        /// What ran out.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A message with the character that marks what a template must not join.
    #[error("a message has the character U+FDD0, which no text has; leave it out")]
    MarkInMessage,
    /// A message with a character that steers this model, in any text.
    #[error("a message has the character {got:?}, which is a control token of this model; leave it out")]
    ControlCharacter {
        /// The character.
        got: String,
    },
    /// The model has no template.
    #[error("the model has no chat template; name one, such as \"chatml\", or send the prompt as text")]
    NoTemplate,
    /// No template of ours has this name.
    #[error("there is no built-in chat template {got:?}; there is \"chatml\"")]
    UnknownTemplate {
        /// The name.
        got: String,
    },
    /// A stop string that would stop before anything was said.
    #[error("stop string {index} is empty; leave it out")]
    EmptyStop {
        /// Its place in the list.
        index: usize,
    },
    /// A stop string with a character that text never has.
    #[error("stop string {index} has a replacement character (U+FFFD), which text never does")]
    InvalidStop {
        /// Its place in the list.
        index: usize,
    },
    /// A schema, expression or grammar that is none, or that nothing can satisfy.
    #[error("{kind} is refused: {reason}")]
    BadGrammar {
        /// Which of the three.
        kind: &'static str,
        /// Why, cut short.
        reason: String,
    },
    /// A grammar that takes more effort than there is.
    #[error("{kind} is too complex: {reason}; make it smaller")]
    GrammarTooComplex {
        /// Which of the three, or "the grammar" once it runs.
        kind: &'static str,
        /// What ran out.
        reason: String,
    },
    /// A token that the grammar does not allow here.
    #[error("token {token} is not allowed here by the grammar")]
    TokenNotAllowed {
        /// The token.
        token: u32,
    },
    /// Nothing may follow: the grammar is finished, or was ended by an error before.
    #[error("the grammar is finished; nothing may follow token {token}")]
    GrammarFinished {
        /// The token.
        token: u32,
    },
    /// A vocabulary without an end of text cannot say that a grammar is satisfied.
    #[error("the vocabulary names no end of sequence (eos), which a grammar needs")]
    NoEndToken,
}

/// Long words of strangers, cut for an error.
pub(crate) fn cut(text: &str) -> String {
    const CHARS_MAX: usize = 120;
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// `Ok` if `got` is within `max`.
pub(crate) fn at_most(what: &'static str, max: usize, got: usize) -> Result<(), Error> {
    if got > max { Err(Error::TooLarge { what, max, got }) } else { Ok(()) }
}
