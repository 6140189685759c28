//! Tests of operators on what ONNX Runtime leaves open: NaN, overflow, text, limits of a run.

use super::{Kind, find, sorted, supported_operators};
use crate::onnx::testing::{FLOAT, File, INT64, Value, run};
use crate::{Engine, Error, Kernels, Limits, NoExternalData, Runtime, import_onnx};
use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

#[test]
fn names_are_unique_and_found() {
    assert!(sorted().windows(2).all(|pair| pair[0].name < pair[1].name), "two rows of one name, or no order");
    for operator in sorted() {
        assert!(std::ptr::eq(find(operator.name).unwrap(), *operator));
        let refused = matches!(operator.kind, Kind::Refused(_));
        assert_eq!(supported_operators().contains(&operator.name), !refused, "{}", operator.name);
    }
    assert!(find("Nothing").is_none() && find("").is_none());
}

fn unary(op: &str, attributes: &[(&str, Value<'_>)], x: &[f32]) -> Vec<f32> {
    let size = x.len().to_string();
    let file = File::new().input("x", FLOAT, &[&size]).node(op, &["x"], &["y"], attributes).output("y");
    let outputs = run(file.import().unwrap(), &[("x", &[x.len() as u64], x)]).unwrap();
    outputs[0].as_f32().unwrap().to_vec()
}

fn check(op: &str, attributes: &[(&str, Value<'_>)], x: f32, expect: f32) {
    assert_eq!(unary(op, attributes, &[x])[0].to_bits(), expect.to_bits(), "{op} of {x}");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(60))]

    /// [`run`] holds the kernels to each other; lengths beyond a vector and odd ones.
    #[test]
    fn operators_are_the_same_bits_everywhere(bits in proptest::collection::vec(proptest::prelude::any::<u32>(), 1..70)) {
        let any: Vec<f32> = bits.iter().map(|bits| f32::from_bits(*bits)).collect();
        let mild: Vec<f32> = bits.iter().map(|bits| (*bits as f32 / u32::MAX as f32 - 0.5) * 12.0).collect();
        for x in [any, mild] {
            for op in ["Neg", "Abs", "Relu", "Exp", "Sqrt", "Tanh", "Sigmoid", "Erf", "Log", "LeakyRelu", "Clip"] {
                unary(op, &[], &x);
            }
            unary("Softmax", &[("axis", Value::Int(0))], &x);
            unary("LogSoftmax", &[("axis", Value::Int(0))], &x);
        }
    }
}

const QUIET: f32 = f32::from_bits(0x7fc0_0000);

#[test]
fn every_nan_leaves_as_the_one_quiet_nan() {
    for payload in [0x7f80_0001, 0xffc0_0000, 0x7fff_ffff] {
        for op in ["Neg", "Abs", "Relu", "Exp", "Sqrt", "Tanh", "Sigmoid", "Erf", "Log", "LeakyRelu", "Clip"]
        {
            check(op, &[], f32::from_bits(payload), QUIET);
        }
    }
    check("Sqrt", &[], -1.0, QUIET);
}

#[test]
fn zeros_and_bounds_are_pinned() {
    check("Relu", &[], -0.0, 0.0);
    check("Relu", &[], f32::NEG_INFINITY, 0.0);
    check("Neg", &[], 0.0, -0.0);
    check("Clip", &[], f32::INFINITY, f32::MAX);
    check("LeakyRelu", &[("alpha", Value::Float(0.5))], -3.0, -1.5);
    check("Sqrt", &[], -0.0, -0.0);
}

fn pair(op: &str, a: f32, b: f32) -> f32 {
    let file =
        File::new().input("a", FLOAT, &["1"]).input("b", FLOAT, &["1"]).node(op, &["a", "b"], &["y"], &[]);
    run(file.output("y").import().unwrap(), &[("b", &[1], &[b]), ("a", &[1], &[a])]).unwrap()[0]
        .as_f32()
        .unwrap()[0]
}

#[test]
fn min_and_max_are_pinned() {
    for op in ["Min", "Max"] {
        assert_eq!(pair(op, f32::NAN, 1.0).to_bits(), QUIET.to_bits());
        assert_eq!(pair(op, 1.0, f32::NAN).to_bits(), QUIET.to_bits());
        assert_eq!(pair(op, 0.0, -0.0).to_bits(), 0.0_f32.to_bits(), "of equals the first");
        assert_eq!(pair(op, -0.0, 0.0).to_bits(), (-0.0_f32).to_bits(), "of equals the first");
    }
    assert_eq!(pair("Min", 1.0, 2.0), 1.0);
    assert_eq!(pair("Max", 1.0, 2.0), 2.0);
}

fn cast(to: i64, x: &[f32]) -> TensorData {
    let size = x.len().to_string();
    let file =
        File::new().input("x", FLOAT, &[&size]).node("Cast", &["x"], &["y"], &[("to", Value::Int(to))]);
    let outputs = run(file.output("y").import().unwrap(), &[("x", &[x.len() as u64], x)]).unwrap();
    outputs[0].data().clone()
}

#[test]
fn casts_out_of_range_are_pinned() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e10, -1.9];
    assert!(matches!(cast(6, &x), TensorData::I32(v) if v == [0, i32::MAX, i32::MIN, i32::MAX, -1]));
    assert!(matches!(cast(2, &x), TensorData::U8(v) if v == [0, 255, 0, 255, 0]));
    assert!(matches!(cast(3, &x), TensorData::I8(v) if v == [0, 127, -128, 127, -1]));
    assert!(matches!(cast(9, &x), TensorData::Bool(v) if v == [true; 5]));
    assert!(matches!(cast(7, &[-0.0, 9.3e18]), TensorData::I64(v) if v == [0, i64::MAX]));
}

fn integers(op: &str, a: i64, b: i64) -> Result<i64, Error> {
    let file =
        File::new().input("a", INT64, &["1"]).ints("b", &[b]).node(op, &["a", "b"], &["y"], &[]).output("y");
    let session = Engine::new(Kernels::Auto)?.prepare(std::sync::Arc::new(file.import()?))?;
    let outputs = session.run(&[NamedTensor::new("a", Tensor::i64(&[1], vec![a]).unwrap())])?;
    Ok(outputs[0].tensor.as_i64().unwrap()[0])
}

#[test]
fn integers_wrap_and_refuse_to_divide_by_zero() {
    assert_eq!(integers("Add", i64::MAX, 1).unwrap(), i64::MIN);
    assert_eq!(integers("Mul", i64::MAX, 2).unwrap(), -2);
    assert_eq!(integers("Div", i64::MIN, -1).unwrap(), i64::MIN);
    assert_eq!(integers("Div", -7, 2).unwrap(), -3);
    let error = integers("Div", 1, 0).unwrap_err().to_string();
    assert!(error.contains("dividing an integer by zero") && error.contains("operator Div"), "{error}");
}

#[test]
fn pools_and_sums_meet_nan() {
    let x = [1.0, f32::NAN, 3.0, 4.0];
    let attributes = [("kernel_shape", Value::Ints(&[1, 2]))];
    let file = File::new().input("x", FLOAT, &["1", "1", "1", "4"]);
    let file = file.node("MaxPool", &["x"], &["y"], &attributes).output("y");
    let outputs = run(file.import().unwrap(), &[("x", &[1, 1, 1, 4], &x)]).unwrap();
    let bits: Vec<u32> = outputs[0].as_f32().unwrap().iter().map(|y| y.to_bits()).collect();
    assert_eq!(bits, [QUIET.to_bits(), QUIET.to_bits(), 4.0_f32.to_bits()]);
}

fn session_of(file: &File, limits: &Limits) -> Result<std::sync::Arc<dyn crate::Session>, Error> {
    let model = import_onnx(&file.build(), &NoExternalData, limits)?;
    Engine::new(Kernels::Auto)?.prepare(std::sync::Arc::new(model))
}

#[test]
fn a_run_is_checked_for_its_batch_before_it_starts() {
    let file = File::new().input("x", FLOAT, &["N", "1000"]).node("Exp", &["x"], &["y"], &[]).output("y");
    let run = |limits: &Limits, rows: usize| {
        let tensor = Tensor::f32(&[rows as u64, 1000], vec![0.0; rows * 1000]).unwrap();
        session_of(&file, limits).unwrap().run(&[NamedTensor::new("x", tensor)])
    };
    let rows = Limits { batch_max: 7, ..Limits::default() };
    assert!(run(&rows, 7).is_ok());
    assert!(matches!(run(&rows, 8), Err(Error::Input { .. })));
    let macs = Limits { macs_max: 100_000, ..Limits::default() };
    assert!(matches!(run(&macs, 8), Err(Error::Limit { what: "multiply-adds of this run", .. })));
    let bytes = Limits { peak_bytes_max: 50_000, ..Limits::default() };
    assert!(matches!(run(&bytes, 8), Err(Error::Limit { what: "peak bytes of this run", .. })));
    // No two rows fit, which the import finds: the bound of the batch says so.
    let elements = Limits { elements_max: 1500, ..Limits::default() };
    assert!(run(&elements, 1).is_ok());
    assert!(matches!(run(&elements, 8), Err(Error::Input { .. })));
}

#[test]
fn inputs_must_fit() {
    let file = File::new().input("x", FLOAT, &["N", "2"]).input("z", FLOAT, &["N", "2"]);
    let file = file.node("Add", &["x", "z"], &["y"], &[]).output("y");
    let session = session_of(&file, &Limits::default()).unwrap();
    let tensor = |name: &str, rows: usize| {
        NamedTensor::new(name, Tensor::f32(&[rows as u64, 2], vec![0.0; rows * 2]).unwrap())
    };
    let check = |inputs: &[NamedTensor], expect: &str| {
        let error = session.run(inputs).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    assert!(session.run(&[tensor("z", 3), tensor("x", 3)]).is_ok());
    check(&[tensor("x", 1)], "\"z\": expected FP32 [N, 2] with N = 1, got nothing");
    check(&[tensor("x", 1), tensor("z", 2)], "with N = 1, got FP32 [2, 2]");
    check(&[tensor("x", 1), tensor("z", 1), tensor("q", 1)], "an unknown name");
    check(&[tensor("x", 1), tensor("x", 1)], "the same name twice");
    check(&[tensor("x", 0), tensor("z", 0)], "got FP32 [0, 2]");
    let ints = NamedTensor::new("z", Tensor::i64(&[1, 2], vec![0; 2]).unwrap());
    check(&[tensor("x", 1), ints], "got INT64 [1, 2]");
}

#[test]
fn labels_may_be_text() {
    let attributes = [
        ("classlabels_strings", Value::Texts(&["no", "yes"])),
        ("coefficients", Value::Floats(&[-1.0, 1.0])),
        ("intercepts", Value::Floats(&[0.0, 0.0])),
    ];
    let file = File::new().input("x", FLOAT, &["N", "1"]);
    let file = file.node_of("ai.onnx.ml", "LinearClassifier", &["x"], &["label", "scores"], &attributes);
    let outputs = run(file.output("label").import().unwrap(), &[("x", &[2, 1], &[3.0, -3.0])]).unwrap();
    assert!(matches!(outputs[0].data(), TensorData::String(v) if v == &["yes", "no"]));
}
