//! Products: every build, every number of threads and every way of packing gives the definition's bits.

use std::sync::Mutex;

use proptest::prelude::*;

use super::{Numbers, any_f32, bits, cpus, plain_product};
use crate::kernels::Soft;
use crate::kernels::int8::{Bytes, PanelsI8, ProductI8, Zero};
use crate::kernels::pack::{Panels, PanelsRef, Strided};
use crate::kernels::product::Product;
use crate::kernels::tile::Bias;

/// Untouched elements between rows of `c`.
const GAP: usize = 3;

fn transposed(rows: usize, columns: usize, values: &[f32]) -> Vec<f32> {
    (0..rows * columns).map(|index| values[index % rows * columns + index / rows]).collect()
}

/// All ways to the same product: strided and transposed factors, tiles, biases.
fn check_product(m: usize, k: usize, n: usize, a: &[f32], b: &[f32]) {
    let expected = plain_product::<Soft>(m, k, n, a, b);
    let (a_turned, b_turned) = (transposed(m, k, a), transposed(k, n, b));
    let rows: Vec<f32> = (0..m).map(|row| row as f32 * 0.37 - 1.0).collect();
    let columns: Vec<f32> = (0..n).map(|column| 2.0 - column as f32 * 0.73).collect();
    for cpu in cpus() {
        let isa = cpu.isa();
        let mut scratch = vec![f32::NAN; Panels::elements(k, n) + 1];
        let own = Panels::pack(isa, k, n, Strided::rows(b, n));
        let lent = PanelsRef::pack(isa, k, n, Strided::transposed(&b_turned, k), &mut scratch);
        assert_eq!(bits(own.view().lanes), bits(lent.lanes), "packing {k}x{n}");
        let lefts = [Strided::rows(a, k), Strided::transposed(&a_turned, m), Strided::rows(a, k)];
        let biases = [Bias::None, Bias::Rows(&rows), Bias::Columns(&columns)];
        for (left, bias) in
            lefts.into_iter().zip(biases).chain([(lefts[0], biases[2]), (lefts[2], biases[1])])
        {
            let stride = n + GAP;
            let mut c = vec![f32::NAN; m * stride];
            let pieces = Mutex::new(vec![0_u32; m * n]);
            let epilogue = |row: usize, column: usize, values: &mut [f32]| {
                for (index, value) in values.iter_mut().enumerate() {
                    pieces.lock().unwrap()[row * n + column + index] += 1;
                    *value *= 2.0;
                }
            };
            let product = Product { m, a: left, b: lent, c: &mut c, stride, bias, epilogue: Some(&epilogue) };
            product.run(&cpu);
            let expected: Vec<f32> = (0..m * stride)
                .map(|index| match (index / stride, index % stride) {
                    (_, column) if column >= n => f32::NAN,
                    (row, column) => {
                        let sum = expected[row * n + column];
                        2.0 * match bias {
                            Bias::None => sum,
                            Bias::Rows(bias) => sum + bias[row],
                            Bias::Columns(bias) => sum + bias[column],
                        }
                    }
                })
                .collect();
            assert_eq!(bits(&c), bits(&expected), "{cpu:?} {m}x{k}x{n}");
            assert!(pieces.lock().unwrap().iter().all(|count| *count == 1), "each value is finished once");
        }
    }
}

/// Around every block size: tiles of 12, 6 and 4, panels of 16 by 1, 2, 4 and 8, blocks of 32 panels, depths
/// of 256.
#[test]
fn products_of_ragged_shapes_are_the_same_bits_everywhere() {
    let mut numbers = Numbers::new(1);
    let shapes = [
        (1, 1, 1),
        (1, 300, 200),
        (2, 257, 130),
        (3, 0, 4),
        (5, 255, 47),
        (6, 256, 16),
        (7, 513, 97),
        (12, 7, 64),
        (13, 800, 33),
        (25, 40, 530),
        (61, 300, 49),
        (250, 30, 40),
        (0, 3, 5),
        (3, 5, 0),
    ];
    for (m, k, n) in shapes {
        check_product(m, k, n, &numbers.floats(m * k), &numbers.floats(k * n));
    }
}

fn factors() -> impl Strategy<Value = (usize, usize, usize, Vec<f32>, Vec<f32>)> {
    (1_usize..20, 1_usize..40, 1_usize..70).prop_flat_map(|(m, k, n)| {
        let values = |count| prop::collection::vec(any_f32(), count);
        (Just(m), Just(k), Just(n), values(m * k), values(k * n))
    })
}

/// The definition for bytes.
fn plain_bytes(m: usize, k: usize, n: usize, a: &[i32], b: &[i32]) -> Vec<i32> {
    let one = |row: usize, column: usize| {
        (0..k).fold(0_i32, |sum, i| sum.wrapping_add(a[row * k + i].wrapping_mul(b[i * n + column])))
    };
    (0..m * n).map(|index| one(index / n, index % n)).collect()
}

fn check_bytes(m: usize, k: usize, n: usize, a: Bytes<'_>, b: Bytes<'_>, each: bool) {
    let values = |bytes: Bytes<'_>| -> Vec<i32> {
        match bytes {
            Bytes::Unsigned(bytes) => bytes.iter().map(|byte| i32::from(*byte)).collect(),
            Bytes::Signed(bytes) => bytes.iter().map(|byte| i32::from(*byte)).collect(),
        }
    };
    let zeros = |count: usize, signed: bool| -> Vec<i32> {
        (0..count).map(|i| i32::try_from(i * 37 % 256).unwrap() - if signed { 128 } else { 0 }).collect()
    };
    let (rows, columns) = (zeros(m, a.signed()), zeros(n, b.signed()));
    let zero_a = if each { Zero::Each(&rows) } else { Zero::One(if a.signed() { -3 } else { 128 }) };
    let zero_b = if each { Zero::Each(&columns) } else { Zero::One(0) };
    let at = |zero: Zero<'_>, index: usize| match zero {
        Zero::One(zero) => zero,
        Zero::Each(zeros) => zeros[index],
    };
    let moved_a: Vec<i32> = values(a).iter().enumerate().map(|(i, x)| x - at(zero_a, i / k.max(1))).collect();
    let moved_b: Vec<i32> = values(b).iter().enumerate().map(|(i, x)| x - at(zero_b, i % n.max(1))).collect();
    let expected = plain_bytes(m, k, n, &moved_a, &moved_b);
    for cpu in cpus() {
        let panels = PanelsI8::pack(cpu.isa(), k, n, b, n, 1);
        let mut c = vec![7; m * n];
        let product = ProductI8 { m, a, zero_a, b: &panels, zero_b, c: &mut c, stride: n, epilogue: None };
        product.run(&cpu);
        assert_eq!(c, expected, "{cpu:?} {m}x{k}x{n} {} {} {each}", a.signed(), b.signed());
    }
}

#[test]
fn products_of_bytes_are_exact() {
    let mut numbers = Numbers::new(2);
    for (m, k, n) in
        [(1, 1, 1), (1, 64, 200), (3, 5, 17), (4, 1030, 16), (13, 33, 40), (30, 260, 70), (2, 0, 3)]
    {
        let (a, b) = (numbers.bytes(m * k), numbers.bytes(k * n));
        let (c, d): (Vec<i8>, Vec<i8>) =
            (a.iter().map(|x| x.cast_signed()).collect(), b.iter().map(|x| x.cast_signed()).collect());
        for each in [false, true] {
            check_bytes(m, k, n, Bytes::Unsigned(&a), Bytes::Signed(&d), each);
            check_bytes(m, k, n, Bytes::Unsigned(&a), Bytes::Unsigned(&b), each);
            check_bytes(m, k, n, Bytes::Signed(&c), Bytes::Signed(&d), each);
            check_bytes(m, k, n, Bytes::Signed(&c), Bytes::Unsigned(&b), each);
        }
    }
}

/// Where 16-bit sums of two products would saturate.
#[test]
fn extreme_bytes_do_not_saturate() {
    let k = 4096;
    let (most, least) = (vec![255_u8; 7 * k], vec![-128_i8; k * 20]);
    check_bytes(7, k, 20, Bytes::Unsigned(&most), Bytes::Signed(&least), false);
    check_bytes(7, k, 20, Bytes::Unsigned(&most), Bytes::Signed(&vec![127_i8; k * 20]), true);
    check_bytes(7, k, 20, Bytes::Signed(&least[..7 * k]), Bytes::Signed(&least), true);
    check_bytes(7, k, 20, Bytes::Unsigned(&most), Bytes::Unsigned(&vec![255_u8; k * 20]), false);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn products_are_the_same_bits_everywhere((m, k, n, a, b) in factors()) {
        check_product(m, k, n, &a, &b);
    }

    #[test]
    fn a_row_alone_gives_its_bits((m, k, n, a, b) in factors()) {
        for cpu in cpus() {
            let panels = Panels::pack(cpu.isa(), k, n, Strided::rows(&b, n));
            let run = |m: usize, a: &[f32]| {
                let mut c = vec![0.0; m * n];
                let a = Strided::rows(a, k);
                let b = panels.view();
                Product { m, a, b, c: &mut c, stride: n, bias: Bias::None, epilogue: None }.run(&cpu);
                bits(&c)
            };
            let together = run(m, &a);
            for row in 0..m {
                prop_assert_eq!(&run(1, &a[row * k..][..k])[..], &together[row * n..][..n]);
            }
        }
    }
}
