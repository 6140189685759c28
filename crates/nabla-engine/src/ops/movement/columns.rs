//! Col2Im: columns of blocks back into images, what overlaps added.

use nabla_types::tensor::TensorData;

use super::number::Number;
use super::sizes_input;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::ops::{Call, Element, FnKernel, Prepared, Scope, dispatch, misfit};

/// Greatest parameter of one dimension.
const SIZE_MAX: usize = 1 << 28;

/// One dimension of the image and of the blocks that were cut from it.
#[derive(Debug, Clone, Copy)]
struct Side {
    image: usize,
    block: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    /// Places of the block along this side.
    places: usize,
}

#[derive(Debug)]
struct Columns {
    /// Images: batch times channels.
    images: usize,
    sides: Vec<Side>,
    /// Products over all sides.
    image: usize,
    block: usize,
    places: usize,
}

/// Sizes of an attribute, one for each of `count` sides.
fn side_sizes(scope: &Scope<'_>, name: &str, count: usize, least: usize) -> Result<Vec<usize>, Fault> {
    let Some(given) = scope.attributes.optional_ints(name)? else {
        return Ok(vec![least; count]);
    };
    let size = |v: &i64| usize::try_from(*v).ok().filter(|size| (least..=SIZE_MAX).contains(size));
    let sizes: Option<Vec<usize>> = given.iter().map(size).collect();
    sizes.filter(|sizes| sizes.len() == count).ok_or_else(|| {
        let expected = format!("{count} sizes from {least} to 2^28");
        fault(name, &expected, &format!("{:?}", &given[..given.len().min(9)]))
    })
}

fn sides(scope: &Scope<'_>) -> Result<Vec<Side>, Fault> {
    let (images, blocks) = (sizes_input(scope, 1, "image_shape")?, sizes_input(scope, 2, "block_shape")?);
    let count = images.len();
    let bounded = |sizes: &[usize], least| sizes.iter().all(|size| (least..=SIZE_MAX).contains(size));
    if count == 0 || count > 6 || blocks.len() != count || !bounded(&images, 0) || !bounded(&blocks, 1) {
        return Err(fault("image_shape", "one to six sizes, and as many of block_shape", "another"));
    }
    let pads = side_sizes(scope, "pads", 2 * count, 0)?;
    let strides = side_sizes(scope, "strides", count, 1)?;
    let dilations = side_sizes(scope, "dilations", count, 1)?;
    let side = |at: usize| {
        let (image, block, stride, dilation) = (images[at], blocks[at], strides[at], dilations[at]);
        let before = pads[at];
        let covered = dilation.saturating_mul(block - 1).saturating_add(1);
        let room = (image + before + pads[at + count]).checked_sub(covered);
        Side { image, block, stride, dilation, before, places: room.map_or(0, |room| room / stride + 1) }
    };
    Ok((0..count).map(side).collect())
}

pub(super) fn col2im(scope: &Scope<'_>) -> Result<Prepared, Fault> {
    scope.arity(3, 3, 1)?;
    let x = scope.input(0)?;
    let sides = sides(scope)?;
    let product = |of: fn(&Side) -> usize| {
        sides.iter().try_fold(1_usize, |product, side| product.checked_mul(of(side)))
    };
    let (block, places) = (product(|side| side.block), product(|side| side.places));
    let fits =
        x.rank() == 3 && places == Some(x.shape[2]) && block.is_some_and(|block| x.shape[1] % block == 0);
    let (Some(block), Some(places), true) = (block, places, fits) else {
        let expected = format!("columns of {block:?} elements at {places:?} places");
        return Err(misfit("input of Col2Im", expected, x));
    };
    let channels = x.shape[1] / block;
    let shape = [x.shape[0], channels].into_iter().chain(sides.iter().map(|side| side.image)).collect();
    let output = scope.value(x.dtype, shape)?;
    let image = sides.iter().map(|side| side.image).product();
    let macs = x.count().saturating_mul(sides.len() as u64 * 2);
    let scratch = output.count().saturating_mul(8);
    let columns = Columns { images: x.shape[0] * channels, sides, image, block, places };
    let got = x.dtype;
    let kernel = FnKernel(move |call: &Call<'_>| {
        dispatch!(got, T: number => {
            Ok::<Vec<TensorData>, Fault>(vec![T::wrap(columns.sum::<T>(call.slice::<T>(0)?))])
        }, else Err(Fault::Dtype { input: 0, expected: "numbers", got }))
    });
    Ok(Prepared::one(output, kernel).macs(macs).scratch_bytes(scratch))
}

impl Columns {
    /// Every element is added to its pixel, in order of the elements of a block.
    fn sum<T: Number>(&self, x: &[T]) -> Vec<T> {
        let mut sums = vec![T::Wide::default(); self.images * self.image];
        if self.image == 0 || self.places == 0 {
            return sums.into_iter().map(T::narrow).collect();
        }
        for (image, columns) in
            sums.chunks_exact_mut(self.image).zip(x.chunks_exact(self.block * self.places))
        {
            for (element, column) in columns.chunks_exact(self.places).enumerate() {
                for (place, value) in column.iter().enumerate() {
                    if let Some(pixel) = self.pixel(element, place) {
                        image[pixel] = T::add(image[pixel], value.widen());
                    }
                }
            }
        }
        sums.into_iter().map(T::narrow).collect()
    }

    /// Where an element of the block at a place stands in the image, if it is not in the padding.
    fn pixel(&self, mut element: usize, mut place: usize) -> Option<usize> {
        let (mut pixel, mut width) = (0, 1);
        for side in self.sides.iter().rev() {
            let offset = element % side.block * side.dilation + place % side.places * side.stride;
            let at = offset.checked_sub(side.before).filter(|at| *at < side.image)?;
            pixel += at * width;
            width *= side.image;
            element /= side.block;
            place /= side.places;
        }
        Some(pixel)
    }
}
