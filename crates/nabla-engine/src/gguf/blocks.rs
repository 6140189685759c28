//! What the bytes of each [`WeightFormat`] mean: the definition, to the bit.
//!
//! A row is blocks one after the other. Numbers are little endian; `f16` is converted to f32 (exact), integers as
//! well, and products and differences are those of f32, each rounded, without fma. With finite scales every product
//! below is exact: 11 bits of a half, at most 7 of a second factor and 5 of a third make 23. So only the difference of
//! `Q4_K` rounds, and no other order or fusion of the same operations gives other bits.
//!
//! | format | block | element |
//! |---|---|---|
//! | F32, F16, BF16 | one float | itself |
//! | Q8_0 | `d: f16`, `q: [i8; 32]` | `q[i] * d` |
//! | Q4_0 | `d: f16`, `q: [u8; 16]` | `(n - 8) * d`; `n` is the low half of `q[i]` for `i` below 16, then the high half of `q[i - 16]` |
//! | Q4_K | `d, m: f16`, `s: [u8; 12]`, `q: [u8; 128]` | `(d * scale) * n - (m * least)`, below |
//! | Q6_K | `l: [u8; 128]`, `h: [u8; 64]`, `s: [i8; 16]`, `d: f16` | `(d * s[i / 16]) * (n - 32)`, below |
//!
//! `Q4_K` has eight groups `g` of 32. `n` of element `i` of group `g` is the low (`g` even) or high half of
//! `q[g / 2 * 32 + i]`. `scale` and `least` of group `g` have six bits each: for `g` below 4 the low six of `s[g]` and
//! of `s[g + 4]`; else the low and the high half of `s[g + 4]`, above them the two high bits of `s[g - 4]` and of `s[g]`.
//!
//! `Q6_K` has two halves of 128 elements with 64 bytes of `l` and 32 of `h` each. Element `j` of a half takes its low
//! four bits from `l[j % 64]` (the low half of the byte below 64, the high half from there on) and its
//! high two from `h[j % 32]`, at bit `j / 32 * 2`.
//!
//! # When things go wrong
//! Bytes and elements that are not the same number of whole blocks are refused. What becomes of a scale that is not
//! finite is not defined: such tensors are refused before ([`find_not_finite`]).

use half::{bf16, f16};

use super::WeightFormat;
use crate::Error;

/// Elements of a block of `Q8_0`.
const Q8_0_ELEMENTS: usize = 32;

/// The weights that whole blocks stand for.
///
/// # Errors
/// [`Error::Bytes`] if `bytes` are not as many whole blocks as `into` has.
pub fn dequantise(format: WeightFormat, bytes: &[u8], into: &mut [f32]) -> Result<(), Error> {
    check_length(format, bytes.len(), into.len())?;
    match format {
        WeightFormat::F32 => {
            each(bytes, into, |block, [element]: &mut [f32; 1]| *element = f32::from_le_bytes(*block))
        }
        WeightFormat::F16 => each(bytes, into, |block, [element]: &mut [f32; 1]| *element = half(*block)),
        WeightFormat::BF16 => each(bytes, into, |block, [element]: &mut [f32; 1]| {
            *element = bf16::from_le_bytes(*block).to_f32();
        }),
        WeightFormat::Q8_0 => each(bytes, into, dequantise_q8_0),
        WeightFormat::Q4_0 => each(bytes, into, dequantise_q4_0),
        WeightFormat::Q4K => each(bytes, into, dequantise_q4_k),
        WeightFormat::Q6K => each(bytes, into, dequantise_q6_k),
    }
    Ok(())
}

/// The first element (of F32, F16 and BF16) or block (of the others) in whose floats is an infinity or a NaN.
#[must_use]
pub fn find_not_finite(format: WeightFormat, bytes: &[u8]) -> Option<usize> {
    let is_half = |block: &[u8], at: usize| {
        block
            .get(at..at + 2)
            .and_then(|bytes| bytes.try_into().ok())
            .is_some_and(|bytes| half(bytes).is_finite())
    };
    let is_finite = |block: &[u8]| match format {
        WeightFormat::F32 => block.try_into().is_ok_and(|bytes| f32::from_le_bytes(bytes).is_finite()),
        WeightFormat::BF16 => block.try_into().is_ok_and(|bytes| bf16::from_le_bytes(bytes).is_finite()),
        WeightFormat::F16 | WeightFormat::Q8_0 | WeightFormat::Q4_0 => is_half(block, 0),
        WeightFormat::Q4K => is_half(block, 0) && is_half(block, 2),
        WeightFormat::Q6K => is_half(block, 208),
    };
    bytes.chunks_exact(format.block_bytes()).position(|block| !is_finite(block))
}

/// Blocks of [`WeightFormat::Q8_0`] for these numbers: activations, before a product with blocks of weights.
///
/// Of a block, with `a` the greatest size of a number: `d = a / 127` and `1 / d` in f32; the scale is the f16 nearest to
/// `d`; each integer is `x * (1 / d)`, to the nearest integer, ties to even. A scale that rounds to zero makes all integers
/// zero. A number that is not finite, or a scale beyond f16, makes the scale a NaN and all integers zero, so that whatever
/// is computed from the block is a NaN.
///
/// This is ours: ggml rounds ties away from zero, and says nothing of what is not finite.
///
/// # Errors
/// [`Error::Bytes`] if `into` has not as many whole blocks as `values`.
pub fn quantise_q8_0(values: &[f32], into: &mut [u8]) -> Result<(), Error> {
    check_length(WeightFormat::Q8_0, into.len(), values.len())?;
    let (values, _) = values.as_chunks::<Q8_0_ELEMENTS>();
    let (blocks, _) = into.as_chunks_mut::<34>();
    for (values, block) in values.iter().zip(blocks) {
        *block = quantise_block(values);
    }
    Ok(())
}

fn quantise_block(values: &[f32; Q8_0_ELEMENTS]) -> [u8; 34] {
    let mut block = [0; 34];
    let greatest =
        values.iter().fold(0.0_f32, |greatest, x| if x.abs() > greatest { x.abs() } else { greatest });
    let d = greatest / 127.0;
    let scale = f16::from_f32(d);
    if !scale.is_finite() || values.iter().any(|x| !x.is_finite()) {
        block[..2].copy_from_slice(&f16::NAN.to_le_bytes());
        return block;
    }
    if scale == f16::ZERO {
        return block;
    }
    block[..2].copy_from_slice(&scale.to_le_bytes());
    let inverse = 1.0 / d;
    for (byte, x) in block[2..].iter_mut().zip(values) {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "at most 127 in size, up to rounding; the cast saturates"
        )]
        let integer = (x * inverse).round_ties_even() as i8;
        *byte = integer.cast_unsigned();
    }
    block
}

fn check_length(format: WeightFormat, bytes: usize, elements: usize) -> Result<(), Error> {
    let (size, count) = (format.block_bytes(), format.block_elements());
    if bytes.is_multiple_of(size) && elements.is_multiple_of(count) && bytes / size == elements / count {
        return Ok(());
    }
    let expected = format!("whole blocks of {count} elements in {size} bytes");
    Err(Error::Bytes {
        problem: "weights are not whole blocks",
        expected,
        got: format!("{elements} elements and {bytes} bytes"),
    })
}

/// Each block of `B` bytes to its `E` elements. Lengths have been checked.
fn each<const B: usize, const E: usize>(
    bytes: &[u8],
    into: &mut [f32],
    dequantise: impl Fn(&[u8; B], &mut [f32; E]),
) {
    let (blocks, _) = bytes.as_chunks::<B>();
    let (elements, _) = into.as_chunks_mut::<E>();
    for (block, elements) in blocks.iter().zip(elements) {
        dequantise(block, elements);
    }
}

fn half(bytes: [u8; 2]) -> f32 {
    f16::from_le_bytes(bytes).to_f32()
}

fn dequantise_q8_0([d0, d1, q @ ..]: &[u8; 34], into: &mut [f32; 32]) {
    let d = half([*d0, *d1]);
    for (element, q) in into.iter_mut().zip(q) {
        *element = f32::from(q.cast_signed()) * d;
    }
}

fn dequantise_q4_0([d0, d1, q @ ..]: &[u8; 18], into: &mut [f32; 32]) {
    let d = half([*d0, *d1]);
    let (low, high) = into.split_at_mut(16);
    for ((low, high), q) in low.iter_mut().zip(high).zip(q) {
        *low = (f32::from(q & 15) - 8.0) * d;
        *high = (f32::from(q >> 4) - 8.0) * d;
    }
}

fn dequantise_q4_k(block: &[u8; 144], into: &mut [f32; 256]) {
    let [d0, d1, m0, m1, rest @ ..] = block;
    let (d, m) = (half([*d0, *d1]), half([*m0, *m1]));
    let (scales, q) = rest.split_at(12);
    for (group, elements) in into.chunks_exact_mut(32).enumerate() {
        let (scale, least) = group_of_q4_k(scales, group);
        let (factor, offset) = (d * f32::from(scale), m * f32::from(least));
        let shift = group % 2 * 4;
        for (element, q) in elements.iter_mut().zip(&q[group / 2 * 32..]) {
            *element = factor * f32::from(q >> shift & 15) - offset;
        }
    }
}

/// Scale and least value of a group, six bits each.
fn group_of_q4_k(s: &[u8], group: usize) -> (u8, u8) {
    if group < 4 {
        return (s[group] & 63, s[group + 4] & 63);
    }
    let packed = s[group + 4];
    (packed & 15 | s[group - 4] >> 6 << 4, packed >> 4 | s[group] >> 6 << 4)
}

fn dequantise_q6_k(block: &[u8; 210], into: &mut [f32; 256]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = half([d[0], d[1]]);
    for (index, element) in into.iter_mut().enumerate() {
        let (part, j) = (index / 128, index % 128);
        let four = low[part * 64 + j % 64] >> (j / 64 * 4) & 15;
        let two = high[part * 32 + j % 32] >> (j / 32 * 2) & 3;
        let factor = d * f32::from(scales[index / 16].cast_signed());
        *element = factor * (f32::from(four | two << 4) - 32.0);
    }
}
