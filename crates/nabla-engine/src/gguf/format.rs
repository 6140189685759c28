//! The types of weights in GGUF files.

use crate::Error;

/// How weights are written. `blocks` says what the bytes mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightFormat {
    /// IEEE 754, 32 bits.
    F32,
    /// IEEE 754, 16 bits.
    F16,
    /// The upper half of an f32.
    BF16,
    /// 32 integers of 8 bits with one scale.
    Q8_0,
    /// 32 integers of 4 bits with one scale.
    Q4_0,
    /// 256 integers of 4 bits with eight scales and offsets of 6 bits, and one scale for each kind.
    Q4K,
    /// 256 integers of 6 bits with sixteen scales of 8 bits, and one for these.
    Q6K,
}

/// Types of tensors by their code in ggml. Codes without a row were never given.
const TYPES: [(u32, &str); 42] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (4, "Q4_2"),
    (5, "Q4_3"),
    (6, "Q5_0"),
    (7, "Q5_1"),
    (8, "Q8_0"),
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (12, "Q4_K"),
    (13, "Q5_K"),
    (14, "Q6_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (30, "BF16"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
];

impl WeightFormat {
    /// All formats that are taken.
    pub const ALL: [Self; 7] =
        [Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q4_0, Self::Q4K, Self::Q6K];

    /// The format of ggml's type `code`, in which `place` (a tensor) is written.
    pub(super) fn of(code: u32, place: &str) -> Result<Self, Error> {
        let Some((_, name)) = TYPES.iter().find(|(known, _)| *known == code) else {
            let (expected, got) = ("a type of ggml, 0 to 41".to_owned(), code.to_string());
            return Err(Error::Gguf { place: place.to_owned(), expected, got });
        };
        Self::ALL.into_iter().find(|format| format.name() == *name).ok_or_else(|| Error::Unsupported {
            what: "weights of type",
            got: format!("{name} in {place}"),
            hint: "re-quantise the model to Q4_K, Q6_K or Q8_0",
        })
    }

    /// Its number in ggml.
    pub(super) fn code(self) -> u32 {
        TYPES.iter().find(|(_, name)| *name == self.name()).map_or(u32::MAX, |(code, _)| *code)
    }

    /// Its name in ggml.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::Q8_0 => "Q8_0",
            Self::Q4_0 => "Q4_0",
            Self::Q4K => "Q4_K",
            Self::Q6K => "Q6_K",
        }
    }

    /// Elements of one block. A row is a whole number of blocks.
    #[must_use]
    pub fn block_elements(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q8_0 | Self::Q4_0 => 32,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// Bytes of one block.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q6K => 210,
        }
    }

    /// Whether each element is a float of its own.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self.block_elements() == 1
    }
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
