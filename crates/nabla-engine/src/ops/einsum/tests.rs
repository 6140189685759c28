//! Equations that are wrong, empty sums, diagonals.

use crate::onnx::testing::{FLOAT, File, run};

fn einsum(equation: &str, shapes: &[&[u64]]) -> Result<Vec<f32>, crate::Error> {
    let names = ["a", "b", "c"];
    let mut file = File::new().output("y");
    let mut data = Vec::new();
    for (name, shape) in names.iter().zip(shapes) {
        let dims: Vec<String> = shape.iter().map(u64::to_string).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        file = file.input(name, FLOAT, &dims);
        let count = shape.iter().product::<u64>();
        data.push((0..count).map(|v| f32::from(u16::try_from(v).unwrap())).collect::<Vec<f32>>());
    }
    let file = file.einsum(&names[..shapes.len()], equation);
    let inputs: Vec<(&str, &[u64], &[f32])> = names
        .iter()
        .zip(shapes)
        .zip(&data)
        .map(|((name, shape), data)| (*name, *shape, data.as_slice()))
        .collect();
    Ok(run(file.import()?, &inputs)?[0].as_f32().unwrap().to_vec())
}

impl File {
    fn einsum(self, inputs: &[&str], equation: &str) -> Self {
        use crate::onnx::testing::{bytes, int, text};
        let attribute = [text(1, "equation"), bytes(4, equation.as_bytes()), int(20, 3)].concat();
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        node.extend([text(2, "y"), text(4, "Einsum"), bytes(5, &attribute)].concat());
        self.raw(1, &node)
    }
}

#[test]
fn equations() {
    type Case = (&'static str, &'static [&'static [u64]], &'static [f32]);
    let cases: [Case; 6] = [
        ("ij->ji", &[&[2, 2]], &[0.0, 2.0, 1.0, 3.0]),
        ("ii", &[&[2, 2]], &[3.0]),
        ("i,j->ij", &[&[2], &[2]], &[0.0, 0.0, 0.0, 1.0]),
        ("...,...->...", &[&[2], &[1]], &[0.0, 0.0]),
        ("ij,jk", &[&[2, 2], &[2, 1]], &[1.0, 3.0]),
        ("ij,ij,ij->", &[&[1, 2], &[1, 2], &[1, 2]], &[1.0]),
    ];
    for (equation, shapes, expected) in cases {
        assert_eq!(einsum(equation, shapes).unwrap(), expected, "{equation}");
    }
}

#[test]
fn wrong_equations_are_refused() {
    for (equation, shape) in [
        ("ij->ik", &[2, 2][..]),
        ("ij->ii", &[2, 2]),
        ("ijk->i", &[2, 2]),
        ("ii->i", &[2, 3]),
        ("..i->i", &[2]),
        ("......->", &[2]),
        ("i,->i", &[2]),
        ("i->i->i", &[2]),
        ("\u{e9}->", &[2]),
        ("", &[2]),
    ] {
        assert!(einsum(equation, &[shape]).is_err(), "{equation}");
    }
}
