//! Groups of none, constants, and attributes out of range; equal builds.

use crate::Error;
use crate::onnx::testing::{FLOAT, File, Value, run};

fn norm(
    operator: &str,
    inputs: &[&str],
    attributes: &[(&str, Value<'_>)],
    x: &[f32],
) -> Result<Vec<f32>, Error> {
    let mut file = File::new()
        .input("x", FLOAT, &["1", "4", "N"])
        .output("y")
        .weight("s", &[4], &[1.0, 2.0, 1.0, 2.0])
        .weight("b", &[4], &[0.0, 0.0, 1.0, 1.0])
        .node(operator, inputs, &["y"], attributes);
    file.opsets = vec![("", 21)];
    let shape = [1, 4, x.len() as u64 / 4];
    Ok(run(file.import()?, &[("x", &shape, x)])?[0].as_f32().unwrap().to_vec())
}

#[test]
fn a_constant_becomes_the_bias() {
    let answer = norm("GroupNormalization", &["x", "s", "b"], &[("num_groups", Value::Int(2))], &[3.0; 4]);
    assert_eq!(answer.unwrap(), [0.0, 0.0, 1.0, 1.0]);
    let answer = norm("InstanceNormalization", &["x", "s", "b"], &[], &[3.0; 8]);
    assert_eq!(answer.unwrap(), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0]);
    assert_eq!(norm("LpNormalization", &["x"], &[], &[0.0; 8]).unwrap(), [0.0; 8]);
    assert_eq!(norm("LpNormalization", &["x"], &[("axis", Value::Int(1))], &[2.0; 4]).unwrap(), [0.5; 4]);
}

#[test]
fn attributes_out_of_range_are_refused() {
    for groups in [0, 3, -4, i64::MIN] {
        let attributes = [("num_groups", Value::Int(groups))];
        assert!(norm("GroupNormalization", &["x", "s", "b"], &attributes, &[3.0; 4]).is_err());
    }
    for (operator, name, value) in [
        ("LpNormalization", "p", 3),
        ("LpNormalization", "axis", 3),
        ("LpNormalization", "axis", -4),
        ("LRN", "size", 0),
        ("LRN", "size", i64::MAX),
    ] {
        assert!(
            norm(operator, &["x"], &[(name, Value::Int(value))], &[3.0; 4]).is_err(),
            "{operator} {name}"
        );
    }
    assert!(norm("LayerNormalization", &["x", "s"], &[], &[3.0; 8]).is_err());
}
