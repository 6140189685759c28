//! The name of a repository: `owner/name`.

use std::{fmt, str::FromStr};

use minicbor::{Decode, Decoder, Encode, Encoder, decode, encode};

/// Longest accepted part, in bytes.
pub const PART_BYTES_MAX: usize = 64;

/// A repository's name, `owner/name`. Each part: 1 to 64 of `a-z A-Z 0-9 . _ -`, starting with a letter
/// or digit, so that it is safe in a path, a URL and a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepoName(String);

/// Why a text is no repository name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{got:?} is no repository name: expected owner/name, each of 1 to 64 letters, digits, '.', '_' or '-'"
)]
pub struct NameError {
    /// The text that was given, cut.
    pub got: String,
}

impl RepoName {
    /// The part before the slash.
    #[must_use]
    pub fn owner(&self) -> &str {
        self.0.split('/').next().unwrap_or_default()
    }

    /// The part after the slash.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split('/').nth(1).unwrap_or_default()
    }

    /// `owner/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn part_is_valid(part: &str) -> bool {
    part.len() <= PART_BYTES_MAX
        && part.starts_with(|c: char| c.is_ascii_alphanumeric())
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

impl FromStr for RepoName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((owner, name)) if part_is_valid(owner) && part_is_valid(name) => Ok(Self(text.to_owned())),
            _ => Err(NameError { got: text.chars().take(160).collect() }),
        }
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl<C> Encode<C> for RepoName {
    fn encode<W: encode::Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for RepoName {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, decode::Error> {
        d.str()?.parse().map_err(decode::Error::custom)
    }
}

impl serde::Serialize for RepoName {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for RepoName {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_safe_names() {
        for good in ["alice/digits", "a/b", "A-1/x_y.z"] {
            assert!(good.parse::<RepoName>().is_ok(), "{good}");
        }
        let long = format!("a/{}", "x".repeat(65));
        for bad in ["", "alice", "alice/", "/x", "a/b/c", "../x", "a/..", "a/ b", "a/é", &long] {
            assert!(bad.parse::<RepoName>().is_err(), "{bad}");
        }
    }
}
