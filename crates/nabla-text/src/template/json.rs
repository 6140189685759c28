//! `tojson`, as the `json.dumps` of Python writes it: models were trained on that text.
//!
//! A space after each comma and colon; nothing is escaped but what JSON demands; fields keep their order.

use std::fmt::Write as _;

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

use super::sandbox::NESTING_MAX;

/// The text of a value; with `indent`, one item on each line.
pub(super) fn text(value: &Value, indent: Option<usize>) -> Result<String, Error> {
    let mut writer = Writer { text: String::new(), indent, depth: 0 };
    writer.value(value)?;
    Ok(writer.text)
}

struct Writer {
    text: String,
    indent: Option<usize>,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => self.text.push_str("null"),
            ValueKind::Bool => self.text.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.text.push_str(&value.to_string()),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value)?,
            ValueKind::Map => self.map(value)?,
            kind => return Err(refused(format!("tojson: a {kind} has no JSON"))),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value) -> Result<(), Error> {
        self.open('[')?;
        let mut is_first = true;
        for item in value.try_iter()? {
            self.separate(&mut is_first);
            self.value(&item)?;
        }
        self.close(']', is_first);
        Ok(())
    }

    fn map(&mut self, value: &Value) -> Result<(), Error> {
        self.open('{')?;
        let mut is_first = true;
        for key in value.try_iter()? {
            self.separate(&mut is_first);
            match key.as_str() {
                Some(key) => self.string(key),
                None => self.string(&key.to_string()),
            }
            self.text.push_str(": ");
            self.value(&value.get_item(&key)?)?;
        }
        self.close('}', is_first);
        Ok(())
    }

    fn open(&mut self, bracket: char) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(refused("tojson: values are nested too deeply".to_owned()));
        }
        self.text.push(bracket);
        Ok(())
    }

    fn separate(&mut self, is_first: &mut bool) {
        if !std::mem::take(is_first) {
            self.text.push_str(if self.indent.is_some() { "," } else { ", " });
        }
        self.line();
    }

    fn close(&mut self, bracket: char, is_empty: bool) {
        self.depth -= 1;
        if !is_empty {
            self.line();
        }
        self.text.push(bracket);
    }

    fn line(&mut self) {
        if let Some(indent) = self.indent {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', indent * self.depth));
        }
    }

    fn string(&mut self, string: &str) {
        self.text.push('"');
        for character in string.chars() {
            match character {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\u{8}' => self.text.push_str("\\b"),
                '\u{c}' => self.text.push_str("\\f"),
                control if u32::from(control) < 0x20 => {
                    write!(self.text, "\\u{:04x}", u32::from(control)).expect("a String takes everything");
                }
                other => self.text.push(other),
            }
        }
        self.text.push('"');
    }
}

fn refused(reason: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, reason)
}
