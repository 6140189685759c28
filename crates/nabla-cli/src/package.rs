//! From a folder with an ONNX or a GGUF file, or safetensors, to a package that can be published.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nabla_client::publish::Package;
use nabla_engine::{
    ExternalData, Folder, Limits, ReadAt, import_onnx,
    language::{TextModel, import_folder},
};
use nabla_node::{config::EngineConfig, language::manifest_of_gguf, models::manifest_of};
use nabla_types::{
    Opg,
    manifest::{FILES_MAX, path_is_safe},
};

use crate::failure::Failure;

/// Longest line about a model, in bytes.
const SUMMARY_BYTES_MAX: usize = 200;

/// Import an ONNX model, and put it together with the files it came in.
pub(crate) fn package(
    onnx: &[u8],
    external: &dyn ExternalData,
    files: Vec<(String, Vec<u8>)>,
    summary: Option<String>,
    royalty: Opg,
) -> Result<Package> {
    let model = import_onnx(onnx, external, &Limits::default())?;
    let (manifest, graph, weights) = manifest_of(&model);
    let summary = summary.unwrap_or_else(|| summary_of(&files));
    Ok(Package { manifest, graph, weights, files, summary, royalty })
}

/// Put a language model together with the files it came in.
pub(crate) fn package_language(
    gguf: &impl ReadAt,
    files: Vec<(String, Vec<u8>)>,
    summary: Option<String>,
    royalty: Opg,
) -> Result<Package> {
    let limits = Limits::default();
    let model = TextModel::load(&EngineConfig::default().engine()?, gguf, &limits)?;
    let (manifest, graph, weights) = manifest_of_gguf(gguf, &model, &limits)?;
    let summary = summary.unwrap_or_else(|| summary_of(&files));
    Ok(Package { manifest, graph, weights, files, summary, royalty })
}

/// Read a folder, or a file that is a model by itself.
pub(crate) fn package_path(path: &Path, summary: Option<String>, royalty: Opg) -> Result<Package> {
    if path.is_dir() {
        return package_folder(path, summary, royalty);
    }
    let gguf = fs::read(path).map_err(|error| Failure::bad_file(path, error))?;
    if !gguf.starts_with(b"GGUF") {
        let reason = "expected a folder, or a GGUF file".to_owned();
        let hint = Some("put an .onnx file into a folder, and name that".to_owned());
        return Err(Failure::BadFile { path: path.to_owned(), reason, hint }.into());
    }
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| path_is_safe(name)).unwrap_or_else(|| "model.gguf".to_owned());
    let files = vec![(name, gguf.clone())];
    package_language(&gguf, files, summary, royalty)
        .with_context(|| format!("cannot import {}", path.display()))
}

/// Read a folder: all its files but hidden ones, exactly one of them ending in `.onnx` or `.gguf`, or safetensors as
/// Hugging Face has them.
fn package_folder(folder: &Path, summary: Option<String>, royalty: Opg) -> Result<Package> {
    let mut files = Vec::new();
    read_files(folder, folder, &mut files)?;
    let models: Vec<&(String, Vec<u8>)> =
        files.iter().filter(|(path, _)| [".onnx", ".gguf"].iter().any(|end| path.ends_with(end))).collect();
    let has_safetensors = files.iter().any(|(path, _)| path.ends_with(".safetensors"));
    if models.is_empty() && has_safetensors {
        let joined = import_folder(&Folder::new(folder)?, &Limits::default())
            .with_context(|| format!("cannot import {}", folder.display()))?;
        return package_language(&joined, files, summary, royalty)
            .with_context(|| format!("cannot import {}", folder.display()));
    }
    let [(path, onnx)] = models.as_slice() else {
        let reason = format!("expected exactly one .onnx or .gguf file, found {}", models.len());
        let hint = Some("put each model into a folder of its own".to_owned());
        return Err(Failure::BadFile { path: folder.to_owned(), reason, hint }.into());
    };
    let onnx_path = folder.join(path);
    if onnx.starts_with(b"GGUF") {
        return package_language(&onnx.clone(), files.clone(), summary, royalty)
            .with_context(|| format!("cannot import {}", onnx_path.display()));
    }
    let external = Folder::new(onnx_path.parent().unwrap_or(folder))?;
    package(&onnx.clone(), &external, files.clone(), summary, royalty)
        .with_context(|| format!("cannot import {}", onnx_path.display()))
}

fn read_files(root: &Path, folder: &Path, files: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let list = || fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>();
    let mut entries: Vec<PathBuf> = match list() {
        Ok(entries) => entries.into_iter().map(|entry| entry.path()).collect(),
        Err(error) => return Err(Failure::bad_file(folder, error).into()),
    };
    entries.sort();
    for path in entries {
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(['.', '_']));
        if hidden || path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            read_files(root, &path, files)?;
            continue;
        }
        if !path_is_safe(&name) || files.len() >= FILES_MAX {
            let reason =
                format!("expected at most {FILES_MAX} files with plain names (letters, digits, ' ._-+@')");
            return Err(Failure::bad_file(&path, reason).into());
        }
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        files.push((name, bytes));
    }
    Ok(())
}

/// The first plain line of the README, or nothing.
fn summary_of(files: &[(String, Vec<u8>)]) -> String {
    let readme = files.iter().find(|(path, _)| path.eq_ignore_ascii_case("readme.md"));
    let text = readme.map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let mut lines = text.lines().map(str::trim);
    if text.starts_with("---") {
        lines.next();
        lines.by_ref().find(|line| *line == "---");
    }
    let plain = |line: &&str| !line.is_empty() && !line.starts_with(['#', '|', '-', '!', '<', '>', '`']);
    let mut line = lines.find(plain).unwrap_or_default().replace(['*', '`'], "");
    while line.len() > SUMMARY_BYTES_MAX {
        line.pop();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(readme: &str, expect: &str) {
        assert_eq!(summary_of(&[("README.md".to_owned(), readme.into())]), expect);
    }

    #[test]
    fn a_readme_sums_itself_up() {
        check("---\nlicense: mit\n---\n# Title\n\nA small **CNN**.\nMore.\n", "A small CNN.");
        check("# Title only\n", "");
        check(&"x".repeat(300), &"x".repeat(200));
    }
}
