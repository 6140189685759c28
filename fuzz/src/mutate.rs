//! Small changes to valid inputs, all of them following from one seed.

/// A counter-based generator (SplitMix64): equal seeds, equal inputs.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// Bytes at which encodings change their meaning.
const EDGES: [u8; 12] = [0x00, 0x01, 0x17, 0x18, 0x1b, 0x3b, 0x5b, 0x7f, 0x80, 0x9b, 0xbf, 0xff];
/// Pieces that mean something in JSON, TOML, CBOR or protobuf.
const PIECES: [&[u8]; 16] = [
    b"\"",
    b"[",
    b"]",
    b"{}",
    b"null",
    b"-0",
    b"1e999",
    b"18446744073709551616",
    b"NaN",
    b"\\ud800",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
    b"\x9f\xff",
    b"\xc2\xd8\x18",
    b"\x00\x00\x00\x00\x00\x00\x00\x00",
];

impl Random {
    /// The generator of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if there is none.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.number() % bound).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.number().to_le_bytes()[0]
    }

    /// An input made from `corpus`: one of it with a few changes, or, now and then, nothing but noise.
    #[must_use]
    pub fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if corpus.is_empty() || self.below(32) == 0 {
            return (0..self.below(256)).map(|_| self.byte()).collect();
        }
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus);
        }
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        let at = self.below(input.len());
        let until = (at + 1 + self.below(16)).min(input.len());
        match (self.below(9), input.get(at).copied()) {
            (0 | 1, Some(byte)) => input[at] = byte ^ (1 << self.below(8)),
            (2, Some(_)) => input[at] = EDGES[self.below(EDGES.len())],
            (3, Some(_)) => input[at] = self.byte(),
            (4, Some(_)) => input.truncate(at),
            (5, Some(_)) => drop(input.drain(at..until)),
            (6, Some(_)) => {
                let piece = input[at..until].to_vec();
                let to = self.below(input.len());
                input.splice(to..to, piece);
            }
            (7, Some(_)) => {
                let other = &corpus[self.below(corpus.len())];
                input.truncate(at);
                input.extend_from_slice(&other[self.below(other.len())..]);
            }
            _ => {
                let piece = PIECES[self.below(PIECES.len())];
                input.splice(at..at, piece.iter().copied());
            }
        }
    }
}
