use half::f16;
use nabla_types::tensor::{Tensor, TensorData};

use super::testing::{floats, ints, one, run, texts};
use crate::Fault;
use crate::graph::Attribute::{Float, Int, Ints, Text};
use crate::onnx::testing::{self, FLOAT, File, Value};
use crate::ops::{find, supported_operators};

const NAN: f32 = f32::NAN;

/// `0, 1, 2, ...` in this shape.
fn counted(shape: &[u64]) -> Tensor {
    let count = shape.iter().product::<u64>();
    floats(shape, &(0..count).map(|x| x as f32).collect::<Vec<_>>())
}

fn text(value: &str) -> crate::graph::Attribute {
    Text(value.to_owned())
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Fault>, part: &str) {
    let fault = result.expect_err("a fault").to_string();
    assert!(fault.contains(part), "{fault}");
}

#[test]
fn a_bomb_is_refused_before_it_is_made() {
    let (big, huge) = (1 << 30, i64::MAX);
    let x = counted(&[2, 2]);
    refused(one("Tile", &[x.clone(), ints(&[big, big])], &[]), "size of a value");
    refused(one("Tile", &[x.clone(), ints(&[huge, 1])], &[]), "size of a value");
    refused(one("Expand", &[floats(&[1], &[1.0]), ints(&[huge, huge])], &[]), "size of a value");
    refused(one("Pad", &[x.clone(), ints(&[huge, 0, huge, 0])], &[]), "size of a value");
    refused(one("CenterCropPad", &[x.clone(), ints(&[big, big])], &[]), "size of a value");
    refused(one("ConstantOfShape", &[ints(&[huge, huge]), floats(&[1], &[0.0])], &[]), "size of a value");
    refused(one("OneHot", &[ints(&[0]), ints(&[huge]), x.clone()], &[]), "[off, on]");
    let values = floats(&[2], &[0.0, 1.0]);
    refused(one("OneHot", &[ints(&[0]), ints(&[huge]), values], &[]), "size of a value");
    let numbers = |values: [i64; 3]| values.map(|v| ints(&[v]));
    refused(one("Range", &numbers([i64::MIN, i64::MAX, 1]), &[]), "size of a value");
    refused(one("Range", &numbers([0, 1, 0]), &[]), "other than 0");
    let floats = [0.0, 1e30, 1e-30].map(|v| floats(&[], &[v]));
    refused(one("Range", &floats, &[]), "size of a value");
    // Empty outputs do not bound the sizes beside the empty one.
    assert_eq!(one("Tile", &[counted(&[2, 0]), ints(&[3, huge])], &[]).unwrap().shape(), [6, 0]);
    refused(one("DepthToSpace", &[counted(&[1, 0, 1, 1])], &[("blocksize", Int(huge))]), "blocksize");
}

#[test]
fn an_index_outside_is_a_fault() {
    let x = counted(&[2, 3]);
    for index in [3, -4, i64::MIN, i64::MAX] {
        refused(one("Gather", &[x.clone(), ints(&[0, index])], &[("axis", Int(1))]), "index");
        let pair = |a, b| Tensor::i64(&[1, 2], vec![a, b]).unwrap();
        refused(one("GatherElements", &[x.clone(), pair(0, index)], &[("axis", Int(1))]), "index");
        refused(one("GatherND", &[x.clone(), pair(0, index)], &[]), "index");
        let update = floats(&[1, 2], &[1.0, 2.0]);
        refused(one("ScatterElements", &[x.clone(), pair(0, index), update], &[("axis", Int(1))]), "index");
        refused(one("ScatterND", &[x.clone(), pair(0, index), floats(&[1], &[1.0])], &[]), "index");
        let cache = counted(&[1, 2, 3]);
        let entries = [cache.clone(), counted(&[1, 1, 3]), ints(&[index])];
        refused(one("TensorScatter", &entries, &[]), "write index");
        refused(one("ReverseSequence", &[x.clone(), ints(&[1, index, 1])], &[]), "length");
    }
    refused(one("GatherND", &[x.clone(), ints(&[0])], &[("batch_dims", Int(i64::MAX))]), "batch_dims");
    refused(one("GatherND", &[x, ints(&[0, 0, 0])], &[]), "tuples");
}

#[test]
fn slices_clamp() {
    let x = ints(&[0, 1, 2, 3, 4]);
    let slice = |start, end, step| {
        let one_of = |v| ints(&[v]);
        let inputs = [x.clone(), one_of(start), one_of(end), one_of(0), one_of(step)];
        one("Slice", &inputs, &[]).map(|t| t.as_i64().unwrap().to_vec())
    };
    let (min, max) = (i64::MIN, i64::MAX);
    assert_eq!(slice(1, max, 2).unwrap(), [1, 3]);
    assert_eq!(slice(max, min, -1).unwrap(), [4, 3, 2, 1, 0]);
    assert_eq!(slice(-2, min, -3).unwrap(), [3, 0]);
    assert_eq!(slice(min, max, max).unwrap(), [0]);
    assert_eq!(slice(max, min, min).unwrap(), [4]);
    assert_eq!(slice(3, 1, 1).unwrap(), [0_i64; 0]);
    refused(slice(0, 1, 0), "other than 0");
    let twice = [counted(&[2, 2]), ints(&[0, 0]), ints(&[1, 1]), ints(&[0, -2])];
    refused(one("Slice", &twice, &[]), "twice");
}

#[test]
fn pads_of_every_mode() {
    let x = ints(&[1, 2, 3]);
    let pad = |pads: &[i64], mode: &str| {
        one("Pad", &[x.clone(), ints(pads)], &[("mode", text(mode))]).map(|t| t.as_i64().unwrap().to_vec())
    };
    assert_eq!(pad(&[5, 6], "reflect").unwrap(), [2, 1, 2, 3, 2, 1, 2, 3, 2, 1, 2, 3, 2, 1]);
    assert_eq!(pad(&[5, 4], "wrap").unwrap(), [2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1]);
    assert_eq!(pad(&[2, 1], "edge").unwrap(), [1, 1, 1, 2, 3, 3]);
    assert_eq!(pad(&[-1, 2], "edge").unwrap(), [2, 3, 3, 3]);
    assert_eq!(pad(&[-4, 5], "constant").unwrap(), [0, 0, 0, 0]);
    assert_eq!(pad(&[-1, -1], "constant").unwrap(), [2]);
    refused(pad(&[-4, 5], "wrap"), "elements to repeat");
    refused(pad(&[-4, 0], "constant"), "elements to repeat");
    assert_eq!(pad(&[i64::MIN, i64::MAX], "constant").unwrap(), [0, 0]);
    refused(pad(&[i64::MIN, i64::MIN], "constant"), "elements to repeat");
    refused(pad(&[0, 0], "mirror"), "constant, reflect, edge or wrap");
    let old = one("Pad", &[counted(&[1, 1]), ints(&[0, 1, 1, 0])], &[("value", Float(7.0))]).unwrap();
    assert_eq!((old.shape(), old.as_f32().unwrap()), (&[2, 2][..], &[7.0, 0.0, 7.0, 7.0][..]));
    let words = one("Pad", &[texts(&[1], &["a"]), ints(&[1, 1])], &[]).unwrap();
    assert_eq!(words, texts(&[3], &["", "a", ""]));
}

#[test]
fn top_k_orders_ties_by_index_and_nan_last() {
    let x = floats(&[6], &[2.0, NAN, 5.0, 2.0, NAN, -0.0]);
    let top = |largest| {
        let inputs = [Some(x.clone()), Some(ints(&[5]))];
        run("TopK", &inputs, &[("largest", Int(largest))], 2).unwrap().remove(1)
    };
    assert_eq!(top(1), ints(&[2, 0, 3, 5, 1]));
    assert_eq!(top(0), ints(&[5, 0, 3, 2, 1]));
    assert_eq!(one("TopK", &[x.clone(), ints(&[0])], &[]).unwrap().shape(), [0]);
    refused(one("TopK", &[x.clone(), ints(&[7])], &[]), "at least k");
    refused(one("TopK", &[x, ints(&[-1])], &[]), "at least k");
}

#[test]
fn unique_takes_the_first_of_equals() {
    let x = Some(floats(&[7], &[1.0, NAN, -0.0, 0.0, NAN, 1.0, -3.0]));
    let outputs = run("Unique", std::slice::from_ref(&x), &[], 4).unwrap();
    assert_eq!(outputs[0].as_f32().unwrap()[..3], [-3.0, -0.0, 1.0]);
    assert!(outputs[0].as_f32().unwrap()[1].is_sign_negative());
    assert_eq!(outputs[1..], [ints(&[6, 2, 0, 1]), ints(&[2, 3, 1, 1, 3, 2, 0]), ints(&[1, 2, 2, 2])]);
    let outputs = run("Unique", &[x], &[("sorted", Int(0))], 4).unwrap();
    assert_eq!(outputs[1..], [ints(&[0, 1, 2, 6]), ints(&[0, 1, 2, 2, 1, 0, 3]), ints(&[2, 2, 2, 1])]);
    let words = one("Unique", &[texts(&[2, 2], &["b", "a", "b", "a"])], &[("axis", Int(-2))]).unwrap();
    assert_eq!(words, texts(&[1, 2], &["b", "a"]));
    assert_eq!(one("Unique", &[counted(&[0])], &[]).unwrap().shape(), [0]);
    assert_eq!(one("Unique", &[counted(&[3, 0])], &[("axis", Int(0))]).unwrap().shape(), [1, 0]);
}

#[test]
fn scatters_reduce_in_order() {
    let half = |values: &[f32]| {
        let values: Vec<f16> = values.iter().map(|x| f16::from_f32(*x)).collect();
        Tensor::new(vec![values.len() as u64], TensorData::F16(values)).unwrap()
    };
    // 2048 + 1 is no f16; two ones are added before the rounding.
    let sum = [half(&[2048.0, 1.0]), ints(&[0, 0]), half(&[1.0, 1.0])];
    assert_eq!(one("ScatterElements", &sum, &[("reduction", text("add"))]).unwrap(), half(&[2050.0, 1.0]));
    let wrap =
        |values: &[i8]| Tensor::new(vec![values.len() as u64], TensorData::I8(values.to_vec())).unwrap();
    let product = [wrap(&[100, 1]), ints(&[0, -2]), wrap(&[2, 3])];
    assert_eq!(one("ScatterElements", &product, &[("reduction", text("mul"))]).unwrap(), wrap(&[88, 1]));
    let nan = [floats(&[3], &[1.0, NAN, 0.0]), ints(&[0, 1, 2]), floats(&[3], &[NAN, 2.0, -0.0])];
    let most = one("ScatterElements", &nan, &[("reduction", text("max"))]).unwrap();
    assert!(most.as_f32().unwrap()[0].is_nan() && most.as_f32().unwrap()[1].is_nan());
    assert_eq!(most.as_f32().unwrap()[2].to_bits(), 0);
    let last = [floats(&[2], &[0.0, 0.0]), ints(&[1, 1]), floats(&[2], &[1.0, 2.0])];
    assert_eq!(one("ScatterElements", &last, &[]).unwrap(), floats(&[2], &[0.0, 2.0]));
    let words = [texts(&[2], &["a", "b"]), ints(&[0, 1]), texts(&[2], &["c", "d"])];
    refused(one("ScatterElements", &words, &[("reduction", text("add"))]), "none, for texts");
    refused(one("ScatterElements", &last, &[("reduction", text("xor"))]), "add, mul, min or max");
}

#[test]
fn parts_of_a_split() {
    let split = |attributes: &[(&str, crate::graph::Attribute)], sizes: Option<&[i64]>, outputs| {
        let outputs = run("Split", &[Some(counted(&[5])), sizes.map(ints)], attributes, outputs)?;
        Ok(outputs.iter().map(|part| part.shape()[0]).collect::<Vec<_>>())
    };
    assert_eq!(split(&[("num_outputs", Int(2))], None, 2).unwrap(), [3, 2]);
    assert_eq!(split(&[], Some(&[0, 4, 1]), 2).unwrap(), [0, 4]);
    refused(split(&[("num_outputs", Int(2)), ("equal", Int(1))], None, 2), "divide");
    refused(split(&[("num_outputs", Int(4))], None, 4), "divide");
    refused(split(&[("num_outputs", Int(i64::MAX))], None, 2), "divide");
    refused(split(&[("num_outputs", Int(0))], None, 1), "num_outputs");
    refused(split(&[], Some(&[i64::MAX, i64::MAX]), 2), "add up");
    refused(split(&[], Some(&[5]), 2), "each output");
}

#[test]
fn ranges_count_exactly() {
    let wide = |start, limit, delta| one("Range", &[start, limit, delta].map(|v| ints(&[v])), &[]).unwrap();
    assert_eq!(wide(i64::MAX - 2, i64::MAX, 1), ints(&[i64::MAX - 2, i64::MAX - 1]));
    assert_eq!(wide(10, 3, -3), ints(&[10, 7, 4]));
    assert_eq!(wide(0, 5, -1), ints(&[]));
    let narrow = |values: [f32; 3]| one("Range", &values.map(|v| floats(&[], &[v])), &[]).unwrap();
    let tenths = narrow([0.0, 100.0, 0.1]);
    let expected: Vec<f32> = (0..tenths.shape()[0]).map(|i| i as f32 * 0.1).collect();
    assert_eq!(tenths.as_f32().unwrap(), expected);
    assert_eq!(narrow([0.0, NAN, 1.0]).shape(), [0]);
}

#[test]
fn special_shapes() {
    assert_eq!(one("Transpose", &[floats(&[], &[3.0])], &[]).unwrap(), floats(&[], &[3.0]));
    refused(one("Transpose", &[counted(&[2, 2])], &[("perm", Ints(vec![0, 0]))]), "once");
    refused(one("Transpose", &[counted(&[2, 2])], &[("perm", Ints(vec![0]))]), "once");
    assert_eq!(one("NonZero", &[floats(&[], &[3.0])], &[]).unwrap().shape(), [0, 1]);
    assert_eq!(
        one("NonZero", &[floats(&[4], &[NAN, -0.0, 0.0, 2.0])], &[]).unwrap().as_i64().unwrap(),
        [0, 3]
    );
    assert_eq!(one("Gather", &[counted(&[2, 0]), ints(&[1])], &[]).unwrap().shape(), [1, 0]);
    refused(one("Gather", &[floats(&[], &[1.0]), ints(&[0])], &[]), "axis");
    let k = |k| Tensor::i64(&[], vec![k]).unwrap();
    for (k_given, upper, expected) in
        [(i64::MAX, 1, [0.0; 4]), (i64::MIN, 0, [0.0; 4]), (1, 1, [0.0, 1.0, 0.0, 0.0])]
    {
        let x = counted(&[2, 2]);
        let made = one("Trilu", &[x, k(k_given)], &[("upper", Int(upper))]).unwrap();
        assert_eq!(made.as_f32().unwrap(), expected);
    }
    let eye = one("EyeLike", &[counted(&[2, 3])], &[("k", Int(i64::MIN)), ("dtype", Int(7))]).unwrap();
    assert_eq!(eye.as_i64().unwrap(), [0; 6]);
    let hot = [floats(&[4], &[1.7, -1.2, NAN, 9.0]), ints(&[3]), ints(&[5, 6])];
    let hot = one("OneHot", &hot, &[]).unwrap();
    assert_eq!(hot.as_i64().unwrap(), [5, 6, 5, 5, 5, 6, 6, 5, 5, 5, 5, 5]);
    let cut =
        one("Compress", &[counted(&[3]), Tensor::new(vec![1], TensorData::Bool(vec![true])).unwrap()], &[]);
    assert_eq!(cut.unwrap(), floats(&[1], &[0.0]));
}

#[test]
fn a_box_without_a_number_comes_last() {
    let boxes = floats(&[1, 3, 4], &[0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11.]);
    let scores = floats(&[1, 1, 3], &[NAN, 0.5, 0.7]);
    let all = [boxes.clone(), scores.clone(), ints(&[i64::MAX]), floats(&[], &[0.5])];
    let chosen = one("NonMaxSuppression", &all, &[]).unwrap();
    assert_eq!(chosen.as_i64().unwrap(), [0, 0, 2, 0, 0, 1, 0, 0, 0]);
    assert_eq!(one("NonMaxSuppression", &all[..2], &[]).unwrap().shape(), [0, 3]);
    refused(one("NonMaxSuppression", &[boxes, scores, ints(&[1]), floats(&[], &[NAN])], &[]), "from 0 to 1");
}

#[test]
fn columns_that_overlap_are_added() {
    let x = counted(&[1, 2, 3]);
    let made = one("Col2Im", &[x.clone(), ints(&[4]), ints(&[2])], &[]).unwrap();
    assert_eq!(made.as_f32().unwrap(), [0.0, 4.0, 6.0, 5.0]);
    refused(
        one("Col2Im", &[x.clone(), ints(&[4]), ints(&[2])], &[("pads", Ints(vec![i64::MAX, 0]))]),
        "pads",
    );
    refused(one("Col2Im", &[x, ints(&[i64::MAX]), ints(&[2])], &[]), "image_shape");
}

#[test]
fn random_numbers_are_refused_by_name() {
    for name in
        ["Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"]
    {
        assert!(find(name).is_some() && !supported_operators().contains(&name));
        refused(one(name, &[], &[]), "canonical graph");
    }
}

/// One node of an older operator set, on `x`.
fn old(
    opset: u64,
    operator: &str,
    outputs: &[&str],
    attributes: &[(&str, Value<'_>)],
    x: &Tensor,
) -> Vec<Tensor> {
    let dims: Vec<String> = x.shape().iter().map(u64::to_string).collect();
    let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
    let mut file = File::new().input("x", FLOAT, &dims).node(operator, &["x"], outputs, attributes);
    for output in outputs {
        file = file.output(output);
    }
    file.opsets = vec![("", opset)];
    let inputs = [("x", x.shape(), x.as_f32().unwrap())];
    testing::run(file.import().unwrap(), &inputs).unwrap()
}

#[test]
fn attributes_of_older_operator_sets_become_inputs() {
    let x = counted(&[2, 3]);
    let bounds =
        [("starts", Value::Ints(&[-2])), ("ends", Value::Ints(&[i64::MAX])), ("axes", Value::Ints(&[1]))];
    assert_eq!(old(9, "Slice", &["y"], &bounds, &x), [floats(&[2, 2], &[1.0, 2.0, 4.0, 5.0])]);
    let sizes = [("axis", Value::Int(1)), ("split", Value::Ints(&[1, 2]))];
    let parts = [floats(&[2, 1], &[0.0, 3.0]), floats(&[2, 2], &[1.0, 2.0, 4.0, 5.0])];
    assert_eq!(old(11, "Split", &["a", "b"], &sizes, &x), parts);
    let equal = [("axis", Value::Int(0))];
    assert_eq!(old(13, "Split", &["a", "b"], &equal, &x)[1], floats(&[1, 3], &[3.0, 4.0, 5.0]));
    assert_eq!(old(9, "TopK", &["v", "i"], &[("k", Value::Int(1))], &x)[0], floats(&[2, 1], &[2.0, 5.0]));
    let border = [("pads", Value::Ints(&[0, 1, 0, -2])), ("value", Value::Float(9.0))];
    assert_eq!(old(10, "Pad", &["y"], &border, &x), [floats(&[2, 2], &[9.0, 0.0, 9.0, 3.0])]);
}
