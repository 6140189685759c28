//! Steps together are the bits of steps one by one, and of plain definitions, in every build.

use proptest::prelude::*;

use super::{Binary, Operand, Operands, Other, Step, Unary, binary_in_place, run_steps, unary};
use crate::kernels::Soft;
use crate::kernels::math::f32 as f;
use crate::kernels::math::tests::{any_f32, bits, isas};

type Plain = fn(f32) -> f32;

/// Steps and what they say, for one element.
fn plain() -> Vec<(Unary, Plain)> {
    fn first_of(x: f32, otherwise: f32) -> f32 {
        if x.is_nan() { x } else { otherwise }
    }
    let mut all: Vec<(Unary, Plain)> = vec![
        (Unary::Abs, f32::abs),
        (Unary::Neg, |x| -x),
        (Unary::Relu, |x| if x > 0.0 { x } else { first_of(x, 0.0) }),
        (Unary::LeakyRelu(0.1), |x| if x < 0.0 { 0.1 * x } else { x }),
        (Unary::ThresholdedRelu(0.5), |x| if x > 0.5 { x } else { first_of(x, 0.0) }),
        (Unary::Clip(-1.0, 2.0), |x| x.clamp(-1.0, 2.0)),
        (Unary::HardSigmoid(0.2, 0.5), |x| first_of(x, (0.2 * x + 0.5).clamp(0.0, 1.0))),
        (Unary::Reciprocal, |x| 1.0 / x),
        (Unary::Sqrt, f32::sqrt),
        (Unary::Sign, |x| {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                first_of(x, 0.0)
            }
        }),
        (Unary::Softsign, |x| x / (1.0 + x.abs())),
        (Unary::Shrink(1.0, 0.5), |x| {
            if x < -1.0 {
                x + 0.5
            } else if x > 1.0 {
                x - 0.5
            } else {
                first_of(x, 0.0)
            }
        }),
        (Unary::HardSwish, |x| x * first_of(x, (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0))),
    ];
    all.extend([
        (Unary::Elu(0.7), (|x| if x < 0.0 { 0.7 * f::expm1::<Soft>(x) } else { x }) as Plain),
        (Unary::Celu(2.0), |x| if x < 0.0 { 2.0 * f::expm1::<Soft>(x / 2.0) } else { x }),
        (Unary::Selu(1.67, 1.05), |x| 1.05 * if x > 0.0 { x } else { 1.67 * f::expm1::<Soft>(x) }),
        (Unary::Swish(1.7), |x| x * f::sigmoid::<Soft>(1.7 * x)),
        (Unary::Other(f::atan), f::atan),
        (Unary::Gelu, f::gelu::<Soft>),
        (Unary::Sin, f::sin::<Soft>),
    ]);
    all
}

const BINARIES: [Binary; 13] = [
    Binary::Add,
    Binary::Sub,
    Binary::RSub,
    Binary::Mul,
    Binary::Div,
    Binary::RDiv,
    Binary::Min,
    Binary::RMin,
    Binary::Max,
    Binary::RMax,
    Binary::Pow,
    Binary::RPow,
    Binary::PRelu,
];

fn joined(rule: Binary, x: f32, y: f32) -> f32 {
    let least = |a: f32, b: f32| if a.is_nan() || !(b < a || b.is_nan()) { a } else { b };
    let most = |a: f32, b: f32| if a.is_nan() || !(b > a || b.is_nan()) { a } else { b };
    match rule {
        Binary::Add => x + y,
        Binary::Sub => x - y,
        Binary::RSub => y - x,
        Binary::Mul => x * y,
        Binary::Div => x / y,
        Binary::RDiv => y / x,
        Binary::Min => least(x, y),
        Binary::RMin => least(y, x),
        Binary::Max => most(x, y),
        Binary::RMax => most(y, x),
        Binary::Pow => f::pow(x, y),
        Binary::RPow => f::pow(y, x),
        Binary::PRelu => {
            if x < 0.0 {
                x * y
            } else {
                x
            }
        }
    }
}

fn check(x: &[f32], y: &[f32], scalar: f32) {
    for isa in isas() {
        for (step, plain) in plain() {
            let mut out = vec![0.0; x.len()];
            unary(isa, step, x, &mut out);
            let expected: Vec<f32> = x.iter().map(|x| plain(*x)).collect();
            assert_eq!(bits(&out), bits(&expected), "{step:?} {}", isa.name());
        }
        for rule in BINARIES {
            let pairs: Vec<f32> = x.iter().zip(y).map(|(x, y)| joined(rule, *x, *y)).collect();
            let mut out = x.to_vec();
            binary_in_place(isa, rule, &mut out, Other::Many(y));
            assert_eq!(bits(&out), bits(&pairs), "{rule:?} {}", isa.name());
            let with_one: Vec<f32> = x.iter().map(|x| joined(rule, *x, scalar)).collect();
            out.copy_from_slice(x);
            binary_in_place(isa, rule, &mut out, Other::One(scalar));
            assert_eq!(bits(&out), bits(&with_one), "{rule:?} {scalar} {}", isa.name());
        }
    }
}

/// Every step after the other over a piece longer than the nearest cache holds, with each kind of operand.
#[test]
fn steps_together_are_steps_one_by_one() {
    let x: Vec<f32> = (0..5_003).map(|i| (i * 37 % 1009) as f32 * 0.01 - 5.0).collect();
    let y: Vec<f32> = x.iter().rev().map(|x| x * 0.3 + 0.1).collect();
    let operands = Operands { constants: &[0.5, 3.0], slices: &[&x, &y] };
    let steps = [
        Step::Binary(Binary::Add, Operand::Slice(1)),
        Step::Unary(Unary::Gelu),
        Step::Binary(Binary::Mul, Operand::Constant(1)),
        Step::Binary(Binary::Max, Operand::Scalar(-1.0)),
        Step::Unary(Unary::Tanh),
        Step::Binary(Binary::Pow, Operand::Scalar(3.0)),
        Step::Binary(Binary::RSub, Operand::Slice(0)),
    ];
    let one = |x: f32, y: f32| {
        let grown = f::gelu::<Soft>(x + y) * 3.0;
        let limited = if -1.0 > grown { -1.0 } else { grown };
        x - f::pow(f::tanh::<Soft>(limited), 3.0)
    };
    let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| one(*x, *y)).collect();
    for isa in isas() {
        let mut together = x.clone();
        run_steps(isa, &steps, &mut together, operands);
        assert_eq!(bits(&together), bits(&expected), "{}", isa.name());
        let mut apart = x.clone();
        steps.iter().for_each(|step| run_steps(isa, std::slice::from_ref(step), &mut apart, operands));
        assert_eq!(bits(&apart), bits(&together), "{}", isa.name());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn steps_are_as_defined(
        pairs in prop::collection::vec((any_f32(), any_f32()), 0..70), scalar in any_f32(), exponent in -1_i8..5,
    ) {
        let (x, y): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        check(&x, &y, scalar);
        check(&x, &y, f32::from(exponent) * 0.5);
        check(&x, &y, f32::from(exponent));
    }
}
