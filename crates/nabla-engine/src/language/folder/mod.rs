//! Folders as Hugging Face has them: read, and brought to the canonical form of a GGUF file.
//!
//! | module | what it holds |
//! |---|---|
//! | `files` | [`Files`]: where the files come from |
//! | `family` | the classes of models that are taken |
//! | `config`, `rope` | `config.json`, as keys of the header |
//! | `tokenizer` | `tokenizer.json` and the files beside it, as keys of the header |
//! | `tensors` | names of tensors, and what becomes of their elements |
//! | `json` | objects of JSON, read without trust |
//!
//! # Rules
//! - What comes out is what llama.cpp's converter makes of the same folder, with its permutations and its norms, in
//!   the [canonical form](crate::gguf::Canonical); but weights stay in the type that they have, and a window that the
//!   model's authors gave it is kept. From there on a model is a model.
//! - A key, a class, a type or a tensor that is not understood is refused by its name.
//! - The configuration must fit the tensors before their bytes are read. These are read once, into their places.
//!
//! # When things go wrong
//! Every failure is an [`Error`] that names the file, and the key or the tensor in it.
//!
//! # Example
//! ```no_run
//! use nabla_engine::language::{TextModel, import_folder};
//! use nabla_engine::{Engine, Folder, Kernels, Limits};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let joined = import_folder(&Folder::new("model")?, &limits)?;
//! let model = TextModel::load(&Engine::new(Kernels::Auto)?, &joined, &limits)?;
//! # Ok(()) }
//! ```

mod config;
mod family;
mod files;
mod json;
mod rope;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::collections::BTreeMap;

use serde_json::Value;

pub use files::Files;

use self::config::Described;
use self::json::Json;
use self::tensors::Change;
use super::Config;
use crate::gguf::{Gguf, Joined, Row, Shape, WeightFormat, header, padded, shown};
use crate::safetensors::{Safetensors, Tensor};
use crate::{Error, Limits, ReadAt};

/// Longest `config.json`: published ones have fewer than 10 KiB.
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Longest `model.safetensors.index.json`: a hundred bytes for each of 65 536 tensors.
const INDEX_BYTES_MAX: u64 = 16 << 20;
/// Most files of weights. The largest published models have 191.
const SHARDS_MAX: usize = 512;

const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The canonical form of the model in this folder: a header, and a data section behind it.
///
/// # Errors
/// [`Error::Folder`] for a file that is missing, not well-formed, or contradicts another; [`Error::Unsupported`] for
/// what would change results and is not taken; [`Error::Limit`], [`Error::Text`], [`Error::External`] and
/// [`Error::Read`].
pub fn import_folder(files: &dyn Files, limits: &Limits) -> Result<Joined<Vec<u8>, Vec<u8>>, Error> {
    let name = "config.json";
    let bytes = files::read(files, name, "bytes of config.json", CONFIG_BYTES_MAX)?;
    let object = json::parse(name, &bytes.ok_or_else(|| missing(name, "it says what the model is"))?)?;
    let config = Json::new(name, &object);
    let mut described = config::read(&config)?;
    tokenizer::write(files, &config, &mut described.values)?;
    let shards = shards(files)?;
    let planned = plan(&described, &shards)?;

    let sizes = planned.values().map(Planned::size_bytes);
    let size_bytes = sizes.fold(0, |sum: u64, size| sum.saturating_add(padded(size)));
    Limits::check("bytes of all weights", size_bytes, limits.weight_bytes_max)?;
    let rows: Vec<Row<'_>> = planned.iter().map(|(name, tensor)| tensor.row(name)).collect();
    let header = header(described.values.len(), &described.values.bytes(), &rows);
    let gguf = Gguf::open(&Joined(header.clone(), Unread(size_bytes)))?;
    Config::from_metadata(&gguf.metadata)?.check(&gguf.tensors)?;
    Ok(Joined(header, data(&planned, &shards, size_bytes)?))
}

fn wrong(place: &str, expected: &str, got: impl Into<String>) -> Error {
    Error::Folder { place: place.to_owned(), expected: expected.to_owned(), got: got.into() }
}

fn missing(name: &str, why: &str) -> Error {
    wrong(name, &format!("a file of this name ({why})"), "none")
}

/// One file of weights.
struct Shard {
    name: String,
    source: Box<dyn ReadAt>,
    header: Safetensors,
}

impl Shard {
    fn open(files: &dyn Files, name: &str) -> Result<Option<Self>, Error> {
        let Some(source) = files.open(name)? else { return Ok(None) };
        let header = Safetensors::open(&shown(name), &*source)?;
        Ok(Some(Self { name: name.to_owned(), source, header }))
    }

    fn place(&self, tensor: &str) -> String {
        format!("{}, tensor {}", shown(&self.name), shown(tensor))
    }
}

/// All files of weights: one, or those that an index names.
fn shards(files: &dyn Files) -> Result<Vec<Shard>, Error> {
    if let Some(shard) = Shard::open(files, WEIGHTS)? {
        return Ok(vec![shard]);
    }
    let bytes = files::read(files, INDEX, "bytes of the index of safetensors", INDEX_BYTES_MAX)?;
    let index = bytes.ok_or_else(|| missing(WEIGHTS, "or model.safetensors.index.json"))?;
    let index = json::parse(INDEX, &index)?;
    let map = index.get("weight_map").and_then(Value::as_object);
    let map = map.ok_or_else(|| wrong(INDEX, "an object \"weight_map\"", "none"))?;
    let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (tensor, file) in map {
        let file = file
            .as_str()
            .ok_or_else(|| wrong(INDEX, "the name of a file for each tensor", "another value"))?;
        named.entry(file).or_default().push(tensor);
    }
    if named.len() > SHARDS_MAX {
        return Err(wrong(INDEX, &format!("at most {SHARDS_MAX} files"), named.len().to_string()));
    }
    let mut shards = Vec::with_capacity(named.len());
    for (file, tensors) in named {
        let shard = Shard::open(files, file)?.ok_or_else(|| missing(&shown(file), "the index names it"))?;
        if let Some(tensor) = tensors.iter().find(|tensor| shard.header.get(tensor).is_none()) {
            return Err(wrong(&shard.place(tensor), "a tensor, which the index names", "none"));
        }
        if let Some((tensor, _)) =
            shard.header.iter().find(|(name, _)| map.get(*name).is_none_or(|to| to != file))
        {
            return Err(wrong(
                &shard.place(tensor),
                "tensors that the index has in this file only",
                "another",
            ));
        }
        shards.push(shard);
    }
    Ok(shards)
}

/// A tensor of the canonical form, and where its elements come from.
struct Planned<'s> {
    shape: Shape,
    format: WeightFormat,
    from: Origin<'s>,
}

enum Origin<'s> {
    File { shard: &'s Shard, name: &'s str, tensor: &'s Tensor, change: Change },
    Made(Vec<f32>),
}

impl Planned<'_> {
    /// What a file has is no more than the file; factors are few.
    fn size_bytes(&self) -> u64 {
        let elements = self.shape.rows.saturating_mul(self.shape.columns);
        elements.saturating_mul(self.format.block_bytes() as u64)
    }

    fn row<'n>(&self, name: &'n str) -> Row<'n> {
        Row { name, shape: self.shape, format: self.format, size_bytes: self.size_bytes() }
    }
}

/// The tensors by their new names.
fn plan<'s>(described: &Described, shards: &'s [Shard]) -> Result<BTreeMap<String, Planned<'s>>, Error> {
    let mut planned = BTreeMap::new();
    for shard in shards {
        for (name, tensor) in shard.header.iter() {
            let Some((new, change)) = tensors::named(described, name)? else { continue };
            let place = shard.place(name);
            let shape = tensors::shape_of(&place, tensor)?;
            let format = if change == Change::PlusOne { WeightFormat::F32 } else { tensor.format };
            let from = Origin::File { shard, name, tensor, change };
            if planned.insert(new, Planned { shape, format, from }).is_some() {
                return Err(wrong(&place, "one tensor of this meaning", "a second one"));
            }
        }
    }
    let has_output = planned.contains_key("output.weight");
    if !described.tied && !has_output {
        let expected = "a tensor of this name, since tie_word_embeddings is not set";
        return Err(wrong("tensor \"lm_head.weight\"", expected, "none"));
    }
    if let Some(factors) = &described.rope_factors {
        let shape = Shape { rows: 1, columns: factors.len() as u64 };
        let from = Origin::Made(factors.clone());
        planned.insert(ROPE_FACTORS.to_owned(), Planned { shape, format: WeightFormat::F32, from });
    }
    Ok(planned)
}

/// The data section, whose `size_bytes` are within the limits.
fn data(
    planned: &BTreeMap<String, Planned<'_>>,
    shards: &[Shard],
    size_bytes: u64,
) -> Result<Vec<u8>, Error> {
    let too_large = || {
        wrong(
            &format!("{} files of weights", shards.len()),
            "weights that fit memory",
            size_bytes.to_string(),
        )
    };
    let mut data = vec![0; usize::try_from(size_bytes).map_err(|_| too_large())?];
    let mut rest = data.as_mut_slice();
    for tensor in planned.values() {
        // The sum of all of them was counted above.
        let size = usize::try_from(tensor.size_bytes()).map_err(|_| too_large())?;
        let (into, behind) =
            rest.split_at_mut(usize::try_from(padded(size as u64)).map_err(|_| too_large())?);
        rest = behind;
        let into = &mut into[..size];
        match &tensor.from {
            Origin::Made(floats) => {
                let bytes = floats.iter().flat_map(|float| float.to_le_bytes());
                into.iter_mut().zip(bytes).for_each(|(into, byte)| *into = byte);
            }
            Origin::File { shard, name, tensor, change } => {
                tensors::fill(&shard.place(name), &*shard.source, tensor, *change, into)?;
            }
        }
    }
    Ok(data)
}

/// A data section that is not there yet: a header is read without it.
struct Unread(u64);

impl ReadAt for Unread {
    fn size_bytes(&self) -> u64 {
        self.0
    }

    fn read_at(&self, _: u64, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(0);
        Ok(())
    }
}
