//! From an ONNX file to a [`Model`].
//!
//! # Rules
//! - The file is read in place; a list is counted before it is stored ([`wire`], [`proto`]).
//! - Import is a matter of names and attributes; shapes are checked when the whole graph is there.
//! - Local functions are inlined where they are called, and so is the branch of an `If` whose condition is
//!   a constant ([`frame`]).
//! - Other graphs in nodes become bodies: what they take from around them becomes inputs of their node.
//! - What is not understood is refused, not skipped: sparse tensors, segments, a
//!   tensor whose value is given in two ways, an unknown attribute. Only documentation is skipped.
//! - Nodes are taken in the order in which a walk from the outputs needs them; what no output needs is
//!   left out. Names, documentation and the order of the upload leave no trace.
//! - Inputs with an initializer of the same name are constants.
//!
//! # When things go wrong
//! An [`Error`] names the node or tensor of the upload.

use std::collections::HashMap;

use crate::ops::{MICROSOFT, ONNX, ONNX_ML};
use crate::{Error, Fault, Limits, Model, Port};

pub(crate) mod external;
mod frame;
mod importer;
pub(crate) mod proto;
pub(crate) mod survey;
pub(crate) mod upload;
mod wire;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use external::ExternalData;
use importer::Importer;

/// Operator set versions of each domain that are read.
const OPSETS: [(&str, std::ops::RangeInclusive<i64>); 3] =
    [(ONNX, 1..=28), (ONNX_ML, 1..=5), (MICROSOFT, 1..=1)];

/// Read an ONNX file. `external` gives the bytes of tensors that stand in other files.
///
/// # Errors
/// [`Error`] if the file is broken, uses what is not supported, or costs more than `limits` allow.
pub fn import_onnx(bytes: &[u8], external: &dyn ExternalData, limits: &Limits) -> Result<Model, Error> {
    Limits::check("bytes of the file", bytes.len() as u64, limits.file_bytes_max)?;
    let model = proto::read_model(bytes, limits)?;
    Importer::new(&model, external, limits)?.run()
}

/// The inputs of an ONNX file, whose operators nobody has looked at.
pub(crate) fn input_ports(
    bytes: &[u8],
    external: &dyn ExternalData,
    limits: &Limits,
) -> Result<Vec<Port>, Error> {
    Limits::check("bytes of the file", bytes.len() as u64, limits.file_bytes_max)?;
    let model = proto::read_model(bytes, limits)?;
    Importer::new(&model, external, limits)?.inputs()
}

/// The version of each operator set, of a model or a function.
fn opsets<'a>(imports: &[(&'a str, i64)]) -> Result<HashMap<&'a str, i64>, Error> {
    let mut opsets = HashMap::new();
    for (domain, version) in imports {
        let domain = canonical_domain(domain);
        if let Some((_, range)) = OPSETS.iter().find(|(known, _)| *known == domain)
            && !range.contains(version)
        {
            let hint = "export with an opset from 1 to 28 (ai.onnx.ml: 1 to 5, com.microsoft: 1)";
            return Err(Error::Unsupported {
                what: "operator set",
                got: format!("{domain:?} {version}"),
                hint,
            });
        }
        // Some converters write the same line twice.
        if opsets.insert(domain, *version).is_some_and(|earlier| earlier != *version) {
            return Err(graph_error("an operator set is imported in two versions", domain));
        }
    }
    Ok(opsets)
}

fn canonical_domain(domain: &str) -> &str {
    if domain == "ai.onnx" { ONNX } else { domain }
}

fn no_shape() -> Fault {
    let hint = "export with tensors of known shape as inputs";
    Fault::Unsupported { what: "an input without tensor type and shape".to_owned(), hint }
}

fn graph_error(problem: &'static str, name: &str) -> Error {
    Error::Graph { problem, name: cut(name) }
}

/// A foreign name, cut to 80 characters, for an error.
fn cut(name: &str) -> String {
    name.chars().take(80).collect()
}

/// Counts are bounded by the limits, far below 2^32.
fn small(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
