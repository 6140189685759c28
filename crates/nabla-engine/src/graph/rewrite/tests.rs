use crate::onnx::testing::{FLOAT, File, Value, bytes, int, run, text};
use crate::{Limits, Model};

const UINT8: u64 = 2;
const INT8: u64 = 3;
const INT32: u64 = 6;

/// A weight of any type, from its bytes.
fn weight(file: File, name: &str, elem_type: u64, dims: &[u64], raw: &[u8]) -> File {
    let mut tensor: Vec<u8> = dims.iter().flat_map(|size| int(1, *size)).collect();
    tensor.extend([int(2, elem_type), text(8, name), bytes(9, raw)].concat());
    file.raw(5, &tensor)
}

/// `x -> Q -> DQ -> Conv(w, bias) -> Relu -> Q -> DQ -> y`, as quantisers write it.
fn convolution(bias_scale: f32) -> File {
    let file = File::new()
        .input("x", FLOAT, &["1", "1", "4"])
        .output("y")
        .weight("xs", &[], &[0.5])
        .weight("ws", &[2], &[0.25, 0.5])
        .weight("bs", &[2], &[bias_scale, bias_scale * 2.0])
        .weight("ys", &[], &[0.125]);
    let file = weight(file, "xz", UINT8, &[], &[3]);
    let file = weight(file, "yz", UINT8, &[], &[0]);
    let file = weight(file, "wz", INT8, &[2], &[0, 0]);
    let file = weight(file, "bz", INT32, &[2], &[0; 8]);
    let file = weight(file, "w", INT8, &[2, 1, 2], &[1, 2, 0xff, 3]);
    let file = weight(file, "b", INT32, &[2], &[8, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff]);
    let axis = [("axis", Value::Int(0))];
    file.node("QuantizeLinear", &["x", "xs", "xz"], &["xq"], &[])
        .node("DequantizeLinear", &["xq", "xs", "xz"], &["xr"], &[])
        .node("DequantizeLinear", &["w", "ws", "wz"], &["wr"], &axis)
        .node("DequantizeLinear", &["b", "bs", "bz"], &["br"], &axis)
        .node("Conv", &["xr", "wr", "br"], &["c"], &[])
        .node("Relu", &["c"], &["r"], &[])
        .node("QuantizeLinear", &["r", "ys", "yz"], &["yq"], &[])
        .node("DequantizeLinear", &["yq", "ys", "yz"], &["y"], &[])
}

fn operators(model: &Model) -> Vec<&'static str> {
    model.interface().operators().into_iter().map(|(name, _)| name).collect()
}

#[test]
fn a_whole_pattern_becomes_one_node_and_keeps_its_reals() {
    let model = convolution(0.125).import().unwrap();
    assert_eq!(operators(&model), ["DequantizeLinear", "QLinearConv", "QuantizeLinear"]);
    let again = Model::from_parts(&model.graph_bytes(), &model.weights_bytes(), &Limits::default()).unwrap();
    assert_eq!(again.graph_bytes(), model.graph_bytes());
    let y = run(model, &[("x", &[1, 1, 4], &[1.0, 2.0, -1.0, 0.5])]).unwrap();
    // Filter 0: (x0 + 2 x1) / 4 + 1; filter 1: (-x0 + 3 x1) / 2 - 1; then the Relu.
    assert_eq!(y[0].as_f32().unwrap(), [2.25, 1.0, 1.0, 1.5, 0.0, 0.25]);
}

#[test]
fn a_bias_of_another_scale_stays_in_floats() {
    let model = convolution(0.126).import().unwrap();
    assert!(operators(&model).contains(&"Conv"));
    let y = run(model, &[("x", &[1, 1, 4], &[1.0, 2.0, -1.0, 0.5])]).unwrap();
    assert_eq!(y[0].as_f32().unwrap(), [2.25, 1.0, 1.0, 1.5, 0.0, 0.25]);
}

/// `x -> Q -> DQ -> operator -> Q -> DQ -> y` with the given second scale.
fn mover(scale: f32, second_taker: bool) -> File {
    let file = File::new().input("x", FLOAT, &["2", "3"]).output("y").weight("s", &[], &[0.5]).weight(
        "t",
        &[],
        &[scale],
    );
    let file = weight(file, "z", INT8, &[], &[1]);
    let file = file
        .node("QuantizeLinear", &["x", "s", "z"], &["q"], &[])
        .node("DequantizeLinear", &["q", "s", "z"], &["r"], &[])
        .node("Flatten", &["r"], &["f"], &[("axis", Value::Int(0))])
        .node("QuantizeLinear", &["f", "t", "z"], &["p"], &[])
        .node("DequantizeLinear", &["p", "t", "z"], &["y"], &[]);
    if second_taker { file.output("f") } else { file }
}

#[test]
fn movers_move_levels_only_if_both_sides_agree_and_nobody_else_looks() {
    let count = |file: File| file.import().unwrap().interface().operators();
    assert_eq!(count(mover(0.5, false)), [("DequantizeLinear", 1), ("Flatten", 1), ("QuantizeLinear", 1)]);
    assert_eq!(count(mover(0.25, false)), [("DequantizeLinear", 2), ("Flatten", 1), ("QuantizeLinear", 2)]);
    assert_eq!(count(mover(0.5, true)), [("DequantizeLinear", 2), ("Flatten", 1), ("QuantizeLinear", 2)]);
}
