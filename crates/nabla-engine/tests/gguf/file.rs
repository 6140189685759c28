//! GGUF files made by hand, right or wrong, for the tests of the reader.

/// Codes of types of values.
pub(crate) const U32: u32 = 4;
pub(crate) const F32: u32 = 6;
pub(crate) const TEXT: u32 = 8;
pub(crate) const ARRAY: u32 = 9;
pub(crate) const U64: u32 = 10;

/// A length and a text.
pub(crate) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A file, to be written with right counts, offsets and padding.
#[derive(Clone)]
pub(crate) struct File {
    version: u32,
    alignment: usize,
    keys: Vec<Vec<u8>>,
    table: Vec<Vec<u8>>,
    data: Vec<u8>,
}

impl File {
    pub(crate) fn new() -> Self {
        Self { version: 3, alignment: 32, keys: Vec::new(), table: Vec::new(), data: Vec::new() }
    }

    pub(crate) fn version(self, version: u32) -> Self {
        Self { version, ..self }
    }

    /// Where tensors begin; the key that says so is not written.
    pub(crate) fn aligned(self, alignment: usize) -> Self {
        Self { alignment, ..self }
    }

    /// A key, the code of its type and the bytes of its value.
    pub(crate) fn key(mut self, name: &str, kind: u32, value: &[u8]) -> Self {
        self.keys.push([&text(name), kind.to_le_bytes().as_slice(), value].concat());
        self
    }

    pub(crate) fn u32(self, name: &str, value: u32) -> Self {
        self.key(name, U32, &value.to_le_bytes())
    }

    pub(crate) fn f32(self, name: &str, value: f32) -> Self {
        self.key(name, F32, &value.to_le_bytes())
    }

    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        self.key(name, TEXT, &text(value))
    }

    /// An array: the code of the type of its elements, their number, and their bytes.
    pub(crate) fn array(self, name: &str, kind: u32, length: u64, values: &[u8]) -> Self {
        self.key(name, ARRAY, &[&kind.to_le_bytes(), length.to_le_bytes().as_slice(), values].concat())
    }

    pub(crate) fn texts(self, name: &str, values: &[&str]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| text(value)).collect();
        self.array(name, TEXT, values.len() as u64, &bytes)
    }

    /// A tensor at the end of the data: sizes innermost first, the code of its type, its bytes.
    pub(crate) fn tensor(self, name: &str, sizes: &[u64], kind: u32, bytes: &[u8]) -> Self {
        let offset = self.data.len().next_multiple_of(self.alignment);
        let mut file = self.row(name, sizes, kind, offset as u64);
        file.data.resize(offset, 0);
        file.data.extend_from_slice(bytes);
        file
    }

    /// A row of the table alone.
    pub(crate) fn row(mut self, name: &str, sizes: &[u64], kind: u32, offset: u64) -> Self {
        let rank = u32::try_from(sizes.len()).expect("few").to_le_bytes();
        let sizes: Vec<u8> = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let row = [&text(name), rank.as_slice(), &sizes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat();
        self.table.push(row);
        self
    }

    pub(crate) fn build(&self) -> Vec<u8> {
        self.counted(self.table.len() as u64, self.keys.len() as u64)
    }

    /// With counts that need not be right.
    pub(crate) fn counted(&self, tensors: u64, keys: u64) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(tensors.to_le_bytes());
        bytes.extend(keys.to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.table.concat());
        bytes.resize(bytes.len().next_multiple_of(self.alignment), 0);
        bytes.extend_from_slice(&self.data);
        bytes
    }
}
