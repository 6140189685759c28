//! What stands in Rust files: sizes, words that are not written, `unsafe`.
//!
//! Files are read as tokens, so comments and texts are not mistaken for code, and code inside macros is not
//! missed. Nothing is expanded or resolved.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

use crate::{Exception, Finding, Tree, without_exceptions};

/// Longest function, in lines from `fn` to its closing brace.
pub const FUNCTION_LINES_MAX: usize = 70;
/// Longest file, in lines, not counting `#[cfg(test)]` modules.
pub const FILE_LINES_MAX: usize = 800;

/// A file, read.
#[derive(Debug, Default)]
struct Code {
    functions: Vec<Function>,
    words: Vec<Word>,
    /// Lines of `#[cfg(test)]` modules.
    test_lines: usize,
}

#[derive(Debug)]
struct Function {
    name: String,
    line: usize,
    lines: usize,
}

#[derive(Debug)]
struct Word {
    text: String,
    line: usize,
    /// In a `#[cfg(test)]` or `#[test]` item.
    in_test: bool,
    in_attribute: bool,
    /// `!`, `(`, `{` or a space for anything else.
    next: char,
}

/// Functions and files are short enough, but for those in `exceptions`.
#[must_use]
pub fn check_sizes(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text, code) in files(tree) {
        for Function { name, line, lines } in
            code.functions.into_iter().filter(|function| function.lines > FUNCTION_LINES_MAX)
        {
            let text = format!(
                "`{name}` has {lines} lines, at most {FUNCTION_LINES_MAX} fit a screen: move its leaves into functions of their own"
            );
            found.push((name, Finding::new(path, line, text)));
        }
        let lines = text.lines().count() - code.test_lines;
        if lines > FILE_LINES_MAX {
            let text =
                format!("{lines} lines without tests, at most {FILE_LINES_MAX}: split by what the parts are");
            found.push((String::new(), Finding::new(path, 1, text)));
        }
    }
    without_exceptions(found, exceptions)
}

/// What is never left in the code: `todo!`, `unimplemented!`, `#[ignore]`, and tests that sleep.
#[must_use]
pub fn check_words(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text, code) in files(tree) {
        for word in &code.words {
            let advice = match (word.text.as_str(), word.next) {
                ("todo" | "unimplemented", '!') => "write it, or refuse with an error",
                ("ignore", _) if word.in_attribute => "a test runs or does not exist",
                ("sleep", '(') if word.in_test || is_test(path) => {
                    "wait for what is to happen, or hand in the time"
                }
                _ => continue,
            };
            found.push((
                word.text.clone(),
                Finding::new(path, word.line, format!("`{}`: {advice}", word.text)),
            ));
        }
        for (index, _) in text
            .lines()
            .enumerate()
            .filter(|(_, line)| line.trim_start().starts_with("//") && line.contains("```ignore"))
        {
            found.push((
                "ignore".to_owned(),
                Finding::new(path, index + 1, "an example compiles (`no_run` at most)"),
            ));
        }
    }
    without_exceptions(found, exceptions)
}

/// Words that a crate's own code (not its tests) never says, with the reason: `(folder, words, reason)`.
#[must_use]
pub fn check_absent(tree: &Tree, never: &[(&str, &[&str], &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _, code) in files(tree) {
        for (_, words, reason) in
            never.iter().filter(|(folder, ..)| path.starts_with(folder) && !is_test(path))
        {
            let said = code.words.iter().filter(|word| !word.in_test && words.contains(&word.text.as_str()));
            findings.extend(said.map(|word| {
                Finding::new(path, word.line, format!("`{}` is not said here: {reason}", word.text))
            }));
        }
    }
    findings
}

/// `unsafe` stands in the island files only, and each block says why it is sound.
#[must_use]
pub fn check_unsafe(tree: &Tree, islands: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text, code) in files(tree) {
        for word in code.words.iter().filter(|word| word.text == "unsafe" && !word.in_attribute) {
            if !islands.contains(&path) {
                findings.push(Finding::new(path, word.line, "`unsafe` outside its island: write safe code"));
            } else if word.next == '{' && !has_safety_comment(text, word.line) {
                findings.push(Finding::new(
                    path,
                    word.line,
                    "an `unsafe` block without `// SAFETY:` above it: say why it is sound",
                ));
            }
        }
    }
    findings
}

/// Whether the comment that ends right above this line says `SAFETY:`.
fn has_safety_comment(text: &str, line: usize) -> bool {
    let above: Vec<_> = text.lines().take(line - 1).collect();
    above
        .iter()
        .rev()
        .take_while(|line| line.trim_start().starts_with("//"))
        .any(|line| line.contains("SAFETY:"))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

fn files(tree: &Tree) -> impl Iterator<Item = (&str, &str, Code)> {
    let rust = tree.texts().filter(|(path, _)| path.ends_with(".rs"));
    rust.map(|(path, text)| (path, text, read(path, text)))
}

fn read(path: &str, text: &str) -> Code {
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{path} is no Rust: {error}"));
    let mut code = Code::default();
    code.walk(tokens, Inside::default());
    code
}

/// Where a token stands.
#[derive(Debug, Clone, Copy, Default)]
struct Inside {
    test: bool,
    attribute: bool,
}

impl Code {
    fn walk(&mut self, tokens: TokenStream, inside: Inside) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        // An attribute counts until the item that it stands on ends, with a brace or a semicolon.
        let mut test_ahead = false;
        for (index, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) => {
                    if let Some(function) = function(&tokens[index..]) {
                        self.functions.push(function);
                    }
                    let (text, line) = (ident.to_string(), ident.span().start().line);
                    let in_test = inside.test || test_ahead;
                    self.words.push(Word {
                        text,
                        line,
                        in_test,
                        in_attribute: inside.attribute,
                        next: next(&tokens[index + 1..]),
                    });
                }
                TokenTree::Group(group) => {
                    let attribute = group.delimiter() == Delimiter::Bracket && follows_hash(&tokens[..index]);
                    let braces = group.delimiter() == Delimiter::Brace;
                    if braces && test_ahead && !inside.test {
                        self.test_lines += group.span_close().end().line - group.span_open().start().line + 1;
                    }
                    let within =
                        Inside { test: inside.test || test_ahead, attribute: inside.attribute || attribute };
                    self.walk(group.stream(), within);
                    test_ahead = if attribute {
                        test_ahead || marks_test(group.stream())
                    } else {
                        test_ahead && !braces
                    };
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => test_ahead = false,
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }
}

/// Whether what stands before a bracket makes it an attribute: `#` or `#!`.
fn follows_hash(before: &[TokenTree]) -> bool {
    let is = |token: Option<&TokenTree>, char| matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == char);
    match before {
        [.., hash, bang] if is(Some(bang), '!') => is(Some(hash), '#'),
        before => is(before.last(), '#'),
    }
}

/// `cfg(test)`, `test`, `tokio::test` and the like.
fn marks_test(attribute: TokenStream) -> bool {
    let text = attribute.to_string().replace(' ', "");
    text == "cfg(test)"
        || text.split('(').next().is_some_and(|path| path == "test" || path.ends_with("::test"))
}

fn next(after: &[TokenTree]) -> char {
    match after {
        [TokenTree::Punct(punct), TokenTree::Group(_), ..]
            if punct.as_char() == '!' && punct.spacing() == Spacing::Alone =>
        {
            '!'
        }
        [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Parenthesis => '(',
        [TokenTree::Group(group), ..] if group.delimiter() == Delimiter::Brace => '{',
        _ => ' ',
    }
}

/// The function that begins with these tokens: `fn`, a name, anything, a body.
fn function(tokens: &[TokenTree]) -> Option<Function> {
    let [TokenTree::Ident(keyword), TokenTree::Ident(name), rest @ ..] = tokens else { return None };
    if keyword != "fn" {
        return None;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    };
    let TokenTree::Group(body) = rest.iter().find(|token| ends(token))? else { return None };
    let line = keyword.span().start().line;
    Some(Function { name: name.to_string(), line, lines: body.span_close().end().line - line + 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(check: impl Fn(&Tree) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
        check(&Tree::of(&[(path, text)])).iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn long_functions_are_found_wherever_they_stand() {
        let body = "x();\n".repeat(FUNCTION_LINES_MAX - 1);
        let sizes = |text: &str| at(|tree| check_sizes(tree, &[]), "a.rs", text);
        assert_eq!(sizes(&format!("/// Doc.\nfn f()\n{{ {body} }}")), [2]);
        assert_eq!(sizes(&format!("fn f() {{\n{}}}", "x();\n".repeat(FUNCTION_LINES_MAX - 2))), [0; 0]);
        assert_eq!(sizes(&format!("impl A {{\n  fn f(g: fn()) {{\n{body}}} }}")), [2]);
        assert_eq!(sizes(&format!("m! {{ #[test]\nfn f() {{\n{body}}} }}")), [2]);
        assert_eq!(sizes(&format!("trait A {{ fn f();\n}} mod b {{ {body} }}")), [0; 0]);
    }

    #[test]
    fn long_files_are_found_and_test_modules_do_not_count() {
        let (lines, half) = ("x!();\n".repeat(FILE_LINES_MAX), "x!();\n".repeat(FILE_LINES_MAX / 2));
        let sizes = |text: &str| at(|tree| check_sizes(tree, &[]), "a.rs", text);
        assert_eq!(sizes(&lines), [0; 0]);
        assert_eq!(sizes(&format!("{lines}x!();")), [1]);
        assert_eq!(sizes(&format!("{half}#[cfg(test)]\nmod tests {{\n{lines}}}")), [0; 0]);
    }

    #[test]
    fn words_are_found_in_code_and_not_in_texts() {
        let words = |path: &str, text: &str| at(|tree| check_words(tree, &[]), path, text);
        assert_eq!(words("a.rs", "fn f() {\n todo!() }\nfn g() { m!(unimplemented!()) }"), [2, 3]);
        assert_eq!(
            words("a.rs", "// todo!()\nconst A: &str = \"todo!()\"; fn todo() { let ignore = 1; }"),
            [0; 0]
        );
        assert_eq!(words("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}"), [2]);
        assert_eq!(words("a.rs", "/// ```ignore\n/// x\n/// ```\nfn f() {}"), [1]);
    }

    #[test]
    fn only_tests_may_not_sleep() {
        let words = |path: &str, text: &str| at(|tree| check_words(tree, &[]), path, text);
        let both = "fn f() { sleep(1) }\n#[cfg(test)] mod t {\n fn g() { std::thread::sleep(1) } }\nfn h() { sleep(2) }";
        assert_eq!(words("crates/a/src/lib.rs", both), [3]);
        assert_eq!(
            words(
                "crates/a/src/lib.rs",
                "#[tokio::test]\nasync fn f() {\n sleep(1).await }\nfn g() { sleep(1) }"
            ),
            [3]
        );
        assert_eq!(words("crates/a/tests/b.rs", "fn f() { sleep(1) }"), [1]);
        assert_eq!(words("crates/a/src/b/tests.rs", "fn f() { sleep(1) }"), [1]);
    }

    #[test]
    fn absent_words_are_found_outside_tests() {
        let never: &[(&str, &[&str], &str)] = &[("crates/a/src", &["f64"], "money is integers")];
        let absent = |path: &str, text: &str| at(|tree| check_absent(tree, never), path, text);
        let text = "fn f(x: f64) {}\n#[cfg(test)] mod t { fn g(x: f64) {} }";
        assert_eq!(absent("crates/a/src/lib.rs", text), [1]);
        assert_eq!(absent("crates/a/src/tests.rs", text), [0; 0]);
        assert_eq!(absent("crates/b/src/lib.rs", text), [0; 0]);
    }

    #[test]
    fn unsafe_needs_an_island_and_a_reason() {
        let safety = |path: &str, text: &str| at(|tree| check_unsafe(tree, &["island.rs"]), path, text);
        assert_eq!(safety("a.rs", "fn f() {\n // SAFETY: no\n unsafe { g() } }"), [3]);
        assert_eq!(safety("island.rs", "fn f() {\n // SAFETY: yes,\n // indeed\n unsafe { g() } }"), [0; 0]);
        assert_eq!(
            safety("island.rs", "fn f() {\n // SAFETY: far away\n let x = 1;\n unsafe { g() } }"),
            [4]
        );
        assert_eq!(safety("a.rs", "#![forbid(unsafe_code)]\n// unsafe\nfn f() {}"), [0; 0]);
    }
}
