//! A matrix of weights, as products want it.

use std::ops::Range;

use crate::gguf::{Shape, TensorInfo, WeightFormat, dequantise};
use crate::kernels::Cpu;
use crate::kernels::blocks::{BlockMatrix, Blocks, tokens::Tokens};
use crate::kernels::pack::{Panels, Strided};
use crate::kernels::product::Product;
use crate::kernels::tile::Bias;
use crate::{Error, Limits, ReadAt};

/// Weights `[n, k]`.
#[derive(Debug, Clone)]
pub(super) enum Matrix {
    /// In blocks, which the tokens' levels of a byte are multiplied with.
    Blocks(BlockMatrix),
    /// As f32, for weights without blocks.
    Floats { n: usize, k: usize, panels: Panels },
}

/// Rows `[count, k]` that several matrices are multiplied with: levels are made when the first of them asks.
pub(super) struct Rows<'a> {
    cpu: &'a Cpu,
    x: &'a [f32],
    k: usize,
    levels: Option<Tokens>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(cpu: &'a Cpu, x: &'a [f32], k: usize) -> Self {
        Self { cpu, x, k, levels: None }
    }

    fn count(&self) -> usize {
        self.x.len() / self.k
    }

    /// `[count, n]`: these rows times the matrix.
    pub(super) fn times(&mut self, matrix: &Matrix) -> Vec<f32> {
        let mut out = vec![0.0; self.count() * matrix.outputs()];
        match matrix {
            Matrix::Blocks(blocks) => {
                let levels =
                    self.levels.get_or_insert_with(|| Tokens::quantise(self.cpu.isa(), self.x, self.k));
                blocks.product(self.cpu, levels, &mut out);
            }
            Matrix::Floats { n, k, panels } => {
                let product = Product {
                    m: self.count(),
                    a: Strided::rows(self.x, *k),
                    b: panels.view(),
                    c: &mut out,
                    stride: *n,
                    bias: Bias::None,
                    epilogue: None,
                };
                product.run(self.cpu);
            }
        }
        out
    }
}

/// The format of blocks that a format of weights is, if it is one.
fn blocks_of(format: WeightFormat) -> Option<Blocks> {
    match format {
        WeightFormat::Q8_0 => Some(Blocks::Q8),
        WeightFormat::Q4_0 => Some(Blocks::Q4),
        WeightFormat::Q4K => Some(Blocks::Q4K),
        WeightFormat::Q6K => Some(Blocks::Q6K),
        WeightFormat::F32 | WeightFormat::F16 | WeightFormat::BF16 => None,
    }
}

impl Matrix {
    /// Pack rows of a tensor whose bytes these are.
    pub(super) fn pack(
        cpu: &Cpu,
        tensor: &TensorInfo,
        bytes: &[u8],
        rows: Range<usize>,
    ) -> Result<Self, Error> {
        let k = columns(tensor.shape);
        let n = rows.len();
        let bytes = &bytes[row_bytes(tensor) * rows.start..row_bytes(tensor) * rows.end];
        if let Some(blocks) = blocks_of(tensor.format) {
            return BlockMatrix::pack(blocks, n, k, bytes).map(Self::Blocks).ok_or_else(|| too_large(tensor));
        }
        let mut floats = vec![0.0; n * k];
        dequantise(tensor.format, bytes, &mut floats)?;
        let panels = Panels::pack(cpu.isa(), k, n, Strided::transposed(&floats, k));
        Ok(Self::Floats { n, k, panels })
    }

    /// Columns of a product with it.
    pub(super) fn outputs(&self) -> usize {
        match self {
            Self::Blocks(blocks) => blocks.outputs(),
            Self::Floats { n, .. } => *n,
        }
    }

    /// Multiply-adds with one row.
    pub(super) fn macs(&self) -> u64 {
        match self {
            Self::Blocks(blocks) => blocks.outputs() as u64 * blocks.inputs() as u64,
            Self::Floats { n, k, .. } => *n as u64 * *k as u64,
        }
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        let buffer = match self {
            Self::Blocks(blocks) => blocks.buffer(),
            Self::Floats { panels, .. } => panels.buffer(),
        };
        buffer.as_bytes().len() as u64
    }
}

/// Rows that are looked up, not multiplied with: the embedding. Kept as the file has them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    format: WeightFormat,
    row_bytes: usize,
    columns: usize,
    bytes: Vec<u8>,
}

impl Table {
    pub(super) fn new(tensor: &TensorInfo, bytes: Vec<u8>) -> Self {
        Self { format: tensor.format, row_bytes: row_bytes(tensor), columns: columns(tensor.shape), bytes }
    }

    /// The numbers of one row.
    pub(super) fn row(&self, row: usize, into: &mut [f32]) -> Result<(), Error> {
        dequantise(self.format, &self.bytes[row * self.row_bytes..][..self.row_bytes], into)
    }

    pub(super) fn columns(&self) -> usize {
        self.columns
    }

    pub(super) fn resident_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// A vector as f32.
pub(super) fn vector(source: &dyn ReadAt, tensor: &TensorInfo, limits: &Limits) -> Result<Vec<f32>, Error> {
    let bytes = tensor.read(source, limits)?;
    let mut floats = vec![0.0; columns(tensor.shape)];
    dequantise(tensor.format, &bytes, &mut floats)?;
    Ok(floats)
}

/// Sizes of tensors that were read fit memory.
fn columns(shape: Shape) -> usize {
    usize::try_from(shape.columns).unwrap_or(usize::MAX)
}

fn row_bytes(tensor: &TensorInfo) -> usize {
    columns(tensor.shape) / tensor.format.block_elements() * tensor.format.block_bytes()
}

fn too_large(tensor: &TensorInfo) -> Error {
    let expected = "a matrix that fits memory".to_owned();
    Error::Gguf { place: format!("tensor {:?}", tensor.name), expected, got: tensor.shape.to_string() }
}
