//! Hostile sizes, scales and indices; empty images; equal builds.

use crate::Error;
use crate::onnx::testing::{FLOAT, File, Value, run};

fn resize(scales: &[f32], attributes: &[(&str, Value<'_>)]) -> Result<Vec<f32>, Error> {
    let mut file = File::new()
        .input("x", FLOAT, &["1", "1", "2", "2"])
        .output("y")
        .weight("scales", &[scales.len() as u64], scales)
        .node("Resize", &["x", "", "scales"], &["y"], attributes);
    file.opsets = vec![("", 19)];
    let x = [1.0, 2.0, 3.0, 4.0];
    Ok(run(file.import()?, &[("x", &[1, 1, 2, 2], &x)])?[0].as_f32().unwrap().to_vec())
}

#[test]
fn a_resize_by_nothing_keeps_the_bits() {
    assert_eq!(resize(&[1.0; 4], &[]).unwrap(), [1.0, 2.0, 3.0, 4.0]);
    assert!(resize(&[1.0, 1.0, 0.25, 1.0], &[]).unwrap().is_empty());
    assert_eq!(resize(&[1.0, 1.0, 0.5, 0.5], &[]).unwrap(), [1.0]);
}

#[test]
fn hostile_scales_are_refused() {
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e30, 1e9] {
        assert!(resize(&[1.0, 1.0, scale, 1.0], &[]).is_err(), "{scale}");
    }
    assert!(resize(&[1.0; 3], &[]).is_err());
    assert!(resize(&[1.0; 4], &[("axes", Value::Ints(&[0, 0, 1, 2]))]).is_err());
    assert!(resize(&[1.0; 4], &[("antialias", Value::Int(1))]).is_err());
}

#[test]
fn a_narrow_antialias_is_bounded() {
    let text = [("antialias", Value::Int(1))];
    // A scale that leaves no element costs nothing, however wide its filter would be.
    assert!(resize(&[1.0, 1.0, 1e-30, 1.0], &text).is_err());
}

fn conv_transpose(attributes: &[(&str, Value<'_>)]) -> Result<Vec<f32>, Error> {
    let file = File::new()
        .input("x", FLOAT, &["1", "1", "2"])
        .output("y")
        .weight("w", &[1, 1, 2], &[1.0, 10.0])
        .node("ConvTranspose", &["x", "w"], &["y"], attributes);
    Ok(run(file.import()?, &[("x", &[1, 1, 2], &[1.0, 2.0])])?[0].as_f32().unwrap().to_vec())
}

#[test]
fn a_transposed_convolution() {
    assert_eq!(conv_transpose(&[]).unwrap(), [1.0, 12.0, 20.0]);
    assert_eq!(conv_transpose(&[("strides", Value::Ints(&[2]))]).unwrap(), [1.0, 10.0, 2.0, 20.0]);
    assert_eq!(conv_transpose(&[("output_padding", Value::Ints(&[1]))]).unwrap(), [1.0, 12.0, 20.0, 0.0]);
    assert_eq!(conv_transpose(&[("pads", Value::Ints(&[1, 0]))]).unwrap(), [12.0, 20.0]);
}

#[test]
fn hostile_convolutions_are_refused() {
    for (name, value) in [
        ("strides", &[0][..]),
        ("strides", &[i64::MAX]),
        ("strides", &[1, 1]),
        ("dilations", &[1 << 28]),
        ("output_padding", &[1 << 28]),
        ("output_shape", &[-1]),
        ("output_shape", &[i64::MAX]),
        ("pads", &[3, 3]),
        ("pads", &[-1, 0]),
        ("kernel_shape", &[3]),
    ] {
        assert!(conv_transpose(&[(name, Value::Ints(value))]).is_err(), "{name} {value:?}");
    }
    for groups in [0, -1, 3, i64::MAX] {
        assert!(conv_transpose(&[("group", Value::Int(groups))]).is_err());
    }
}

#[test]
fn points_far_away_are_no_panic() {
    for padding in 0..2 {
        let file = File::new()
            .input("x", FLOAT, &["1", "1", "2", "2"])
            .input("g", FLOAT, &["1", "1", "4", "2"])
            .output("y")
            .node("GridSample", &["x", "g"], &["y"], &[("align_corners", Value::Int(padding))]);
        let grid = [f32::NAN, 0.0, f32::INFINITY, 1e30, -1e38, 3.4e38, 0.0, 0.0];
        let inputs: [(&str, &[u64], &[f32]); 2] =
            [("x", &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]), ("g", &[1, 1, 4, 2], &grid)];
        let outputs = run(file.import().unwrap(), &inputs).unwrap();
        assert_eq!(outputs[0].as_f32().unwrap()[3], 2.5, "{padding}");
    }
}

#[test]
fn regions_that_are_huge_cost_too_much() {
    let file = File::new()
        .input("x", FLOAT, &["1", "1", "2", "2"])
        .input("r", FLOAT, &["1", "4"])
        .output("y")
        .ints("rows", &[0])
        .node("RoiAlign", &["x", "r", "rows"], &["y"], &[]);
    let run_with = |roi: [f32; 4]| {
        let inputs: [(&str, &[u64], &[f32]); 2] = [("x", &[1, 1, 2, 2], &[1.0; 4]), ("r", &[1, 4], &roi)];
        run(file.import().unwrap(), &inputs)
    };
    assert!(run_with([0.0, 0.0, 1e9, 1e9]).is_err());
    assert_eq!(run_with([0.0, 0.0, 1.0, 1.0]).unwrap()[0].as_f32().unwrap(), [1.0]);
}
