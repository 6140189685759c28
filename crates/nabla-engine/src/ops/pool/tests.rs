use nabla_types::tensor::TensorData;

use crate::onnx::testing::{FLOAT, File, Value, run};

fn pooled(op: &str, attributes: &[(&str, Value<'_>)], dims: &[u64], x: &[f32]) -> Result<Vec<f32>, String> {
    let sizes: Vec<String> = dims.iter().map(ToString::to_string).collect();
    let sizes: Vec<&str> = sizes.iter().map(String::as_str).collect();
    let model =
        File::new().input("x", FLOAT, &sizes).output("y").node(op, &["x"], &["y"], attributes).import();
    let outputs = model.and_then(|model| run(model, &[("x", dims, x)])).map_err(|error| error.to_string())?;
    match outputs[0].data() {
        TensorData::F32(v) => Ok(v.clone()),
        other => Err(format!("{:?}", other.dtype())),
    }
}

#[test]
fn the_greatest_with_stride_and_padding() {
    let window =
        [("kernel_shape", Value::Ints(&[3])), ("strides", Value::Ints(&[2])), ("pads", Value::Ints(&[1, 1]))];
    let x = [-5.0, -1.0, f32::NAN, -7.0, 4.0, 3.0];
    let y = pooled("MaxPool", &window, &[1, 1, 6], &x).unwrap();
    assert_eq!(y[0], -1.0);
    assert!(y[1].is_nan());
    assert_eq!(y[2], 4.0);
}

#[test]
fn averages_count_what_they_are_told_to() {
    let window = |include| {
        vec![
            ("kernel_shape", Value::Ints(&[2])),
            ("pads", Value::Ints(&[1, 0])),
            ("count_include_pad", Value::Int(include)),
        ]
    };
    assert_eq!(pooled("AveragePool", &window(0), &[1, 1, 3], &[2.0, 4.0, 6.0]).unwrap(), [2.0, 3.0, 5.0]);
    assert_eq!(pooled("AveragePool", &window(1), &[1, 1, 3], &[2.0, 4.0, 6.0]).unwrap(), [1.0, 3.0, 5.0]);
}

#[test]
fn hostile_windows_are_refused() {
    let huge = [i64::MAX, -1, 0, 1 << 40];
    for value in huge {
        for name in ["kernel_shape", "strides", "dilations"] {
            let mut attributes = vec![(name, vec![value])];
            if name != "kernel_shape" {
                attributes.push(("kernel_shape", vec![2]));
            }
            let attributes: Vec<_> = attributes.iter().map(|(name, v)| (*name, Value::Ints(v))).collect();
            assert!(pooled("MaxPool", &attributes, &[1, 1, 4], &[0.0; 4]).is_err(), "{name} {value}");
        }
    }
    assert!(
        pooled("LpPool", &[("kernel_shape", Value::Ints(&[1])), ("p", Value::Int(0))], &[1, 1, 1], &[1.0])
            .is_err()
    );
    assert!(pooled("MaxPool", &[("kernel_shape", Value::Ints(&[5]))], &[1, 1, 4], &[0.0; 4]).is_err());
}
