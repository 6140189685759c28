//! What ONNX's own tests leave open: special values, halves, hostile parameters, empty tensors.

use std::sync::Arc;

use half::{bf16, f16};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::onnx::testing::{File, Value};
use crate::{Engine, Error, Kernels, Runtime};

/// ONNX's number of an element type.
fn number(data: &TensorData) -> u64 {
    match data {
        TensorData::F32(_) => 1,
        TensorData::U8(_) => 2,
        TensorData::I8(_) => 3,
        TensorData::U16(_) => 4,
        TensorData::I16(_) => 5,
        TensorData::I32(_) => 6,
        TensorData::I64(_) => 7,
        TensorData::String(_) => 8,
        TensorData::Bool(_) => 9,
        TensorData::F16(_) => 10,
        TensorData::F64(_) => 11,
        TensorData::U32(_) => 12,
        TensorData::U64(_) => 13,
        TensorData::BF16(_) => 16,
    }
}

/// One node on these inputs, with an opset, in both builds.
fn run_in(
    opset: u64,
    op: &str,
    attributes: &[(&str, Value<'_>)],
    inputs: &[(&[u64], TensorData)],
) -> Result<Tensor, Error> {
    let names: Vec<String> = (0..inputs.len()).map(|index| format!("x{index}")).collect();
    let mut file = File::new();
    file.opsets = vec![("", opset)];
    for (name, (shape, data)) in names.iter().zip(inputs) {
        let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        file = file.input(name, number(data), &dims);
    }
    let taken: Vec<&str> = names.iter().map(String::as_str).collect();
    let model = Arc::new(file.output("y").node(op, &taken, &["y"], attributes).import()?);
    let named = |(name, (shape, data)): (&String, &(&[u64], TensorData))| {
        NamedTensor::new(name.as_str(), Tensor::new(shape.to_vec(), data.clone()).expect("a whole tensor"))
    };
    let inputs: Vec<NamedTensor> = names.iter().zip(inputs).map(named).collect();
    let mut answers = Vec::new();
    for kernels in [Kernels::Scalar, Kernels::Auto] {
        let outputs = Engine::new(kernels)?.prepare(model.clone())?.run(&inputs)?;
        answers.extend(outputs.into_iter().map(|named| named.tensor));
    }
    assert_eq!(answers[0], answers[1], "the builds differ for {op}");
    Ok(answers.remove(0))
}

fn run(op: &str, attributes: &[(&str, Value<'_>)], inputs: &[(&[u64], TensorData)]) -> Result<Tensor, Error> {
    run_in(20, op, attributes, inputs)
}

/// `op` of vectors gives `expect`; equality is of bits.
fn check(op: &str, attributes: &[(&str, Value<'_>)], inputs: &[TensorData], expect: &TensorData) {
    let inputs: Vec<([u64; 1], TensorData)> =
        inputs.iter().map(|data| ([data.len() as u64], data.clone())).collect();
    let inputs: Vec<(&[u64], TensorData)> =
        inputs.iter().map(|(shape, data)| (&shape[..], data.clone())).collect();
    let got = run(op, attributes, &inputs).unwrap_or_else(|error| panic!("{op}: {error}"));
    let want = Tensor::new(got.shape().to_vec(), expect.clone()).expect("as many elements as expected");
    assert_eq!(got, want, "{op} of {inputs:?}");
}

fn f32s(values: &[f32]) -> TensorData {
    TensorData::F32(values.to_vec())
}

fn i64s(values: &[i64]) -> TensorData {
    TensorData::I64(values.to_vec())
}

const NAN: f32 = f32::from_bits(0x7fc0_0000);
const INF: f32 = f32::INFINITY;

#[test]
fn special_values_are_pinned() {
    check("Relu", &[], &[f32s(&[-0.0, NAN, -INF, 2.0])], &f32s(&[0.0, NAN, 0.0, 2.0]));
    check("Sign", &[], &[f32s(&[-0.0, NAN, -INF, 2.0])], &f32s(&[0.0, NAN, -1.0, 1.0]));
    check("Round", &[], &[f32s(&[0.5, 1.5, -2.5, -0.2])], &f32s(&[0.0, 2.0, -2.0, -0.0]));
    check("Clip", &[], &[f32s(&[INF, NAN, -INF])], &f32s(&[f32::MAX, NAN, f32::MIN]));
    check("Min", &[], &[f32s(&[0.0, NAN, 1.0]), f32s(&[-0.0, 1.0, NAN])], &f32s(&[0.0, NAN, NAN]));
    check("Max", &[], &[f32s(&[-0.0, 3.0, 1.0]), f32s(&[0.0, 1.0, 2.0])], &f32s(&[-0.0, 3.0, 2.0]));
    check("HardSigmoid", &[], &[f32s(&[NAN, 9.0, -9.0])], &f32s(&[NAN, 1.0, 0.0]));
    check("Sign", &[], &[TensorData::I8(vec![-128, 0, 7])], &TensorData::I8(vec![-1, 0, 1]));
    check("Abs", &[], &[TensorData::I8(vec![-128, -1])], &TensorData::I8(vec![-128, 1]));
    check("Neg", &[], &[i64s(&[i64::MIN, 5])], &i64s(&[i64::MIN, -5]));
    check(
        "IsInf",
        &[("detect_negative", Value::Int(0))],
        &[f32s(&[INF, -INF])],
        &TensorData::Bool(vec![true, false]),
    );
}

#[test]
fn integers_wrap_and_are_not_divided_by_zero() {
    let pair = |a: i64, b: i64| [i64s(&[a]), i64s(&[b])];
    check("Add", &[], &pair(i64::MAX, 1), &i64s(&[i64::MIN]));
    check("Div", &[], &pair(i64::MIN, -1), &i64s(&[i64::MIN]));
    check("Div", &[], &pair(-7, 2), &i64s(&[-3]));
    check("Mod", &[], &pair(-7, 2), &i64s(&[1]));
    check("Mod", &[("fmod", Value::Int(1))], &pair(-7, 2), &i64s(&[-1]));
    check("Mod", &[], &pair(i64::MIN, -1), &i64s(&[0]));
    check("Pow", &[], &pair(3, 41), &i64s(&[3_i64.wrapping_pow(41)]));
    check("Pow", &[], &pair(-1, -3), &i64s(&[-1]));
    check("Pow", &[], &pair(-1, i64::MIN), &i64s(&[1]));
    check("Pow", &[], &pair(0, -1), &i64s(&[i64::MAX]));
    for op in ["Div", "Mod"] {
        let error = run(op, &[], &[(&[1], i64s(&[1])), (&[1], i64s(&[0]))]).unwrap_err().to_string();
        assert!(error.contains("by zero"), "{error}");
    }
}

#[test]
fn powers_of_floats_are_pinned() {
    let power = |x: &[f32], y: f32, expect: &[f32]| check("Pow", &[], &[f32s(x), f32s(&[y])], &f32s(expect));
    power(&[3.0, -0.0, -INF], 2.0, &[9.0, 0.0, INF]);
    power(&[4.0, -0.0, -INF, -1.0], 0.5, &[2.0, 0.0, INF, NAN]);
    power(&[2.0, NAN], 0.0, &[1.0, 1.0]);
    // An exponent of its own for each, and exponents of another type, have the same bits.
    let x: Vec<f32> = (1_u8..40).map(|x| f32::from(x) * 0.37).collect();
    for y in [2.0, 3.0, 0.5, -1.0, 1.7] {
        let one = run("Pow", &[], &[(&[39], f32s(&x)), (&[], f32s(&[y]))]).unwrap();
        let each = run("Pow", &[], &[(&[39], f32s(&x)), (&[39], f32s(&[y; 39]))]).unwrap();
        assert_eq!(one, each, "exponent {y}");
        let wide = TensorData::F64(vec![f64::from(y)]);
        assert_eq!(one, run("Pow", &[], &[(&[39], f32s(&x)), (&[], wide)]).unwrap(), "exponent {y}");
    }
}

#[test]
fn halves_are_rounded_once() {
    let half = |x: f32| f16::from_f32(x);
    // 2048 + 1 + 1: in FP16 each addition alone would be lost.
    let terms = [2048.0, 1.0, 1.0].map(|x| TensorData::F16(vec![half(x)]));
    check("Sum", &[], &terms, &TensorData::F16(vec![half(2050.0)]));
    let row = TensorData::F16([2048.0, 1.0, 1.0].map(half).to_vec());
    check("ReduceSum", &[], std::slice::from_ref(&row), &TensorData::F16(vec![half(2050.0)]));
    check("Clip", &[], &[TensorData::F16(vec![f16::INFINITY])], &TensorData::F16(vec![f16::MAX]));
    check("ArgMax", &[], &[row], &i64s(&[0]));
    let b = |x: f32| bf16::from_f32(x);
    check("Exp", &[], &[TensorData::BF16(vec![b(1.0)])], &TensorData::BF16(vec![b(std::f32::consts::E)]));
    check(
        "Less",
        &[],
        &[TensorData::BF16(vec![b(1.0)]), TensorData::BF16(vec![b(2.0)])],
        &TensorData::Bool(vec![true]),
    );
    // The exponent may be of another type; the base decides.
    check("Pow", &[], &[TensorData::F16(vec![half(3.0)]), f32s(&[2.0])], &TensorData::F16(vec![half(9.0)]));
    check("Pow", &[], &[f32s(&[3.0]), TensorData::F16(vec![half(2.0)])], &f32s(&[9.0]));
}

fn cast(data: TensorData, to: i64) -> Result<TensorData, Error> {
    let count = data.len() as u64;
    run("Cast", &[("to", Value::Int(to))], &[(&[count], data)]).map(|tensor| tensor.data().clone())
}

fn check_cast(data: TensorData, to: i64, expect: &TensorData) {
    let shown = format!("{data:?}");
    let got = cast(data, to).unwrap();
    let tensor = |data: &TensorData| Tensor::new(vec![data.len() as u64], data.clone()).unwrap();
    assert_eq!(tensor(&got), tensor(expect), "{shown} to {to}");
}

#[test]
fn casts_are_pinned() {
    check_cast(f32s(&[NAN, 1e10, -1e10, 2.9, -2.9]), 6, &TensorData::I32(vec![0, i32::MAX, i32::MIN, 2, -2]));
    check_cast(f32s(&[300.0, -1.0, 1.5]), 2, &TensorData::U8(vec![255, 0, 1]));
    check_cast(i64s(&[300, -1, 1 << 40]), 2, &TensorData::U8(vec![44, 255, 0]));
    check_cast(f32s(&[NAN, 0.0, -0.0, 0.1]), 9, &TensorData::Bool(vec![true, false, false, true]));
    check_cast(TensorData::Bool(vec![true, false]), 1, &f32s(&[1.0, 0.0]));
    check_cast(f32s(&[65_520.0, 65_519.0]), 10, &TensorData::F16(vec![f16::INFINITY, f16::MAX]));
    // One rounding: through f64 the last bit would be lost and the tie would go to even.
    let above_tie = (1_i64 << 62) + (1 << 54) + 1;
    check_cast(i64s(&[above_tie]), 16, &TensorData::BF16(vec![bf16::from_bits(0x5e81)]));
    check_cast(i64s(&[above_tie - 1]), 16, &TensorData::BF16(vec![bf16::from_bits(0x5e80)]));
}

#[test]
fn text_and_numbers() {
    let texts = |values: &[&str]| TensorData::String(values.iter().map(|text| (*text).to_owned()).collect());
    let numbers = f32s(&[1.0, 1.5, 0.1, 1e20, 1e-7, NAN, INF, -INF, -0.0, 123_456_790.0]);
    let shown = texts(&["1", "1.5", "0.1", "1e+20", "1e-07", "NaN", "INF", "-INF", "-0", "123456790"]);
    check_cast(numbers, 8, &shown);
    check_cast(TensorData::F64(vec![1e300, 0.1]), 8, &texts(&["1e+300", "0.1"]));
    check_cast(TensorData::Bool(vec![true, false]), 8, &texts(&["1", "0"]));
    check_cast(texts(&["1.5", " 1E5", "+INF", "-inf", "nan"]), 1, &f32s(&[1.5, 1e5, INF, -INF, NAN]));
    check_cast(texts(&["-12", "100.5"]), 7, &i64s(&[-12, 100]));
    for (text, to) in [("", 1), ("abc", 1), ("0x10", 1), ("300", 2), ("nan", 7), ("1e300", 7), ("true", 9)] {
        let error = cast(texts(&[text]), to).unwrap_err().to_string();
        assert!(error.contains("casting"), "{text}: {error}");
    }
}

#[test]
fn reductions_over_any_dimensions_agree() {
    let x: Vec<f32> = (0_u16..120).map(|x| f32::from(x * 37 % 50) * 0.11 - 2.7).collect();
    let shape: &[u64] = &[2, 3, 4, 5];
    let reduce = |op: &str, axes: &[i64], data: TensorData| {
        run_in(13, op, &[("axes", Value::Ints(axes)), ("keepdims", Value::Int(0))], &[(shape, data)]).unwrap()
    };
    for op in [
        "ReduceMax",
        "ReduceL1",
        "ReduceL2",
        "ReduceMean",
        "ReduceProd",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ] {
        for axes in [&[0_i64][..], &[1], &[-1], &[0, 2], &[1, 3], &[0, 1, 2, 3], &[1, 2]] {
            let narrow = reduce(op, axes, f32s(&x));
            let wide = reduce(op, axes, TensorData::F64(x.iter().map(|x| f64::from(*x)).collect()));
            let TensorData::F64(wide) = wide.data() else { panic!("f64 stays f64") };
            for (a, b) in narrow.as_f32().unwrap().iter().zip(wide) {
                assert!((f64::from(*a) - b).abs() <= 1e-5 * (1.0 + b.abs()), "{op} {axes:?}: {a} and {b}");
            }
        }
    }
    // A group has the same bits wherever its elements lie: [a, b] along 0 is [b, a] along 1, turned.
    let turned: Vec<f32> =
        (0..30).flat_map(|column| (0..4).map(move |row| row * 30 + column)).map(|at| x[at]).collect();
    let along = |axis: i64, shape: &[u64], x: &[f32]| {
        run_in(
            13,
            "ReduceL2",
            &[("axes", Value::Ints(&[axis])), ("keepdims", Value::Int(0))],
            &[(shape, f32s(x))],
        )
        .unwrap()
    };
    assert_eq!(along(0, &[4, 30], &x), along(1, &[30, 4], &turned));
}

#[test]
fn reductions_of_integers_and_of_nothing() {
    check("ReduceMean", &[], &[i64s(&[-1, -2])], &i64s(&[-1]));
    check("ReduceMean", &[], &[i64s(&[i64::MAX, i64::MAX])], &i64s(&[i64::MAX]));
    check("ReduceSum", &[], &[i64s(&[i64::MAX, 1])], &i64s(&[i64::MIN]));
    check("ReduceL2", &[], &[i64s(&[3, 4])], &i64s(&[5]));
    for (op, expect) in [
        ("ReduceSum", 0.0),
        ("ReduceProd", 1.0),
        ("ReduceMin", INF),
        ("ReduceLogSum", -INF),
        ("ReduceMean", NAN),
    ] {
        let got = run(op, &[("keepdims", Value::Int(0))], &[(&[2, 0], f32s(&[]))]).unwrap();
        assert_eq!(got, Tensor::f32(&[], vec![expect]).unwrap(), "{op} of nothing");
    }
    let kept = run_in(13, "ReduceMax", &[("axes", Value::Ints(&[1]))], &[(&[0, 3], f32s(&[]))]).unwrap();
    assert_eq!(kept.shape(), [0, 1]);
}

#[test]
fn old_softmax_runs_to_the_end() {
    let x = f32s(&[1.0, 2.0, 3.0, 4.0]);
    let old = run_in(11, "Softmax", &[], &[(&[1, 2, 2], x.clone())]).unwrap();
    let flat = run("Softmax", &[], &[(&[1, 4], x.clone())]).unwrap();
    assert_eq!(old.data().to_le_bytes(), flat.data().to_le_bytes());
    let new = run("Softmax", &[], &[(&[1, 2, 2], x)]).unwrap();
    assert_ne!(old.data().to_le_bytes(), new.data().to_le_bytes());
}

#[test]
fn broadcasting_meets_the_right_elements() {
    let column = || -> (&[u64], TensorData) { (&[2, 1, 2], i64s(&[1, 2, 3, 4])) };
    let other = || -> (&[u64], TensorData) { (&[3, 1], i64s(&[10, 20, 30])) };
    let got = run("Add", &[], &[column(), other()]).unwrap();
    assert_eq!(got, Tensor::i64(&[2, 3, 2], vec![11, 12, 21, 22, 31, 32, 13, 14, 23, 24, 33, 34]).unwrap());
    let got = run("Sub", &[], &[other(), column()]).unwrap();
    assert_eq!(got, Tensor::i64(&[2, 3, 2], vec![9, 8, 19, 18, 29, 28, 7, 6, 17, 16, 27, 26]).unwrap());
    let condition = TensorData::Bool(vec![true, false, true]);
    let got = run("Where", &[], &[(&[3, 1], condition), column(), (&[], i64s(&[0]))]).unwrap();
    assert_eq!(got, Tensor::i64(&[2, 3, 2], vec![1, 2, 0, 0, 1, 2, 3, 4, 0, 0, 3, 4]).unwrap());
    let empty = run("Mul", &[], &[(&[0, 2], i64s(&[])), (&[1, 2], i64s(&[1, 2]))]).unwrap();
    assert_eq!(empty.shape(), [0, 2]);
}

type Case<'a> = (&'a str, Vec<(&'a str, Value<'a>)>, Vec<(&'a [u64], TensorData)>);

#[test]
fn hostile_parameters_are_refused() {
    let x = || -> (&[u64], TensorData) { (&[2, 3], f32s(&[0.0; 6])) };
    let far = i64::MIN;
    let cases: Vec<Case<'_>> = vec![
        ("Softmax", vec![("axis", Value::Int(2))], vec![x()]),
        ("Softmax", vec![("axis", Value::Int(far))], vec![x()]),
        ("ArgMax", vec![("axis", Value::Int(-3))], vec![x()]),
        ("ArgMax", vec![], vec![(&[0, 3], f32s(&[]))]),
        ("ArgMax", vec![("keepdims", Value::Int(2))], vec![x()]),
        ("CumSum", vec![], vec![x(), (&[], i64s(&[far]))]),
        ("CumSum", vec![], vec![x(), (&[], i64s(&[2]))]),
        ("CumSum", vec![], vec![x(), (&[2], i64s(&[0, 1]))]),
        ("ReduceSum", vec![], vec![x(), (&[1], i64s(&[far]))]),
        ("ReduceSum", vec![("noop_with_empty_axes", Value::Int(7))], vec![x()]),
        ("Add", vec![], vec![x(), (&[4], f32s(&[0.0; 4]))]),
        ("Add", vec![], vec![x(), (&[3], i64s(&[0; 3]))]),
        ("Add", vec![("axis", Value::Int(1))], vec![x(), x()]),
        ("PRelu", vec![], vec![(&[3], f32s(&[0.0; 3])), x()]),
        ("BitShift", vec![], vec![(&[1], i64s(&[1])), (&[1], i64s(&[1]))]),
        ("BitCast", vec![("to", Value::Int(7))], vec![x()]),
        ("Cast", vec![("to", Value::Int(17))], vec![x()]),
        ("Cast", vec![("to", Value::Int(far))], vec![x()]),
        ("Clip", vec![], vec![x(), (&[2], f32s(&[0.0; 2]))]),
        ("Not", vec![], vec![x()]),
        ("Neg", vec![], vec![(&[1], TensorData::U8(vec![1]))]),
        ("Where", vec![], vec![x(), x(), x()]),
    ];
    for (op, attributes, inputs) in cases {
        let error = run_in(26, op, &attributes, &inputs);
        assert!(matches!(error, Err(Error::Node { .. } | Error::Input { .. })), "{op} {inputs:?}: {error:?}");
    }
}
