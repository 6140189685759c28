//! Hostile parameters and special values of `ai.onnx.ml`.

use std::sync::Arc;

use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::onnx::testing::{FLOAT, File, INT64, Value};
use crate::{Engine, Kernels, Runtime};

const STRING: u64 = 8;

fn file(op: &str, kind: u64, outputs: &[&str], attributes: &[(&str, Value<'_>)]) -> File {
    let mut file = File::new().input("x", kind, &["N", "2"]);
    for output in outputs {
        // The type of an output is the operator's business here.
        file = file.output(output);
    }
    file.node_of("ai.onnx.ml", op, &["x"], outputs, attributes)
}

/// What a file answers for two rows of two, or why not.
fn answer(file: &File, x: TensorData) -> Result<Vec<f32>, String> {
    let model = file.import().map_err(|error| error.to_string())?;
    let session =
        Engine::new(Kernels::Scalar).unwrap().prepare(Arc::new(model)).map_err(|e| e.to_string())?;
    let x = NamedTensor::new("x", Tensor::new(vec![2, 2], x).unwrap());
    let answers = session.run(&[x]).map_err(|error| error.to_string())?;
    Ok(answers[0].tensor.as_f32().unwrap_or_default().to_vec())
}

fn f32s(values: &[f32]) -> TensorData {
    TensorData::F32(values.to_vec())
}

#[test]
fn imputer_replaces_nan() {
    let file = file(
        "Imputer",
        FLOAT,
        &["y"],
        &[
            ("imputed_value_floats", Value::Floats(&[7.0, 8.0])),
            ("replaced_value_float", Value::Float(f32::NAN)),
        ],
    );
    let got = answer(&file, f32s(&[f32::NAN, 1.0, 2.0, f32::NAN]));
    assert_eq!(got.unwrap(), [7.0, 1.0, 2.0, 8.0]);
}

#[test]
fn binarizer_sends_nan_to_zero() {
    let file = file("Binarizer", FLOAT, &["y"], &[("threshold", Value::Float(0.5))]);
    assert_eq!(answer(&file, f32s(&[f32::NAN, 1.0, 0.5, -1.0])).unwrap(), [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn label_encoder_finds_nan_and_zeros() {
    let keys = [f32::NAN, 0.0, 0.0];
    let attributes =
        [("keys_floats", Value::Floats(&keys)), ("values_floats", Value::Floats(&[1.0, 2.0, 3.0]))];
    let got = answer(&file("LabelEncoder", FLOAT, &["y"], &attributes), f32s(&[-0.0, f32::NAN, 0.0, 5.0]));
    let got = got.unwrap();
    assert_eq!(got, [2.0, 1.0, 2.0, 0.0]);
    assert!(got[3].is_sign_negative(), "the default is -0");
}

#[test]
fn parameters_that_do_not_fit_are_refused() {
    let two = [0.5, 0.5];
    let texts = Value::Texts(&["a"]);
    for (op, kind, attributes, word) in [
        ("Imputer", FLOAT, vec![("imputed_value_floats", Value::Floats(&[1.0, 2.0, 3.0]))], "1 or 2 values"),
        ("Scaler", FLOAT, vec![("offset", Value::Floats(&[1.0, 2.0, 3.0]))], "1 or 2 floats"),
        ("Normalizer", FLOAT, vec![("norm", Value::Int(3))], "norm"),
        ("LabelEncoder", INT64, vec![("keys_int64s", Value::Ints(&[1]))], "values"),
        ("LabelEncoder", INT64, vec![("keys_strings", texts), ("values_int64s", Value::Ints(&[1]))], "keys"),
        ("OneHotEncoder", FLOAT, vec![], "exactly one list"),
        ("OneHotEncoder", FLOAT, vec![("cats_strings", Value::Texts(&["a"]))], "expected BYTES"),
        ("CategoryMapper", INT64, vec![("cats_int64s", Value::Ints(&[1]))], "1 texts"),
        ("FeatureVectorizer", FLOAT, vec![("inputdimensions", Value::Ints(&[-1]))], "sizes"),
        ("FeatureVectorizer", FLOAT, vec![("inputdimensions", Value::Ints(&[i64::MAX]))], "size of a value"),
        (
            "LinearRegressor",
            FLOAT,
            vec![("coefficients", Value::Floats(&two)), ("targets", Value::Int(-1))],
            "fill",
        ),
        (
            "SVMRegressor",
            FLOAT,
            vec![("coefficients", Value::Floats(&two)), ("n_supports", Value::Int(-1))],
            "n_supp",
        ),
        ("SVMRegressor", FLOAT, vec![("coefficients", Value::Floats(&two))], "rho"),
        ("Binarizer", FLOAT, vec![("limit", Value::Float(1.0))], "no such attribute"),
        ("CastMap", FLOAT, vec![], "a map"),
        ("DictVectorizer", FLOAT, vec![], "a map"),
    ] {
        let error = answer(&file(op, kind, &["y"], &attributes), f32s(&[0.0; 4])).unwrap_err();
        assert!(error.contains(word), "{op}: {error}");
    }
}

#[test]
fn unknown_categories_fail_the_run_if_they_must() {
    let of = |zeros: i64| {
        let attributes = [("cats_int64s", Value::Ints(&[1, 2])), ("zeros", Value::Int(zeros))];
        answer(&file("OneHotEncoder", FLOAT, &["y"], &attributes), f32s(&[1.9, 2.0, f32::NAN, 1.0]))
    };
    assert_eq!(of(1).unwrap(), [1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]);
    assert!(of(0).unwrap_err().contains("an unknown one"));
}

#[test]
fn features_that_are_texts_are_refused() {
    let texts = TensorData::String(vec![String::new(); 4]);
    let attributes = [("coefficients", Value::Floats(&[1.0, 2.0])), ("rho", Value::Floats(&[0.0]))];
    let error = answer(&file("SVMRegressor", STRING, &["y"], &attributes), texts).unwrap_err();
    assert!(error.contains("expected FP32"), "{error}");
}

#[test]
fn columns_out_of_range_fail_the_run() {
    for (index, is_there) in [(1, true), (2, false), (-1, false), (i64::MIN, false)] {
        let file = File::new().input("x", FLOAT, &["N", "2"]).output("y").ints("i", &[index]).node_of(
            "ai.onnx.ml",
            "ArrayFeatureExtractor",
            &["x", "i"],
            &["y"],
            &[],
        );
        assert_eq!(answer(&file, f32s(&[1.0, 2.0, 3.0, 4.0])).is_ok(), is_there, "{index}");
    }
}
