//! Keep bytes under their hash, coded over many nodes, and prove any range of them.
//!
//! A blob is cut into `n` shards of which any `k` rebuild it ([`code`]); every shard is checked against
//! the blob's [`Layout`](nabla_types::layout::Layout) wherever it arrives. A storage node keeps shards in
//! a [`ShardStore`]; [`placement`] says which node gets which. Whoever wants whole blobs uses the seam
//! [`Store`] and does not see shards at all.
//!
//! | module | what it holds |
//! |---|---|
//! | [`code`] | [`encode`], [`check_shard`], [`Rebuilder`]: bytes to shards and back |
//! | [`shards`] | [`ShardStore`], the shards that one storage node holds on disk |
//! | [`store`] | the seam [`Store`], and [`MemoryStore`] |
//! | [`folder_store`] | [`FolderStore`], whole blobs in a folder: an inference node's cache |
//! | [`conformance`] | the suite that every [`Store`] passes |
//! | [`placement`] | which node holds which shard |
//! | [`data_folder`] | [`DataFolder`], a folder that one process owns and writes atomically |
//! | [`error`] | [`enum@Error`] |
//!
//! # Rules
//! - Nothing is returned, kept or acknowledged that was not hashed and compared.
//! - A claimed size allocates nothing: only bytes that are here do.
//! - No network, no clock, no threads, no async. Transport lives in the crates above.
//!
//! # Deliberately absent
//! Proofs of a range without the whole blob, repair, leases, eviction: they come with the store's own
//! issue, behind the same [`Store`].
//!
//! # Example
//! ```
//! use nabla_store::{Code, Rebuilder, encode};
//!
//! let encoded = encode(b"weights of a small model", Code::new(3, 5)?)?;
//! // Two of the five holders are gone; what the others send is checked on arrival.
//! let mut rebuilder = Rebuilder::new(encoded.layout.clone())?;
//! for index in [1, 3, 4] {
//!     rebuilder.add(index, encoded.shards[usize::from(index)].to_vec())?;
//! }
//! assert_eq!(rebuilder.finish()?, b"weights of a small model");
//! # Ok::<(), nabla_store::Error>(())
//! ```

pub mod code;
pub mod conformance;
pub mod data_folder;
pub mod error;
pub mod folder_store;
pub mod placement;
pub mod shards;
mod shelf;
pub mod store;

pub use code::{Code, Encoded, Rebuilder, check_shard, encode, rebuild, shard_id};
pub use data_folder::DataFolder;
pub use error::Error;
pub use folder_store::FolderStore;
pub use shards::{HeldShard, ScrubReport, ShardStore};
pub use shelf::{FolderConfig, Put};
pub use store::{MemoryStore, Store};
