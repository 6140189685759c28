//! Objects of JSON, read without trust.

use serde_json::{Map, Value};

use crate::{Error, gguf::shown};

/// An object, and where it stands. What is `null` is not there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'j> {
    file: &'static str,
    object: &'j Map<String, Value>,
}

/// The object that a file is.
pub(super) fn parse(file: &'static str, bytes: &[u8]) -> Result<Map<String, Value>, Error> {
    let wrong = |got: String| Error::Folder { place: file.to_owned(), expected: "an object".to_owned(), got };
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(other) => Err(wrong(kind(&other).to_owned())),
        Err(error) => Err(wrong(shown(&error.to_string()))),
    }
}

impl<'j> Json<'j> {
    pub(super) fn new(file: &'static str, object: &'j Map<String, Value>) -> Self {
        Self { file, object }
    }

    pub(super) fn wrong(&self, key: &str, expected: impl Into<String>, got: impl Into<String>) -> Error {
        let place = format!("{}, key {}", self.file, shown(key));
        Error::Folder { place, expected: expected.into(), got: got.into() }
    }

    /// The key is there, even as `null`.
    pub(super) fn names(&self, key: &str) -> bool {
        self.object.contains_key(key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'j Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn size(&self, key: &str) -> Result<u32, Error> {
        self.optional_size(key)?.ok_or_else(|| self.wrong(key, SIZE, "nothing"))
    }

    pub(super) fn optional_size(&self, key: &str) -> Result<Option<u32>, Error> {
        self.read(key, SIZE, |value| u32::try_from(value.as_u64()?).ok())
    }

    #[expect(clippy::cast_possible_truncation, reason = "to the nearest f32, as converters have it")]
    pub(super) fn real(&self, key: &str) -> Result<Option<f32>, Error> {
        self.read(key, "a finite number", |value| {
            Some(value.as_f64()? as f32).filter(|real| real.is_finite())
        })
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'j str>, Error> {
        self.read(key, "a text", Value::as_str)
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.read(key, "a truth value", Value::as_bool)
    }

    pub(super) fn list(&self, key: &str) -> Result<Option<&'j [Value]>, Error> {
        self.read(key, "a list", |value| value.as_array().map(Vec::as_slice))
    }

    pub(super) fn object(&self, key: &str) -> Result<Option<Json<'j>>, Error> {
        let object = self.read(key, "an object", Value::as_object)?;
        Ok(object.map(|object| Json { file: self.file, object }))
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        get: impl FnOnce(&'j Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let got = || match value {
            Value::Number(number) => number.to_string(),
            other => kind(other).to_owned(),
        };
        get(value).map(Some).ok_or_else(|| self.wrong(key, expected, got()))
    }
}

const SIZE: &str = "an integer from 0 to 2^32 - 1";

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
