//! Stop strings: where an answer ends.
//!
//! # Rules
//! - The answer ends before the stop string that is complete first; of two that end at the same place, the
//!   longer one. How the text is cut into calls makes no difference.
//! - Text is held back only while it may still become a stop string.
//! - One step of an automaton for each byte and stop string: no text makes it slow.
//!
//! # When things go wrong
//! Too many, too long, empty or impossible stop strings are refused when the list is made. Matching never
//! fails.
//!
//! # Example
//! ```
//! use nabla_text::StopStrings;
//!
//! let mut stop = StopStrings::new(&["\nUser:", "###"])?.matcher();
//! assert_eq!(stop.push("Yes.\nUs"), "Yes.");
//! assert_eq!(stop.push("ually no."), "\nUsually no.");
//! assert_eq!(stop.push("#"), "");
//! assert_eq!(stop.push("##"), "");
//! assert_eq!(stop.matched(), Some("###"));
//! # Ok::<(), nabla_text::Error>(())
//! ```

use std::{mem, sync::Arc};

use crate::error::{Error, at_most};

/// Most stop strings.
pub const STOPS_MAX: usize = 16;
/// Most bytes of a stop string.
pub const STOP_BYTES_MAX: usize = 256;

/// A checked list of stop strings.
#[derive(Debug, Clone, Default)]
pub struct StopStrings(Arc<[Pattern]>);

/// A stop string, and where to go on after a byte that does not fit (Knuth, Morris and Pratt).
#[derive(Debug)]
struct Pattern {
    text: String,
    fallback: Vec<usize>,
}

impl StopStrings {
    /// Check these.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::EmptyStop`], [`Error::InvalidStop`].
    pub fn new(texts: &[impl AsRef<str>]) -> Result<Self, Error> {
        at_most("stop strings", STOPS_MAX, texts.len())?;
        let patterns = texts.iter().enumerate().map(|(index, text)| Pattern::new(index, text.as_ref()));
        Ok(Self(patterns.collect::<Result<_, _>>()?))
    }

    /// A matcher at the beginning of an answer.
    #[must_use]
    pub fn matcher(&self) -> StopMatcher {
        StopMatcher {
            patterns: self.clone(),
            fits: vec![0; self.0.len()],
            held: String::new(),
            matched: None,
        }
    }
}

impl Pattern {
    fn new(index: usize, text: &str) -> Result<Self, Error> {
        at_most("bytes of a stop string", STOP_BYTES_MAX, text.len())?;
        if text.is_empty() {
            return Err(Error::EmptyStop { index });
        }
        if text.contains(char::REPLACEMENT_CHARACTER) {
            return Err(Error::InvalidStop { index });
        }
        let mut pattern = Self { text: text.to_owned(), fallback: vec![0] };
        let mut fits = 0;
        for byte in &text.as_bytes()[1..] {
            fits = pattern.step(fits, *byte);
            pattern.fallback.push(fits);
        }
        Ok(pattern)
    }

    /// How many bytes of the pattern fit after `byte`, if `fits` did before (less than all).
    fn step(&self, mut fits: usize, byte: u8) -> usize {
        let bytes = self.text.as_bytes();
        while fits > 0 && bytes[fits] != byte {
            fits = self.fallback[fits - 1];
        }
        fits + usize::from(bytes[fits] == byte)
    }
}

/// Looks for stop strings in a text that comes in parts.
#[derive(Debug, Clone)]
pub struct StopMatcher {
    patterns: StopStrings,
    /// How many bytes of each pattern the end of the text fits.
    fits: Vec<usize>,
    /// The longest of those ends.
    held: String,
    matched: Option<usize>,
}

impl StopMatcher {
    /// The text that is certain with this part. Nothing after a stop string.
    pub fn push(&mut self, part: &str) -> String {
        if self.is_stopped() {
            return String::new();
        }
        let before = self.held.len();
        let mut text = mem::take(&mut self.held);
        text.push_str(part);
        for (at, byte) in part.bytes().enumerate() {
            if let Some(found) = self.step(byte) {
                self.matched = Some(found);
                text.truncate(before + at + 1 - self.patterns.0[found].text.len());
                return text;
            }
        }
        let held = self.fits.iter().max().copied().unwrap_or(0);
        self.held = text.split_off(text.len() - held);
        text
    }

    /// A stop string was found.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.matched.is_some()
    }

    /// The stop string that was found.
    #[must_use]
    pub fn matched(&self) -> Option<&str> {
        self.matched.map(|index| &*self.patterns.0[index].text)
    }

    /// What was held back, if the answer ends here without a stop string.
    #[must_use]
    pub fn finish(self) -> String {
        self.held
    }

    /// The longest pattern that is complete with this byte.
    fn step(&mut self, byte: u8) -> Option<usize> {
        let mut found: Option<usize> = None;
        for (index, (pattern, fits)) in self.patterns.0.iter().zip(&mut self.fits).enumerate() {
            *fits = pattern.step(*fits, byte);
            let longer = found.is_none_or(|other| self.patterns.0[other].text.len() < pattern.text.len());
            if *fits == pattern.text.len() && longer {
                found = Some(index);
            }
        }
        found
    }
}

#[cfg(test)]
mod tests;
