//! Windows that move over an image of one to three dimensions: what convolutions and pools share.

use super::Scope;
use crate::Fault;
use crate::graph::attributes::fault;

/// Most dimensions that a window moves over.
pub(crate) const SPATIAL_MAX: usize = 3;
/// Greatest stride, dilation or padding.
const STEP_MAX: i64 = 1 << 20;

/// A window and how it moves, in three dimensions; one- and two-dimensional ones have leading sizes of 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) image: [usize; SPATIAL_MAX],
    pub(crate) kernel: [usize; SPATIAL_MAX],
    pub(crate) strides: [usize; SPATIAL_MAX],
    pub(crate) dilations: [usize; SPATIAL_MAX],
    pub(crate) pads_begin: [usize; SPATIAL_MAX],
    pub(crate) pads_end: [usize; SPATIAL_MAX],
}

impl Window {
    /// Read `strides`, `dilations`, `pads` and `auto_pad` for this kernel over this image.
    pub(crate) fn read(scope: &Scope<'_>, kernel: &[usize], image: &[usize]) -> Result<Self, Fault> {
        let rank = image.len();
        if kernel.len() != rank || rank == 0 || rank > SPATIAL_MAX {
            let expected = format!("{rank} sizes, for 1 to {SPATIAL_MAX} dimensions");
            return Err(fault("kernel_shape", &expected, &format!("{kernel:?}")));
        }
        let strides = steps(scope, "strides", rank)?;
        let dilations = steps(scope, "dilations", rank)?;
        let (mut begin, mut end) = (vec![0; rank], vec![0; rank]);
        let given = scope.attributes.optional_ints("pads")?.filter(|pads| !pads.is_empty());
        match scope.attributes.text_or("auto_pad", "NOTSET")? {
            "NOTSET" => {
                if let Some(pads) = given {
                    let all = sizes("pads", pads, 2 * rank, 0)?;
                    begin.copy_from_slice(&all[..rank]);
                    end.copy_from_slice(&all[rank..]);
                }
            }
            "VALID" => {}
            mode @ ("SAME_UPPER" | "SAME_LOWER") => {
                for axis in 0..rank {
                    let total = same(image[axis], kernel[axis], strides[axis], dilations[axis]);
                    let (small, large) = (total / 2, total - total / 2);
                    (begin[axis], end[axis]) =
                        if mode == "SAME_UPPER" { (small, large) } else { (large, small) };
                }
            }
            got => return Err(fault("auto_pad", "NOTSET, VALID, SAME_UPPER or SAME_LOWER", got)),
        }
        Ok(Self {
            image: leading(image, 1),
            kernel: leading(kernel, 1),
            strides: leading(&strides, 1),
            dilations: leading(&dilations, 1),
            pads_begin: leading(&begin, 0),
            pads_end: leading(&end, 0),
        })
    }
}

/// Sizes in three dimensions, `fill` in front.
pub(crate) fn leading(sizes: &[usize], fill: usize) -> [usize; SPATIAL_MAX] {
    let mut all = [fill; SPATIAL_MAX];
    all[SPATIAL_MAX - sizes.len().min(SPATIAL_MAX)..].copy_from_slice(&sizes[..sizes.len().min(SPATIAL_MAX)]);
    all
}

/// `rank` steps from 1; all 1 if they are not given.
fn steps(scope: &Scope<'_>, name: &str, rank: usize) -> Result<Vec<usize>, Fault> {
    match scope.attributes.optional_ints(name)?.filter(|given| !given.is_empty()) {
        Some(given) => sizes(name, given, rank, 1),
        None => Ok(vec![1; rank]),
    }
}

fn sizes(name: &str, given: &[i64], count: usize, least: i64) -> Result<Vec<usize>, Fault> {
    let size = |v: &i64| usize::try_from(*v).ok().filter(|_| (least..=STEP_MAX).contains(v));
    let all: Option<Vec<usize>> = given.iter().map(size).collect();
    all.filter(|all| all.len() == count).ok_or_else(|| {
        let expected = format!("{count} sizes from {least} to {STEP_MAX}");
        fault(name, &expected, &format!("{:?}", &given[..given.len().min(8)]))
    })
}

/// Padding along one axis that gives `ceil(size / stride)` positions.
fn same(size: usize, kernel: usize, stride: usize, dilation: usize) -> usize {
    let reach = kernel.saturating_sub(1).saturating_mul(dilation).saturating_add(1);
    let positions = size.div_ceil(stride.max(1));
    positions.saturating_sub(1).saturating_mul(stride).saturating_add(reach).saturating_sub(size)
}
