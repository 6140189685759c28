//! Rotary embedding: pairs of elements turned by an angle that grows with the position.

use crate::Fault;
use crate::graph::attributes::fault;
use crate::kernels::Fma;
use crate::ops::real::{FloatKernel, Floats, Real, widest};
use crate::ops::{Call, Prepared, Scope, misfit};
use nabla_types::tensor::Dtype;

/// `real = cos * a - sin * b`, `imaginary = sin * a + cos * b`, every step rounded.
pub(super) fn embedding(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 4, 1)?;
    let x = scope.float(0)?;
    let interleaved = scope.attributes.flag_or("interleaved", false)?;
    let given = scope.attributes.int_or("num_heads", 0)?;
    let wanted = scope.attributes.int_or("rotary_embedding_dim", 0)?;
    let (batch, heads, length, size) = match *x.shape.as_slice() {
        [batch, heads, length, size] => (batch, heads, length, size),
        [batch, length, hidden] => match usize::try_from(given) {
            Ok(heads) if heads > 0 && hidden.is_multiple_of(heads) => (batch, heads, length, hidden / heads),
            _ => return Err(fault("num_heads", &format!("a divisor of {hidden}"), &given.to_string())),
        },
        _ => return Err(misfit("input of RotaryEmbedding", "3 or 4 dimensions", x)),
    };
    let turned = if wanted == 0 { Some(size) } else { usize::try_from(wanted).ok() };
    let turned = turned.filter(|turned| *turned <= size && turned.is_multiple_of(2));
    let turned = turned.ok_or_else(|| {
        fault("rotary_embedding_dim", &format!("an even number up to {size}"), &wanted.to_string())
    })?;
    let by_position = scope.optional(3).is_some();
    let (cos, sin) = (scope.float(1)?, scope.float(2)?);
    let half = turned / 2;
    let fits = match (by_position, cos.shape.as_slice()) {
        (true, [_, last]) => *last == half,
        (false, shape) => shape == [batch, length, half],
        _ => false,
    };
    if !fits || sin.shape != cos.shape {
        let expected = format!("[positions, {half}] with position_ids, else [{batch}, {length}, {half}]");
        return Err(misfit("cosines and sines of RotaryEmbedding", expected, if fits { sin } else { cos }));
    }
    if by_position {
        let positions = scope.typed(3, &[Dtype::I64], "INT64")?;
        if positions.shape != [batch, length] {
            return Err(misfit("position_ids", format!("[{batch}, {length}]"), positions));
        }
    }
    let head_first = x.rank() == 4;
    let kernel = Rotary { heads, length, size, half, interleaved, head_first, by_position };
    Ok(Prepared::one(x.clone(), Floats { dtype: widest(scope), kernel }).macs(x.count().saturating_mul(3)))
}

#[derive(Debug)]
struct Rotary {
    heads: usize,
    length: usize,
    size: usize,
    /// Pairs that are turned.
    half: usize,
    /// Pairs are neighbours, or as far apart as there are pairs.
    interleaved: bool,
    head_first: bool,
    by_position: bool,
}

impl FloatKernel for Rotary {
    #[inline(always)]
    fn run<R: Real, F: Fma>(&self, call: &Call<'_>) -> Result<Vec<Vec<R>>, Fault> {
        let (x, cos, sin) = (R::input(call, 0)?, R::input(call, 1)?, R::input(call, 2)?);
        let positions = if self.by_position { call.slice::<i64>(3)? } else { &[] };
        let mut output = x.to_vec();
        if x.is_empty() || self.half == 0 {
            return Ok(vec![output]);
        }
        for (row, to) in output.chunks_exact_mut(self.size).enumerate() {
            let token = match self.head_first {
                true => row / self.length / self.heads * self.length + row % self.length,
                false => row / self.heads,
            };
            let line = match positions.get(token) {
                Some(position) => self.line(*position, cos.len() / self.half)?,
                None => token,
            };
            let from = &x[row * self.size..][..self.size];
            let (cos, sin) = (&cos[line * self.half..][..self.half], &sin[line * self.half..][..self.half]);
            for (pair, (cos, sin)) in cos.iter().zip(sin).enumerate() {
                let (a, b) = match self.interleaved {
                    true => (2 * pair, 2 * pair + 1),
                    false => (pair, pair + self.half),
                };
                to[a] = *cos * from[a] - *sin * from[b];
                to[b] = *sin * from[a] + *cos * from[b];
            }
        }
        Ok(vec![output])
    }
}

impl Rotary {
    fn line(&self, position: i64, positions: usize) -> Result<usize, Fault> {
        usize::try_from(position).ok().filter(|line| *line < positions).ok_or_else(|| Fault::Shape {
            what: "position of a token",
            expected: format!("0 to {positions} - 1"),
            got: position.to_string(),
        })
    }
}
