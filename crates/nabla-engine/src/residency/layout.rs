//! The bytes of a packed model on disk.
//!
//! ```text
//! file    = "NABLAPCK" header length (u64, little-endian) header, zeros to a page, sections, blake3 of all before
//! header  = ["nabla/packed", 1, runtime, kernel spec, kernels, model id, limits' digest,
//!            [macs, peak bytes, weight bytes, is static], graph's bytes, sections' length,
//!            [*weight], [*static], [*packed]]
//! weight  = null / section
//! static  = null / [dtype code, [*size], null / section]      without a section only the type is left
//! packed  = null / [[*input that is replaced], [*section]]
//! section = [offset, length]                                  in the sections, a multiple of 64
//! ```
//!
//! # Rules
//! - A file is used only if its last bytes are the hash of all others and it was written by this version of
//!   the engine, for this model, these kernels and these limits.
//! - [`VERSION`] goes up whenever a kernel's order of weights changes. The golden test notices.
//!
//! # When things go wrong
//! [`read`] answers with what is wrong, in words; the caller removes the file and loads the model anew.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;

use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use nabla_types::ModelId;
use nabla_types::tensor::{Dtype, Tensor};

use super::map::Map;
use crate::graph::wire;
use crate::kernels::{Buffer, Cpu};
use crate::ops::{Packed, sizes};
use crate::plan::{Kept, Static, ValueType};
use crate::runtime::{EngineSession, KERNEL_SPEC, RUNTIME};
use crate::{Cost, Interface, Limits, Session};

/// Version of the file's format and of the order in which kernels keep weights.
pub(super) const VERSION: u32 = 1;
const FILE_MAGIC: &[u8; 8] = b"NABLAPCK";
const HEADER_MAGIC: &str = "nabla/packed";
/// Magic and header length.
const PREFIX_BYTES: usize = 16;
const HASH_BYTES: usize = 32;
const SECTION_ALIGNMENT: u64 = 64;
/// The largest page that systems map by.
const PAGE_BYTES: u64 = 1 << 14;

/// What a file must have been written for.
#[derive(Debug)]
pub(super) struct Key<'a> {
    pub(super) model: ModelId,
    pub(super) cpu: &'a Cpu,
    pub(super) limits: &'a Limits,
}

impl Key<'_> {
    /// Everything but the contents, as the header begins.
    fn write(&self, e: &mut Encoder<Vec<u8>>) -> Result<(), Never> {
        e.array(13)?.str(HEADER_MAGIC)?.u32(VERSION)?.str(RUNTIME)?.u32(KERNEL_SPEC)?;
        e.str(self.cpu.isa().name())?.bytes(&self.model.0)?;
        // Exhaustive whatever fields the limits have; it stays within this build of the engine.
        e.bytes(blake3::hash(format!("{:?}", self.limits).as_bytes()).as_bytes())?;
        Ok(())
    }

    fn bytes(&self) -> Vec<u8> {
        let mut e = Encoder::new(Vec::new());
        self.write(&mut e).expect("writing to a Vec has no failure");
        e.into_writer()
    }
}

/// What a file is written from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) graph: &'s [u8],
    pub(super) session: &'s EngineSession,
}

type Never = minicbor::encode::Error<std::convert::Infallible>;

/// The parts of a file, in the order of their sections.
#[derive(Default)]
struct Sections<'a> {
    parts: Vec<(u64, Content<'a>)>,
    end: u64,
}

enum Content<'a> {
    Tensor(&'a Tensor),
    Buffer(&'a Buffer),
}

impl<'a> Sections<'a> {
    fn add(&mut self, e: &mut Encoder<Vec<u8>>, content: Content<'a>) -> Result<(), Never> {
        let length = match &content {
            Content::Tensor(tensor) => wire::weight_length(tensor),
            Content::Buffer(buffer) => buffer.as_bytes().len() as u64,
        };
        let offset = self.end.next_multiple_of(SECTION_ALIGNMENT);
        self.end = offset + length;
        self.parts.push((offset, content));
        e.array(2)?.u64(offset)?.u64(length)?;
        Ok(())
    }
}

/// Write a session as a file. Nothing of it is copied as a whole.
pub(super) fn write(
    key: &Key<'_>,
    source: Source<'_>,
    sink: impl Write,
    progress: &dyn Fn(),
) -> io::Result<u64> {
    let (header, sections) = header(key, source).expect("writing to a Vec has no failure");
    let mut sink = Hashed { sink, hasher: blake3::Hasher::new(), written: 0 };
    sink.write(FILE_MAGIC)?;
    sink.write(&(header.len() as u64).to_le_bytes())?;
    sink.write(&header)?;
    let base = sink.written.next_multiple_of(PAGE_BYTES);
    sink.pad(base)?;
    progress();
    for (offset, content) in &sections.parts {
        sink.pad(base + offset)?;
        let bytes = match content {
            Content::Tensor(tensor) => Cow::Owned(wire::encode_weight(tensor)),
            Content::Buffer(buffer) => Cow::Borrowed(buffer.as_bytes()),
        };
        sink.write(&bytes)?;
        progress();
    }
    let hash = sink.hasher.finalize();
    sink.sink.write_all(hash.as_bytes())?;
    sink.sink.flush()?;
    Ok(sink.written + HASH_BYTES as u64)
}

fn header<'s>(key: &Key<'_>, source: Source<'s>) -> Result<(Vec<u8>, Sections<'s>), Never> {
    let (interface, kept) = (source.session.interface(), source.session.kept());
    let mut body = Encoder::new(Vec::new());
    let mut sections = Sections::default();
    body.array(kept.weights.len() as u64)?;
    for weight in &kept.weights {
        match weight {
            None => drop(body.null()?),
            Some(tensor) => sections.add(&mut body, Content::Tensor(tensor))?,
        }
    }
    body.array(kept.statics.len() as u64)?;
    for value in &kept.statics {
        let ty = match value {
            Static::No => None,
            Static::Value(tensor) => Some(ValueType::of(tensor)),
            Static::Packed(ty) => Some(ty.clone()),
        };
        let Some(ty) = ty else {
            body.null()?;
            continue;
        };
        body.array(3)?.u8(ty.dtype.code())?.array(ty.shape.len() as u64)?;
        for size in ty.wide() {
            body.u64(size)?;
        }
        match value.value() {
            None => drop(body.null()?),
            Some(tensor) => sections.add(&mut body, Content::Tensor(tensor))?,
        }
    }
    body.array(kept.packed.len() as u64)?;
    for packed in &kept.packed {
        let Some(packed) = packed else {
            body.null()?;
            continue;
        };
        body.array(2)?.array(packed.replaces.len() as u64)?;
        for input in &packed.replaces {
            body.u64(*input as u64)?;
        }
        body.array(packed.buffers.len() as u64)?;
        for buffer in &packed.buffers {
            sections.add(&mut body, Content::Buffer(buffer))?;
        }
    }
    let mut head = Encoder::new(Vec::new());
    key.write(&mut head)?;
    let cost = interface.cost();
    head.array(4)?.u64(cost.macs)?.u64(cost.peak_bytes)?.u64(cost.weight_bytes)?.bool(cost.is_static)?;
    head.bytes(source.graph)?.u64(sections.end)?;
    Ok(([head.into_writer(), body.into_writer()].concat(), sections))
}

/// Writes, counts and hashes.
struct Hashed<W> {
    sink: W,
    hasher: blake3::Hasher,
    written: u64,
}

impl<W: Write> Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, until: u64) -> io::Result<()> {
        let zeros = until.saturating_sub(self.written);
        self.write(&vec![0; usize::try_from(zeros).unwrap_or(0)])
    }
}

/// What is wrong with a file.
pub(super) type Broken = String;

/// A session over a mapped file.
pub(super) fn read(key: &Key<'_>, map: &Map) -> Result<EngineSession, Broken> {
    let all = map.bytes();
    let (content, hash) = all.split_last_chunk::<HASH_BYTES>().ok_or("the file is cut short")?;
    let (magic, rest) = content.split_first_chunk::<8>().ok_or("the file is cut short")?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or("the file is cut short")?;
    if magic != FILE_MAGIC {
        return Err("it is not a packed model".to_owned());
    }
    if blake3::hash(content) != *hash {
        return Err("its hash is wrong".to_owned());
    }
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).ok_or("its header is cut short")?;
    let ours = key.bytes();
    let Some(header) = header.strip_prefix(ours.as_slice()) else {
        return Err("it was written for another model, engine, kernels or limits".to_owned());
    };
    let base = ((PREFIX_BYTES + length) as u64).next_multiple_of(PAGE_BYTES);
    let end = content.len() as u64;
    let mut reader = Reader { d: Decoder::new(header), map, base, end };
    let (interface, kept) = reader.session(key.limits)?;
    if reader.d.position() != header.len() {
        return Err("bytes follow its header".to_owned());
    }
    Ok(EngineSession::of(key.cpu.clone(), Arc::new(interface), kept))
}

struct Reader<'b> {
    d: Decoder<'b>,
    map: &'b Map,
    /// Where sections begin and end in the file.
    base: u64,
    end: u64,
}

impl Reader<'_> {
    fn session(&mut self, limits: &Limits) -> Result<(Interface, Kept), Broken> {
        self.count(Some(4))?;
        let (macs, peak_bytes, weight_bytes) = (self.uint()?, self.uint()?, self.uint()?);
        let is_static = self.d.bool().map_err(malformed)?;
        let cost = Cost { macs, peak_bytes, weight_bytes, is_static };
        let graph = self.d.bytes().map_err(malformed)?;
        let (graph, heads) = wire::decode_graph(graph, limits).map_err(|error| error.to_string())?;
        if self.uint()?.checked_add(self.base) != Some(self.end) {
            return Err("it has another length than its header says".to_owned());
        }
        self.count(Some(heads.len()))?;
        let weights = heads.iter().map(|head| self.optional(|r| r.tensor(head.dtype, head.shape.clone())));
        let weights: Vec<Option<Arc<Tensor>>> = weights.collect::<Result<_, _>>()?;
        let values = graph.nodes.iter().map(|node| node.outputs as usize).sum();
        self.count(Some(values))?;
        let statics = (0..values).map(|_| self.value()).collect::<Result<_, _>>()?;
        self.count(Some(graph.nodes.len()))?;
        let packed = graph.nodes.iter().map(|_| self.optional(Self::packed));
        let packed: Vec<Option<Packed>> = packed.collect::<Result<_, _>>()?;
        let ty = |head: &wire::WeightHead| ValueType { dtype: head.dtype, shape: sizes(&head.shape) };
        let types = heads.iter().map(ty).collect();
        let interface = Interface::known(graph, types, cost, limits).map_err(|error| error.to_string())?;
        Ok((interface, Kept { weights, statics, packed }))
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Broken>,
    ) -> Result<Option<T>, Broken> {
        if self.d.datatype().map_err(malformed)? == Type::Null {
            self.d.null().map_err(malformed)?;
            return Ok(None);
        }
        read(self).map(Some)
    }

    fn value(&mut self) -> Result<Static, Broken> {
        let value = self.optional(|r| {
            r.count(Some(3))?;
            let code = r.d.u8().map_err(malformed)?;
            let dtype = Dtype::from_code(code).ok_or("an element type is unknown")?;
            let rank = r.count(None)?;
            let shape: Vec<u64> = (0..rank).map(|_| r.uint()).collect::<Result<_, _>>()?;
            let ty = ValueType { dtype, shape: sizes(&shape) };
            let tensor = r.optional(|r| r.tensor(dtype, shape))?;
            Ok(tensor.map_or(Static::Packed(ty), Static::Value))
        })?;
        Ok(value.unwrap_or(Static::No))
    }

    fn packed(&mut self) -> Result<Packed, Broken> {
        self.count(Some(2))?;
        let replaced = self.count(None)?;
        let index = |r: &mut Self| Ok(usize::try_from(r.uint()?).unwrap_or(usize::MAX));
        let replaces = (0..replaced).map(|_| index(self)).collect::<Result<_, Broken>>()?;
        let count = self.count(None)?;
        let buffers = (0..count).map(|_| self.buffer()).collect::<Result<_, _>>()?;
        Ok(Packed { buffers, replaces })
    }

    fn buffer(&mut self) -> Result<Buffer, Broken> {
        let (start, end) = self.section()?;
        let part = self.map.part(start, end).ok_or("a section lies outside the file")?;
        Buffer::shared(Arc::new(part)).ok_or_else(|| "a section is not aligned".to_owned())
    }

    fn tensor(&mut self, dtype: Dtype, shape: Vec<u64>) -> Result<Arc<Tensor>, Broken> {
        let (start, end) = self.section()?;
        let bytes = self.map.bytes().get(start..end).ok_or("a section lies outside the file")?;
        wire::decode_tensor(dtype, shape, bytes).map(Arc::new).map_err(|error| error.to_string())
    }

    /// First and last place of a section in the file.
    fn section(&mut self) -> Result<(usize, usize), Broken> {
        self.count(Some(2))?;
        let start = self.uint()?.checked_add(self.base);
        let length = self.uint()?;
        let end = start.and_then(|start| start.checked_add(length)).filter(|end| *end <= self.end);
        let range = start.zip(end).map(|(start, end)| (usize::try_from(start), usize::try_from(end)));
        let Some((Ok(start), Ok(end))) = range else {
            return Err("a section lies outside the file".to_owned());
        };
        Ok((start, end))
    }

    /// The length of a list, which cannot be more than the bytes that are left.
    fn count(&mut self, expected: Option<usize>) -> Result<usize, Broken> {
        let count = self.d.array().map_err(malformed)?.ok_or("a list has no length")?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let left = self.d.input().len().saturating_sub(self.d.position());
        if count > left || expected.is_some_and(|expected| expected != count) {
            return Err("a list has the wrong length".to_owned());
        }
        Ok(count)
    }

    fn uint(&mut self) -> Result<u64, Broken> {
        self.d.u64().map_err(malformed)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn malformed(error: minicbor::decode::Error) -> Broken {
    format!("its header is malformed: {error}")
}
