//! Tests of tensors: encoding, digests, JSON.

use super::*;

fn sample() -> Vec<Tensor> {
    let shape = || vec![2, 1];
    vec![
        Tensor::new(shape(), TensorData::F32(vec![f32::from_bits(0x7fa0_1234), -0.0])).unwrap(),
        Tensor::new(shape(), TensorData::F64(vec![f64::MIN_POSITIVE, f64::NEG_INFINITY])).unwrap(),
        Tensor::new(shape(), TensorData::I64(vec![i64::MIN, i64::MAX])).unwrap(),
        Tensor::new(shape(), TensorData::I32(vec![i32::MIN, 7])).unwrap(),
        Tensor::new(shape(), TensorData::I8(vec![-128, 127])).unwrap(),
        Tensor::new(shape(), TensorData::U8(vec![0, 255])).unwrap(),
        Tensor::new(shape(), TensorData::Bool(vec![true, false])).unwrap(),
        Tensor::new(shape(), TensorData::String(vec![String::new(), "ζ".to_owned()])).unwrap(),
        Tensor::new(vec![0, 5], TensorData::F32(vec![])).unwrap(),
        Tensor::new(vec![], TensorData::F32(vec![1.5])).unwrap(),
    ]
}

#[test]
fn canonical_bytes_come_back_bit_for_bit() {
    for tensor in sample() {
        assert_eq!(Tensor::from_bytes(&tensor.to_bytes()).unwrap(), tensor);
    }
}

#[test]
fn golden_bytes_and_digests() {
    let tensor = Tensor::f32(&[1, 2], vec![1.0, f32::from_bits(0x7fc0_0001)]).unwrap();
    assert_eq!(hex::encode(tensor.to_bytes()), "830182010248".to_owned() + "0000803f0100c07f");
    assert_eq!(
        hex::encode(tensor.digest()),
        "78e5902a5d36a748872192b34a007300f110525e13fab1f52b679eeed0592827"
    );
    assert_eq!(
        hex::encode(outputs_digest(&[NamedTensor::new("y", tensor)])),
        "bb217307d7cad8902972e54a646d1e6e146e8d23520978a8756c6d32cac654da"
    );
}

#[test]
fn every_cut_and_every_flipped_bit_is_refused_or_another_tensor() {
    for tensor in sample() {
        let bytes = tensor.to_bytes();
        for end in 0..bytes.len() {
            assert!(Tensor::from_bytes(&bytes[..end]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = Tensor::from_bytes(&flipped) {
                assert_ne!(other, tensor);
                assert_eq!(other.to_bytes(), flipped);
            }
        }
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(Tensor::from_bytes(&longer).is_err());
    }
}

#[test]
fn decoding_refuses_what_is_not_canonical_or_too_large() {
    for (bytes, why) in [
        ("8318018101440000803f", "longer integer"),
        ("83018101430000803f", "short data"),
        ("8301811b00000001000000004400000000", "too many elements"),
        ("83018900000000000000000040", "rank 9"),
        ("8309810140", "unknown dtype"),
        ("83078101 4102", "truth value 2"),
        ("9f01810144 0000803f ff", "indefinite"),
        ("8308811a0fffffff80", "strings promised, none given"),
    ] {
        let bytes = hex::decode(bytes.replace(' ', "")).unwrap();
        assert!(Tensor::from_bytes(&bytes).is_err(), "{why}");
    }
}

#[test]
fn shapes_are_checked() {
    let check = |shape: &[u64], count: usize| Tensor::new(shape.to_vec(), TensorData::U8(vec![0; count]));
    assert!(check(&[2, 3], 6).is_ok());
    assert!(matches!(check(&[2, 3], 5), Err(TensorError::Count { expected: 6, got: 5, .. })));
    assert!(matches!(check(&[1; 9], 1), Err(TensorError::Rank { got: 9 })));
    assert!(matches!(check(&[u64::MAX, 0], 0), Err(TensorError::TooLarge { .. })));
    assert!(matches!(check(&[1 << 20, 1 << 20, 1 << 20], 0), Err(TensorError::TooLarge { .. })));
    assert!(check(&[1 << 28, 1, 0], 0).is_ok());
    assert!(matches!(check(&[1 << 28, 2, 0], 0), Err(TensorError::TooLarge { .. })));
}

fn read(json: &str) -> Result<NamedTensor, TensorError> {
    NamedTensor::from_json(serde_json::from_str(json).unwrap())
}

#[test]
fn json_comes_back_bit_for_bit() {
    let hard = [
        0.1,
        1e-45,
        3.402_823_5e38,
        -0.0,
        7.038_531e-26,
        16_777_216.0,
        1e10,
        f32::INFINITY,
        f32::MIN_POSITIVE,
    ];
    let tensor = Tensor::f32(&[9], hard.to_vec()).unwrap();
    let text = serde_json::to_string(&NamedTensor::new("x", tensor.clone()).to_json()).unwrap();
    assert!(text.contains("[0.1,"), "{text}");
    assert_eq!(read(&text).unwrap().tensor, tensor, "{text}");
    let wide = Tensor::new(vec![3], TensorData::F64(vec![0.1, f64::NEG_INFINITY, 2.2e-308])).unwrap();
    let text = serde_json::to_string(&NamedTensor::new("x", wide.clone()).to_json()).unwrap();
    assert_eq!(read(&text).unwrap().tensor, wide);
}

/// A hundred thousand f32 patterns, evenly spread, survive JSON.
#[test]
fn json_is_exact_for_all_kinds_of_f32() {
    let values: Vec<f32> =
        (0..100_000_u32).map(|i| f32::from_bits(i.wrapping_mul(42_949))).filter(|x| !x.is_nan()).collect();
    let tensor = Tensor::f32(&[values.len() as u64], values).unwrap();
    let text = serde_json::to_string(&NamedTensor::new("x", tensor.clone()).to_json()).unwrap();
    assert!(read(&text).unwrap().tensor == tensor);
}

/// Fails unless serde_json reads decimals to the nearest f64: it needs its feature `float_roundtrip`.
#[test]
fn json_decimals_are_read_to_the_nearest_f64() {
    for text in
        ["9007199254740993.0", "2.2250738585072011e-308", "0.3", "123456789012345678901234567890", "8.41e-11"]
    {
        let expected: f64 = text.parse().unwrap();
        let got = read(&format!(r#"{{"name":"x","shape":[1],"datatype":"FP64","data":[{text}]}}"#)).unwrap();
        let expected = Tensor::new(vec![1], TensorData::F64(vec![expected])).unwrap();
        assert_eq!(got.tensor, expected, "enable serde_json's float_roundtrip");
    }
}

#[test]
fn json_may_be_flat_nested_or_scalar() {
    let flat = read(r#"{"name":"x","shape":[2,2],"datatype":"INT64","data":[1,2,3,4]}"#).unwrap();
    let nested = read(r#"{"name":"x","shape":[2,2],"datatype":"INT64","data":[[1,2],[3,4]]}"#).unwrap();
    assert_eq!(flat, nested);
    assert!(read(r#"{"name":"x","shape":[],"datatype":"BOOL","data":true}"#).is_ok());
    assert!(read(r#"{"name":"x","shape":[],"datatype":"BOOL","data":[true]}"#).is_ok());
}

#[test]
fn json_errors_say_what_was_expected_and_got() {
    let check = |json: &str, expect: &str| {
        let error = read(json).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
    };
    check(r#"{"name":"x","shape":[1],"datatype":"FP16","data":[1]}"#, "expected one of FP32");
    check(r#"{"name":"x","shape":[1],"datatype":"FP32","data":["nan"]}"#, "element 0: expected a number");
    check(r#"{"name":"x","shape":[1],"datatype":"FP32","data":[1e39]}"#, "FP32 range");
    check(r#"{"name":"x","shape":[1],"datatype":"INT8","data":[128]}"#, "-128 to 127, got 128");
    check(r#"{"name":"x","shape":[1],"datatype":"INT32","data":[1.0]}"#, "an integer of 32 bits, got 1.0");
    check(r#"{"name":"x","shape":[2],"datatype":"INT32","data":[1]}"#, "needs 2 elements, got 1");
    check(
        r#"{"name":"x","shape":[2,2],"datatype":"INT32","data":[[1,2],[3]]}"#,
        "a list of 2 at nesting depth 1, got a list of 1",
    );
    check(r#"{"name":"x","shape":[2,2],"datatype":"INT32","data":[[1,2],3]}"#, "depth 1, got 3");
    check(r#"{"name":"x","shape":[1],"datatype":"FP32","data":[[1]]}"#, "expected a number");
    check(r#"{"name":"x","shape":[1],"datatype":"BYTES","data":[1]}"#, "a string");
    check(r#"{"name":"x","shape":[1,1,1,1,1,1,1,1,1],"datatype":"FP32","data":[1]}"#, "9 dimensions");
    check(
        r#"{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4},"data":[]}"#,
        "binary_data_size",
    );
}

/// A small text must not become a large value: objects and deep lists end the reading.
#[test]
fn json_that_would_grow_is_refused_while_it_is_read() {
    let read = |data: &str, parameters: &str| {
        let json = format!(r#"{{"name":"x","shape":[1],"datatype":"FP32","data":{data}{parameters}}}"#);
        serde_json::from_str::<TensorJson>(&json).map_err(|error| error.to_string())
    };
    assert!(read("[[[[[[[[1]]]]]]]]", "").is_ok());
    assert!(read("[[[[[[[[[1]]]]]]]]]", "").is_err_and(|error| error.contains("8 deep")));
    assert!(read(r#"[{"":0}]"#, "").is_err_and(|error| error.contains("map")));
    assert!(read("null", "").is_err());
    let tensor = read("[1]", r#","parameters":{"b":{"c":[1,2]},"a":1}"#).expect("the first name is kept");
    assert_eq!((tensor.parameters.len(), tensor.parameters["b"].is_null()), (1, true));
    let error = NamedTensor::from_json(tensor).expect_err("no parameters are known").to_string();
    assert!(error.contains("\"b\""), "{error}");
}
