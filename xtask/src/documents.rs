//! That documents are true: paths and anchors exist, crates are named, sentences agree, nothing is of one machine.

use crate::{Exception, Finding, Tree, imports, without_exceptions};

/// Folders and files at the root that a path in backticks may begin with: only these make it a claim.
const ROOTS: [&str; 10] =
    ["crates/", "spec/", "docs/", "models/", "xtask/", "benches/", "fuzz/", "sdk/", "web/", ".ci/"];
/// Endings of a path in backticks that is a claim wherever it begins.
const ENDINGS: [&str; 8] = [".md", ".rs", ".py", ".sh", ".toml", ".json", ".onnx", ".ts"];

/// Every path that a Markdown file names in a link or in backticks exists, and so does every anchor of a link.
///
/// A link counts from its document. A path in backticks counts from the root or from the document, and needs a
/// slash: a bare `lib.rs` is a word.
#[must_use]
pub fn check_paths(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".md")) {
        for (line, content) in prose(text) {
            let dead_links = links(content).filter(|target| !link_lives(tree, path, target));
            let dead_paths =
                code_spans(content).filter(|span| is_path(span) && !path_lives(tree, path, span));
            for dead in dead_links.chain(dead_paths) {
                found.push((
                    dead.to_owned(),
                    Finding::new(path, line, format!("`{dead}` does not exist: correct or remove it")),
                ));
            }
        }
    }
    without_exceptions(found, exceptions)
}

/// Every path from the root that a comment in Rust names in backticks exists.
#[must_use]
pub fn check_comment_paths(tree: &Tree, exceptions: &[Exception]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| path.ends_with(".rs")) {
        let comments = text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("//"));
        for (index, comment) in comments {
            let from_root = |span: &&str| is_path(span) && ROOTS.iter().any(|root| span.starts_with(root));
            for dead in code_spans(comment).filter(from_root).filter(|span| !tree.exists(span)) {
                let text = format!("`{dead}` does not exist: correct the comment, or write what it promises");
                found.push((dead.to_owned(), Finding::new(path, index + 1, text)));
            }
        }
    }
    without_exceptions(found, exceptions)
}

/// Lines outside fenced blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_path(span: &str) -> bool {
    let plain = span.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte));
    let claimed = ROOTS.iter().any(|root| span.starts_with(root))
        || ENDINGS.iter().any(|ending| span.ends_with(ending));
    plain && claimed && span.contains('/') && !span.starts_with('/')
}

fn path_lives(tree: &Tree, document: &str, span: &str) -> bool {
    tree.exists(&resolve("", span)) || tree.exists(&resolve(document, span))
}

fn link_lives(tree: &Tree, document: &str, target: &str) -> bool {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let file = if file.is_empty() { document.to_owned() } else { resolve(document, file) };
    let has = |anchor: &str| tree.text(&file).is_some_and(|text| anchors(text).any(|known| known == anchor));
    tree.exists(&file) && anchor.is_none_or(has)
}

/// A path, seen from a document's folder, from the root.
fn resolve(document: &str, target: &str) -> String {
    let mut parts: Vec<_> = document.split('/').collect();
    parts.pop();
    for part in target.split('/').filter(|part| !matches!(*part, "" | ".")) {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// The anchors that a Markdown reader makes of headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| {
        let words = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        words.chars().filter(|char| char.is_alphanumeric() || matches!(char, '-' | '_')).collect()
    })
}

/// ARCHITECTURE.md names every crate of the workspace with its sentence, and no crate that is not there.
#[must_use]
pub fn check_architecture(tree: &Tree) -> Vec<Finding> {
    const PATH: &str = "ARCHITECTURE.md";
    let text = tree.text(PATH).unwrap_or_default();
    let manifests = imports::manifests(tree);
    let mut findings = Vec::new();
    for manifest in &manifests {
        let row = text.lines().any(|line| {
            line.contains(&format!("`{}`", manifest.name)) && line.contains(&manifest.description)
        });
        if !row {
            let text = format!(
                "no line says `{}` and \"{}\": add the crate to the table",
                manifest.name, manifest.description
            );
            findings.push(Finding::new(PATH, 1, text));
        }
    }
    for (line, content) in prose(text) {
        let names = code_spans(content).filter(|span| span.strip_prefix("nabla-").is_some_and(is_word));
        for name in names.filter(|name| manifests.iter().all(|manifest| manifest.name != *name)) {
            findings.push(Finding::new(
                PATH,
                line,
                format!("there is no crate `{name}`: say what is, not what will be"),
            ));
        }
    }
    findings
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase())
}

/// A crate's sentence is the same in its `Cargo.toml`, its README.md and the first line of its documentation.
/// A heading may stand before it.
#[must_use]
pub fn check_sentences(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in imports::manifests(tree) {
        let root = ["src/lib.rs", "src/main.rs"].map(|file| format!("{}/{file}", manifest.folder));
        let root = root.into_iter().find(|path| tree.text(path).is_some()).unwrap_or_default();
        for (path, start) in [(root, "//! "), (format!("{}/README.md", manifest.folder), "")] {
            let mut lines = tree.text(&path).unwrap_or_default().lines();
            let first = lines.find(|line| !line.is_empty() && !line.starts_with("# ")).unwrap_or("nothing");
            let got = first.strip_prefix(start).unwrap_or(first);
            if got != manifest.description {
                let text = format!(
                    "expected the first line to be the crate's description {:?}, got {got:?}",
                    manifest.description
                );
                findings.push(Finding::new(path, 1, text));
            }
        }
    }
    findings
}

/// Nothing that holds on one machine only: `(what is looked for, what to do)`.
const MACHINE: [(&str, &str); 5] = [
    (concat!("/wo", "rk/"), "a path of one machine: name it from the repository's root"),
    (concat!("/ro", "ot/"), "a path of one machine: name it from the repository's root"),
    (concat!("/tmp/", "target"), "a path of one machine: `target` is the only build folder"),
    (concat!("../", "shared"), "not part of the repository: say what it says, or leave it out"),
    (concat!("index", "-url"), "a package index of one machine: the usual one serves everybody"),
];

/// Where Cargo.lock takes packages from.
const REGISTRY: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";

/// No paths or registries of one machine, in any file.
#[must_use]
pub fn check_machine(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            let foreign = path.ends_with("Cargo.lock") && line.starts_with("source = ") && line != REGISTRY;
            let found = MACHINE
                .iter()
                .filter(|(part, _)| line.contains(part))
                .map(|(part, advice)| format!("`{part}`: {advice}"));
            let foreign = foreign.then(|| "not from crates.io: every dependency comes from there".to_owned());
            findings.extend(found.chain(foreign).map(|text| Finding::new(path, index + 1, text)));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(findings: Vec<Finding>) -> Vec<usize> {
        findings.iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn dead_links_and_paths_are_found() {
        let check = |text: &str| {
            lines(check_paths(
                &Tree::of(&[("docs/a.md", text), ("docs/b.md", "# One two\n"), ("crates/c/src/d.rs", "")]),
                &[],
            ))
        };
        assert_eq!(
            check(
                "[b](b.md) [b](./b.md#one-two) [me](#here)\n# Here\n[out](https://a.b/c) `b.md` `crates/c` `./b.md`"
            ),
            [0; 0]
        );
        assert_eq!(check("[x](x.md)"), [1]);
        assert_eq!(check("[b](b.md#three)"), [1]);
        assert_eq!(check("one\n`crates/x/src/d.rs`\n`src/d.rs`"), [2, 3]);
        assert_eq!(
            check("```sh\n`crates/x`\n```\n`owner/name` `application/json` `lib.rs` `/nabla/v1/a.json`"),
            [0; 0]
        );
    }

    #[test]
    fn dead_paths_in_comments_are_found() {
        let text = "//! See `spec/a.md`\n//! and `spec/b.md`.\nconst C: &str = \"`spec/c.md`\";";
        let tree = Tree::of(&[("crates/a/src/lib.rs", text), ("spec/a.md", "")]);
        assert_eq!(lines(check_comment_paths(&tree, &[])), [2]);
    }

    #[test]
    fn architecture_names_all_crates_and_no_others() {
        let cargo = "[package]\nname = \"nabla-a\"\ndescription = \"Be one.\"";
        let check = |text: &str| {
            lines(check_architecture(&Tree::of(&[
                ("ARCHITECTURE.md", text),
                ("crates/nabla-a/Cargo.toml", cargo),
            ])))
        };
        assert_eq!(check("\n| `nabla-a` | Be one. |"), [0; 0]);
        assert_eq!(check("\n| `nabla-a` | Be two. |"), [1]);
        assert_eq!(check("\n| `nabla-a` | Be one. |\n`nabla-b`"), [3]);
    }

    #[test]
    fn sentences_that_differ_are_found() {
        let cargo = "[package]\nname = \"a\"\ndescription = \"Be one.\"";
        let check = |code: &str, readme: &str| {
            check_sentences(&Tree::of(&[
                ("crates/a/Cargo.toml", cargo),
                ("crates/a/src/lib.rs", code),
                ("crates/a/README.md", readme),
            ]))
            .len()
        };
        assert_eq!(check("//! Be one.\n", "Be one.\nMore.\n"), 0);
        assert_eq!(check("//! Be two.\n", "# a\n\nBe one.\n"), 1);
        assert_eq!(check("//! Be one.\n", "Be two.\n\nBe one.\n"), 1);
    }

    #[test]
    fn what_is_of_one_machine_is_found() {
        let text = format!("fine\n{}main\n", MACHINE[0].0);
        assert_eq!(lines(check_machine(&Tree::of(&[("a.md", &text)]))), [2]);
        let lock = format!("{REGISTRY}\nsource = \"git+https://example.org/a\"\n");
        assert_eq!(lines(check_machine(&Tree::of(&[("Cargo.lock", &lock)]))), [2]);
    }
}
