//! Memory of values that are no longer needed, for values that come.
//!
//! Large blocks from the system cost a page fault per 4 KiB each time; here they are paid once.

use std::cell::RefCell;

use nabla_types::tensor::{Tensor, TensorData};

/// Blocks below this are left to the allocator.
const ELEMENTS_LEAST: usize = 4096;
/// Most blocks that are kept.
const BLOCKS_MAX: usize = 32;

/// Free blocks of f32. Not shared between threads; a session keeps one for each run in flight.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: RefCell<Vec<Vec<f32>>>,
}

impl Pool {
    /// `count` elements of arbitrary content.
    pub(crate) fn f32s(&self, count: usize) -> Vec<f32> {
        let mut free = self.free.borrow_mut();
        // A block of just this length needs no filling; runs of one plan ask for the same lengths again and again.
        let same = |block: &Vec<f32>| block.len() == count;
        let fits = |block: &Vec<f32>| block.capacity() >= count && block.capacity() / 2 <= count;
        let found = if count < ELEMENTS_LEAST {
            None
        } else {
            free.iter().position(same).or_else(|| free.iter().position(fits))
        };
        match found {
            Some(at) => {
                let mut block = free.swap_remove(at);
                block.resize(count, 0.0);
                block
            }
            None => vec![0.0; count],
        }
    }

    /// Keep the memory of a value.
    pub(crate) fn give(&self, tensor: Tensor) {
        if let (_, TensorData::F32(block)) = tensor.into_parts()
            && block.capacity() >= ELEMENTS_LEAST
        {
            let mut free = self.free.borrow_mut();
            if free.len() >= BLOCKS_MAX {
                free.remove(0);
            }
            free.push(block);
        }
    }
}
