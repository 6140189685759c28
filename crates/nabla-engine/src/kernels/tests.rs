//! The vector build equals the portable one, bit for bit; functions keep their bounds.

use proptest::prelude::*;

use super::gemm::{Gemm, Panels};
use super::{Body, Fma, Hard, Isa, Soft, check_float_mode, math};
use crate::Kernels;
use crate::ops::testing::{map, softmax};

/// Any f32: mostly of moderate size, often special.
fn any_f32() -> impl Strategy<Value = f32> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
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
    ]);
    prop_oneof![6 => -4.0_f32..4.0, 2 => any::<u32>().prop_map(f32::from_bits), 1 => special]
}

fn bits(values: &[f32]) -> Vec<u32> {
    let pin = |x: &f32| if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
    values.iter().map(pin).collect()
}

fn isas() -> [Isa; 2] {
    [Isa::choose(Kernels::Scalar).unwrap(), Isa::choose(Kernels::Auto).unwrap()]
}

/// The definition, with no blocks and no panels.
fn plain_product<F: Fma>(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let one =
        |row: usize, column: usize| (0..k).fold(0.0, |sum, i| F::fma(a[row * k + i], b[i * n + column], sum));
    (0..m * n).map(|index| one(index / n, index % n)).collect()
}

fn check_product(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) {
    let expected = bits(&plain_product::<Soft>(m, k, n, a, b));
    assert_eq!(bits(&plain_product::<Hard>(m, k, n, a, b)), expected, "a * b + c rounds once");
    let panels = Panels::pack(k, n, b, n, 1);
    for isa in isas() {
        let mut c = vec![f32::NAN; m * n];
        isa.run(Gemm { m, a, k, n, b: &panels.lanes, c: &mut c, stride_c: n });
        assert_eq!(bits(&c), expected, "{} {m}x{k}x{n}", isa.name());
    }
}

/// Shapes around every block size: rows of 6, panels of 16, depths of 384.
#[test]
fn products_of_ragged_shapes_are_the_same_bits_everywhere() {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    for (m, k, n) in
        [(1, 1, 1), (5, 383, 15), (6, 384, 16), (7, 385, 17), (13, 800, 33), (3, 0, 4), (12, 7, 64)]
    {
        let (a, b): (Vec<f32>, Vec<f32>) =
            ((0..m * k).map(|_| next()).collect(), (0..k * n).map(|_| next()).collect());
        check_product(m, k, n, &a, &b);
    }
}

/// A body that only multiplies and adds, to compare instruction and emulation.
struct FmaBody<'a>(&'a [[f32; 3]]);

impl Body for FmaBody<'_> {
    type Out = Vec<f32>;

    #[inline(always)]
    fn run<F: Fma>(self) -> Vec<f32> {
        self.0.iter().map(|[a, b, c]| F::fma(*a, *b, *c)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn products_are_the_same_bits_everywhere(
        (m, k, n, a, b) in (1_usize..14, 1_usize..40, 1_usize..40).prop_flat_map(|(m, k, n)| (
            Just(m), Just(k), Just(n), prop::collection::vec(any_f32(), m * k), prop::collection::vec(any_f32(), k * n),
        ))
    ) {
        check_product(m, k, n, &a, &b);
    }

    #[test]
    fn a_row_alone_gives_its_bits(
        (m, k, n, a, b) in (2_usize..14, 1_usize..40, 1_usize..40).prop_flat_map(|(m, k, n)| (
            Just(m), Just(k), Just(n), prop::collection::vec(any_f32(), m * k), prop::collection::vec(any_f32(), k * n),
        ))
    ) {
        let panels = Panels::pack(k, n, &b, n, 1);
        for isa in isas() {
            let mut together = vec![0.0; m * n];
            isa.run(Gemm { m, a: &a, k, n, b: &panels.lanes, c: &mut together, stride_c: n });
            for row in 0..m {
                let mut alone = vec![0.0; n];
                isa.run(Gemm { m: 1, a: &a[row * k..][..k], k, n, b: &panels.lanes, c: &mut alone, stride_c: n });
                prop_assert_eq!(bits(&alone), bits(&together[row * n..][..n]));
            }
        }
    }

    #[test]
    fn emulated_fma_rounds_as_the_instruction(triples in prop::collection::vec([any_f32(), any_f32(), any_f32()], 64)) {
        let soft = FmaBody(&triples).run::<Soft>();
        prop_assert_eq!(bits(&FmaBody(&triples).run::<Hard>()), bits(&soft));
        prop_assert_eq!(bits(&isas()[1].run(FmaBody(&triples))), bits(&soft));
    }

    /// Products that nearly cancel the addend, where double rounding would show.
    #[test]
    fn emulated_fma_rounds_once(a in any::<u32>(), b in any::<u32>(), shift in -3_i32..4) {
        let (a, b) = (f32::from_bits(a), f32::from_bits(b));
        let near = f32::from_bits((a * b).to_bits().wrapping_add_signed(shift));
        for c in [-near, near, near * 2.0_f32.powi(-24), near * 2.0_f32.powi(25)] {
            prop_assert_eq!(bits(&[Soft::fma(a, b, c)]), bits(&[a.mul_add(b, c)]), "{} {} {}", a, b, c);
        }
    }

    #[test]
    fn functions_are_the_same_bits_everywhere(x in prop::collection::vec(any_f32(), 0..70)) {
        for f in [math::exp, math::ln, math::sigmoid, math::tanh, math::erf, math::sqrt, math::round_ties_even] {
            prop_assert_eq!(bits(&map(isas()[0], &x, f)), bits(&map(isas()[1], &x, f)));
        }
        if !x.is_empty() {
            for logarithm in [false, true] {
                prop_assert_eq!(bits(&softmax(isas()[0], &x, logarithm)), bits(&softmax(isas()[1], &x, logarithm)));
            }
        }
    }
}

/// Greatest distance from the exact value, in units of the last place of the result, over evenly spread
/// bit patterns. `spec/kernels.md` states these bounds.
fn greatest_error(f: fn(f32) -> f32, exact: fn(f64) -> f64, from: f32, to: f32) -> f64 {
    let mut greatest = 0.0_f64;
    for bits in (0..=u32::MAX).step_by(4099) {
        let x = f32::from_bits(bits);
        if !(x >= from && x <= to) {
            continue;
        }
        let (got, expected) = (f(x), exact(f64::from(x)));
        if expected.abs() > f64::from(f32::MAX) || expected.is_nan() {
            continue;
        }
        let exponent = u32::try_from(expected.to_bits() << 1 >> 53).unwrap().cast_signed() - 1023;
        let unit = 2.0_f64.powi(exponent.max(-126) - 23);
        greatest = greatest.max((f64::from(got) - expected).abs() / unit);
    }
    greatest
}

/// Series with all terms positive, so that nothing cancels; an independent way to the same value.
fn exact_erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..400 {
        term *= 2.0 * x * x / f64::from(2 * n + 1);
        sum += term;
    }
    sum * (-x * x).exp() * std::f64::consts::FRAC_2_SQRT_PI
}

#[test]
fn functions_keep_the_bounds_of_the_specification() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let all = (f32::MIN, f32::MAX);
    type Case = (&'static str, fn(f32) -> f32, fn(f64) -> f64, (f32, f32));
    let cases: [Case; 5] = [
        ("exp", math::exp, f64::exp, all),
        ("ln", math::ln, f64::ln, (f32::from_bits(1), f32::MAX)),
        ("sigmoid", math::sigmoid, sigmoid, all),
        ("tanh", math::tanh, f64::tanh, all),
        ("erf", math::erf, exact_erf, all),
    ];
    for (name, f, exact, (from, to)) in cases {
        let error = greatest_error(f, exact, from, to);
        assert!(error <= 0.5001, "{name}: {error}");
    }
}

#[test]
fn functions_of_special_values() {
    let inf = f32::INFINITY;
    let check = |f: fn(f32) -> f32, x: f32, expect: f32| assert_eq!(bits(&[f(x)]), bits(&[expect]), "{x}");
    for f in [math::exp, math::ln, math::sigmoid, math::tanh, math::erf, math::round_ties_even] {
        check(f, f32::NAN, f32::NAN);
    }
    for (x, expect) in [(inf, inf), (-inf, 0.0), (0.0, 1.0), (-0.0, 1.0), (89.0, inf), (-104.0, 0.0)] {
        check(math::exp, x, expect);
    }
    for (x, expect) in [(inf, inf), (-inf, f32::NAN), (-1.0, f32::NAN), (0.0, -inf), (-0.0, -inf), (1.0, 0.0)]
    {
        check(math::ln, x, expect);
    }
    for (x, expect) in [(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (4.5, 1.0)] {
        check(math::erf, x, expect);
    }
    for (x, expect) in [(inf, 1.0), (-inf, -1.0), (0.0, 0.0), (-0.0, -0.0), (1e-40, 1e-40)] {
        check(math::tanh, x, expect);
    }
    for (x, expect) in [(inf, 1.0), (-inf, 0.0), (0.0, 0.5)] {
        check(math::sigmoid, x, expect);
    }
    for (x, expect) in [(0.5, 0.0), (1.5, 2.0), (-2.5, -2.0), (8e9, 8e9), (inf, inf)] {
        check(math::round_ties_even, x, expect);
    }
}

#[test]
fn the_float_mode_of_a_test_is_right() {
    check_float_mode().unwrap();
}
