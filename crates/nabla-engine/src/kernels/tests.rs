//! The builds of the kernels give the same bits; the arithmetic under them rounds as it should.

use proptest::prelude::*;

use super::math::tests::{any_f32, bits, isas};
use super::threads::Cpu;
use super::{Body, Fma, Hard, Soft, check_float_mode};
use crate::Kernels;

mod conv;
mod product;

/// Every build that this machine can run, and the best of them on three threads.
pub(super) fn cpus() -> Vec<Cpu> {
    let alone = Kernels::ALL.into_iter().filter_map(|kernels| Cpu::new(kernels, 1).ok());
    alone.chain([Cpu::new(Kernels::Auto, 3).unwrap()]).collect()
}

/// Repeatable numbers.
pub(crate) struct Numbers(u32);

impl Numbers {
    pub(crate) fn new(seed: u32) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0 >> 8
    }

    /// Between -1 and 1.
    pub(crate) fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.next() as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| (self.next() >> 16).to_le_bytes()[0]).collect()
    }
}

/// The definition, with no blocks and no panels.
fn plain_product<F: Fma>(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) -> Vec<f32> {
    let one =
        |row: usize, column: usize| (0..k).fold(0.0, |sum, i| F::fma(a[row * k + i], b[i * n + column], sum));
    (0..m * n).map(|index| one(index / n, index % n)).collect()
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
    fn emulated_fma_rounds_as_the_instruction(triples in prop::collection::vec([any_f32(), any_f32(), any_f32()], 64)) {
        let soft = FmaBody(&triples).run::<Soft>();
        prop_assert_eq!(bits(&FmaBody(&triples).run::<Hard>()), bits(&soft));
        for isa in isas() {
            prop_assert_eq!(bits(&isa.run(FmaBody(&triples))), bits(&soft), "{}", isa.name());
        }
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
}

#[test]
fn the_float_mode_of_a_test_is_right() {
    check_float_mode().unwrap();
}

#[test]
fn kernels_are_read_by_the_names_that_they_write() {
    for kernels in Kernels::ALL {
        assert_eq!(kernels.to_string().parse::<Kernels>(), Ok(kernels));
    }
    let error = "mmx".parse::<Kernels>().unwrap_err().to_string();
    assert!(error.contains("\"mmx\"") && error.contains("auto, scalar, avx2"), "{error}");
}

/// What the processor lacks is refused by name; `Auto` and `Scalar` never are.
#[test]
fn kernels_that_are_not_there_are_refused() {
    for kernels in Kernels::ALL {
        match Cpu::new(kernels, 1) {
            Ok(cpu) => assert!(kernels == Kernels::Auto || cpu.isa().name() == kernels.name()),
            Err(error) => {
                assert!(!matches!(kernels, Kernels::Auto | Kernels::Scalar), "{error}");
                assert!(error.to_string().contains(kernels.needed()), "{error}");
            }
        }
    }
}
