//! Every function keeps its bound, its special values, and its bits in every build.

use proptest::prelude::*;

use super::{f32 as f, f64 as wide};
use crate::Kernels;
use crate::kernels::elementwise::{Unary, unary};
use crate::kernels::{Fma, Hard, Isa, Soft};

type Function = fn(f32) -> f32;

/// Any f32: mostly of moderate size, often special.
pub(crate) fn any_f32() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -12.0_f32..12.0,
        2 => any::<u32>().prop_map(f32::from_bits),
        1 => prop::sample::select(SPECIAL.to_vec()),
    ]
}

const SPECIAL: [f32; 18] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    2.5,
    f32::NAN,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::MAX,
    f32::MIN,
    f32::MIN_POSITIVE,
    f32::from_bits(1),
    -f32::from_bits(0x007f_ffff),
    1e-30,
    -1e30,
    8192.0,
    8193.0,
];

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    let pin = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
    values.iter().map(pin).collect()
}

/// The portable build and every other that this processor runs.
pub(crate) fn isas() -> Vec<Isa> {
    [Kernels::Scalar, Kernels::Avx2, Kernels::Auto].into_iter().filter_map(|k| Isa::choose(k).ok()).collect()
}

/// The functions that are made for vectors: as steps, and one by one.
fn vectorised<F: Fma>() -> Vec<(&'static str, Unary, Function)> {
    vec![
        ("exp", Unary::Exp, f::exp::<F>),
        ("ln", Unary::Ln, f::ln::<F>),
        ("softplus", Unary::Softplus, f::softplus::<F>),
        ("sigmoid", Unary::Sigmoid, f::sigmoid::<F>),
        ("tanh", Unary::Tanh, f::tanh::<F>),
        ("erf", Unary::Erf, f::erf::<F>),
        ("gelu", Unary::Gelu, f::gelu::<F>),
        ("gelu_tanh", Unary::GeluTanh, f::gelu_tanh::<F>),
        ("mish", Unary::Mish, f::mish::<F>),
        ("sin", Unary::Sin, f::sin::<F>),
        ("cos", Unary::Cos, f::cos::<F>),
        ("round", Unary::Round, f::round_ties_even),
        ("floor", Unary::Floor, f::floor),
        ("ceil", Unary::Ceil, f::ceil),
    ]
}

/// Each function of these bit patterns, in every build, against the definition one by one.
fn check_everywhere(patterns: impl Iterator<Item = u32>) {
    let x: Vec<f32> = patterns.map(f32::from_bits).collect();
    for ((name, step, soft), (_, _, hard)) in vectorised::<Soft>().into_iter().zip(vectorised::<Hard>()) {
        let expected: Vec<f32> = x.iter().map(|x| soft(*x)).collect();
        let expected = bits(&expected);
        let with_instruction: Vec<f32> = x.iter().map(|x| hard(*x)).collect();
        assert_eq!(bits(&with_instruction), expected, "{name}");
        for isa in isas() {
            let mut out = vec![0.0; x.len()];
            unary(isa, step, &x, &mut out);
            assert_eq!(bits(&out), expected, "{name} {}", isa.name());
        }
    }
}

#[test]
fn functions_are_the_same_bits_everywhere_over_all_magnitudes() {
    check_everywhere((0..=u32::MAX).step_by(65_519));
    check_everywhere(SPECIAL.iter().map(|x| x.to_bits()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn functions_are_the_same_bits_everywhere(x in prop::collection::vec(any_f32(), 0..70)) {
        check_everywhere(x.iter().map(|x| x.to_bits()));
    }
}

/// One unit of the last place of an f32 near `value`.
fn unit(value: f64) -> f64 {
    let exponent = u32::try_from(value.to_bits() << 1 >> 53).unwrap().cast_signed() - 1023;
    2.0_f64.powi(exponent.max(-126) - 23)
}

/// Greatest distance from the exact value, in units of the last place of the result (or of the argument),
/// over evenly spread bit patterns. `spec/kernels.md` states these bounds.
fn greatest_error(case: &Case) -> (f64, f32) {
    let mut greatest = (0.0_f64, 0.0_f32);
    for bits in (0..=u32::MAX).step_by(STRIDE) {
        let x = f32::from_bits(bits);
        if !(x >= case.from && x <= case.to) {
            continue;
        }
        let (got, expected) = ((case.f)(x), (case.exact)(f64::from(x)));
        if expected.is_nan() || expected.abs() > f64::from(f32::MAX) {
            continue;
        }
        let unit = unit(if case.absolute { f64::from(x) } else { expected });
        let error = (f64::from(got) - expected).abs() / unit;
        // A NaN where a number belongs must count.
        if error > greatest.0 || error.is_nan() {
            greatest = (error, x);
        }
    }
    greatest
}

/// Bit patterns between two that are tried.
const STRIDE: usize = 4099;

struct Case {
    name: &'static str,
    f: Function,
    exact: fn(f64) -> f64,
    from: f32,
    to: f32,
    /// The error counts in units of the argument, not of the result.
    absolute: bool,
    bound: f64,
}

impl Case {
    fn new(name: &'static str, f: Function, exact: fn(f64) -> f64, bound: f64) -> Self {
        Self { name, f, exact, from: f32::MIN, to: f32::MAX, absolute: false, bound }
    }

    fn within(self, from: f32, to: f32) -> Self {
        Self { from, to, ..self }
    }

    fn absolute(self) -> Self {
        Self { absolute: true, ..self }
    }
}

fn cases() -> Vec<Case> {
    fn tanh_gelu(x: f64) -> f64 {
        0.5 * x * (1.0 + wide::tanh((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)))
    }
    fn mish(x: f64) -> f64 {
        x * wide::tanh(wide::softplus(x))
    }
    let far = f32::MAX;
    let rare = |name, f: Function, exact| Case::new(name, f, exact, 0.5001);
    vec![
        Case::new("exp", f::exp::<Hard>, wide::exp, 0.9),
        Case::new("expm1", f::expm1::<Hard>, wide::expm1, 1.25),
        Case::new("ln", f::ln::<Hard>, wide::ln, 0.9),
        Case::new("softplus", f::softplus::<Hard>, wide::softplus, 1.8),
        Case::new("sigmoid", f::sigmoid::<Hard>, wide::sigmoid, 1.5),
        Case::new("tanh", f::tanh::<Hard>, wide::tanh, 1.5),
        Case::new("erf", f::erf::<Hard>, wide::erf, 1.3),
        Case::new("gelu", f::gelu::<Hard>, wide::gelu, 1.5).absolute(),
        Case::new("gelu_tanh", f::gelu_tanh::<Hard>, tanh_gelu, 1.7).absolute(),
        Case::new("mish", f::mish::<Hard>, mish, 4.0).within(-80.0, far),
        Case::new("sin", f::sin::<Hard>, wide::sin, 1.6),
        Case::new("cos", f::cos::<Hard>, wide::cos, 1.6),
        Case::new("round", f::round_ties_even, f64::round_ties_even, 0.0),
        Case::new("floor", f::floor, f64::floor, 0.0),
        Case::new("ceil", f::ceil, f64::ceil, 0.0),
        rare("tan", f::tan, wide::tan),
        rare("asin", f::asin, wide::asin),
        rare("acos", f::acos, wide::acos),
        rare("atan", f::atan, wide::atan),
        rare("sinh", f::sinh, wide::sinh),
        rare("cosh", f::cosh, wide::cosh),
        rare("asinh", f::asinh, wide::asinh),
        rare("acosh", f::acosh, wide::acosh),
        rare("atanh", f::atanh, wide::atanh),
    ]
}

#[test]
fn functions_keep_the_bounds_of_the_specification() {
    for case in cases() {
        let (error, at) = greatest_error(&case);
        println!("{:10} {error:.4} at {at:e}", case.name);
        assert!(error <= case.bound, "{}: {error} at {at:e}", case.name);
    }
}

/// The series of `erf` with all terms positive, so that nothing cancels; and `exp`, `ln` and `tanh` by series as
/// well: the reference of the bounds is not alone in its answers.
#[test]
fn the_reference_agrees_with_series() {
    let exp = |x: f64| {
        let (mut term, mut sum) = (1.0, 1.0);
        for n in 1..60 {
            term *= x / 16.0 / f64::from(n);
            sum += term;
        }
        (0..4).fold(sum, |power: f64, _| power * power)
    };
    let erf = |x: f64| {
        let (mut term, mut sum) = (x, x);
        for n in 1..400 {
            term *= 2.0 * x * x / f64::from(2 * n + 1);
            sum += term;
        }
        sum * exp(-x * x) * std::f64::consts::FRAC_2_SQRT_PI
    };
    for step in -40..=40 {
        let x = f64::from(step) * 0.1;
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-13 * b.abs().max(1e-3), "{x}: {a} {b}");
        close(wide::exp(x), exp(x));
        close(wide::ln(exp(x)), x);
        close(wide::tanh(x), (exp(x) - exp(-x)) / (exp(x) + exp(-x)));
        close(wide::erf(x), erf(x));
    }
}

#[test]
fn functions_of_special_values() {
    let inf = f32::INFINITY;
    let check = |f: Function, x: f32, expect: f32| assert_eq!(bits(&[f(x)]), bits(&[expect]), "{x}");
    // Every NaN, since some functions move bits.
    for pattern in (0x7f80_0001_u32..=0x7fff_ffff).step_by(9_973) {
        for (name, step, f) in vectorised::<Soft>() {
            for nan in [f32::from_bits(pattern), -f32::from_bits(pattern)] {
                assert!(f(nan).is_nan(), "{name} of {pattern:x}");
                let mut out = [0.0];
                unary(isas()[1], step, &[nan], &mut out);
                assert!(out[0].is_nan(), "{name} of {pattern:x}");
            }
        }
    }
    let cases: [(Function, &[(f32, f32)]); 13] = [
        (f::exp::<Soft>, &[(inf, inf), (-inf, 0.0), (0.0, 1.0), (-0.0, 1.0), (89.0, inf), (-104.0, 0.0)]),
        (
            f::expm1::<Soft>,
            &[(inf, inf), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (-90.0, -1.0), (1e-40, 1e-40)],
        ),
        (
            f::ln::<Soft>,
            &[(inf, inf), (-inf, f32::NAN), (-1.0, f32::NAN), (0.0, -inf), (-0.0, -inf), (1.0, 0.0)],
        ),
        (f::erf::<Soft>, &[(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (4.5, 1.0)]),
        (f::tanh::<Soft>, &[(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40)]),
        (f::sigmoid::<Soft>, &[(inf, 1.0), (-inf, 0.0), (0.0, 0.5), (-0.0, 0.5)]),
        (f::softplus::<Soft>, &[(inf, inf), (-inf, 0.0), (100.0, 100.0)]),
        (f::gelu::<Soft>, &[(inf, inf), (-inf, f32::NAN), (-0.0, -0.0), (7.0, 7.0), (-7.0, -0.0)]),
        (f::sin::<Soft>, &[(inf, f32::NAN), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40)]),
        (f::cos::<Soft>, &[(-inf, f32::NAN), (0.0, 1.0)]),
        (f::round_ties_even, &[(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (-0.4, -0.0), (8e9, 8e9), (inf, inf)]),
        (f::floor, &[(-0.5, -1.0), (0.5, 0.0), (-0.0, -0.0), (-inf, -inf)]),
        (f::ceil, &[(-0.5, -0.0), (0.5, 1.0), (8_388_607.5, 8_388_608.0)]),
    ];
    for (f, values) in cases {
        values.iter().for_each(|(x, expect)| check(f, *x, *expect));
    }
}

#[test]
fn powers_have_the_rules_of_their_exponents() {
    let inf = f32::INFINITY;
    for (x, y, expect) in [
        (-3.0, 2.0, 9.0),
        (-0.0, 3.0, -0.0),
        (1e20, 2.0, inf),
        (-0.0, 0.5, 0.0),
        (-inf, 0.5, inf),
        (-0.0, -1.0, -inf),
        (f32::NAN, 0.0, 1.0),
        (2.0, 10.0, 1024.0),
        (-8.0, 1.0 / 3.0, f32::NAN),
    ] {
        assert_eq!(bits(&[f::pow(x, y)]), bits(&[expect]), "{x}^{y}");
    }
}
