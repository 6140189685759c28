//! Breaking text that is written like a control token, before a template puts it among real ones.
//!
//! # Rules
//! - [`Guard::text`] puts a mark into each such text, before its last character, so that no control token is found
//!   in the result. User-defined tokens, which any text may become, are left alone.
//! - A text that ends like the beginning of a control token has a mark there as well: what a template puts behind
//!   it cannot complete the token.
//! - Marks are removed from what was rendered before it is encoded: the model reads the caller's text, byte for
//!   byte.
//!
//! # When things go wrong
//! A text that has the mark already is refused, and so is one with a character that is a control token by itself:
//! nothing could break it.
//!
//! # What is deliberately absent
//! Protection from a template that writes the text of a message anew (in lower case, with parts taken out): what
//! it makes then is its own.

use std::{collections::BTreeSet, ops::Bound};

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input, MatchKind};
use serde_json::Value;

use super::parts::TokenType;
use crate::error::{Error, cut};

/// A character that Unicode keeps out of texts for ever.
pub(super) const MARK: char = '\u{fdd0}';

/// Fields whose values templates compare with their own: they are broken, but have no mark at their end.
const COMPARED: [&str; 2] = ["role", "type"];

pub(super) struct Guard {
    automaton: Option<AhoCorasick>,
    names: BTreeSet<Box<str>>,
    longest: usize,
}

impl Guard {
    /// `tokens` are few enough: [`super::special::Specials`] has been made of them.
    pub(super) fn new(tokens: &[Vec<u8>], types: &[TokenType]) -> Self {
        let is_found = |kind: &TokenType| matches!(kind, TokenType::Control | TokenType::Unknown);
        let found = tokens.iter().zip(types).filter(|(_, kind)| is_found(kind));
        // What is no UTF-8 is found in no text.
        let names = found.filter_map(|(token, _)| std::str::from_utf8(token).ok());
        let names: BTreeSet<Box<str>> =
            names.filter(|name| !name.is_empty() && !name.contains(MARK)).map(Box::from).collect();
        let automaton = (!names.is_empty()).then(|| {
            AhoCorasick::builder()
                // The match that ends first, so that one mark breaks all that overlap there.
                .match_kind(MatchKind::Standard)
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(names.iter().map(|name| name.as_bytes()))
                .expect("SPECIAL_BYTES_MAX states are few enough")
        });
        let longest = names.iter().map(|name| name.len()).max().unwrap_or(0);
        Self { automaton, names, longest }
    }

    /// All texts of a value, `field` being its name.
    pub(super) fn json(&self, field: &str, value: &Value) -> Result<Value, Error> {
        Ok(match value {
            Value::String(text) => Value::String(self.text(text, !COMPARED.contains(&field))?),
            Value::Array(items) => {
                Value::Array(items.iter().map(|item| self.json(field, item)).collect::<Result<_, _>>()?)
            }
            Value::Object(fields) => {
                let guarded =
                    fields.iter().map(|(name, value)| Ok((self.text(name, false)?, self.json(name, value)?)));
                Value::Object(guarded.collect::<Result<_, Error>>()?)
            }
            other => other.clone(),
        })
    }

    fn text(&self, text: &str, with_end: bool) -> Result<String, Error> {
        if text.contains(MARK) {
            return Err(Error::MarkInMessage);
        }
        let mut guarded = String::with_capacity(text.len());
        let mut at = 0;
        while let Some((start, end)) = self.find(text, at) {
            let last = text[..end].char_indices().next_back().map_or(0, |(last, _)| last);
            if last == start {
                return Err(Error::ControlCharacter { got: cut(&text[start..end]) });
            }
            guarded.extend([&text[at..last], MARK.encode_utf8(&mut [0; 4])]);
            at = last;
        }
        let rest = &text[at..];
        // A template may strip the white space behind a text.
        let stripped = rest.trim_end();
        guarded.push_str(stripped);
        if with_end && self.begins(stripped) {
            guarded.push(MARK);
        }
        guarded.push_str(&rest[stripped.len()..]);
        Ok(guarded)
    }

    /// Start and end of the token that ends first, from `at` on.
    fn find(&self, text: &str, at: usize) -> Option<(usize, usize)> {
        let found = self.automaton.as_ref()?.find(Input::new(text).range(at..))?;
        Some((found.start(), found.end()))
    }

    /// The text ends like a token begins.
    fn begins(&self, text: &str) -> bool {
        let first = text.len().saturating_sub(self.longest);
        let starts = (first..text.len()).filter(|start| text.is_char_boundary(*start));
        starts.map(|start| &text[start..]).any(|end| {
            let from = (Bound::Included(end), Bound::Unbounded);
            let after = self.names.range::<str, _>(from).next();
            after.is_some_and(|name| name.starts_with(end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(names: &[&str]) -> Guard {
        let tokens: Vec<Vec<u8>> = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        Guard::new(&tokens, &vec![TokenType::Control; tokens.len()])
    }

    #[track_caller]
    fn check(names: &[&str], text: &str, expect: &str) {
        let guarded = guard(names).text(text, true).map(|text| text.replace(MARK, "*"));
        assert_eq!(guarded.as_deref(), Ok(expect));
    }

    #[test]
    fn each_token_is_broken_and_so_are_those_within_it() {
        check(&["<s>", "</s>"], "a<s></s>b", "a<s*></s*>b");
        check(&["<a><b>", "<b>", "b><"], "<a><b><b>", "<a><b*><b*>");
        check(&["aa", "aaa"], "aaaa", "a*a*a*a*");
        check(&["<é>é"], "<é>é<é", "<é>*é<é*");
        check(&[], "<s>", "<s>");
        check(&["<s>"], "", "");
    }

    #[test]
    fn an_end_that_begins_a_token_is_marked_before_white_space() {
        check(&["<|end|>"], "a <|en", "a <|en*");
        check(&["<|end|>"], "a <  \n", "a <*  \n");
        check(&["<|end|>"], "a > <b", "a > <b");
        let guarded = guard(&["user>"]).json("role", &"u".into());
        assert_eq!(guarded, Ok("u".into()));
    }

    #[test]
    fn what_cannot_be_broken_is_refused_by_name() {
        assert_eq!(guard(&["<s>"]).text("a\u{fdd0}", true), Err(Error::MarkInMessage));
        let error = guard(&["<s>", ">"]).text("a>", true).expect_err("a character");
        assert_eq!(error, Error::ControlCharacter { got: ">".to_owned() });
    }

    #[test]
    fn texts_anywhere_in_a_value_are_guarded() {
        let value = serde_json::json!({"a": ["<s>", {"<s>": 1}], "type": "x<s>"});
        let expect = serde_json::json!({"a": ["<s*>", {"<s*>": 1}], "type": "x<s*>"});
        let guarded = guard(&["<s>"]).json("content", &value).expect("no marks");
        assert_eq!(guarded.to_string().replace(MARK, "*"), expect.to_string());
    }
}
