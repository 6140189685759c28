//! What the ledger's participants exchange: genesis, transactions, blocks and proofs.
//!
//! The rules that these obey stand in `nabla-ledger`; the tree of receipts in `nabla-verify`.

mod block;
mod genesis;
mod state;
mod tx;

pub use block::{BLOCK_BYTES_MAX, Block, Header, InclusionProof, SignedHeader};
pub use genesis::{Allocation, Genesis};
pub use state::{
    Account, NodeRecord, Payment, PaymentStatus, RepoRecord, RevisionRecord, StoredBlob, VerdictRecord,
};
pub use tx::{
    BlobRegistration, ENDPOINT_BYTES_MAX, ModelRegistration, NodeAnnouncement, Outcome, Reassignment,
    Release, Reservation, Role, TX_BYTES_MAX, Tx, Verdict,
};
