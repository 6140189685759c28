//! Block products are the same bits in every build, and near the product of the numbers they stand for.

use proptest::prelude::*;

use super::layout::{q4k_scale, q6k_level};
use super::{BlockMatrix, Blocks, Tokens};
use crate::kernels::math::tests::bits;
use crate::kernels::tests::{Numbers, cpus};
use crate::kernels::threads::Cpu;
use nabla_types::tensor::f16;

const ALL: [Blocks; 4] = [Blocks::Q8, Blocks::Q4, Blocks::Q4K, Blocks::Q6K];

/// Rows of a file: any levels, and scales of a usual size.
fn rows(blocks: Blocks, n: usize, k: usize, seed: u32) -> Vec<u8> {
    let mut numbers = Numbers::new(seed);
    let mut bytes = numbers.bytes(n * k / blocks.weights() * blocks.row_bytes());
    let scales: &[usize] = match blocks {
        Blocks::Q8 | Blocks::Q4 => &[0],
        Blocks::Q4K => &[0, 2],
        Blocks::Q6K => &[208],
    };
    for block in bytes.chunks_exact_mut(blocks.row_bytes()) {
        for at in scales {
            let scale = f16::from_f32(numbers.floats(1)[0] / 64.0);
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    bytes
}

/// The numbers that one row stands for.
fn weights(blocks: Blocks, row: &[u8]) -> Vec<f64> {
    let half = |bytes: &[u8]| f64::from(f16::from_le_bytes([bytes[0], bytes[1]]).to_f32());
    let mut out = Vec::new();
    for block in row.chunks_exact(blocks.row_bytes()) {
        let one = |index: usize| match blocks {
            Blocks::Q8 => half(block) * f64::from(block[2 + index].cast_signed()),
            Blocks::Q4 => half(block) * (f64::from(block[2 + index % 16] >> (4 * (index / 16)) & 15) - 8.0),
            Blocks::Q4K => {
                let [scale, minimum] = q4k_scale(block[4..16].try_into().unwrap(), index / 32).map(f64::from);
                let level = block[16 + index / 64 * 32 + index % 32] >> (4 * (index / 32 % 2)) & 15;
                half(block) * scale * f64::from(level) - half(&block[2..]) * minimum
            }
            Blocks::Q6K => {
                let level = f64::from(q6k_level(block.try_into().unwrap(), index)) - 32.0;
                half(&block[208..]) * f64::from(block[192 + index / 16].cast_signed()) * level
            }
        };
        out.extend((0..blocks.weights()).map(one));
    }
    out
}

fn product(cpu: &Cpu, matrix: &BlockMatrix, x: &[f32], k: usize) -> Vec<f32> {
    let tokens = Tokens::quantise(cpu.isa(), x, k);
    let mut out = vec![0.0; tokens.count() * matrix.outputs()];
    matrix.product(cpu, &tokens, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// All builds, any shape, threads; each row alone.
    #[test]
    fn block_products_are_the_same_bits_everywhere(m in 1_usize..20, n in 1_usize..70, parts in 1_usize..4, seed in any::<u32>()) {
        for blocks in ALL {
            let k = parts * 256;
            let matrix = BlockMatrix::pack(blocks, n, k, &rows(blocks, n, k, seed)).unwrap();
            let x = Numbers::new(seed ^ 1).floats(m * k);
            let expected = product(&Cpu::scalar(), &matrix, &x, k);
            for cpu in cpus() {
                let got = product(&cpu, &matrix, &x, k);
                prop_assert_eq!(bits(&got), bits(&expected), "{:?} with {}", blocks, cpu.isa().name());
                let last = product(&cpu, &matrix, &x[(m - 1) * k..], k);
                prop_assert_eq!(bits(&last), bits(&expected[(m - 1) * n..]), "{:?}, the last row alone", blocks);
            }
        }
    }
}

/// Levels of a byte lose less than a hundredth of the size of a product of random numbers.
#[test]
fn block_products_are_near_the_numbers_they_stand_for() {
    let (m, n, k) = (5, 33, 512);
    for blocks in ALL {
        let rows = rows(blocks, n, k, 7);
        let matrix = BlockMatrix::pack(blocks, n, k, &rows).unwrap();
        let x = Numbers::new(3).floats(m * k);
        let got = product(&Cpu::scalar(), &matrix, &x, k);
        for row in 0..n {
            let weights = weights(blocks, &rows[row * rows.len() / n..][..rows.len() / n]);
            for token in 0..m {
                let x = &x[token * k..][..k];
                let exact: f64 = weights.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum();
                let size =
                    weights.iter().zip(x).map(|(w, x)| (w * f64::from(*x)).powi(2)).sum::<f64>().sqrt();
                let error = (f64::from(got[token * n + row]) - exact).abs();
                assert!(error < 0.02 * size, "{blocks:?} ({token}, {row}): {error} of {size}");
            }
        }
    }
}

/// The extremes of every level and sign, where 16 bits would overflow.
#[test]
fn block_products_of_extremes_are_exact() {
    let k = 256;
    for (level, x) in [(0x80_u8, 1.0_f32), (0x80, -1.0), (0x7f, 1.0), (0xff, -1.0)] {
        for blocks in ALL {
            let mut row = vec![level; k / blocks.weights() * blocks.row_bytes()];
            let one = f16::from_f32(1.0).to_le_bytes();
            for block in row.chunks_exact_mut(blocks.row_bytes()) {
                match blocks {
                    Blocks::Q6K => block[208..].copy_from_slice(&one),
                    _ => block[..2].copy_from_slice(&one),
                }
                if blocks == Blocks::Q4K {
                    block[2..4].copy_from_slice(&one);
                }
            }
            let matrix = BlockMatrix::pack(blocks, 1, k, &row).unwrap();
            let exact: f64 = weights(blocks, &row).iter().map(|w| w * f64::from(x)).sum();
            for cpu in cpus() {
                let got = product(&cpu, &matrix, &vec![x; k], k);
                let error = (f64::from(got[0]) - exact).abs();
                assert!(
                    error <= exact.abs() * 1e-5,
                    "{blocks:?} with {}: {} for {exact}",
                    cpu.isa().name(),
                    got[0]
                );
            }
        }
    }
}

#[test]
fn matrices_of_another_size_are_refused() {
    assert!(BlockMatrix::pack(Blocks::Q8, 2, 32, &[0; 67]).is_none());
    assert!(BlockMatrix::pack(Blocks::Q8, 2, 33, &[0; 68]).is_none());
    assert!(BlockMatrix::pack(Blocks::Q4K, usize::MAX, 256, &[0; 144]).is_none());
}

/// Infinite and undefined numbers give the same bits everywhere, too.
#[test]
fn block_products_of_special_numbers_are_the_same_bits_everywhere() {
    let k = 256;
    let matrix = BlockMatrix::pack(Blocks::Q8, 16, k, &rows(Blocks::Q8, 16, k, 5)).unwrap();
    for special in [f32::NAN, f32::INFINITY, f32::MAX, f32::from_bits(1), -0.0] {
        let mut x = Numbers::new(9).floats(3 * k);
        x[k + 40] = special;
        let plain = |values: Vec<f32>| -> Vec<u32> {
            values.iter().map(|x| if x.is_nan() { u32::MAX } else { x.to_bits() }).collect()
        };
        let expected = plain(product(&Cpu::scalar(), &matrix, &x, k));
        for cpu in cpus() {
            assert_eq!(plain(product(&cpu, &matrix, &x, k)), expected, "{special} with {}", cpu.isa().name());
        }
    }
}
