//! Several byte strings in one: for bodies whose subject takes more than one foreign input.
//!
//! `length (4 bytes, big-endian) || bytes`, again and again. Reading never fails: a length past the end takes
//! what is left, so that every input means something to the body and a mutation seldom loses the rest.

/// Put `parts` into one input.
#[must_use]
pub fn pack(parts: &[&[u8]]) -> Vec<u8> {
    let mut packed = Vec::new();
    for part in parts {
        let length = u32::try_from(part.len()).expect("seeds are small");
        packed.extend_from_slice(&length.to_be_bytes());
        packed.extend_from_slice(part);
    }
    packed
}

/// Reads what [`pack`] wrote, or anything else.
#[derive(Debug, Clone, Copy)]
pub struct Sections<'a>(pub &'a [u8]);

impl<'a> Sections<'a> {
    /// The next part; empty at the end.
    pub fn part(&mut self) -> &'a [u8] {
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else {
            return std::mem::take(&mut self.0);
        };
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (part, rest) = rest.split_at(length.min(rest.len()));
        self.0 = rest;
        part
    }

    /// Whether nothing is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The first `N` bytes, zeros where there are fewer.
#[must_use]
pub fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    let length = bytes.len().min(N);
    array[..length].copy_from_slice(&bytes[..length]);
    array
}
