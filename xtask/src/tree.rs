//! The repository's files, as the checks see them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Every file that is or could be committed, by its path from the repository's root.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    /// `None` where a file is no UTF-8 text.
    files: BTreeMap<String, Option<String>>,
    /// What is made here and not committed, from the root.
    ignored: Vec<String>,
}

impl Tree {
    /// This repository, without what `.gitignore` names.
    ///
    /// # Panics
    /// If a file cannot be read, or `.gitignore` has a line of a form that is not known here.
    #[must_use]
    pub fn of_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the repository");
        let ignored =
            Ignored::read(&fs::read_to_string(root.join(".gitignore")).expect("there is a .gitignore"));
        let mut tree = Self { ignored: ignored.paths.clone(), ..Self::default() };
        let mut folders = vec![(root.to_owned(), String::new())];
        while let Some((folder, path)) = folders.pop() {
            for (entry, name) in entries(&folder) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
                let kind = fs::symlink_metadata(&entry).expect("the entry can be looked at").file_type();
                if ignored.covers(&path, &name) {
                    continue;
                }
                if kind.is_dir() {
                    folders.push((entry, path));
                } else if kind.is_file() {
                    let text = String::from_utf8(fs::read(&entry).expect("the file can be read")).ok();
                    tree.files.insert(path, text);
                }
            }
        }
        tree
    }

    /// A tree that is made up, for tests.
    #[must_use]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), Some((*text).to_owned())));
        Self { files: files.collect(), ignored: Vec::new() }
    }

    /// A file's text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// All texts, with their paths in order.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Whether there is a file or a folder here, or may come to be by building.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        self.files.contains_key(path)
            || path.is_empty()
            || self.ignored.iter().any(|ignored| ignored == path)
            || self.files.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder))
    }
}

fn entries(folder: &Path) -> Vec<(PathBuf, String)> {
    let entries = fs::read_dir(folder).expect("the folder can be read");
    let entries = entries.map(|entry| entry.expect("the folder can be read to its end"));
    entries.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?))).collect()
}

/// The two forms of line that our `.gitignore` has: `/path` from the root, and `name/` anywhere.
struct Ignored {
    paths: Vec<String>,
    names: Vec<String>,
}

impl Ignored {
    fn read(text: &str) -> Self {
        let mut ignored = Self { paths: Vec::new(), names: vec![".git".to_owned()] };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            assert!(
                !line.contains(['*', '!', '?', '[']),
                "teach xtask/src/tree.rs to read {line:?} of .gitignore"
            );
            match line.strip_prefix('/') {
                Some(path) => ignored.paths.push(path.trim_end_matches('/').to_owned()),
                None => ignored.names.push(line.trim_end_matches('/').to_owned()),
            }
        }
        ignored
    }

    fn covers(&self, path: &str, name: &str) -> bool {
        self.paths.iter().any(|ignored| ignored == path) || self.names.iter().any(|ignored| ignored == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_exist_and_prefixes_do_not() {
        let tree = Tree::of(&[("docs/a.md", ""), ("docs-old/b.md", "")]);
        for (path, expected) in
            [("docs/a.md", true), ("docs", true), ("docs/", true), ("doc", false), ("docs/b.md", false)]
        {
            assert_eq!(tree.exists(path), expected, "{path}");
        }
    }

    #[test]
    fn ignored_by_path_and_by_name() {
        let ignored = Ignored::read("/target\n__pycache__/\n");
        assert!(ignored.covers("target", "target"));
        assert!(ignored.covers("a/__pycache__", "__pycache__"));
        assert!(!ignored.covers("a/target", "target"));
    }
}
