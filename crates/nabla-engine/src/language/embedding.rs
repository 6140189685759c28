//! A text as one vector.
//!
//! # Rules
//! Of the numbers that logits would be made of, for each token: the mean over tokens, or those of one token. Sums run
//! over tokens in order, in f64; the vector is divided by its length in f64, and rounded once to f32. A vector of
//! zeros stays one.

use super::TextModel;
use crate::{Error, Limits};

/// Tokens that are run at a time.
const STEP: usize = 256;

/// Which tokens make the vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pooling {
    /// All of them, alike.
    #[default]
    Mean,
    /// The first one, for models that were trained so.
    Cls,
    /// The last one, which alone has seen all others.
    Last,
}

/// The vector of these tokens: as many numbers as the model's width, of length 1.
///
/// # Errors
/// [`Error::Setting`] for no tokens, [`Error::Limit`] for more than the context or memory holds, [`Error::Token`].
pub fn embed(
    model: &TextModel,
    tokens: &[u32],
    pooling: Pooling,
    limits: &Limits,
) -> Result<Vec<f32>, Error> {
    if tokens.is_empty() {
        let (expected, got) = ("one token or more".to_owned(), "none".to_owned());
        return Err(Error::Setting { what: "text to embed", expected, got });
    }
    let width = model.config().embedding_length;
    let mut context = model.model().context(tokens.len(), limits)?;
    let mut sum = vec![0.0_f64; width];
    for (index, piece) in tokens.chunks(STEP).enumerate() {
        let states = context.states(piece, piece.len())?;
        for (token, row) in states.chunks_exact(width).enumerate() {
            let place = index * STEP + token;
            let counts = match pooling {
                Pooling::Mean => true,
                Pooling::Cls => place == 0,
                Pooling::Last => place + 1 == tokens.len(),
            };
            if counts {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
            }
        }
    }
    Ok(of_length_one(&sum))
}

/// The count of a mean is left out: it does not change the direction.
#[expect(clippy::cast_possible_truncation, reason = "the one rounding to f32")]
fn of_length_one(sum: &[f64]) -> Vec<f32> {
    let square: f64 = sum.iter().map(|x| x * x).sum();
    let length = square.sqrt();
    let divisor = if length > 0.0 { length } else { 1.0 };
    sum.iter().map(|x| (x / divisor) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::tests::text_model;

    #[test]
    fn a_text_has_one_vector_of_length_one_on_every_build() {
        let expected: Vec<_> = vectors(&text_model(crate::Kernels::Scalar, 1));
        for kernels in [crate::Kernels::Avx2, crate::Kernels::Avx512, crate::Kernels::Neon] {
            if crate::Engine::new(kernels).is_ok() {
                assert_eq!(vectors(&text_model(kernels, 2)), expected, "{kernels}");
            }
        }
        for vector in &expected {
            let square: f32 = vector.iter().map(|x| x * x).sum();
            assert!((square - 1.0).abs() < 1e-5, "{square}");
        }
        assert_ne!(expected[0], expected[2], "pooling counts");
        let error = embed(&text_model(crate::Kernels::Auto, 1), &[], Pooling::Mean, &Limits::default());
        assert!(error.unwrap_err().to_string().contains("one token or more"));
    }

    fn vectors(model: &TextModel) -> Vec<Vec<f32>> {
        let tokens = [5, 9, 1, 30, 2, 5, 5];
        let of = |pooling| embed(model, &tokens, pooling, &Limits::default()).unwrap();
        let first = embed(model, &tokens[..1], Pooling::Last, &Limits::default()).unwrap();
        assert_eq!(of(Pooling::Cls), first, "the first token sees no other");
        vec![of(Pooling::Mean), of(Pooling::Cls), of(Pooling::Last)]
    }
}
