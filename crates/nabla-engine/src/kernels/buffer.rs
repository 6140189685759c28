//! Bytes at a multiple of 64: weights as kernels read them, and scratch that is used again.
//!
//! # Rules
//! - A [`Buffer`] never changes; a clone is the same bytes.
//! - Every view has been checked for alignment and length when it is made.
//!
//! # When things go wrong
//! [`Buffer::shared`] gives `None` for bytes at another address; views of a buffer whose length is no
//! multiple of the element are cut to whole elements.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::Pod;

/// Alignment of every buffer: a cache line, a vector register.
pub(crate) const ALIGNMENT: usize = 64;
/// Buffers that a [`Shelf`] keeps at most; more threads than that allocate anew.
const KEPT: usize = 64;

/// Owned bytes at a multiple of [`ALIGNMENT`], all zero at first.
///
/// The bytes lie inside a longer vector, which is never resized, so that its start stays where it is.
#[derive(Default)]
pub(crate) struct Aligned {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    /// Zeros for so many elements.
    pub(crate) fn zeroed<T: Pod>(elements: usize) -> Self {
        let length = elements.saturating_mul(size_of::<T>());
        let bytes = vec![0; length.saturating_add(ALIGNMENT)];
        let start = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, start, length }
    }

    pub(crate) fn as_mut<T: Pod>(&mut self) -> &mut [T] {
        let whole = self.length - self.length % size_of::<T>();
        bytemuck::try_cast_slice_mut(&mut self.bytes[self.start..][..whole]).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Aligned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.length]
    }
}

impl fmt::Debug for Aligned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Aligned({} bytes)", self.length)
    }
}

/// Immutable bytes at a multiple of [`ALIGNMENT`], cheap to clone.
#[derive(Clone)]
pub(crate) struct Buffer(Arc<dyn AsRef<[u8]> + Send + Sync>);

impl Buffer {
    pub(crate) fn new(bytes: Aligned) -> Self {
        Self(Arc::new(bytes))
    }

    /// Bytes that somebody else keeps, such as a mapped file; `None` if they are not aligned.
    pub(crate) fn shared(bytes: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Option<Self> {
        let whole = (*bytes).as_ref();
        (whole.is_empty() || whole.as_ptr().addr().is_multiple_of(ALIGNMENT)).then_some(Self(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        (*self.0).as_ref()
    }

    pub(crate) fn view<T: Pod>(&self) -> &[T] {
        let bytes = self.as_bytes();
        bytemuck::try_cast_slice(&bytes[..bytes.len() - bytes.len() % size_of::<T>()]).unwrap_or_default()
    }

    pub(crate) fn as_f32(&self) -> &[f32] {
        self.view()
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new(Aligned::default())
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.as_bytes().len())
    }
}

/// Scratch that goes back after use, so that a run does not ask the system for memory at every operator.
#[derive(Debug, Default)]
pub(crate) struct Shelf(Mutex<Vec<Aligned>>);

impl Shelf {
    /// Scratch for so many elements. Its contents are whatever they were.
    pub(crate) fn take<T: Pod>(&self, elements: usize) -> Scratch<'_> {
        let needed = elements.saturating_mul(size_of::<T>());
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.filter(|bytes| bytes.length >= needed);
        // Powers of two, so that a slightly longer need finds the same buffer.
        let fresh = || Aligned::zeroed::<u8>(needed.checked_next_power_of_two().unwrap_or(needed));
        Scratch { shelf: self, bytes: bytes.unwrap_or_else(fresh) }
    }
}

/// Scratch on loan from a [`Shelf`].
#[derive(Debug)]
pub(crate) struct Scratch<'a> {
    shelf: &'a Shelf,
    bytes: Aligned,
}

impl Scratch<'_> {
    /// All of it, at least as many elements as were asked for.
    pub(crate) fn as_mut<T: Pod>(&mut self) -> &mut [T] {
        self.bytes.as_mut()
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let mut kept = self.shelf.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
