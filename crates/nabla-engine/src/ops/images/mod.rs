//! Images: sizes, samples, regions, and the convolutions that are more than a product.

use super::Operator;
use super::identity::plain;

mod deform;
mod grid;
mod region;
mod resize;
mod taps;
#[cfg(test)]
mod tests;
mod transpose;
mod unpool;

pub(super) static OPERATORS: &[Operator] = &[
    Operator::node("AffineGrid", plain, grid::affine),
    Operator::node("ConvTranspose", plain, transpose::convolution),
    Operator::node("DeformConv", plain, deform::convolution),
    Operator::node("GridSample", grid::import, grid::sample),
    Operator::refused("ImageDecoder", super::ONNX, "decoders of image files differ; decode before the model"),
    Operator::node("MaxUnpool", plain, unpool::max),
    Operator::node("Resize", resize::import, resize::resize),
    Operator::node("RoiAlign", region::import, region::align),
    Operator::rewrite("Upsample", resize::import_upsample),
];
