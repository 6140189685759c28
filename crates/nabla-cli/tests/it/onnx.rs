//! A writer of ONNX files, as small as these tests need it.

/// A file in the making: the fields of its graph, in wire format.
#[derive(Debug, Clone, Default)]
pub(crate) struct Onnx(Vec<u8>);

impl Onnx {
    /// An f32 input of a fixed shape.
    pub(crate) fn input(mut self, name: &str, shape: &[u64]) -> Self {
        let dims: Vec<u8> = shape.iter().flat_map(|size| bytes(1, &int(1, *size))).collect();
        let ty = bytes(1, &[int(1, 1), bytes(2, &dims)].concat());
        self.0.extend(bytes(11, &[text(1, name), bytes(2, &ty)].concat()));
        self
    }

    /// An f32 input; a dimension that is no number is the name of an open one.
    pub(crate) fn named_input(mut self, name: &str, shape: &[&str]) -> Self {
        let dim = |dim: &&str| match dim.parse() {
            Ok(size) => bytes(1, &int(1, size)),
            Err(_) => bytes(1, &text(2, dim)),
        };
        let dims: Vec<u8> = shape.iter().flat_map(dim).collect();
        let ty = bytes(1, &[int(1, 1), bytes(2, &dims)].concat());
        self.0.extend(bytes(11, &[text(1, name), bytes(2, &ty)].concat()));
        self
    }

    pub(crate) fn output(mut self, name: &str) -> Self {
        self.0.extend(bytes(12, &text(1, name)));
        self
    }

    pub(crate) fn node(mut self, operator: &str, inputs: &[&str], output: &str) -> Self {
        let mut node: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        node.extend([text(2, output), text(4, operator)].concat());
        self.0.extend(bytes(1, &node));
        self
    }

    /// A constant of f32.
    pub(crate) fn weight(mut self, name: &str, shape: &[u64], values: &[f32]) -> Self {
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.extend(bytes(5, &[tensor(name, shape), bytes(9, &raw)].concat()));
        self
    }

    /// A constant of f32 whose values stand in another file.
    pub(crate) fn external(mut self, name: &str, shape: &[u64], location: &str) -> Self {
        let entry = bytes(13, &[text(1, "location"), text(2, location)].concat());
        self.0.extend(bytes(5, &[tensor(name, shape), entry, int(14, 1)].concat()));
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        let opset = bytes(8, &[text(1, ""), int(2, 17)].concat());
        [int(1, 8), bytes(7, &self.0), opset].concat()
    }
}

/// `y = x W` of one row, with weights from a small generator.
pub(crate) fn linear(rows: u64, columns: u64, seed: u32) -> Onnx {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        f32::from_bits(0x3f00_0000 | state >> 9) - 0.75
    };
    let weights: Vec<f32> = (0..rows * columns).map(|_| next()).collect();
    let file = Onnx::default().input("x", &[1, rows]).output("y").weight("w", &[rows, columns], &weights);
    file.node("MatMul", &["x", "w"], "y")
}

/// Many products of a square matrix with itself, made of a column: little to send, much to compute.
pub(crate) fn slow(size: u64, products: usize) -> Onnx {
    let ones = vec![1.0; usize::try_from(size).expect("a small size")];
    let mut file = Onnx::default()
        .input("x", &[size, 1])
        .output("y")
        .weight("row", &[1, size], &ones)
        .weight("column", &[size, 1], &ones)
        .node("MatMul", &["x", "row"], "p0");
    for number in 0..products {
        let (from, to) = (format!("p{number}"), format!("p{}", number + 1));
        file = file.node("MatMul", &[&from, &from], &to);
    }
    file.node("MatMul", &[&format!("p{products}"), "column"], "y")
}

fn tensor(name: &str, shape: &[u64]) -> Vec<u8> {
    let dims: Vec<u8> = shape.iter().flat_map(|size| int(1, *size)).collect();
    [dims, int(2, 1), text(8, name)].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn text(number: u64, value: &str) -> Vec<u8> {
    bytes(number, value.as_bytes())
}
