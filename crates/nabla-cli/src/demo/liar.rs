//! A dishonest operator's engine: it runs other weights than the model's, and says nothing.

use std::sync::Arc;

use nabla_engine::{Engine, Error, Limits, Model, Runtime, Session};

/// Wraps the real engine. Everything about the node is honest but this.
#[derive(Debug)]
pub(super) struct LyingRuntime(pub(super) Arc<Engine>);

impl Runtime for LyingRuntime {
    /// Prepare a cheaper model in the named one's place: the same graph, other weights.
    fn prepare(&self, model: Arc<Model>) -> Result<Arc<dyn Session>, Error> {
        let mut weights = model.weights_bytes();
        for value in weights.chunks_exact_mut(4) {
            // Halve each f32 by lowering its exponent, where it has one to lower.
            let bits = u32::from_le_bytes([value[0], value[1], value[2], value[3]]);
            if bits & 0x7f80_0000 > 0x0080_0000 {
                value.copy_from_slice(&(bits - 0x0080_0000).to_le_bytes());
            }
        }
        let other = Model::from_parts(&model.graph_bytes(), &weights, &Limits::default())?;
        self.0.prepare(Arc::new(other))
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn kernel_spec(&self) -> u32 {
        self.0.kernel_spec()
    }
}
