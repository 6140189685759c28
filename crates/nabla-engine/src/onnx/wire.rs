//! A reader of protobuf's wire format: in place, without recursion, without trust.

use crate::Error;

/// The value of one field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// Fields of one message, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
    context: &'static str,
}

impl<'a> Fields<'a> {
    /// Fields of the message in `bytes`; `context` names it in errors.
    pub(super) fn new(bytes: &'a [u8], context: &'static str) -> Self {
        Self { rest: bytes, context }
    }

    /// The next field and its number; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Value<'a>)>, Error> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.array()?),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed32(self.array()?),
            got => return Err(self.error(format!("wire type {got} of field {}", key >> 3))),
        };
        match key >> 3 {
            0 => Err(self.error("field number 0".to_owned())),
            number => Ok(Some((number, value))),
        }
    }

    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().enumerate().take(10) {
            if index == 9 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(self.error("a number that does not end or is too large".to_owned()))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| self.error("cut short".to_owned()))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let got = self.rest.len();
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.error(format!("a field of {length} bytes where {got} are left")))?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn error(&self, problem: String) -> Error {
        Error::Onnx { context: self.context, problem }
    }

    /// The value as bytes.
    pub(super) fn bytes(&self, value: Value<'a>) -> Result<&'a [u8], Error> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(self.error(format!("expected bytes, got {}", other.kind()))),
        }
    }

    /// The value as UTF-8 text.
    pub(super) fn text(&self, value: Value<'a>) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(value)?).map_err(|_| self.error("a text that is not UTF-8".to_owned()))
    }

    /// The value as an integer.
    pub(super) fn int(&self, value: Value<'a>) -> Result<i64, Error> {
        match value {
            Value::Varint(int) => Ok(int.cast_signed()),
            other => Err(self.error(format!("expected an integer, got {}", other.kind()))),
        }
    }

    /// Integers of a repeated field: one, or many packed. `left` counts down: an integer of one byte in
    /// the file takes eight in memory.
    pub(super) fn ints(&self, value: Value<'a>, into: &mut Vec<i64>, left: &mut u64) -> Result<(), Error> {
        let spend = |left: &mut u64| match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Ok(())
            }
            None => Err(self.error("more integers than fit the limits".to_owned())),
        };
        let Value::Bytes(packed) = value else {
            spend(left)?;
            into.push(self.int(value)?);
            return Ok(());
        };
        let mut packed = Fields::new(packed, self.context);
        while !packed.is_empty() {
            spend(left)?;
            into.push(packed.varint()?.cast_signed());
        }
        Ok(())
    }

    /// f32 of a repeated field: one, or many packed.
    pub(super) fn floats(&self, value: Value<'a>, into: &mut Vec<f32>) -> Result<(), Error> {
        match value {
            Value::Fixed32(bytes) => into.push(f32::from_le_bytes(bytes)),
            Value::Bytes(packed) => {
                let (chunks, []) = packed.as_chunks::<4>() else {
                    return Err(self.error(format!("{} bytes of packed floats", packed.len())));
                };
                into.extend(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)));
            }
            other => return Err(self.error(format!("expected floats, got {}", other.kind()))),
        }
        Ok(())
    }

    /// f64 of a repeated field: one, or many packed.
    pub(super) fn doubles(&self, value: Value<'a>, into: &mut Vec<f64>) -> Result<(), Error> {
        match value {
            Value::Fixed64(bytes) => into.push(f64::from_le_bytes(bytes)),
            Value::Bytes(packed) => {
                let (chunks, []) = packed.as_chunks::<8>() else {
                    return Err(self.error(format!("{} bytes of packed doubles", packed.len())));
                };
                into.extend(chunks.iter().map(|chunk| f64::from_le_bytes(*chunk)));
            }
            other => return Err(self.error(format!("expected doubles, got {}", other.kind()))),
        }
        Ok(())
    }
}

impl Value<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Varint(_) => "a varint",
            Self::Fixed64(_) => "8 bytes",
            Self::Bytes(_) => "a length-delimited field",
            Self::Fixed32(_) => "4 bytes",
        }
    }
}
