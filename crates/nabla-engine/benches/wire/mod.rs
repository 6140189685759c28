//! A model made by hand, in ONNX's wire format.

use nabla_engine::{Limits, Model, NoExternalData, import_onnx};

/// A model of one matrix product, written in the wire format by hand.
pub(crate) fn matmul(k: u64, n: u64) -> Model {
    let weights: Vec<u8> = (0..k * n).flat_map(|i| ((i % 13) as f32 * 0.1 - 0.6).to_le_bytes()).collect();
    let node = [text(1, "x"), text(1, "w"), text(2, "y"), text(4, "MatMul")].concat();
    let weight =
        [vec![0x08], varint(k), vec![0x08], varint(n), vec![0x10, 1], text(8, "w"), field(9, &weights)]
            .concat();
    let dims = [field(1, &text(2, "N")), field(1, &[vec![0x08], varint(k)].concat())].concat();
    let ty = field(1, &[vec![0x08, 1], field(2, &dims)].concat());
    let input = [text(1, "x"), field(2, &ty)].concat();
    let graph = [field(1, &node), field(5, &weight), field(11, &input), field(12, &text(1, "y"))].concat();
    let file = [vec![0x08, 8], field(7, &graph), field(8, &[0x10, 17])].concat();
    import_onnx(&file, &NoExternalData, &Limits::default()).unwrap()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

fn text(number: u64, text: &str) -> Vec<u8> {
    field(number, text.as_bytes())
}
