//! Attributes of a node: small, explicit, sorted by name.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use super::Body;
use crate::Fault;
use crate::limits::TEXT_BYTES_MAX;

/// Most attributes of one node.
const ATTRIBUTES_MAX: usize = 64;

/// Value of an attribute.
#[derive(Debug, Clone)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
    Text(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Texts(Vec<String>),
    Graph(Arc<Body>),
}

impl Attribute {
    /// The kind and, for lists, the length; for error texts.
    fn shown(&self) -> String {
        match self {
            Self::Int(v) => format!("the integer {v}"),
            Self::Float(v) => format!("the float {v}"),
            Self::Text(v) => format!("the text {:?}", v.chars().take(40).collect::<String>()),
            Self::Ints(v) => format!("{} integers", v.len()),
            Self::Floats(v) => format!("{} floats", v.len()),
            Self::Texts(v) => format!("{} texts", v.len()),
            Self::Graph(v) => format!("a graph of {} nodes", v.graph.nodes.len()),
        }
    }
}

/// A set of attributes; names are unique and sorted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// Add an attribute; at most [`ATTRIBUTES_MAX`].
    ///
    /// # Errors
    /// If the name is already there.
    pub(crate) fn insert(&mut self, name: &str, value: Attribute) -> Result<(), Fault> {
        match self.0.binary_search_by(|(other, _)| other.as_str().cmp(name)) {
            Ok(_) => Err(fault(name, "to be given once", "it twice")),
            Err(_) if self.0.len() >= ATTRIBUTES_MAX => {
                Err(fault(name, &format!("at most {ATTRIBUTES_MAX} attributes of a node"), "more"))
            }
            Err(at) => {
                self.0.insert(at, (name.to_owned(), value));
                Ok(())
            }
        }
    }

    /// Take an attribute out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Attribute> {
        let at = self.0.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        Some(self.0.remove(at).1)
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &(String, Attribute)> {
        self.0.iter()
    }

    /// A reader that remembers which attributes were asked for.
    pub(crate) fn reader(&self) -> AttributeReader<'_> {
        AttributeReader { all: &self.0, read: Rc::new(RefCell::new(vec![false; self.0.len()])) }
    }
}

/// Reads attributes and, at the end, refuses those that nobody asked for. Clones remember together.
#[derive(Debug, Clone)]
pub(crate) struct AttributeReader<'a> {
    all: &'a [(String, Attribute)],
    read: Rc<RefCell<Vec<bool>>>,
}

impl<'a> AttributeReader<'a> {
    fn find(&self, name: &str) -> Option<&'a Attribute> {
        let at = self.all.binary_search_by(|(other, _)| other.as_str().cmp(name)).ok()?;
        self.read.borrow_mut()[at] = true;
        Some(&self.all[at].1)
    }

    pub(crate) fn int(&self, name: &str) -> Result<i64, Fault> {
        match self.find(name) {
            Some(Attribute::Int(v)) => Ok(*v),
            other => Err(wrong(name, "an integer", other)),
        }
    }

    /// An integer, or this one if the attribute is not there.
    pub(crate) fn int_or(&self, name: &str, default: i64) -> Result<i64, Fault> {
        if self.has(name) { self.int(name) } else { Ok(default) }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// A truth value, or this one if the attribute is not there.
    pub(crate) fn flag_or(&self, name: &str, default: bool) -> Result<bool, Fault> {
        if self.has(name) { self.flag(name) } else { Ok(default) }
    }

    /// A float, or this one if the attribute is not there.
    pub(crate) fn float_or(&self, name: &str, default: f32) -> Result<f32, Fault> {
        if self.has(name) { self.float(name) } else { Ok(default) }
    }

    /// A text, or this one if the attribute is not there.
    pub(crate) fn text_or(&self, name: &str, default: &'a str) -> Result<&'a str, Fault> {
        if self.has(name) { self.text(name) } else { Ok(default) }
    }

    /// An axis (from the end if negative) below `rank`, or this one if the attribute is not there.
    pub(crate) fn axis_or(&self, name: &str, default: i64, rank: usize) -> Result<usize, Fault> {
        crate::ops::axis(name, self.int_or(name, default)?, rank)
    }

    /// Integers, or `None` if the attribute is not there.
    pub(crate) fn optional_ints(&self, name: &str) -> Result<Option<&'a [i64]>, Fault> {
        if self.has(name) { self.ints(name).map(Some) } else { Ok(None) }
    }

    /// An integer that says yes (1) or no (0).
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Fault> {
        match self.int(name)? {
            0 => Ok(false),
            1 => Ok(true),
            got => Err(fault(name, "0 or 1", &got.to_string())),
        }
    }

    /// An integer from 0 to `below - 1`.
    pub(crate) fn index(&self, name: &str, below: usize) -> Result<usize, Fault> {
        let got = self.int(name)?;
        usize::try_from(got)
            .ok()
            .filter(|index| *index < below)
            .ok_or_else(|| fault(name, &format!("an index below {below}"), &got.to_string()))
    }

    pub(crate) fn float(&self, name: &str) -> Result<f32, Fault> {
        match self.find(name) {
            Some(Attribute::Float(v)) => Ok(*v),
            other => Err(wrong(name, "a float", other)),
        }
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, Fault> {
        match self.find(name) {
            Some(Attribute::Text(v)) if v.len() <= TEXT_BYTES_MAX => Ok(v),
            other => Err(wrong(name, "a text of at most 256 bytes", other)),
        }
    }

    /// Integers; none if the attribute is not there.
    pub(crate) fn ints(&self, name: &str) -> Result<&'a [i64], Fault> {
        match self.find(name) {
            Some(Attribute::Ints(v)) => Ok(v),
            None => Ok(&[]),
            other => Err(wrong(name, "integers", other)),
        }
    }

    /// Floats; none if the attribute is not there.
    pub(crate) fn floats(&self, name: &str) -> Result<&'a [f32], Fault> {
        match self.find(name) {
            Some(Attribute::Floats(v)) => Ok(v),
            None => Ok(&[]),
            other => Err(wrong(name, "floats", other)),
        }
    }

    /// Texts; none if the attribute is not there.
    pub(crate) fn texts(&self, name: &str) -> Result<&'a [String], Fault> {
        match self.find(name) {
            Some(Attribute::Texts(v)) => match v.iter().find(|text| text.len() > TEXT_BYTES_MAX) {
                Some(long) => {
                    let expected = format!("texts of at most {TEXT_BYTES_MAX} bytes");
                    Err(fault(name, &expected, &format!("one of {}", long.len())))
                }
                None => Ok(v),
            },
            None => Ok(&[]),
            other => Err(wrong(name, "texts", other)),
        }
    }

    pub(crate) fn body(&self, name: &str) -> Result<&'a Arc<Body>, Fault> {
        match self.find(name) {
            Some(Attribute::Graph(v)) => Ok(v),
            other => Err(wrong(name, "a graph", other)),
        }
    }

    /// Refuse attributes that were never asked for.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        let read = self.read.borrow();
        match self.all.iter().zip(read.iter()).find(|(_, read)| !**read) {
            Some(((name, value), _)) => Err(fault(name, "no such attribute", &value.shown())),
            None => Ok(()),
        }
    }
}

/// An attribute fault in words.
pub(crate) fn fault(name: &str, expected: &str, got: &str) -> Fault {
    let cut = |text: &str, chars: usize| text.chars().take(chars).collect::<String>();
    Fault::Attribute { name: cut(name, 80), expected: expected.to_owned(), got: cut(got, 200) }
}

fn wrong(name: &str, expected: &str, got: Option<&Attribute>) -> Fault {
    fault(name, expected, &got.map_or("nothing".to_owned(), Attribute::shown))
}
