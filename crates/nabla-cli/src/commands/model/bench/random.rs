//! Inputs drawn from a fixed seed.

use anyhow::Result;
use nabla_engine::{Dim, Error, Model, Port};
use nabla_types::tensor::{
    Dtype, NamedTensor, Tensor, TensorData, TensorError, bf16_from_f64, element_count, f16_from_f64,
};

use super::{batch_symbol, bounds};

/// Inputs of the greatest sizes, with so many rows: floats between -1 and 1, bytes of any value, other
/// integers 0 or 1 (good as tokens, masks and indices alike).
pub(super) fn inputs(model: &Model, rows: u64) -> Result<Vec<NamedTensor>> {
    let batch = batch_symbol(model).map(|symbol| symbol.name.clone());
    let sizes = bounds(model);
    let size = |dim: &Dim| match dim {
        Dim::Fixed(size) => *size,
        Dim::Symbol(name) if Some(name) == batch.as_ref() => rows,
        Dim::Symbol(name) => sizes.get(&**name).copied().unwrap_or(1),
        Dim::Unknown => 1,
    };
    let mut random = Random(0x6e61_626c_6131);
    let input = |port: &Port| {
        let shape: Vec<u64> = port.shape.iter().map(size).collect();
        // Counted before it is made.
        let count = element_count(&shape)?;
        let (what, max) = ("elements of an input", model.interface().limits().elements_max);
        if count > max {
            return Err(Error::Limit { what, got: count, max }.into());
        }
        let data = random.data(port.dtype, usize::try_from(count)?);
        Ok(NamedTensor::new(port.name.clone(), Tensor::new(shape, data)?))
    };
    model.inputs().iter().map(input).collect::<Result<_>>().map_err(|error| {
        match error.downcast::<TensorError>() {
            Ok(error) => {
                crate::failure::Failure::BadArgument { reason: error.to_string(), hint: None }.into()
            }
            Err(error) => error,
        }
    })
}

/// SplitMix64: a counter, stirred.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// From -1 to 1, as far as an f32 tells numbers apart.
    fn float(&mut self) -> f32 {
        let mantissa = u32::try_from(self.next() >> 41).unwrap_or(0);
        (f32::from_bits(0x3f80_0000 | mantissa) - 1.5) * 2.0
    }

    fn data(&mut self, dtype: Dtype, count: usize) -> TensorData {
        let byte = |random: &mut Self| random.next().to_le_bytes()[7];
        let bit = |random: &mut Self| byte(random) & 1;
        let mut of = Drawn { random: self, count };
        match dtype {
            Dtype::F32 => TensorData::F32(of.each(Self::float)),
            Dtype::F64 => TensorData::F64(of.each(|r| r.float().into())),
            Dtype::F16 => TensorData::F16(of.each(|r| f16_from_f64(r.float().into()))),
            Dtype::BF16 => TensorData::BF16(of.each(|r| bf16_from_f64(r.float().into()))),
            Dtype::I8 => TensorData::I8(of.each(|r| byte(r).cast_signed())),
            Dtype::U8 => TensorData::U8(of.each(byte)),
            Dtype::I16 => TensorData::I16(of.each(|r| bit(r).into())),
            Dtype::I32 => TensorData::I32(of.each(|r| bit(r).into())),
            Dtype::I64 => TensorData::I64(of.each(|r| bit(r).into())),
            Dtype::U16 => TensorData::U16(of.each(|r| bit(r).into())),
            Dtype::U32 => TensorData::U32(of.each(|r| bit(r).into())),
            Dtype::U64 => TensorData::U64(of.each(|r| bit(r).into())),
            Dtype::Bool => TensorData::Bool(of.each(|r| bit(r) == 1)),
            Dtype::String => TensorData::String(of.each(|r| bit(r).to_string())),
        }
    }
}

struct Drawn<'r> {
    random: &'r mut Random,
    count: usize,
}

impl Drawn<'_> {
    fn each<T>(&mut self, mut draw: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.count).map(|_| draw(self.random)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_numbers_every_time() {
        let draw = || {
            (0..1000).map({
                let mut random = Random(7);
                move |_| random.float()
            })
        };
        assert!(draw().eq(draw()));
        assert!(draw().all(|x| (-1.0..1.0).contains(&x)));
        assert!(draw().any(|x| x < -0.9) && draw().any(|x| x > 0.9));
    }

    #[test]
    fn every_type_can_be_drawn() {
        for dtype in Dtype::ALL {
            let data = Random(1).data(dtype, 5);
            assert_eq!((data.dtype(), data.len()), (dtype, 5));
        }
    }
}
