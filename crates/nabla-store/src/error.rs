//! Everything that can go wrong here, with what was expected, what was got and what to do.

use std::{io, path::PathBuf};

use nabla_types::{
    BlobId, LayoutId, NetworkId, ShardId,
    layout::{LayoutError, SHARDS_MAX},
};

/// Why the store refused, or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `1 <= k <= n <= 256` does not hold.
    #[error("expected 1 <= k <= n <= {SHARDS_MAX}, got k={k} n={n}; correct the coding in the config")]
    Code {
        /// Shards needed.
        k: u16,
        /// Shards made.
        n: u16,
    },
    /// The layout makes no sense, or the blob is too large for any.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The layout has no such shard.
    #[error("blob {}: no shard {index}, the layout has {n} (0 to {})", blob.short(), n.saturating_sub(1))]
    ShardIndex {
        /// The blob.
        blob: BlobId,
        /// The index that was named.
        index: u16,
        /// Shards in the layout.
        n: u16,
    },
    /// A shard of another length than the layout's.
    #[error(
        "blob {}, shard {index}: expected {expected} bytes, got {got}; whoever sent it is wrong, ask another holder",
        blob.short()
    )]
    ShardLength {
        /// The blob.
        blob: BlobId,
        /// Which shard.
        index: u16,
        /// Bytes that the layout says.
        expected: u64,
        /// Bytes that came.
        got: u64,
    },
    /// A shard with other bytes than the layout's.
    #[error(
        "blob {}, shard {index}: expected hash {expected}, got {got}; whoever sent it is wrong, ask another holder",
        blob.short()
    )]
    ShardHash {
        /// The blob.
        blob: BlobId,
        /// Which shard.
        index: u16,
        /// The hash that the layout names.
        expected: ShardId,
        /// The hash of what came.
        got: ShardId,
    },
    /// The blob cannot be rebuilt from what is left.
    #[error(
        "blob {}: {needed} of {n} shards are needed, {found} found; start more of its storage nodes or publish it again",
        blob.short()
    )]
    TooFewShards {
        /// The blob.
        blob: BlobId,
        /// Shards that suffice.
        needed: u16,
        /// Good shards at hand.
        found: u16,
        /// Shards that were made.
        n: u16,
    },
    /// Good shards made another blob than the layout names: the layout itself lies.
    #[error(
        "the shards are those of the layout but rebuild to blob {got}, expected {expected}; the layout was made wrongly, publish the blob again"
    )]
    WrongBlob {
        /// The blob that the layout names.
        expected: BlobId,
        /// The blob that the shards make.
        got: BlobId,
    },
    /// The coding library refused. Its conditions are checked before it is called.
    #[error("Reed-Solomon arithmetic refused its input")]
    Coding {
        /// Its reason.
        source: reed_solomon_simd::Error,
    },
    /// The blob is not here.
    #[error("blob {blob} is not in this store")]
    MissingBlob {
        /// The blob.
        blob: BlobId,
    },
    /// The shard is not here.
    #[error("shard {index} of layout {layout} is not held here")]
    MissingShard {
        /// The coding it belongs to.
        layout: LayoutId,
        /// Which shard.
        index: u16,
    },
    /// The blob is larger than the caller accepts.
    #[error("blob {} has {got} bytes, at most {max} are accepted here", blob.short())]
    TooLarge {
        /// The blob.
        blob: BlobId,
        /// Its length in bytes.
        got: u64,
        /// Bytes that the caller accepts.
        max: u64,
    },
    /// The range reaches beyond the blob, or runs backwards.
    #[error("blob {}: bytes {start}..{end} were asked for, it has {size_bytes}", blob.short())]
    Range {
        /// The blob.
        blob: BlobId,
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// The blob's length in bytes.
        size_bytes: u64,
    },
    /// The disk changed a blob. The file is removed.
    #[error("blob {expected} was damaged on disk (its bytes now hash to {got}) and removed; fetch it again")]
    DamagedBlob {
        /// The blob.
        expected: BlobId,
        /// The hash of what was read.
        got: BlobId,
    },
    /// The disk changed a shard. The file is removed.
    #[error(
        "shard {index} of layout {layout} was damaged on disk (expected hash {expected}, got {got}) and removed; repair it from other holders"
    )]
    DamagedShard {
        /// The coding it belongs to.
        layout: LayoutId,
        /// Which shard.
        index: u16,
        /// The hash it had when it was kept.
        expected: ShardId,
        /// The hash of what was read.
        got: ShardId,
    },
    /// More than the config grants.
    #[error(
        "{needed_bytes} bytes do not fit: {used_bytes} of the granted {bytes_max} are used; raise bytes_max or remove something"
    )]
    Quota {
        /// Bytes to be added.
        needed_bytes: u64,
        /// Bytes used already.
        used_bytes: u64,
        /// Bytes granted.
        bytes_max: u64,
    },
    /// The file system has no room. Nothing was left behind.
    #[error("no room left to {deed} {path:?}; free space or move the data folder")]
    Full {
        /// What was tried.
        deed: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The folder is locked.
    #[error("{path:?} is in use by another process; stop it first, or name another data folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The folder was made for another network.
    #[error(
        "{path:?} belongs to network {}, this node is on {}; name another data folder",
        got.short(), expected.short()
    )]
    WrongNetwork {
        /// The folder.
        path: PathBuf,
        /// The network of this node.
        expected: NetworkId,
        /// The network that the folder names.
        got: NetworkId,
    },
    /// The folder holds something else.
    #[error("{path:?} is no folder of {expected} of nabla (found {got:?}); name an empty or a new folder")]
    WrongFolder {
        /// The folder.
        path: PathBuf,
        /// The kind that was to be opened.
        expected: String,
        /// The first line of its marker, or the name of a foreign file.
        got: String,
    },
    /// The file system failed.
    #[error("cannot {deed} {path:?}")]
    Io {
        /// What was tried.
        deed: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A store that is reached over something else (a network) failed. Whether a `put` took effect is
    /// unknown; it may be repeated.
    #[error("cannot {deed} blob {}", blob.short())]
    Remote {
        /// What was tried: "fetch", "publish".
        deed: &'static str,
        /// Which blob.
        blob: BlobId,
        /// The transport's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    /// The error of a file operation: [`Error::Full`] if there was no room, else [`Error::Io`].
    pub(crate) fn io(deed: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let path = path.into();
        move |source| match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge => Self::Full { deed, path, source },
            _ => Self::Io { deed, path, source },
        }
    }
}

impl From<reed_solomon_simd::Error> for Error {
    fn from(source: reed_solomon_simd::Error) -> Self {
        Self::Coding { source }
    }
}
