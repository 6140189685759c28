//! What the ONNX node tests leave out: hostile lengths and activations, empty sequences, equal builds.

use crate::onnx::testing::{FLOAT, File, Value, run};

/// An LSTM with one feature and one hidden element.
fn lstm(attributes: &[(&str, Value<'_>)]) -> File {
    File::new()
        .input("x", FLOAT, &["3", "2", "1"])
        .output("y")
        .output("h")
        .weight("w", &[1, 4, 1], &[0.5, -0.25, 1.0, 0.75])
        .weight("r", &[1, 4, 1], &[0.1, 0.2, -0.3, 0.4])
        .node("LSTM", &["x", "w", "r"], &["y", "h"], attributes)
}

#[test]
fn a_last_state_is_the_last_output() {
    let x: Vec<f32> = (0_u8..6).map(|v| f32::from(v) - 2.5).collect();
    let outputs = run(lstm(&[]).import().unwrap(), &[("x", &[3, 2, 1], &x)]).unwrap();
    assert_eq!(outputs[0].as_f32().unwrap()[4..], *outputs[1].as_f32().unwrap());
}

#[test]
fn attributes_that_mean_nothing_are_refused() {
    let x = [0.0; 6];
    for attributes in [
        vec![("activations", Value::Texts(&["Tanh"]))],
        vec![("activations", Value::Texts(&["Tanh", "Tanh", "Cosine"]))],
        vec![("hidden_size", Value::Int(2))],
        vec![("clip", Value::Float(-1.0))],
        vec![("clip", Value::Float(f32::NAN))],
        vec![("layout", Value::Int(2))],
        vec![("surprise", Value::Int(1))],
    ] {
        let answer = lstm(&attributes).import().and_then(|model| run(model, &[("x", &[3, 2, 1], &x)]));
        assert!(answer.is_err());
    }
}

#[test]
fn a_sequence_without_steps_or_features_is_no_panic() {
    let outputs = run(
        File::new()
            .input("x", FLOAT, &["N", "2", "1"])
            .output("y")
            .output("h")
            .weight("w", &[1, 3, 1], &[0.5, -0.25, 1.0])
            .weight("r", &[1, 3, 1], &[0.1, 0.2, -0.3])
            .node("GRU", &["x", "w", "r"], &["y", "h"], &[])
            .import()
            .unwrap(),
        &[("x", &[0, 2, 1], &[])],
    );
    // An empty batch may be refused by the session; it must not be wrong.
    assert!(outputs.is_err() || outputs.is_ok_and(|outputs| outputs[1].as_f32() == Some(&[0.0, 0.0])));
}
