use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use crate::onnx::testing::{File, Value};
use crate::{Engine, Kernels, Runtime};

const UINT8: u64 = 2;
const INT8: u64 = 3;

fn run(file: &File, inputs: &[(&str, &[u64], TensorData)]) -> Result<Tensor, String> {
    let model = std::sync::Arc::new(file.import().map_err(|error| error.to_string())?);
    let named = |(name, shape, data): &(&str, &[u64], TensorData)| {
        NamedTensor::new(*name, Tensor::new(shape.to_vec(), data.clone()).unwrap())
    };
    let inputs: Vec<NamedTensor> = inputs.iter().map(named).collect();
    let mut answers = Vec::new();
    for kernels in [Kernels::Scalar, Kernels::Auto] {
        let session = Engine::new(kernels).unwrap().prepare(model.clone()).unwrap();
        answers.push(session.run(&inputs).map_err(|error| error.to_string())?.remove(0).tensor);
    }
    assert_eq!(answers[0], answers[1]);
    Ok(answers.remove(0))
}

#[test]
fn sums_with_zero_points_are_exact() {
    let file = File::new()
        .input("a", UINT8, &["1", "2"])
        .input("b", INT8, &["2", "2"])
        .input("za", UINT8, &[])
        .output("y")
        .node("MatMulInteger", &["a", "b", "za"], &["y"], &[]);
    let a = ("a", &[1, 2][..], TensorData::U8(vec![255, 0]));
    let b = ("b", &[2, 2][..], TensorData::I8(vec![-128, 1, 127, 2]));
    let za = ("za", &[][..], TensorData::U8(vec![10]));
    let sums = Tensor::new(vec![1, 2], TensorData::I32(vec![245 * -128 - 10 * 127, 245 - 20]));
    assert_eq!(run(&file, &[a, b, za]).unwrap(), sums.unwrap());
}

fn gemm(attributes: &[(&str, Value<'_>)]) -> Result<Tensor, String> {
    let file = File::new()
        .input("a", UINT8, &["2", "2"])
        .input("b", INT8, &["2", "2"])
        .input("z", UINT8, &[])
        .input("w", INT8, &[])
        .output("y")
        .weight("s", &[], &[0.5])
        .node_of("com.microsoft", "QGemm", &["a", "s", "z", "b", "s", "w"], &["y"], attributes);
    let file = File { opsets: vec![("", 17), ("com.microsoft", 1)], ..file };
    run(
        &file,
        &[
            ("a", &[2, 2], TensorData::U8(vec![1, 2, 3, 4])),
            ("b", &[2, 2], TensorData::I8(vec![1, 0, -1, 2])),
            ("z", &[], TensorData::U8(vec![0])),
            ("w", &[], TensorData::I8(vec![0])),
        ],
    )
}

#[test]
fn a_product_may_be_turned_and_stay_real() {
    assert_eq!(gemm(&[]).unwrap(), Tensor::f32(&[2, 2], vec![-0.25, 1.0, -0.25, 2.0]).unwrap());
    let turned = gemm(&[("transA", Value::Int(1)), ("transB", Value::Int(1)), ("alpha", Value::Float(2.0))]);
    assert_eq!(turned.unwrap(), Tensor::f32(&[2, 2], vec![0.5, 2.5, 1.0, 3.0]).unwrap());
}

#[test]
fn hostile_attributes_are_refused() {
    assert!(gemm(&[("transA", Value::Int(2))]).is_err());
    assert!(gemm(&[("beta", Value::Float(1.0))]).is_err());
}
