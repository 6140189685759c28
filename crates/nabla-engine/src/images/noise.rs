//! Initial latents: numbers that are normally distributed, from a seed, by integers.
//!
//! # Rules
//! Value `i` (row-major order of the latents) takes the bytes `256 i .. 256 (i + 1)` of the BLAKE3 output of
//! [`DOMAIN`] and the seed (eight bytes, little endian), read as 128 integers of 16 bits, little endian. Their sum,
//! less its mean 4194240, is exact in f32; that times [`SCALE`], rounded once, is the value.
//!
//! A sum of 128 even numbers is normal but for an excess kurtosis of -0.0094 and an end at 19.6 deviations: no test of
//! a million values sees either. A logarithm, a root or an angle would have been another function to define on every
//! machine; this needs sums of integers and one product.

/// What separates these bytes from others.
const DOMAIN: &[u8] = b"nabla noise 1";
/// Integers in a sum.
const TERMS: i32 = 128;
/// Bytes that a value takes.
const VALUE_BYTES: usize = 256;
/// Of a sum: half of the greatest one.
const MEAN: i32 = TERMS * 0xffff / 2;
/// One over the deviation of a sum, `sqrt(128 (2^32 - 1) / 12)`, as the nearest f32.
const SCALE: f32 = f32::from_bits(0x369c_c471);

/// The first `count` values for this seed.
pub(super) fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut reader = blake3::Hasher::new().update(DOMAIN).update(&seed.to_le_bytes()).finalize_xof();
    let mut bytes = [0; VALUE_BYTES];
    let mut next = || {
        reader.fill(&mut bytes);
        value(&bytes)
    };
    (0..count).map(|_| next()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "the sum is below 2^23: exact")]
fn value(bytes: &[u8; VALUE_BYTES]) -> f32 {
    let terms = bytes.chunks_exact(2).map(|pair| i32::from(u16::from_le_bytes([pair[0], pair[1]])));
    (terms.sum::<i32>() - MEAN) as f32 * SCALE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_is_one_over_the_deviation_of_a_sum() {
        let variance = f64::from(TERMS) * 4_294_967_295.0 / 12.0;
        #[expect(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
        let nearest = (1.0 / variance.sqrt()) as f32;
        assert_eq!(SCALE.to_bits(), nearest.to_bits(), "{:#x}", nearest.to_bits());
        assert_eq!(i64::from(MEAN) * 2, 128 * 65_535);
        assert_eq!(value(&[0; VALUE_BYTES]), -value(&[0xff; VALUE_BYTES]));
    }

    /// Mean, deviation, third and fourth moment of a sample, standardised.
    fn moments(values: &[f32]) -> [f64; 4] {
        #[expect(clippy::cast_precision_loss, reason = "a sample is small")]
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        let central = |power| values.iter().map(|v| (f64::from(*v) - mean).powi(power)).sum::<f64>() / count;
        let deviation = central(2).sqrt();
        [mean, deviation, central(3) / deviation.powi(3), central(4) / deviation.powi(4)]
    }

    /// Bounds of five standard errors of a sample of this size.
    #[test]
    fn values_are_normally_distributed() {
        let count = 1 << 17;
        for seed in [0, 1, u64::MAX] {
            let values = noise(seed, count);
            let error = 5.0 / f64::from(1 << 17).sqrt();
            let [mean, deviation, skew, kurtosis] = moments(&values);
            assert!(mean.abs() < error, "{mean}");
            assert!((deviation - 1.0).abs() < error * 0.5_f64.sqrt(), "{deviation}");
            assert!(skew.abs() < error * 6_f64.sqrt(), "{skew}");
            assert!((kurtosis - 3.0 + 1.2 / 128.0).abs() < error * 24_f64.sqrt(), "{kurtosis}");
            // Shares within one, two and three deviations.
            for (bound, share) in [(1.0, 0.682_689), (2.0, 0.954_500), (3.0, 0.997_300)] {
                let inside = values.iter().filter(|v| v.abs() < bound).count();
                #[expect(clippy::cast_precision_loss, reason = "a sample is small")]
                let got = inside as f64 / count as f64;
                assert!(
                    (got - share).abs() < error * (share * (1.0 - share)).sqrt() + 5e-4,
                    "{bound}: {got}"
                );
            }
        }
    }

    #[test]
    fn values_do_not_follow_from_their_neighbours_or_from_other_seeds() {
        let count = 1 << 16;
        let (one, other) = (noise(7, count + 64), noise(8, count));
        let error = 5.0 / f64::from(1 << 16).sqrt();
        let correlation = |a: &[f32], b: &[f32]| {
            let products = a.iter().zip(b).take(count).map(|(a, b)| f64::from(*a) * f64::from(*b));
            products.sum::<f64>() / f64::from(1 << 16)
        };
        for lag in [1, 2, 3, 8, 64] {
            assert!(correlation(&one, &one[lag..]).abs() < error, "lag {lag}");
        }
        assert!(correlation(&one, &other).abs() < error);
        // Nor do sizes follow from sizes.
        let squares = |values: &[f32]| values.iter().map(|v| v * v - 1.0).collect::<Vec<_>>();
        assert!(correlation(&squares(&one), &squares(&one[1..])).abs() < 2.0 * error);
    }

    /// The same numbers, made by the Python in `spec/images.md`.
    #[test]
    fn the_first_values_give_the_recorded_bits() {
        let bits: Vec<u32> = noise(0, 4).iter().map(|v| v.to_bits()).collect();
        assert_eq!(bits, [0x3feb_8a53, 0xbd4e_1a03, 0xbf25_08cd, 0x3ebc_83d9], "{bits:#x?}");
        assert_eq!(noise(0, 9)[..4], noise(0, 4), "a value depends on seed and place alone");
    }
}
