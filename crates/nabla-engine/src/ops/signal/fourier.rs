//! The discrete Fourier transform of any length: one step for each prime factor.

/// A complex number.
type Complex = [f64; 2];

/// A transform of one length.
#[derive(Debug)]
pub(super) struct Fourier {
    size: usize,
    pub(super) inverse: bool,
    /// Prime factors, the least first.
    factors: Vec<usize>,
}

impl Fourier {
    /// For a size of at least 1.
    pub(super) fn new(size: usize, inverse: bool) -> Self {
        let mut factors = Vec::new();
        let (mut rest, mut prime) = (size, 2);
        while prime * prime <= rest {
            while rest.is_multiple_of(prime) {
                factors.push(prime);
                rest /= prime;
            }
            prime += 1;
        }
        if rest > 1 {
            factors.push(rest);
        }
        Self { size, inverse, factors }
    }

    /// Multiply-adds of one transform, with its share of the table.
    pub(super) fn macs(&self) -> u64 {
        let steps = self.factors.iter().map(|factor| *factor as u64).fold(32, u64::saturating_add);
        (self.size as u64).saturating_mul(steps).saturating_mul(4)
    }

    /// `e^(-2 pi i j / size)` for every `j` (conjugates for the inverse).
    #[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
    pub(super) fn table(&self) -> Vec<Complex> {
        let sign = if self.inverse { 1.0 } else { -1.0 };
        let turn = |at: usize| {
            let angle = 2.0 * std::f64::consts::PI * at as f64 / self.size as f64;
            [libm::cos(angle), sign * libm::sin(angle)]
        };
        (0..self.size).map(turn).collect()
    }

    /// Transform `signal` to `result`, both of this size; the inverse is divided by the size.
    #[expect(clippy::cast_precision_loss, reason = "sizes are below 2^53")]
    pub(super) fn run(&self, table: &[Complex], signal: &[Complex], result: &mut [Complex]) {
        let mut parts = vec![[0.0; 2]; self.factors.last().copied().unwrap_or(1)];
        self.step(table, &self.factors, signal, 1, result, &mut parts);
        if self.inverse {
            let size = self.size as f64;
            result.iter_mut().flatten().for_each(|value| *value /= size);
        }
    }

    /// Transform every `stride`-th element of `signal`. The depth is the number of factors, at most 28.
    fn step(
        &self,
        table: &[Complex],
        factors: &[usize],
        signal: &[Complex],
        stride: usize,
        result: &mut [Complex],
        parts: &mut [Complex],
    ) {
        let Some((factor, rest)) = factors.split_first() else {
            result[0] = signal[0];
            return;
        };
        let part = result.len() / factor;
        for (index, part) in result.chunks_exact_mut(part).enumerate() {
            self.step(table, rest, &signal[index * stride..], stride * factor, part, parts);
        }
        for at in 0..part {
            for (index, own) in parts[..*factor].iter_mut().enumerate() {
                *own = result[index * part + at];
            }
            for row in 0..*factor {
                let (mut sum, mut turn) = ([0.0; 2], 0);
                let by = (at + row * part) * stride;
                for own in &parts[..*factor] {
                    let [c, s] = table[turn];
                    sum[0] += own[0] * c - own[1] * s;
                    sum[1] += own[0] * s + own[1] * c;
                    turn += by;
                    while turn >= self.size {
                        turn -= self.size;
                    }
                }
                result[row * part + at] = sum;
            }
        }
    }
}
