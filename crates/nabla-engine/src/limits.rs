//! What a model may cost before it is refused.

use crate::Error;

/// Longest text element: of a label, or of an input of text. Makes the memory of text computable.
pub(crate) const TEXT_BYTES_MAX: usize = 256;

/// Most inputs, outputs and open dimensions of a graph. They are matched by name one by one, so they are few.
pub(crate) const PORTS_MAX: u64 = 1024;

/// Bounds that hold while a model is read and while it runs. Everything is checked before memory is taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest file, graph or weights, in bytes.
    pub file_bytes_max: u64,
    /// Most nodes of a graph.
    pub nodes_max: u64,
    /// Most named or numbered tensors: inputs, outputs, constants, and edges between nodes.
    pub tensors_max: u64,
    /// Most dimensions of one tensor; never above [`nabla_types::tensor::RANK_MAX`].
    pub rank_max: u64,
    /// Most elements of one tensor, for the batch at hand; never above [`nabla_types::tensor::ELEMENTS_MAX`].
    pub elements_max: u64,
    /// Deepest nesting of messages in an ONNX file.
    pub nesting_max: u64,
    /// Most multiply-adds (or equally costly steps) of one run.
    pub macs_max: u64,
    /// Most bytes that inputs, intermediate values, outputs and scratch of one run take together.
    pub peak_bytes_max: u64,
    /// Most bytes of all weights.
    pub weight_bytes_max: u64,
    /// Most rows of one run.
    pub batch_max: u64,
    /// Greatest size of any other open dimension (a sequence, an image), where the model bears it.
    pub symbol_max: u64,
    /// Greatest sizes of open dimensions by name; these are kept as given.
    pub symbols: std::collections::BTreeMap<String, u64>,
}

impl Default for Limits {
    /// Room for a ResNet-50 or a forest of a million nodes; a run stays below 2 GiB and about a minute.
    fn default() -> Self {
        Self {
            file_bytes_max: 2 << 30,
            nodes_max: 65_536,
            tensors_max: 1 << 20,
            rank_max: 8,
            elements_max: 1 << 28,
            nesting_max: 16,
            macs_max: 1 << 40,
            peak_bytes_max: 2 << 30,
            weight_bytes_max: 2 << 30,
            batch_max: 4096,
            symbol_max: 512,
            symbols: std::collections::BTreeMap::new(),
        }
    }
}

impl Limits {
    /// Refuse `got` above `max`.
    pub(crate) fn check(what: &'static str, got: u64, max: u64) -> Result<(), Error> {
        if got > max { Err(Error::Limit { what, got, max }) } else { Ok(()) }
    }
}
