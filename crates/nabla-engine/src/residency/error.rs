//! Why a model is not there.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use nabla_types::ModelId;

use crate::Error;

/// What a caller's `open` may fail with.
pub type SourceError = Box<dyn StdError + Send + Sync>;

/// Why [`crate::ModelCache`] has no answer. Everyone who waits for a load gets the same error, so sources
/// are shared.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CacheError {
    /// The caller's `open` failed.
    #[error("the model's parts cannot be opened")]
    Open {
        /// What `open` said.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The caller's `check` refused what was loaded.
    #[error("the model is not what it was said to be")]
    Refused {
        /// What `check` said.
        #[source]
        source: Arc<dyn StdError + Send + Sync>,
    },
    /// The weights cannot be read.
    #[error("cannot read {length} bytes at {offset} of the model's weights")]
    Read {
        /// First byte.
        offset: u64,
        /// Bytes asked for.
        length: u64,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// The engine refuses the model.
    #[error("the model is refused")]
    Model {
        /// Why.
        #[source]
        source: Arc<Error>,
    },
    /// The model does not fit beside what may not go away now.
    #[error(
        "{needed} bytes are needed and {max} allowed, of which {held} are held by models in use or pinned \
         ({}) and {loading} by other loads; wait, unpin, or allow more",
        .holders.iter().map(ModelId::short).collect::<Vec<_>>().join(", ")
    )]
    NoRoom {
        /// Bytes that the load needs.
        needed: u64,
        /// Bytes that the cache may take.
        max: u64,
        /// Bytes of models that are leased or pinned.
        held: u64,
        /// Bytes that other loads have reserved.
        loading: u64,
        /// The models that are leased or pinned.
        holders: Vec<ModelId>,
    },
    /// Another process, or another cache of this one, owns the folder.
    #[error("the folder {} of packed models is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// No thread for reading ahead.
    #[error("no thread to read the model with")]
    Thread {
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
    /// The load ended without an answer: its thread, or the reader it was given, panicked.
    #[error("the load of the model was abandoned; ask again")]
    Abandoned,
}

impl From<Error> for CacheError {
    fn from(source: Error) -> Self {
        Self::Model { source: Arc::new(source) }
    }
}
