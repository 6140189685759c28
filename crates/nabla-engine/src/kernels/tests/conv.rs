//! Convolutions: every build and every way of cutting them in blocks gives the definition's bits.

use proptest::prelude::*;

use super::{Numbers, bits, cpus};
use crate::kernels::conv::Geometry;
use crate::kernels::conv_f32::ConvF32;
use crate::kernels::conv_i8::{ConvI8, ConvI8Run, WeightsI8};
use crate::kernels::int8::{Bytes, Zero};
use crate::kernels::{Fma, Soft};

/// For every output: its filter, and each step's weight and input (none in the padding), in the order of the
/// chain.
fn steps(
    g: &Geometry,
    mut visit: impl FnMut(usize, usize, &mut dyn Iterator<Item = (usize, Option<usize>)>),
) {
    let out = g.out().unwrap();
    let (depth, taps, filters) = (g.depth(), g.taps(), g.filters_of_group());
    let mut index = 0;
    for image in 0..g.batch {
        for filter in 0..g.filters {
            for position in 0..out.iter().product::<usize>() {
                let place = [position / out[2] / out[1], position / out[2] % out[1], position % out[2]];
                let mut chain = (0..depth * taps).map(|step| {
                    let (channel, tap) = (step / taps, step % taps);
                    let [_, high, wide] = g.kernel;
                    let tap = [tap / wide / high, tap / wide % high, tap % wide];
                    let mut source = image * g.channels + filter / filters * depth + channel;
                    let mut on_image = true;
                    for axis in 0..3 {
                        let at = place[axis] * g.strides[axis] + tap[axis] * g.dilations[axis];
                        let at = at.wrapping_sub(g.pads_begin[axis]);
                        on_image &= at < g.image[axis];
                        source = source.wrapping_mul(g.image[axis]).wrapping_add(at);
                    }
                    (filter * depth * taps + step, on_image.then_some(source))
                });
                visit(index, filter, &mut chain);
                index += 1;
            }
        }
    }
}

fn sizes(g: &Geometry) -> [usize; 3] {
    let elements = g.batch * g.filters * g.area();
    [g.batch * g.channels * g.image_area(), g.filters * g.depth() * g.taps(), elements]
}

fn check_f32(g: &Geometry, special: bool) {
    let mut numbers = Numbers::new(5);
    let [inputs, weights, outputs] = sizes(g);
    let (mut x, mut w, bias) = (numbers.floats(inputs), numbers.floats(weights), numbers.floats(g.filters));
    if special {
        x.iter_mut().step_by(7).for_each(|x| *x = -0.0);
        x.iter_mut().step_by(31).for_each(|x| *x = f32::INFINITY);
        w.iter_mut().step_by(23).for_each(|x| *x = f32::NEG_INFINITY);
        w.iter_mut().step_by(5).for_each(|x| *x = f32::from_bits(3));
    }
    let mut expected = vec![0.0; outputs];
    steps(g, |index, filter, chain| {
        let sum = chain.fold(0.0, |sum, (weight, source)| {
            Soft::fma(w[weight], source.map_or(0.0, |source| x[source]), sum)
        });
        expected[index] = (sum + bias[filter]) * 2.0;
    });
    for cpu in cpus() {
        let conv = ConvF32::new(cpu.isa(), g.clone(), &w).unwrap();
        let mut out = vec![f32::NAN; outputs];
        conv.run(
            &cpu,
            &x,
            Some(&bias),
            &mut out,
            Some(&|_, _, _, values| {
                values.iter_mut().for_each(|value| *value *= 2.0);
            }),
        );
        assert_eq!(bits(&out), bits(&expected), "{cpu:?} {g:?}");
    }
}

fn check_bytes(g: &Geometry, signed: [bool; 2], each: bool) {
    let mut numbers = Numbers::new(6);
    let [inputs, weights, outputs] = sizes(g);
    let (x, w) = (numbers.bytes(inputs), numbers.bytes(weights));
    let value = |byte: u8, signed: bool| if signed { i32::from(byte.cast_signed()) } else { i32::from(byte) };
    let zeros: Vec<i32> =
        (0..g.filters).map(|filter| value(u8::try_from(filter * 41 % 256).unwrap(), signed[1])).collect();
    let zero_weights = if each { Zero::Each(&zeros) } else { Zero::One(0) };
    let zero_input = if signed[0] { -5 } else { 131 };
    let mut expected = vec![0; outputs];
    steps(g, |index, filter, chain| {
        let zero = if each { zeros[filter] } else { 0 };
        expected[index] = chain.fold(0_i32, |sum, (weight, source)| {
            let x = source.map_or(0, |source| value(x[source], signed[0]) - zero_input);
            sum.wrapping_add((value(w[weight], signed[1]) - zero) * x)
        });
    });
    let (signed_x, signed_w): (Vec<i8>, Vec<i8>) =
        (x.iter().map(|x| x.cast_signed()).collect(), w.iter().map(|x| x.cast_signed()).collect());
    let input = if signed[0] { Bytes::Signed(&signed_x) } else { Bytes::Unsigned(&x) };
    let source = if signed[1] { Bytes::Signed(&signed_w) } else { Bytes::Unsigned(&w) };
    for cpu in cpus() {
        let weights = WeightsI8::pack(cpu.isa(), g, source).unwrap();
        let conv = ConvI8::new(g.clone(), weights).unwrap();
        let mut out = vec![-1; outputs];
        conv.run(&cpu, ConvI8Run { input, zero_input, zero_weights, out: &mut out, epilogue: None });
        assert_eq!(out, expected, "{cpu:?} {signed:?} {each} {g:?}");
    }
}

fn check(g: &Geometry) {
    check_f32(g, false);
    check_f32(g, true);
    for each in [false, true] {
        check_bytes(g, [false, true], each);
        check_bytes(g, [true, false], each);
    }
}

fn square(
    channels: usize,
    filters: usize,
    groups: usize,
    image: usize,
    kernel: usize,
    stride: usize,
) -> Geometry {
    let pad = kernel / 2;
    Geometry {
        batch: 1,
        channels,
        filters,
        groups,
        image: [1, image, image],
        kernel: [1, kernel, kernel],
        strides: [1, stride, stride],
        dilations: [1; 3],
        pads_begin: [0, pad, pad],
        pads_end: [0, pad, pad],
    }
}

#[test]
fn usual_convolutions_are_the_same_bits_everywhere() {
    check(&square(3, 16, 1, 20, 7, 2));
    check(&square(16, 13, 1, 14, 3, 1));
    check(&square(16, 24, 1, 15, 3, 2));
    check(&square(8, 30, 1, 9, 1, 1));
    check(&square(6, 12, 1, 8, 1, 2));
    check(&square(20, 20, 20, 11, 3, 1));
    check(&square(12, 24, 3, 10, 5, 1));
    check(&Geometry { batch: 3, ..square(5, 7, 1, 6, 3, 1) });
}

/// Regions too large for one block: along depth, rows and columns.
#[test]
fn blocks_change_no_bit() {
    check_f32(&square(40, 5, 1, 60, 3, 1), false);
    check_bytes(&square(150, 3, 1, 60, 3, 1), [false, true], true);
    let long = Geometry { image: [1, 1, 5000], kernel: [1, 1, 5], ..square(64, 2, 1, 1, 1, 2) };
    check_f32(&Geometry { pads_begin: [0, 0, 3], ..long }, false);
    let deep = Geometry { image: [9, 30, 31], kernel: [3, 2, 3], ..square(16, 2, 1, 1, 1, 1) };
    check_f32(&Geometry { pads_begin: [1, 0, 2], pads_end: [2, 1, 0], ..deep }, true);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    assert_eq!(square(3, 4, 2, 8, 3, 1).out(), None, "groups");
    assert_eq!(square(4, 4, 0, 8, 3, 1).out(), None, "no group");
    assert_eq!(Geometry { strides: [1, 0, 1], ..square(4, 4, 1, 8, 3, 1) }.out(), None, "no stride");
    assert_eq!(Geometry { kernel: [1, 0, 1], ..square(4, 4, 1, 8, 3, 1) }.out(), None, "no kernel");
    assert_eq!(Geometry { dilations: [1, 9, 1], ..square(4, 4, 1, 8, 3, 1) }.out(), None, "beyond the image");
    assert_eq!(Geometry { batch: usize::MAX, ..square(4, 4, 1, 8, 3, 1) }.out(), None, "beyond counting");
}

fn any_geometry() -> impl Strategy<Value = Geometry> {
    let three = |range: std::ops::Range<usize>| [range.clone(), range.clone(), range];
    let shape = (1_usize..3, 1_usize..6, 1_usize..8, 1_usize..4);
    let fits = (three(1..10), three(1..4), three(1..4), three(1..4), three(0..4), three(0..4));
    (shape, fits).prop_filter_map("an output", |((batch, depth, filters, groups), fits)| {
        let (image, kernel, strides, dilations, pads_begin, pads_end) = fits;
        let (channels, filters) = (depth * groups, filters * groups);
        let geometry = Geometry {
            batch,
            channels,
            filters,
            groups,
            image,
            kernel,
            strides,
            dilations,
            pads_begin,
            pads_end,
        };
        geometry.out().map(|_| geometry)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn convolutions_are_the_same_bits_everywhere(geometry in any_geometry()) {
        check(&geometry);
    }
}
