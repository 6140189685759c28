//! `nabla model`: a model's file on this machine, checked, run, measured; no network, no wallet.
//!
//! An ONNX file takes tensors; a GGUF file takes text; a folder with an image pipeline takes text and gives a picture.

mod bench;
mod check;
mod picture;
mod run;
mod text;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    num::NonZero,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nabla_engine::{Engine, Folder, Limits, Model, Symbol, import_onnx};

use super::Context;
use crate::{
    args::{EngineArgs, ModelCommand, NamedSize},
    failure::Failure,
};

/// Longest text with inputs, in bytes. Values in memory take several times as much.
const INPUT_BYTES_MAX: usize = 64 << 20;

pub(super) fn model(context: &Context<'_>, command: ModelCommand) -> Result<()> {
    match command {
        ModelCommand::Run { file, text, picture, engine, .. } if picture::is_pipeline(&file) => {
            picture::run(context, &file, &text, &picture, &engine)
        }
        ModelCommand::Check { file, .. } if is_language(&file)? => text::check(context, &file),
        ModelCommand::Run { file, text, engine, .. } if is_language(&file)? => {
            text::run(context, &file, &text, &engine)
        }
        ModelCommand::Bench { file, prompt_tokens, batch, engine, .. } if is_language(&file)? => {
            text::bench(context, &file, prompt_tokens, batch, &engine)
        }
        ModelCommand::Check { file, dim } => check::check(context, &Upload::read(file, &dim)?),
        ModelCommand::Run { file, input: Some(input), engine, dim, .. } => {
            run::run(context, &Upload::read(file, &dim)?, &input, &engine)
        }
        ModelCommand::Run { file, .. } => {
            let reason = format!("{} is an .onnx file: it takes tensors, not a prompt", file.display());
            let hint = "give its inputs with --input FILE";
            Err(Failure::BadArgument { reason, hint: Some(hint.to_owned()) }.into())
        }
        ModelCommand::Bench { file, input, batch, engine, dim, .. } => {
            let given = bench::Given { input, batch, dim };
            bench::bench(context, file, &given, &engine)
        }
    }
}

/// Whether this is a language model: a file that begins as GGUF files do, or a folder of Hugging Face.
fn is_language(path: &Path) -> Result<bool, Failure> {
    if path.is_dir() {
        return Ok(path.join("config.json").is_file());
    }
    let mut magic = Vec::new();
    let read = File::open(path).and_then(|file| file.take(4).read_to_end(&mut magic));
    read.map_err(|error| Failure::bad_file(path, error))?;
    Ok(magic == b"GGUF")
}

/// An ONNX file as it was found, and the limits under which it is to be read.
#[derive(Debug)]
struct Upload {
    path: PathBuf,
    bytes: Vec<u8>,
    limits: Limits,
}

impl Upload {
    fn read(path: PathBuf, dims: &[NamedSize]) -> Result<Self> {
        let mut limits = Limits::default();
        for NamedSize { name, size } in dims {
            if limits.symbols.insert(name.clone(), *size).is_some() {
                let reason = format!("--dim names {name:?} twice");
                return Err(Failure::BadArgument { reason, hint: None }.into());
            }
        }
        let mut bytes = Vec::new();
        let read = |file: File| file.take(limits.file_bytes_max.saturating_add(1)).read_to_end(&mut bytes);
        File::open(&path).and_then(read).map_err(|error| Failure::bad_file(&path, error))?;
        Ok(Self { path, bytes, limits })
    }

    /// Import the file; its external data stand in its folder.
    fn import(&self) -> Result<Model> {
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let external = Folder::new(folder.unwrap_or(Path::new(".")))?;
        let model = import_onnx(&self.bytes, &external, &self.limits)
            .with_context(|| format!("cannot import {}", self.path.display()))?;
        self.check_dims(&model)?;
        Ok(model)
    }

    /// A size for a dimension that the model does not have is a mistake.
    fn check_dims(&self, model: &Model) -> Result<(), Failure> {
        let symbols = model.interface().symbols();
        let unknown = self.limits.symbols.keys().find(|name| !symbols.iter().any(|s| *s.name == **name));
        match unknown {
            None => Ok(()),
            Some(name) => {
                let names: Vec<&str> = symbols.iter().map(|symbol| &*symbol.name).collect();
                let reason = format!("the model has no open dimension {name:?}");
                let hint = Some(match names.is_empty() {
                    true => "all its sizes are fixed".to_owned(),
                    false => format!("its open dimensions are {}", names.join(", ")),
                });
                Err(Failure::BadArgument { reason, hint })
            }
        }
    }
}

/// The engine that the arguments ask for, and its number of threads.
fn engine(args: &EngineArgs) -> Result<(Engine, usize)> {
    let machine = || std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = args.threads.map_or_else(machine, |threads| threads as usize);
    Ok((Engine::with_threads(args.kernels, threads)?, threads))
}

/// The open dimension that leads every input, if there is one.
fn batch_symbol(model: &Model) -> Option<&Symbol> {
    let first = model.inputs().first()?.shape.first()?.to_string();
    let interface = model.interface();
    interface.symbols().iter().find(|symbol| interface.is_batched() && *symbol.name == *first)
}

/// Greatest sizes of the open dimensions by name.
fn bounds(model: &Model) -> BTreeMap<&str, u64> {
    model.interface().symbols().iter().map(|symbol| (&*symbol.name, symbol.max)).collect()
}
