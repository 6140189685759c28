//! Which crate may import which: five floors, imports go down only.
//!
//! Read from each `Cargo.toml`. What Cargo does not let a crate import, no later change can use by mistake.

use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::{Finding, Tree};

/// What a crate may import.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The crate.
    pub name: &'static str,
    /// From 1; it imports only from lower floors.
    pub floor: u8,
    /// What it never imports, not even through others of the workspace.
    pub never: &'static [&'static str],
    /// If given, the only packages (beside the workspace's own) that it imports outside its tests.
    pub only: Option<&'static [&'static str]>,
}

/// A crate of the workspace, as its `Cargo.toml` says.
#[derive(Debug)]
pub struct Manifest {
    /// Path of its folder.
    pub folder: String,
    /// Its name.
    pub name: String,
    /// Its one sentence.
    pub description: String,
    /// Imported by the crate itself.
    pub imports: BTreeSet<String>,
    /// Imported by its tests and benches.
    pub test_imports: BTreeSet<String>,
    /// The lints that it writes out; `None` if it takes the workspace's.
    pub lints: Option<Table>,
}

/// The crates of the workspace: every folder below the root with a `Cargo.toml`.
///
/// # Panics
/// If a `Cargo.toml` is no TOML.
#[must_use]
pub fn manifests(tree: &Tree) -> Vec<Manifest> {
    let files = tree.texts().filter_map(|(path, text)| Some((path.strip_suffix("/Cargo.toml")?, text)));
    files.map(|(folder, text)| read(folder, text)).collect()
}

fn read(folder: &str, text: &str) -> Manifest {
    let toml: Table = text.parse().unwrap_or_else(|error| panic!("{folder}/Cargo.toml: {error}"));
    let of_package = |key: &str| {
        let value = toml.get("package").and_then(|package| package.get(key)).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    };
    let mut imports = keys(toml.get("dependencies"));
    imports.extend(keys(toml.get("build-dependencies")));
    let targets = toml.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    imports.extend(targets.flat_map(|target| keys(target.get("dependencies"))));
    let lints = toml.get("lints").and_then(Value::as_table).cloned().unwrap_or_default();
    let inherits = lints.get("workspace").and_then(Value::as_bool) == Some(true);
    Manifest {
        folder: folder.to_owned(),
        name: of_package("name"),
        description: of_package("description"),
        imports,
        test_imports: keys(toml.get("dev-dependencies")),
        lints: (!inherits).then_some(lints),
    }
}

fn keys(table: Option<&Value>) -> BTreeSet<String> {
    table.and_then(Value::as_table).map(|table| table.keys().cloned().collect()).unwrap_or_default()
}

/// Check every crate's imports against the table of places.
#[must_use]
pub fn check(tree: &Tree, places: &[Place]) -> Vec<Finding> {
    let manifests = manifests(tree);
    let by_name: BTreeMap<_, _> =
        manifests.iter().map(|manifest| (manifest.name.as_str(), manifest)).collect();
    let mut findings = Vec::new();
    for place in places.iter().filter(|place| !by_name.contains_key(place.name)) {
        findings.push(Finding::new(
            "Cargo.toml",
            1,
            format!("{} has a floor but does not exist: take it out of the table", place.name),
        ));
    }
    for manifest in &manifests {
        let mut say = |import: &str, text: String| {
            let path = format!("{}/Cargo.toml", manifest.folder);
            findings.push(Finding::new(&path, line_of(tree.text(&path).unwrap_or_default(), import), text));
        };
        match places.iter().find(|place| place.name == manifest.name) {
            Some(place) => check_crate(manifest, place, places, &by_name, &mut say),
            None => say(
                "name",
                format!(
                    "{} has no floor: give it one in the table, and a reason that Cargo can enforce",
                    manifest.name
                ),
            ),
        }
    }
    findings
}

fn check_crate(
    manifest: &Manifest,
    place: &Place,
    places: &[Place],
    by_name: &BTreeMap<&str, &Manifest>,
    say: &mut impl FnMut(&str, String),
) {
    for import in manifest.imports.iter().chain(&manifest.test_imports) {
        let floor = places.iter().find(|other| other.name == import).map(|other| other.floor);
        if floor.is_some_and(|floor| floor >= place.floor) {
            say(
                import,
                format!(
                    "{} (floor {}) imports {import}, which is not below it: turn the import round",
                    place.name, place.floor
                ),
            );
        }
    }
    for (import, through) in reached(manifest, by_name) {
        if place.never.contains(&import.as_str()) {
            say(
                &through,
                format!(
                    "{} never imports {import} (here through {through}): see the floors in ARCHITECTURE.md",
                    place.name
                ),
            );
        }
    }
    let others = manifest.imports.iter().filter(|import| !by_name.contains_key(import.as_str()));
    for import in others.filter(|import| place.only.is_some_and(|only| !only.contains(&import.as_str()))) {
        say(
            import,
            format!(
                "{import} is not on the list of what {} may depend on: do without, or argue for it there",
                place.name
            ),
        );
    }
}

/// Everything that a crate imports, itself or through the workspace's crates, with the import that leads there.
fn reached(manifest: &Manifest, by_name: &BTreeMap<&str, &Manifest>) -> Vec<(String, String)> {
    let mut reached: BTreeMap<String, String> = BTreeMap::new();
    let mut open: Vec<_> = manifest.imports.iter().map(|import| (import.clone(), import.clone())).collect();
    while let Some((import, through)) = open.pop() {
        if reached.contains_key(&import) {
            continue;
        }
        if let Some(next) = by_name.get(import.as_str()) {
            open.extend(next.imports.iter().map(|import| (import.clone(), through.clone())));
        }
        reached.insert(import, through);
    }
    reached.into_iter().collect()
}

fn line_of(text: &str, import: &str) -> usize {
    text.lines().position(|line| line.starts_with(import)).map_or(1, |line| line + 1)
}

/// Every crate takes the workspace's lints; one that cannot writes all of them out, but for those in `differ`.
///
/// # Panics
/// If the root `Cargo.toml` is no TOML.
#[must_use]
pub fn check_lints(tree: &Tree, differ: &[(&str, &str)]) -> Vec<Finding> {
    let root: Table =
        tree.text("Cargo.toml").unwrap_or_default().parse().expect("the root Cargo.toml is TOML");
    let common = root.get("workspace").and_then(|workspace| workspace.get("lints")).and_then(Value::as_table);
    let common = flat(common.unwrap_or(&Table::new()));
    let mut findings = Vec::new();
    for manifest in manifests(tree) {
        let Some(own) = manifest.lints.as_ref().map(flat) else { continue };
        let excused = |lint: &str| differ.contains(&(manifest.name.as_str(), lint));
        let unequal = common.iter().filter(|(lint, level)| own.get(*lint) != Some(*level) && !excused(lint));
        for (lint, level) in unequal {
            let text = format!(
                "expected the workspace's lint {lint} = {level}: write it out, or `[lints] workspace = true`"
            );
            findings.push(Finding::new(format!("{}/Cargo.toml", manifest.folder), 1, text));
        }
    }
    findings
}

fn flat(lints: &Table) -> BTreeMap<String, String> {
    let tools = lints.iter().filter_map(|(tool, lints)| Some((tool, lints.as_table()?)));
    tools
        .flat_map(|(tool, lints)| {
            lints.iter().map(move |(lint, level)| (format!("{tool}::{lint}"), level.to_string()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: &[Place] = &[
        Place { name: "low", floor: 1, never: &[], only: Some(&["serde"]) },
        Place { name: "middle", floor: 2, never: &["tokio"], only: None },
        Place { name: "high", floor: 3, never: &["low"], only: None },
    ];

    fn check_with(low: &str, middle: &str, high: &str) -> Vec<String> {
        let crate_of = |name: &str, rest: &str| format!("[package]\nname = {name:?}\n{rest}");
        let (low, middle, high) = (crate_of("low", low), crate_of("middle", middle), crate_of("high", high));
        let tree = Tree::of(&[
            ("crates/low/Cargo.toml", &low),
            ("crates/middle/Cargo.toml", &middle),
            ("crates/high/Cargo.toml", &high),
        ]);
        check(&tree, PLACES).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn good_imports_pass() {
        assert_eq!(check_with("[dependencies]\nserde = \"1\"", "[dependencies]\nlow = \"1\"", ""), [""; 0]);
    }

    #[test]
    fn each_rule_is_caught() {
        let one = |findings: Vec<String>, start: &str, part: &str| {
            assert!(
                findings.len() == 1 && findings[0].starts_with(start) && findings[0].contains(part),
                "{findings:?}"
            );
        };
        one(
            check_with("[dependencies]\nmiddle.workspace = true", "", ""),
            "crates/low/Cargo.toml:4:",
            "not below",
        );
        one(
            check_with("", "[dev-dependencies]\nhigh = \"1\"", ""),
            "crates/middle/Cargo.toml:4:",
            "not below",
        );
        one(
            check_with("", "[dependencies]\ntokio = \"1\"", ""),
            "crates/middle/Cargo.toml:4:",
            "never imports tokio",
        );
        one(check_with("[dependencies]\nhex = \"1\"", "", ""), "crates/low/Cargo.toml:4:", "not on the list");
        let through = check_with("", "[dependencies]\nlow = \"1\"", "[dependencies]\nmiddle = \"1\"");
        one(through, "crates/high/Cargo.toml:4:", "through middle");
    }

    #[test]
    fn a_crate_without_a_floor_and_a_floor_without_a_crate_are_found() {
        let tree = Tree::of(&[("crates/new/Cargo.toml", "[package]\nname = \"new\"")]);
        assert_eq!(check(&tree, &PLACES[..1]).len(), 2);
    }

    #[test]
    fn lints_that_drift_are_found() {
        let root = "[workspace.lints.clippy]\ntodo = \"warn\"\nunwrap_used = \"warn\"";
        let own = "[package]\nname = \"own\"\n[lints.clippy]\ntodo = \"allow\"";
        let tree = Tree::of(&[("Cargo.toml", root), ("crates/own/Cargo.toml", own)]);
        assert_eq!(check_lints(&tree, &[]).len(), 2);
        assert_eq!(check_lints(&tree, &[("own", "clippy::todo"), ("own", "clippy::unwrap_used")]), []);
    }
}
