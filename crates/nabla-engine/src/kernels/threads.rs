//! The processor as kernels see it: which build, how many threads.
//!
//! # Rules
//! - Threads get disjoint pieces of an output. No value is ever combined across threads, so their number
//!   changes no bit.
//! - Every worker's floating-point mode is checked when it starts.
//! - With one thread nothing is spawned and nothing is boxed.

use std::fmt;
use std::sync::Arc;

use rayon::ThreadPool;
use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

use super::buffer::Shelf;
use super::{Isa, check_float_mode};
use crate::{Error, Kernels};

/// The build in use, the threads, and scratch.
#[derive(Clone)]
pub(crate) struct Cpu {
    isa: Isa,
    threads: usize,
    pool: Option<Arc<ThreadPool>>,
    shelf: Arc<Shelf>,
}

impl Cpu {
    /// Kernels on so many threads (0 counts as 1).
    ///
    /// # Errors
    /// [`Error::Kernels`] if the processor cannot run them, [`Error::Threads`] if the threads cannot be had,
    /// and [`Error::FloatMode`] if one of them does not compute as IEEE 754 has it.
    pub(crate) fn new(kernels: Kernels, threads: usize) -> Result<Self, Error> {
        let isa = Isa::choose(kernels)?;
        let threads = threads.max(1);
        let mut pool = None;
        if threads > 1 {
            let built = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(|index| format!("nabla-engine-{index}"))
                .build()
                .map_err(|source| Error::Threads { count: threads, problem: source.to_string() })?;
            built.broadcast(|_| check_float_mode()).into_iter().collect::<Result<(), Error>>()?;
            pool = Some(Arc::new(built));
        }
        Ok(Self { isa, threads, pool, shelf: Arc::default() })
    }

    /// The portable build on the calling thread.
    pub(crate) fn scalar() -> Self {
        Self { isa: Isa::Scalar, threads: 1, pool: None, shelf: Arc::default() }
    }

    /// The same kernels and scratch on the calling thread only.
    pub(crate) fn alone(&self) -> Self {
        Self { threads: 1, pool: None, ..self.clone() }
    }

    pub(crate) fn isa(&self) -> Isa {
        self.isa
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    /// Give each chunk of `out` to `work`, with its index. Work on fewer than `grain` elements is not shared.
    pub(crate) fn chunks<T: Send>(
        &self,
        out: &mut [T],
        chunk_length: usize,
        grain: usize,
        work: impl Fn(usize, &mut [T]) + Send + Sync,
    ) {
        let chunk_length = chunk_length.max(1);
        match &self.pool {
            Some(pool) if out.len() > chunk_length && out.len() >= grain => {
                let chunks_min = grain.div_ceil(chunk_length).max(1);
                pool.install(|| {
                    let chunks = out.par_chunks_mut(chunk_length).enumerate();
                    chunks.with_min_len(chunks_min).for_each(|(index, chunk)| work(index, chunk));
                });
            }
            _ => out.chunks_mut(chunk_length).enumerate().for_each(|(index, chunk)| work(index, chunk)),
        }
    }

    /// Give each job to `work`, on whichever thread is free.
    pub(crate) fn each<T: Send>(&self, jobs: Vec<T>, work: impl Fn(T) + Send + Sync) {
        match &self.pool {
            Some(pool) if jobs.len() > 1 => {
                pool.install(|| jobs.into_par_iter().with_max_len(1).for_each(work));
            }
            _ => jobs.into_iter().for_each(work),
        }
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cpu").field("isa", &self.isa).field("threads", &self.threads).finish_non_exhaustive()
    }
}
