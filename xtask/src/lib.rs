//! Keep the workspace tidy: every broken habit is named with its file, its line and what to do.
//!
//! | module | what it checks |
//! |---|---|
//! | [`imports`] | which crate may import which, and what some never import |
//! | [`code`] | sizes of functions and files, words that are not written, `unsafe` |
//! | [`documents`] | that paths in documents exist, and that documents name what there is |
//! | [`tree`] | the repository's files, as the checks see them |
//!
//! # Rules
//! - A check is a function of a [`Tree`] and a table, and answers with [`Finding`]s. It reads nothing else,
//!   so each has a test that breaks its rule and is caught.
//! - The tables of what holds here stand in `xtask/tests/tidy.rs`. An exception has a reason, and one that is no
//!   longer needed is a finding too.

use std::fmt;

pub mod code;
pub mod documents;
pub mod imports;
pub mod tree;

pub use tree::Tree;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// File, from the repository's root.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub text: String,
}

impl Finding {
    /// A finding.
    pub fn new(path: impl Into<String>, line: usize, text: impl Into<String>) -> Self {
        Self { path: path.into(), line, text: text.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.text)
    }
}

/// A place where a rule does not hold, and why that is right.
#[derive(Debug, Clone, Copy)]
pub struct Exception {
    /// File, from the repository's root.
    pub path: &'static str,
    /// What in it: a function's name; empty for the file itself.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
}

/// Drop what `exceptions` allow, and report those that allow nothing. `found` pairs each finding with the name
/// that an exception would give.
#[must_use]
pub fn without_exceptions(found: Vec<(String, Finding)>, exceptions: &[Exception]) -> Vec<Finding> {
    let allows = |exception: &Exception, name: &str, finding: &Finding| {
        exception.path == finding.path && exception.name == name
    };
    let unused = exceptions
        .iter()
        .filter(|exception| !found.iter().any(|(name, finding)| allows(exception, name, finding)));
    let unused = unused.map(|exception| {
        let text =
            format!("the exception for {:?} is no longer needed: remove it from the list", exception.name);
        Finding::new(exception.path, 1, text)
    });
    let unused: Vec<_> = unused.collect();
    let kept = found
        .into_iter()
        .filter(|(name, finding)| !exceptions.iter().any(|exception| allows(exception, name, finding)));
    kept.map(|(_, finding)| finding).chain(unused).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_allows_its_own_and_is_reported_when_idle() {
        let found = || vec![("long".to_owned(), Finding::new("a.rs", 3, "too long"))];
        let allowed = Exception { path: "a.rs", name: "long", reason: "" };
        assert_eq!(without_exceptions(found(), &[allowed]), []);
        let idle = Exception { path: "b.rs", ..allowed };
        let left = without_exceptions(found(), &[idle]);
        assert_eq!(left.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(), ["a.rs", "b.rs"]);
    }
}
