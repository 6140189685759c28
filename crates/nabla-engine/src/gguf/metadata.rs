//! Keys and values of a GGUF file.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use super::limits::{ARRAY_LENGTH_MAX, KEY_BYTES_MAX, TEXT_BYTES_MAX, TOKENIZER_BYTES_MAX, TOKENIZER_JSON};
use super::{shown, wire::Reader};
use crate::Error;

/// The type of a value, or of the elements of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    U64,
    I64,
    F64,
}

/// The code of an array, whose elements have a type of their own.
const ARRAY: u32 = 9;

impl Kind {
    fn of(code: u32) -> Option<Self> {
        Some(match code {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            8 => Self::Text,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    fn code(self) -> u32 {
        match self {
            Self::U8 => 0,
            Self::I8 => 1,
            Self::U16 => 2,
            Self::I16 => 3,
            Self::U32 => 4,
            Self::I32 => 5,
            Self::F32 => 6,
            Self::Bool => 7,
            Self::Text => 8,
            Self::U64 => 10,
            Self::I64 => 11,
            Self::F64 => 12,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Text => "text",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }

    /// Bytes of one value; a text has a length of its own.
    fn size_bytes(self) -> Option<usize> {
        match self {
            Self::U8 | Self::I8 | Self::Bool => Some(1),
            Self::U16 | Self::I16 => Some(2),
            Self::U32 | Self::I32 | Self::F32 => Some(4),
            Self::U64 | Self::I64 | Self::F64 => Some(8),
            Self::Text => None,
        }
    }
}

/// A number of any type: each is exact in one of these.
#[derive(Debug, Clone, Copy)]
enum Number {
    Integer(i128),
    Float(f64),
}

impl Number {
    /// `None` for what is not a number.
    fn read(kind: Kind, bytes: &[u8]) -> Option<Self> {
        Some(match kind {
            Kind::U8 => Self::Integer(u8::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::I8 => Self::Integer(i8::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::U16 => Self::Integer(u16::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::I16 => Self::Integer(i16::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::U32 => Self::Integer(u32::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::I32 => Self::Integer(i32::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::U64 => Self::Integer(u64::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::I64 => Self::Integer(i64::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::F32 => Self::Float(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            Kind::F64 => Self::Float(f64::from_le_bytes(bytes.try_into().ok()?)),
            Kind::Bool | Kind::Text => return None,
        })
    }

    fn integer<T: TryFrom<i128>>(self) -> Option<T> {
        if let Self::Integer(value) = self { T::try_from(value).ok() } else { None }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "integers that lose nothing only; f64 to the nearest f32, as documented"
    )]
    fn float(self) -> Option<f32> {
        match self {
            Self::Integer(value) => (value.unsigned_abs() <= 1 << 24).then_some(value as f32),
            Self::Float(value) => Some(value as f32),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(value) => value.fmt(f),
            Self::Float(value) => write!(f, "{value:?}"),
        }
    }
}

/// Where a value lies, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    kind: Kind,
    /// Elements of an array; `None` if it is not one.
    length: Option<usize>,
    range: Range<usize>,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            None => f.write_str(self.kind.name()),
            Some(length) => write!(f, "array of {length} {}", self.kind.name()),
        }
    }
}

/// Read this many keys and their values.
pub(super) fn read_entries(reader: &mut Reader<'_>, count: u64) -> Result<BTreeMap<String, Entry>, Error> {
    let mut entries = BTreeMap::new();
    for index in 0..count {
        reader.enter(format!("key {index}"));
        let key = reader.name("a key", KEY_BYTES_MAX)?;
        reader.enter(format!("key {}", shown(&key)));
        let text_max = if key == TOKENIZER_JSON { TOKENIZER_BYTES_MAX } else { TEXT_BYTES_MAX };
        let entry = read_entry(reader, text_max)?;
        if entries.insert(key, entry).is_some() {
            return Err(reader.error("each key once", "it again"));
        }
    }
    Ok(entries)
}

/// A value; `text_max` is how long one text may be that is no element of an array.
fn read_entry(reader: &mut Reader<'_>, text_max: u64) -> Result<Entry, Error> {
    let (kind, length) = match reader.u32()? {
        ARRAY => (read_element_kind(reader)?, Some(read_length(reader)?)),
        code => (read_kind(reader, code)?, None),
    };
    let start = reader.at();
    let count = length.unwrap_or(1);
    match kind.size_bytes() {
        // At most 2^20 elements of 8 bytes: the product is far from the end of the numbers.
        Some(size) => reader.take((count * size) as u64).map(drop)?,
        None if length.is_none() => reader.text("a text", text_max).map(drop)?,
        None => (0..count).try_for_each(|_| reader.text("a text", TEXT_BYTES_MAX).map(drop))?,
    }
    Ok(Entry { kind, length, range: start..reader.at() })
}

fn read_kind(reader: &Reader<'_>, code: u32) -> Result<Kind, Error> {
    Kind::of(code).ok_or_else(|| reader.error("a type of value from 0 to 12", code.to_string()))
}

fn read_element_kind(reader: &mut Reader<'_>) -> Result<Kind, Error> {
    match reader.u32()? {
        ARRAY => Err(reader.error("an array of numbers, truth values or texts", "an array of arrays")),
        code => read_kind(reader, code),
    }
}

fn read_length(reader: &mut Reader<'_>) -> Result<usize, Error> {
    let length = reader.u64()?;
    let fits = usize::try_from(length).ok().filter(|_| length <= ARRAY_LENGTH_MAX);
    fits.ok_or_else(|| reader.error(format!("an array of at most {ARRAY_LENGTH_MAX}"), length.to_string()))
}

/// Keys and values of a GGUF file. A getter asks for a type; integers of any width are taken where the value fits.
#[derive(Clone, PartialEq)]
pub struct Metadata {
    bytes: Vec<u8>,
    entries: BTreeMap<String, Entry>,
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metadata({} keys in {} bytes)", self.entries.len(), self.bytes.len())
    }
}

impl Metadata {
    /// Entries and the bytes that they point into, of which `end` are needed.
    pub(super) fn new(mut bytes: Vec<u8>, end: usize, entries: BTreeMap<String, Entry>) -> Self {
        bytes.truncate(end);
        bytes.shrink_to_fit();
        Self { bytes, entries }
    }

    /// All keys, sorted, each with its type in words.
    pub fn keys(&self) -> impl Iterator<Item = (&str, String)> {
        self.entries.iter().map(|(key, entry)| (key.as_str(), entry.to_string()))
    }

    /// Append a key and its value, as a header has them.
    pub(super) fn write(&self, key: &str, into: &mut Vec<u8>) {
        let Some(Entry { kind, length, range }) = self.entries.get(key) else { return };
        into.extend((key.len() as u64).to_le_bytes());
        into.extend(key.as_bytes());
        if let Some(length) = length {
            into.extend(ARRAY.to_le_bytes());
            into.extend(kind.code().to_le_bytes());
            into.extend((*length as u64).to_le_bytes());
        } else {
            into.extend(kind.code().to_le_bytes());
        }
        into.extend(&self.bytes[range.clone()]);
    }

    /// Whether there is such a key.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// What a getter finds, or nothing without such a key: `metadata.optional("split.count", Metadata::u32)`.
    ///
    /// # Errors
    /// As the getter, but for a missing key.
    pub fn optional<'m, T>(
        &'m self,
        key: &str,
        get: impl FnOnce(&'m Self, &str) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if self.contains(key) { get(self, key).map(Some) } else { Ok(None) }
    }

    /// An integer from 0 to 2^32 - 1, of any type.
    ///
    /// # Errors
    /// [`Error::Gguf`] if it is not there, or is something else.
    pub fn u32(&self, key: &str) -> Result<u32, Error> {
        self.one(key, "an integer from 0 to 2^32 - 1", Number::integer)
    }

    /// An integer from 0 to 2^64 - 1, of any type.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn u64(&self, key: &str) -> Result<u64, Error> {
        self.one(key, "an integer from 0 to 2^64 - 1", Number::integer)
    }

    /// A float: an f32, the f32 nearest to an f64, or an integer of up to 24 bits.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn f32(&self, key: &str) -> Result<f32, Error> {
        self.one(key, "a float", Number::float)
    }

    /// A truth value.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn bool(&self, key: &str) -> Result<bool, Error> {
        let expected = "a truth value";
        let bytes = self.value(key, expected, |entry| entry.kind == Kind::Bool && entry.length.is_none())?;
        truth(bytes.first()).ok_or_else(|| wrong(key, expected, format!("{bytes:?}")))
    }

    /// A text.
    ///
    /// # Errors
    /// As [`Metadata::u32`]; also if it is not UTF-8.
    pub fn str(&self, key: &str) -> Result<&str, Error> {
        let is_text = |entry: &Entry| entry.kind == Kind::Text && entry.length.is_none();
        let mut bytes = self.value(key, "a text", is_text)?;
        next_text(&mut bytes).ok_or_else(|| wrong(key, "a text in UTF-8", "other bytes"))
    }

    /// How many elements an array has.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn length(&self, key: &str) -> Result<usize, Error> {
        let entry = self.entry(key, "an array")?;
        entry.length.ok_or_else(|| wrong(key, "an array", entry.to_string()))
    }

    /// An array of texts.
    ///
    /// # Errors
    /// As [`Metadata::str`].
    pub fn strs(&self, key: &str) -> Result<Vec<&str>, Error> {
        let expected = "an array of texts";
        let is_texts = |entry: &Entry| entry.kind == Kind::Text && entry.length.is_some();
        let mut rest = self.value(key, expected, is_texts)?;
        let mut texts = Vec::with_capacity(self.length(key)?);
        while !rest.is_empty() {
            let index = texts.len();
            let text = next_text(&mut rest);
            texts.push(text.ok_or_else(|| wrong(key, "texts in UTF-8", format!("other bytes at {index}")))?);
        }
        Ok(texts)
    }

    /// An array of floats, each as [`Metadata::f32`] takes it.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn f32s(&self, key: &str) -> Result<Vec<f32>, Error> {
        self.many(key, "an array of floats", Number::float)
    }

    /// An array of integers from -2^31 to 2^31 - 1.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn i32s(&self, key: &str) -> Result<Vec<i32>, Error> {
        self.many(key, "an array of integers from -2^31 to 2^31 - 1", Number::integer)
    }

    /// An array of truth values.
    ///
    /// # Errors
    /// As [`Metadata::u32`].
    pub fn bools(&self, key: &str) -> Result<Vec<bool>, Error> {
        let expected = "an array of truth values";
        let is_truths = |entry: &Entry| entry.kind == Kind::Bool && entry.length.is_some();
        let bytes = self.value(key, expected, is_truths)?;
        let truths: Option<Vec<bool>> = bytes.iter().map(|byte| truth(Some(byte))).collect();
        truths.ok_or_else(|| wrong(key, expected, "a byte that is neither 0 nor 1"))
    }

    fn entry(&self, key: &str, expected: &str) -> Result<&Entry, Error> {
        self.entries.get(key).ok_or_else(|| wrong(key, expected, "nothing: there is no such key"))
    }

    /// The bytes of a value that is as expected.
    fn value(&self, key: &str, expected: &str, fits: impl Fn(&Entry) -> bool) -> Result<&[u8], Error> {
        let entry = self.entry(key, expected)?;
        if fits(entry) {
            Ok(&self.bytes[entry.range.clone()])
        } else {
            Err(wrong(key, expected, entry.to_string()))
        }
    }

    fn one<T>(&self, key: &str, expected: &str, get: impl Fn(Number) -> Option<T>) -> Result<T, Error> {
        let entry = self.entry(key, expected)?;
        let bytes = &self.bytes[entry.range.clone()];
        match Number::read(entry.kind, bytes).filter(|_| entry.length.is_none()) {
            None => Err(wrong(key, expected, entry.to_string())),
            Some(number) => get(number).ok_or_else(|| wrong(key, expected, format!("{entry} of {number}"))),
        }
    }

    fn many<T>(&self, key: &str, expected: &str, get: impl Fn(Number) -> Option<T>) -> Result<Vec<T>, Error> {
        let entry = self.entry(key, expected)?;
        let (Some(size), Some(_)) = (entry.kind.size_bytes(), entry.length) else {
            return Err(wrong(key, expected, entry.to_string()));
        };
        let read = |bytes| Number::read(entry.kind, bytes).and_then(&get);
        let values: Option<Vec<T>> = self.bytes[entry.range.clone()].chunks_exact(size).map(read).collect();
        values.ok_or_else(|| wrong(key, expected, entry.to_string()))
    }
}

/// Keys and values of a header in the making.
#[derive(Debug, Default)]
pub(crate) struct Values(BTreeMap<String, Vec<u8>>);

impl Values {
    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.put(key, Kind::U32, &value.to_le_bytes());
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) {
        self.put(key, Kind::F32, &value.to_le_bytes());
    }

    pub(crate) fn bool(&mut self, key: &str, value: bool) {
        self.put(key, Kind::Bool, &[value.into()]);
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.put(key, Kind::Text, &[&(value.len() as u64).to_le_bytes(), value.as_bytes()].concat());
    }

    pub(crate) fn bools(&mut self, key: &str, values: &[bool]) {
        let mut bytes = ARRAY.to_le_bytes().to_vec();
        bytes.extend(Kind::Bool.code().to_le_bytes());
        bytes.extend((values.len() as u64).to_le_bytes());
        bytes.extend(values.iter().map(|value| u8::from(*value)));
        self.0.insert(key.to_owned(), bytes);
    }

    fn put(&mut self, key: &str, kind: Kind, value: &[u8]) {
        self.0.insert(key.to_owned(), [&kind.code().to_le_bytes(), value].concat());
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// All of them, sorted, as a header has them.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let entry = |(key, value): (&String, &Vec<u8>)| {
            [&(key.len() as u64).to_le_bytes(), key.as_bytes(), value].concat()
        };
        self.0.iter().flat_map(entry).collect()
    }
}

fn wrong(key: &str, expected: &str, got: impl Into<String>) -> Error {
    Error::Gguf { place: format!("key {}", shown(key)), expected: expected.to_owned(), got: got.into() }
}

fn truth(byte: Option<&u8>) -> Option<bool> {
    match byte {
        Some(0) => Some(false),
        Some(1) => Some(true),
        _ => None,
    }
}

/// The next text of bytes that are texts, each behind its length.
fn next_text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    let (length, behind) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (text, behind) = behind.split_at_checked(length)?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}
