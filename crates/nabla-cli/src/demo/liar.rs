//! A dishonest operator: its node runs other weights than the model's, and says nothing.

use anyhow::Result;
use nabla_client::publish::Package;
use nabla_engine::{Engine, ModelCache, Parts};
use nabla_node::{Config, models::cache_config};

/// Put a cheaper model in the named one's place: the same graph, other weights, in the folder where the node
/// keeps what it has checked and packed. Its operator can write there; everything else about it is honest.
pub(super) fn plant(config: &Config, engine: Engine, package: &Package) -> Result<()> {
    let mut weights = package.weights.clone();
    for value in weights.chunks_exact_mut(4) {
        // Halve each f32 by lowering its exponent, where it has one to lower.
        let bits = u32::from_le_bytes([value[0], value[1], value[2], value[3]]);
        if bits & 0x7f80_0000 > 0x0080_0000 {
            value.copy_from_slice(&(bits - 0x0080_0000).to_le_bytes());
        }
    }
    let (model, graph) = (package.manifest.model_id(), package.graph.clone());
    let cache = ModelCache::new(engine, cache_config(config))?;
    cache.get(model, || Ok(Parts { graph, weights: Box::new(weights) }))?;
    Ok(())
}
