//! Hostile heads, positions and masks; equal builds.

use crate::onnx::testing::{FLOAT, File, Value, run};

fn attention(attributes: &[(&str, Value<'_>)], q: &[&str], kv: &[&str]) -> File {
    let mut file = File::new()
        .input("q", FLOAT, q)
        .input("k", FLOAT, kv)
        .input("v", FLOAT, kv)
        .output("y")
        .node("Attention", &["q", "k", "v"], &["y"], attributes);
    file.opsets = vec![("", 25)];
    file
}

#[test]
fn without_difference_the_values_are_averaged() {
    let model = attention(&[], &["1", "1", "1", "2"], &["1", "1", "2", "2"]).import().unwrap();
    let values = [1.0, 2.0, 3.0, 6.0];
    let inputs: [(&str, &[u64], &[f32]); 3] =
        [("q", &[1, 1, 1, 2], &[0.0; 2]), ("k", &[1, 1, 2, 2], &[1.0; 4]), ("v", &[1, 1, 2, 2], &values)];
    assert_eq!(run(model, &inputs).unwrap()[0].as_f32().unwrap(), [2.0, 4.0]);
}

#[test]
fn hostile_attributes_are_refused() {
    let (q, kv): (&[&str], &[&str]) = (&["1", "2", "4"], &["1", "3", "4"]);
    let cases = [
        vec![],
        vec![("q_num_heads", Value::Int(0)), ("kv_num_heads", Value::Int(1))],
        vec![("q_num_heads", Value::Int(-2)), ("kv_num_heads", Value::Int(1))],
        vec![("q_num_heads", Value::Int(i64::MAX)), ("kv_num_heads", Value::Int(1))],
        vec![("q_num_heads", Value::Int(2)), ("kv_num_heads", Value::Int(4))],
        vec![
            ("q_num_heads", Value::Int(2)),
            ("kv_num_heads", Value::Int(2)),
            ("scale", Value::Float(f32::NAN)),
        ],
        vec![
            ("q_num_heads", Value::Int(2)),
            ("kv_num_heads", Value::Int(2)),
            ("left_window_size", Value::Int(-2)),
        ],
    ];
    for attributes in cases {
        let inputs: [(&str, &[u64], &[f32]); 3] =
            [("q", &[1, 2, 4], &[0.5; 8]), ("k", &[1, 3, 4], &[0.5; 12]), ("v", &[1, 3, 4], &[0.5; 12])];
        assert!(attention(&attributes, q, kv).import().and_then(|model| run(model, &inputs)).is_err());
    }
}

#[test]
fn a_window_at_the_edge_of_numbers_does_not_overflow() {
    let attributes =
        [("left_window_size", Value::Int(i64::MAX)), ("right_window_size", Value::Int(i64::MAX))];
    let model = attention(&attributes, &["1", "1", "1", "1"], &["1", "1", "1", "1"]).import().unwrap();
    let one: (&[u64], &[f32]) = (&[1, 1, 1, 1], &[1.0]);
    let outputs = run(model, &[("q", one.0, one.1), ("k", one.0, one.1), ("v", one.0, one.1)]).unwrap();
    assert_eq!(outputs[0].as_f32().unwrap(), [1.0]);
}
