//! RegexFullMatch: whether the whole of a text matches a pattern in RE2's language.
//!
//! The pattern is read as RE2 reads it and written for the crate `regex`, whose language is almost the same:
//! `\d \w \s \b` are ASCII, a class has no inner sets but the named ones, a brace that is no repetition is a
//! brace. Both match in time linear in the text.
//!
//! # Rules
//! - What only one of the languages has, or what they read differently and cannot be rewritten, is refused.
//! - The compiled pattern is bounded in size; the texts are bounded anyway.

use std::iter::Peekable;
use std::str::Chars;

use nabla_types::tensor::{Dtype, TensorData};
use regex::{Regex, RegexBuilder};

use super::texts;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::{Call, FnKernel, Prepared, Scope};

/// Most bytes of a compiled pattern.
pub(super) const COMPILED_BYTES_MAX: usize = 1 << 18;
/// Deepest nesting of groups.
pub(super) const NESTING_MAX: u32 = 32;
/// Greatest number of repetitions, as in RE2.
const REPEAT_MAX: u32 = 1000;
/// Steps of a match in a text of full length, at most, about.
const MATCH_MACS: u64 = 1 << 20;

pub(super) fn regex_full_match(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(1, 1, 1)?;
    let x = texts(scope, 0)?;
    let regex = compile(scope.attributes.text_or("pattern", "")?)?;
    let output = scope.value(Dtype::Bool, x.shape.clone())?;
    let kernel = FnKernel(move |call: &Call<'_>| {
        let matches = call.slice::<String>(0)?.iter().map(|text| regex.is_match(text));
        Ok(vec![TensorData::Bool(matches.collect())])
    });
    Ok(Prepared::one(output, kernel).macs(x.count().saturating_mul(MATCH_MACS)))
}

/// Names of ASCII classes.
const NAMED_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A pattern that must match from end to end.
pub(super) fn compile(pattern: &str) -> Result<Regex, Fault> {
    let refused = |problem: &str| fault("pattern", "RE2's language", &format!("{problem}: {pattern}"));
    let written = translate(pattern).map_err(refused)?;
    RegexBuilder::new(&format!(r"\A(?:{written})\z"))
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .nest_limit(NESTING_MAX)
        .build()
        .map_err(|error| refused(error.to_string().lines().last().unwrap_or_default()))
}

/// RE2's pattern in the language of the crate `regex`; or what of it is refused.
pub(super) fn translate(pattern: &str) -> Result<String, &'static str> {
    let mut reader = Reader { rest: pattern.chars().peekable(), written: String::new(), depth: 0 };
    reader.read()?;
    Ok(reader.written)
}

/// Reads one language and writes the other.
struct Reader<'p> {
    rest: Peekable<Chars<'p>>,
    written: String,
    depth: u32,
}

/// What a piece of a pattern was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// May be repeated.
    Item,
    /// A repetition; another may not follow.
    Repeat,
}

impl Reader<'_> {
    fn read(&mut self) -> Result<(), &'static str> {
        let mut last = Piece::Item;
        while let Some(c) = self.rest.next() {
            let piece = self.piece(c)?;
            if piece == Piece::Repeat {
                if last == Piece::Repeat {
                    return Err("a repetition of a repetition");
                }
                if self.rest.next_if_eq(&'?').is_some() {
                    self.written.push('?');
                }
            }
            last = piece;
        }
        if self.depth == 0 { Ok(()) } else { Err("a group that does not end") }
    }

    fn piece(&mut self, c: char) -> Result<Piece, &'static str> {
        match c {
            '*' | '+' | '?' => {
                self.written.push(c);
                return Ok(Piece::Repeat);
            }
            '{' => return self.brace(),
            '(' => self.open_group()?,
            ')' => {
                self.depth = self.depth.checked_sub(1).ok_or("a group that does not begin")?;
                self.written.push(')');
            }
            '[' => self.class()?,
            '\\' => self.escape()?,
            '.' | '^' | '$' | '|' => self.written.push(c),
            _ => self.literal(c),
        }
        Ok(Piece::Item)
    }

    /// A letter that means itself.
    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
            self.written.push('\\');
        }
        self.written.push(c);
    }

    /// `{n}`, `{n,}`, `{n,m}`; anything else is a brace.
    fn brace(&mut self) -> Result<Piece, &'static str> {
        let inside: String = self.rest.clone().take_while(|c| *c != '}').take(16).collect();
        let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
        let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit());
        let closed = self.rest.clone().nth(inside.len()) == Some('}');
        if !closed || least.is_empty() || !number(least) || !number(most) {
            self.literal('{');
            return Ok(Piece::Item);
        }
        for bound in [least, most] {
            if !bound.is_empty() && bound.parse::<u32>().ok().is_none_or(|bound| bound > REPEAT_MAX) {
                return Err("a repetition above 1000");
            }
        }
        self.written.extend(['{'].into_iter().chain(inside.chars()).chain(['}']));
        self.rest.nth(inside.len());
        Ok(Piece::Repeat)
    }

    /// A group: plain, named, or with flags that both languages have.
    fn open_group(&mut self) -> Result<(), &'static str> {
        self.depth += 1;
        self.written.push('(');
        if self.rest.next_if_eq(&'?').is_none() {
            return Ok(());
        }
        self.written.push('?');
        if matches!(self.rest.peek(), Some('P' | '<')) {
            return self.group_name();
        }
        loop {
            let c = self.rest.next().ok_or("a group that does not end")?;
            self.written.push(c);
            match c {
                'i' | 'm' | 's' | 'U' | '-' => {}
                ':' => return Ok(()),
                ')' => {
                    self.depth -= 1;
                    return Ok(());
                }
                _ => return Err("a kind of group or a flag that RE2 does not have"),
            }
        }
    }

    /// `P<name>` or `<name>`.
    fn group_name(&mut self) -> Result<(), &'static str> {
        self.rest.next_if_eq(&'P');
        self.rest.next_if_eq(&'<').ok_or("a group without a name")?;
        self.written.push_str("P<");
        loop {
            match self.rest.next().ok_or("a group without a name")? {
                '>' => break,
                c if c == '_' || c.is_ascii_alphanumeric() => self.written.push(c),
                _ => return Err("a name of a group with other signs than letters, digits and _"),
            }
        }
        self.written.push('>');
        Ok(())
    }

    /// What follows a backslash outside a class.
    fn escape(&mut self) -> Result<(), &'static str> {
        let c = self.rest.next().ok_or("a backslash at the end")?;
        match (shorthand(c), c) {
            (Some((inside, negated)), _) => {
                self.written.push_str(if negated { "[^" } else { "[" });
                self.written.push_str(inside);
                self.written.push(']');
            }
            (None, 'b') => self.written.push_str(r"(?-u:\b)"),
            (None, 'A' | 'z') => self.written.extend(['\\', c]),
            (None, 'Q') => self.quoted(),
            (None, _) => self.character_escape(c)?,
        }
        Ok(())
    }

    /// Up to `\E` every sign means itself.
    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(c);
        }
    }

    /// An escape that stands for a character or a Unicode class, inside or outside of a class.
    fn character_escape(&mut self, c: char) -> Result<(), &'static str> {
        match c {
            'a' | 'f' | 't' | 'n' | 'r' | 'v' => self.written.extend(['\\', c]),
            'x' | 'p' | 'P' => {
                self.written.extend(['\\', c]);
                if self.rest.next_if_eq(&'{').is_none() {
                    let digits = if c == 'x' { 2 } else { 1 };
                    for _ in 0..digits {
                        let c = self.rest.next().filter(char::is_ascii_alphanumeric);
                        self.written.push(c.ok_or("an escape that does not end")?);
                    }
                    return Ok(());
                }
                self.written.push('{');
                loop {
                    let c = self.rest.next().ok_or("an escape that does not end")?;
                    self.written.push(c);
                    match c {
                        '}' => return Ok(()),
                        '^' | '_' => {}
                        c if c.is_ascii_alphanumeric() => {}
                        _ => return Err("the name of a class"),
                    }
                }
            }
            c if c.is_ascii_punctuation() => self.literal(c),
            _ => return Err("an escape that is not read"),
        }
        Ok(())
    }

    /// A class: RE2 has no sets inside but the named ones, and a bracket at the front means itself.
    fn class(&mut self) -> Result<(), &'static str> {
        self.written.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.written.push('^');
        }
        let mut first = true;
        loop {
            let c = self.rest.next().ok_or("a class that does not end")?;
            match c {
                ']' if !first => {
                    self.written.push(']');
                    return Ok(());
                }
                '[' if self.rest.peek() == Some(&':') => self.named_class()?,
                '-' if !first && !matches!(self.rest.peek(), Some(']')) => {
                    return Err("a hyphen inside a class that is neither at its end nor in a range");
                }
                _ => {
                    let single = self.class_item(c)?;
                    let mut ahead = self.rest.clone();
                    if single && ahead.next() == Some('-') && ahead.next().is_some_and(|c| c != ']') {
                        self.rest.next();
                        self.written.push('-');
                        let end = self.rest.next().ok_or("a class that does not end")?;
                        if !self.class_item(end)? {
                            return Err("a range to a class");
                        }
                    }
                }
            }
            first = false;
        }
    }

    /// One item of a class; whether it is a single character, where a range may begin.
    fn class_item(&mut self, c: char) -> Result<bool, &'static str> {
        if c != '\\' {
            self.literal(c);
            return Ok(true);
        }
        let c = self.rest.next().ok_or("a backslash at the end")?;
        match shorthand(c) {
            Some((inside, negated)) => {
                self.written.push_str(if negated { "[^" } else { "[" });
                self.written.push_str(inside);
                self.written.push(']');
                Ok(false)
            }
            None => {
                self.character_escape(c)?;
                Ok(!matches!(c, 'p' | 'P'))
            }
        }
    }

    /// `[:alpha:]`, `[:^alpha:]`. The bracket has been read.
    fn named_class(&mut self) -> Result<(), &'static str> {
        let inside: String = self.rest.by_ref().take_while(|c| *c != ']').collect();
        let name = inside.strip_prefix(':').and_then(|inside| inside.strip_suffix(':')).unwrap_or_default();
        if !NAMED_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err("the name of a class");
        }
        self.written.extend(["[:", name, ":]"]);
        Ok(())
    }
}

/// The ASCII class of `\d \s \w`, and whether the letter (`\D \S \W`) means all but it.
fn shorthand(c: char) -> Option<(&'static str, bool)> {
    let inside = match c.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\f\r ",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((inside, c.is_ascii_uppercase()))
}
