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
        Tensor::new(shape(), TensorData::I16(vec![i16::MIN, 258])).unwrap(),
        Tensor::new(shape(), TensorData::U16(vec![u16::MAX, 258])).unwrap(),
        Tensor::new(shape(), TensorData::U32(vec![u32::MAX, 258])).unwrap(),
        Tensor::new(shape(), TensorData::U64(vec![u64::MAX, 258])).unwrap(),
        Tensor::new(shape(), TensorData::F16(vec![f16::from_bits(0xfd01), f16::NEG_ZERO])).unwrap(),
        Tensor::new(shape(), TensorData::BF16(vec![bf16::from_bits(0xff81), bf16::NEG_ZERO])).unwrap(),
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
fn golden_bytes_of_each_type() {
    let check = |data: TensorData, bytes: &str| {
        let (dtype, tensor) = (data.dtype(), Tensor::new(vec![2], data).unwrap());
        assert_eq!(hex::encode(tensor.to_bytes()), bytes.replace(' ', ""), "{dtype}");
        assert_eq!(Tensor::from_bytes(&tensor.to_bytes()).unwrap(), tensor, "{dtype}");
    };
    check(TensorData::I16(vec![-2, 258]), "83 09 8102 44 feff 0201");
    check(TensorData::U16(vec![65_534, 258]), "83 0a 8102 44 feff 0201");
    check(TensorData::U32(vec![u32::MAX - 1, 258]), "83 0b 8102 48 feffffff 02010000");
    check(TensorData::U64(vec![u64::MAX - 1, 258]), "83 0c 8102 50 feffffffffffffff 0201000000000000");
    let halves = vec![f16::from_bits(0x7c01), f16::from_bits(0x8001)];
    check(TensorData::F16(halves), "83 0d 8102 44 017c 0180");
    let upper_halves = vec![bf16::from_bits(0x7f81), bf16::from_bits(0x8001)];
    check(TensorData::BF16(upper_halves), "83 0e 8102 44 817f 0180");
}

#[test]
fn codes_and_names_are_in_order_and_come_back() {
    for (dtype, code) in Dtype::ALL.into_iter().zip(1..) {
        assert_eq!((dtype.code(), Dtype::from_code(code)), (code, Some(dtype)));
        assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
        if let Some(size) = dtype.size_bytes() {
            let data = TensorData::from_le_bytes(dtype, &vec![0; 3 * size]).unwrap();
            assert_eq!((data.dtype(), data.len()), (dtype, 3));
            assert_eq!(data.to_le_bytes().unwrap(), vec![0; 3 * size]);
            let short = TensorData::from_le_bytes(dtype, &vec![0; 3 * size - 1]);
            assert_eq!(short.is_err(), size > 1, "{dtype}");
        }
    }
    assert!(Dtype::from_code(0).is_none() && Dtype::from_code(15).is_none());
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
        ("830f810140", "unknown dtype"),
        ("8300810140", "no dtype"),
        ("830d8101430000803f", "an f16 of 3 bytes"),
        ("830c81014400000000", "a u64 of 4 bytes"),
        ("830e81028100", "a list of bf16"),
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
    check(r#"{"name":"x","shape":[1],"datatype":"FP8","data":[1]}"#, "expected one of FP32");
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

/// The one element of a tensor given in JSON, little-endian in hex; empty if it was refused.
fn element_hex(datatype: &str, element: &str) -> String {
    let json = format!(r#"{{"name":"x","shape":[1],"datatype":"{datatype}","data":[{element}]}}"#);
    read(&json).map(|x| hex::encode(x.tensor.data().to_le_bytes().unwrap())).unwrap_or_default()
}

#[test]
fn json_integers_are_exact_to_the_end_of_their_range() {
    for (datatype, least, most) in [
        ("INT16", i128::from(i16::MIN), i128::from(i16::MAX)),
        ("UINT16", 0, i128::from(u16::MAX)),
        ("UINT32", 0, i128::from(u32::MAX)),
        ("UINT64", 0, i128::from(u64::MAX)),
    ] {
        let size = Dtype::from_name(datatype).unwrap().size_bytes().unwrap();
        let little = |x: i128| hex::encode(&x.to_le_bytes()[..size]);
        for x in [least, 0, 1, most - 1, most] {
            assert_eq!(element_hex(datatype, &x.to_string()), little(x), "{datatype} {x}");
        }
        for x in [least - 1, most + 1] {
            assert_eq!(element_hex(datatype, &x.to_string()), "", "{datatype} {x}");
        }
        for text in ["-0", "1.0", "1e2", "\"1\"", "true", "\"NaN\"", "99999999999999999999999"] {
            assert_eq!(element_hex(datatype, text), "", "{datatype} {text}");
        }
    }
    assert_eq!(element_hex("UINT64", "9007199254740993"), "0100000000002000");
}

#[test]
fn json_is_rounded_once_to_16_bits() {
    let check = |datatype: &str, text: &str, bits: u16| {
        assert_eq!(element_hex(datatype, text), hex::encode(bits.to_le_bytes()), "{datatype} {text}");
    };
    for (text, bits) in [
        ("0.1", 0x2e66),
        ("-0", 0x8000),
        ("-0.0", 0x8000),
        ("2049", 0x6800),                   // a tie
        ("1.00048828125", 0x3c00),          // a tie
        ("1.0004882812500002", 0x3c01),     // a tie in f32 only
        ("65504", 0x7bff),                  // the largest
        ("65519.99999999999", 0x7bff),      // an infinity by way of f32
        ("-65519.99999999999", 0xfbff),     // and the other one
        ("6.103515625e-5", 0x0400),         // the least normal number
        ("6.1005353927612305e-5", 0x0400),  // a tie of the largest subnormal with it
        ("6.097555160522461e-5", 0x03ff),   // the largest subnormal
        ("5.960464477539063e-8", 0x0001),   // the least subnormal
        ("2.9802322387695312e-8", 0x0000),  // a tie of it with zero
        ("2.980232238769532e-8", 0x0001),   // a tie in f32 only
        ("-2.9802322387695312e-8", 0x8000), // a tie with the other zero
        ("5e-324", 0x0000),
        ("\"NaN\"", 0x7e00),
        ("\"Infinity\"", 0x7c00),
        ("\"-Infinity\"", 0xfc00),
    ] {
        check("FP16", text, bits);
    }
    for (text, bits) in [
        ("0.1", 0x3dcd),
        ("-0.0", 0x8000),
        ("257", 0x4380),                    // a tie
        ("1.0039062500000002", 0x3f81),     // a tie in f32 only
        ("3.3895313892515355e38", 0x7f7f),  // the largest
        ("3.3961775292304597e38", 0x7f7f),  // an infinity by way of f32
        ("1.1754943508222875e-38", 0x0080), // the least normal number
        ("9.183549615799121e-41", 0x0001),  // the least subnormal
        ("4.591774807899561e-41", 0x0000),  // a tie of it with zero
        ("-4.591774807899562e-41", 0x8001), // a tie in f32 only
        ("1e-320", 0x0000),
        ("\"NaN\"", 0x7fc0),
        ("\"Infinity\"", 0x7f80),
        ("\"-Infinity\"", 0xff80),
    ] {
        check("BF16", text, bits);
    }
}

#[test]
fn json_of_16_bit_floats_is_refused_out_of_range() {
    for (datatype, text) in [
        ("FP16", "65520"),
        ("FP16", "-65520"),
        ("FP16", "1e39"),
        ("FP16", "\"nan\""),
        ("FP16", "true"),
        ("BF16", "3.39617752923046e38"),
        ("BF16", "-1e300"),
        ("BF16", "\"inf\""),
        ("BF16", "[]"),
    ] {
        assert_eq!(element_hex(datatype, text), "", "{datatype} {text}");
    }
    let error = read(r#"{"name":"x","shape":[1],"datatype":"FP16","data":[65520]}"#).unwrap_err().to_string();
    assert!(error.contains("FP16 range") && error.contains("got 65520"), "{error}");
}

/// Every pattern of 16 bits, NaNs with a payload aside.
#[test]
fn json_is_exact_for_every_16_bit_float() {
    let halves = (0..=u16::MAX).map(f16::from_bits).filter(|x| !x.is_nan()).chain([f16::NAN]).collect();
    let upper_halves =
        (0..=u16::MAX).map(bf16::from_bits).filter(|x| !x.is_nan()).chain([bf16::NAN]).collect();
    for data in [TensorData::F16(halves), TensorData::BF16(upper_halves)] {
        let tensor = Tensor::new(vec![data.len() as u64], data).unwrap();
        let text = serde_json::to_string(&NamedTensor::new("x", tensor.clone()).to_json()).unwrap();
        assert!(read(&text).unwrap().tensor == tensor, "{}", tensor.dtype());
        assert!(text.ends_with(",\"NaN\"]}"));
    }
}

#[test]
fn json_of_16_bit_floats_is_the_shortest_of_their_f32() {
    let check = |data: TensorData, expect: &str| {
        let tensor = Tensor::new(vec![data.len() as u64], data).unwrap();
        let json = NamedTensor::new("x", tensor).to_json();
        assert_eq!(json.data.to_string(), expect);
    };
    let halves = [0x2e66, 0x7bff, 0x0001, 0x8000, 0xfc00].map(f16::from_bits);
    check(TensorData::F16(halves.to_vec()), r#"[0.099975586,65504.0,5.9604645e-8,-0.0,"-Infinity"]"#);
    let upper_halves = [0x3dcd, 0x7f7f, 0x0001, 0x8000, 0x7f81].map(bf16::from_bits);
    check(TensorData::BF16(upper_halves.to_vec()), r#"[0.100097656,3.3895314e+38,9.1835e-41,-0.0,"NaN"]"#);
}

/// Each number of 16 bits takes what lies between the ties with its neighbours.
#[test]
fn rounding_to_16_bits_parts_at_the_ties() {
    fn check(infinity: u16, narrow: impl Fn(f64) -> u16, wide: impl Fn(u16) -> f64) {
        // Beyond the largest number the next step would be as long as the last one.
        let end = 2.0 * wide(infinity - 1) - wide(infinity - 2);
        for low in 0..infinity {
            let (a, b) = (wide(low), if low + 1 == infinity { end } else { wide(low + 1) });
            let tie = (a + b) / 2.0;
            assert_eq!((narrow(a), narrow(tie.next_down()), narrow(tie.next_up())), (low, low, low + 1));
            assert_eq!(narrow(tie), low + low % 2, "{tie:e}");
            assert_eq!(narrow(-tie.next_up()), 0x8000 | (low + 1));
        }
        assert_eq!((narrow(f64::MAX), narrow(f64::INFINITY)), (infinity, infinity));
        assert_eq!((narrow(-f64::MAX), narrow(-f64::from_bits(1))), (0x8000 | infinity, 0x8000));
    }
    check(0x7c00, |x| f16_from_f64(x).to_bits(), |bits| f16::from_bits(bits).to_f64());
    check(0x7f80, |x| bf16_from_f64(x).to_bits(), |bits| bf16::from_bits(bits).to_f64());
}

#[test]
fn every_nan_becomes_the_one_without_payload() {
    for bits in [0x7ff0_0000_0000_0001, 0x7ff8_0000_0000_0000, 0xffff_ffff_ffff_ffff, 0xfff0_0000_0001_0000] {
        let nan = f64::from_bits(bits);
        assert_eq!((f16_from_f64(nan).to_bits(), bf16_from_f64(nan).to_bits()), (0x7e00, 0x7fc0));
    }
}

/// What we use of the crate `half`: to f32 without rounding, the same bits whatever the machine offers.
#[test]
fn sixteen_bit_floats_widen_exactly() {
    for bits in 0..=u16::MAX {
        let (half, upper_half) = (f16::from_bits(bits), bf16::from_bits(bits));
        let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => fraction * 2_f64.powi(-24),
            31 if fraction > 0.0 => f64::NAN,
            31 => f64::INFINITY,
            _ => (1024.0 + fraction) * 2_f64.powi(i32::from(exponent) - 25),
        };
        let value = if bits >> 15 == 1 { -magnitude } else { magnitude };
        let quiet = |is_nan: bool, bit: u32| if is_nan { bit } else { 0 };
        assert!(f64::from(half.to_f32()).to_bits() == value.to_bits() || half.is_nan() && value.is_nan());
        let upper = u32::from(bits) << 16 | quiet(upper_half.is_nan(), 1 << 22);
        assert_eq!(upper_half.to_f32().to_bits(), upper);
        if half.is_nan() {
            let payload = u32::from(bits & 0x8000) << 16 | 0x7fc0_0000 | u32::from(bits & 0x3ff) << 13;
            assert_eq!(half.to_f32().to_bits(), payload);
        }
    }
}

#[test]
fn nan_payloads_of_16_bits_tell_tensors_apart() {
    let half = |bits| Tensor::new(vec![], TensorData::F16(vec![f16::from_bits(bits)])).unwrap();
    let upper_half = |bits| Tensor::new(vec![], TensorData::BF16(vec![bf16::from_bits(bits)])).unwrap();
    assert!(half(0x7e01) == half(0x7e01) && half(0x7e01) != half(0x7e00) && half(0) != half(0x8000));
    assert!(upper_half(0x7fc1) == upper_half(0x7fc1) && upper_half(0x7fc1) != upper_half(0x7fc0));
    assert!(half(0x3c00) != upper_half(0x3c00));
    assert_eq!(half(0x3c00).as_f16(), Some(&[f16::ONE][..]));
    assert!(half(0x3c00).as_bf16().is_none() && upper_half(0x3f80).as_bf16() == Some(&[bf16::ONE][..]));
}
