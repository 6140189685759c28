//! The JSON bodies that only a gateway sends. What clients and nodes share stands in `nabla_types::api`.

use nabla_types::{NodeId, Opg, chain::RepoRecord, manifest::ModelManifest};
use serde::{Deserialize, Serialize};

/// `GET /nabla/v1/models/{owner}/{name}`: a repository, its newest model, and who would run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// The ledger's record.
    pub record: RepoRecord,
    /// Of the newest revision's model.
    pub manifest: ModelManifest,
    /// What a call with one row costs; `None` if nobody would run it now.
    pub price_per_row: Option<PriceRange>,
    /// Who would run it and is not full.
    pub providers: Vec<NodeId>,
    /// Those of them that have it loaded.
    pub warm_providers: Vec<NodeId>,
}

/// From the cheapest to the dearest provider, royalty included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceRange {
    /// Least.
    pub least: Opg,
    /// Most.
    pub most: Opg,
}
