//! Rows against their definitions, in every build, in one piece and apart.

use proptest::prelude::*;

use super::{Reduction, RowRule, log_sum_exp, reduce, rows};
use crate::kernels::math;
use crate::kernels::math::tests::{any_f32, bits, isas};
use crate::kernels::{Fma, Soft};

/// The rule of sums, word for word.
fn striped(terms: &[f32], step: impl Fn(f32, f32) -> f32) -> f32 {
    let mut chains = [0.0_f32; 16];
    for (index, x) in terms.iter().enumerate() {
        chains[index % 16] = step(chains[index % 16], *x);
    }
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            chains[lane] += chains[lane + half];
        }
    }
    chains[0]
}

fn sum(terms: &[f32]) -> f32 {
    striped(terms, |chain, x| chain + x)
}

fn greatest(row: &[f32]) -> f32 {
    if row.iter().any(|x| x.is_nan()) {
        return f32::NAN;
    }
    row.iter().fold(f32::NEG_INFINITY, |most, x| if *x > most { *x } else { most }) + 0.0
}

fn reduction_as_defined(reduction: Reduction, row: &[f32]) -> f32 {
    match reduction {
        Reduction::Sum => sum(row),
        Reduction::Mean => sum(row) / row.len() as f32,
        Reduction::SumAbs => striped(row, |chain, x| chain + x.abs()),
        Reduction::SumSquares => striped(row, |chain, x| Soft::fma(x, x, chain)),
        Reduction::Product => {
            let mut chains = [1.0_f32; 16];
            row.iter().enumerate().for_each(|(index, x)| chains[index % 16] *= x);
            let four: [f32; 8] = std::array::from_fn(|j| chains[j] * chains[j + 8]);
            let two: [f32; 4] = std::array::from_fn(|j| four[j] * four[j + 4]);
            (two[0] * two[2]) * (two[1] * two[3])
        }
        Reduction::Max => greatest(row),
        Reduction::Min => {
            let negated: Vec<f32> = row.iter().map(|x| -x).collect();
            0.0 - greatest(&negated)
        }
    }
}

fn row_as_defined(rule: RowRule, row: &[f32]) -> Vec<f32> {
    let most = greatest(row);
    let e: Vec<f32> = row.iter().map(|x| math::f32::exp::<Soft>(x - most)).collect();
    match rule {
        RowRule::Softmax => {
            let factor = 1.0 / sum(&e);
            e.iter().map(|e| e * factor).collect()
        }
        RowRule::LogSoftmax => {
            let ln = math::f32::ln::<Soft>(sum(&e));
            row.iter().map(|x| (x - most) - ln).collect()
        }
    }
}

const REDUCTIONS: [Reduction; 7] = [
    Reduction::Sum,
    Reduction::Mean,
    Reduction::SumAbs,
    Reduction::SumSquares,
    Reduction::Product,
    Reduction::Max,
    Reduction::Min,
];
const RULES: [RowRule; 2] = [RowRule::Softmax, RowRule::LogSoftmax];

/// The row that starts at `offset` of a block.
fn gathered(block: &[f32], offset: usize, stride: usize) -> Vec<f32> {
    block[offset..].iter().step_by(stride).copied().collect()
}

fn check_rows(x: &[f32], length: usize, stride: usize) {
    let blocks = || x.chunks_exact(length * stride).flat_map(|block| (0..stride).map(move |at| (block, at)));
    for isa in isas() {
        for reduction in REDUCTIONS {
            let mut out = vec![0.0; x.len() / length];
            reduce(isa, reduction, x, length, stride, &mut out);
            let expected = blocks().map(|(block, at)| gathered(block, at, stride));
            let expected: Vec<f32> = expected.map(|row| reduction_as_defined(reduction, &row)).collect();
            assert_eq!(bits(&out), bits(&expected), "{reduction:?} {length}/{stride} {}", isa.name());
        }
        for rule in RULES {
            let mut out = vec![0.0; x.len()];
            rows(isa, rule, x, &mut out, length, stride);
            for (index, (block, at)) in blocks().enumerate() {
                let row = gathered(block, at, stride);
                let out = &out[index / stride * length * stride..][..length * stride];
                let (got, expected) = (gathered(out, at, stride), row_as_defined(rule, &row));
                assert_eq!(bits(&got), bits(&expected), "{rule:?} {length}/{stride} {}", isa.name());
            }
        }
    }
}

#[test]
fn rows_of_ragged_shapes_are_as_defined() {
    for (count, length, stride) in [
        (3, 1, 1),
        (2, 15, 1),
        (2, 16, 1),
        (2, 17, 1),
        (1, 100, 1),
        (2, 5, 3),
        (1, 33, 17),
        (1, 3, 130),
        (1, 40, 257),
    ] {
        let x: Vec<f32> = (0..count * length * stride).map(|i| (i * 37 % 101) as f32 * 0.13 - 5.0).collect();
        check_rows(&x, length, stride);
    }
}

#[test]
fn sums_of_f64_are_striped_too() {
    let x: Vec<f64> = (0..70).map(|i| f64::from(i) * 0.1 - 3.0).collect();
    for isa in isas() {
        for (length, stride) in [(70, 1), (35, 2)] {
            let mut out = vec![0.0; 70 / length];
            reduce(isa, Reduction::SumSquares, &x, length, stride, &mut out);
            for (at, got) in out.iter().enumerate() {
                let mut chains = [0.0_f64; 16];
                x[at..].iter().step_by(stride).enumerate().for_each(|(i, x)| chains[i % 16] += x * x);
                for half in [8, 4, 2, 1] {
                    (0..half).for_each(|lane| chains[lane] += chains[lane + half]);
                }
                assert_eq!(got.to_bits(), chains[0].to_bits());
            }
        }
    }
}

#[test]
fn extremes_of_special_rows() {
    let inf = f32::INFINITY;
    for (row, most, least) in [
        (vec![-0.0, -0.0], 0.0, 0.0),
        (vec![1.0, f32::NAN, 2.0], f32::NAN, f32::NAN),
        (vec![-inf, -inf], -inf, -inf),
        (vec![], -inf, inf),
    ] {
        let mut out = [0.0; 2];
        reduce(isas()[0], Reduction::Max, &row, row.len(), 1, &mut out[..1]);
        reduce(isas()[0], Reduction::Min, &row, row.len(), 1, &mut out[1..]);
        assert_eq!(bits(&out), bits(&[most, least]), "{row:?}");
    }
}

#[test]
fn log_sum_exp_of_infinities_is_the_greatest() {
    let inf = f32::INFINITY;
    for (row, expect) in [([-inf, -inf], -inf), ([1.0, inf], inf), ([0.0, 0.0], std::f32::consts::LN_2)] {
        for isa in isas() {
            let mut out = [0.0];
            log_sum_exp(isa, &row, 2, &mut out);
            assert_eq!(bits(&out), bits(&[expect]), "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn rows_are_as_defined(
        (x, length, stride) in (1_usize..50, 1_usize..5, 1_usize..3).prop_flat_map(|(length, stride, count)| (
            prop::collection::vec(any_f32(), length * stride * count), Just(length), Just(stride),
        ))
    ) {
        check_rows(&x, length, stride);
    }
}
