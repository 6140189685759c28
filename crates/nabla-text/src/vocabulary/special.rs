//! Finding the tokens that are looked for as they stand, before anything else is done with a text.
//!
//! # Rules
//! - At each place the longest one counts; the leftmost place first. One pass over the text, however many
//!   tokens there are and however they are nested.
//! - User-defined tokens are found in every text, control and unknown ones only if asked.

use std::collections::BTreeMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::{
    Special,
    parts::{SPECIAL_BYTES_MAX, Strip, TokenType},
};
use crate::error::{Error, at_most};

/// A special token in a text, with the white space that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) token: u32,
    pub(super) start: usize,
    pub(super) end: usize,
}

pub(super) struct Specials {
    user_defined: Finder,
    all: Finder,
    strips: BTreeMap<u32, Strip>,
}

impl Specials {
    pub(super) fn new(
        tokens: &[Vec<u8>],
        types: &[TokenType],
        strips: Vec<(u32, Strip)>,
    ) -> Result<Self, Error> {
        let of = |wanted: &[TokenType]| {
            let ids = (0..).zip(tokens).zip(types);
            let ids = ids.filter(|((_, token), kind)| wanted.contains(kind) && !token.is_empty());
            Finder::new(ids.map(|((id, token), _)| (id, token.as_slice())).collect())
        };
        let user_defined = of(&[TokenType::UserDefined])?;
        let all = of(&[TokenType::UserDefined, TokenType::Control, TokenType::Unknown])?;
        Ok(Self { user_defined, all, strips: strips.into_iter().collect() })
    }

    pub(super) fn find<'a>(&'a self, text: &'a str, special: Special) -> impl Iterator<Item = Found> + 'a {
        let finder = match special {
            Special::Parse => &self.all,
            Special::AsText => &self.user_defined,
        };
        let mut taken = 0;
        finder.find(text).filter_map(move |found| {
            // The white space after the one before took this one whole.
            let found = (found.end > taken).then(|| self.stripped(text, found))?;
            taken = found.end;
            Some(found)
        })
    }

    fn stripped(&self, text: &str, found: Found) -> Found {
        let strip = self.strips.get(&found.token).copied().unwrap_or_default();
        let start = if strip.left { text[..found.start].trim_end().len() } else { found.start };
        let after = &text[found.end..];
        let end = if strip.right { text.len() - after.trim_start().len() } else { found.end };
        Found { start, end, ..found }
    }
}

struct Finder {
    automaton: Option<AhoCorasick>,
    tokens: Vec<u32>,
}

impl Finder {
    fn new(tokens: Vec<(u32, &[u8])>) -> Result<Self, Error> {
        let bytes = tokens.iter().map(|(_, name)| name.len()).sum();
        at_most("bytes of special tokens", SPECIAL_BYTES_MAX, bytes)?;
        let automaton = (!tokens.is_empty()).then(|| {
            AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                // A full table of transitions would be a hundred times larger.
                .kind(Some(AhoCorasickKind::ContiguousNFA))
                .build(tokens.iter().map(|(_, name)| name))
                .expect("SPECIAL_BYTES_MAX states are few enough")
        });
        Ok(Self { automaton, tokens: tokens.into_iter().map(|(id, _)| id).collect() })
    }

    fn find<'a>(&'a self, text: &'a str) -> impl Iterator<Item = Found> + 'a {
        self.automaton.iter().flat_map(move |automaton| {
            automaton.find_iter(text).filter_map(|found| {
                // A token that is no UTF-8 may match within a character.
                let whole = text.is_char_boundary(found.start()) && text.is_char_boundary(found.end());
                let token = self.tokens[found.pattern().as_usize()];
                whole.then(|| Found { token, start: found.start(), end: found.end() })
            })
        })
    }
}
