//! Convolutions over 1 to 3 dimensions: geometry, and the loops around tiles.
//!
//! Sixteen neighbouring output positions are the lanes of a sum. For one tap of the kernel their inputs are
//! sixteen neighbours in memory, if the image lies ready: a *region* holds, for each channel, the part of the
//! padded image that a block of outputs needs, split by stride so that neighbours along an output row are
//! neighbours there. One copy of the image so serves every tap; no patch is laid out. Rows of a region are
//! longer than rows of the output by the reach of the kernel, so a few lanes are computed for nothing and
//! dropped.
//!
//! # Rules
//! - Steps go over channels of the group, then over the kernel's positions in row-major order.
//! - A tap in the padding takes part, as the padding value.
//! - Scratch is bounded: outputs are computed in blocks whose region has [`REGION_UNITS`], or one row of
//!   [`COLUMNS_MIN`] outputs where a single row is larger.

use std::ops::Range;

use super::dot::{Dot, WIDTH};
use super::pack::Heights;
use super::steps::Taps;
use super::threads::Cpu;
use super::tile::{Bias, Call, Right, Run};

/// Units of a region, as far as blocks can be chosen.
const REGION_UNITS: usize = 96 * 1024;
/// Outputs of a row that stay together.
const COLUMNS_MIN: usize = 64;
/// Steps (filters times k times lanes) below which threads cost more than they give.
const SHARED_STEPS: usize = 1 << 13;

/// Shapes of a convolution. One- and two-dimensional ones have leading sizes of 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) filters: usize,
    pub(crate) groups: usize,
    pub(crate) image: [usize; 3],
    pub(crate) kernel: [usize; 3],
    pub(crate) strides: [usize; 3],
    pub(crate) dilations: [usize; 3],
    pub(crate) pads_begin: [usize; 3],
    pub(crate) pads_end: [usize; 3],
}

impl Geometry {
    /// Outputs along each dimension; `None` if the shapes do not fit together or are beyond counting.
    pub(crate) fn out(&self) -> Option<[usize; 3]> {
        let divides = |count: usize| self.groups > 0 && count.is_multiple_of(self.groups);
        if !divides(self.channels) || !divides(self.filters) {
            return None;
        }
        let mut out = [0; 3];
        for (axis, out) in out.iter_mut().enumerate() {
            let reach =
                self.kernel[axis].checked_sub(1)?.checked_mul(self.dilations[axis])?.checked_add(1)?;
            let padded =
                self.image[axis].checked_add(self.pads_begin[axis])?.checked_add(self.pads_end[axis])?;
            *out = padded.checked_sub(reach)?.checked_div(self.strides[axis])?.checked_add(1)?;
        }
        let product = |sizes: &[usize]| sizes.iter().try_fold(1_usize, |all, size| all.checked_mul(*size));
        product(&[self.batch, self.filters, out[0], out[1], out[2]])?;
        product(&[self.batch, self.channels, self.image[0], self.image[1], self.image[2]])?;
        product(&[self.filters, self.channels, self.kernel[0], self.kernel[1], self.kernel[2]])?;
        Some(out)
    }

    pub(crate) fn area(&self) -> usize {
        self.out().map_or(0, |out| out.iter().product())
    }

    pub(crate) fn image_area(&self) -> usize {
        self.image.iter().product()
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// Channels that one filter looks at.
    pub(crate) fn depth(&self) -> usize {
        self.channels / self.groups.max(1)
    }

    /// Filters of one group.
    pub(crate) fn filters_of_group(&self) -> usize {
        self.filters / self.groups.max(1)
    }
}

/// One dimension of a region.
#[derive(Debug, Clone)]
struct Axis {
    stride: usize,
    /// First source coordinate of each copy, with the padding before the image counted.
    origins: Vec<usize>,
    pad: usize,
    /// For each tap: which copy, and how far from the output's own place.
    taps: Vec<(usize, usize)>,
    /// The farthest of these.
    reach: usize,
}

impl Axis {
    fn new(geometry: &Geometry, axis: usize, out: usize) -> Self {
        let (stride, dilation) = (geometry.strides[axis], geometry.dilations[axis]);
        let places: Vec<usize> = (0..geometry.kernel[axis]).map(|tap| tap * dilation).collect();
        let pad = geometry.pads_begin[axis];
        let mut origins: Vec<usize> = Vec::new();
        let mut taps = Vec::with_capacity(places.len());
        for place in &places {
            let phase = place % stride;
            let copy = origins.iter().position(|origin| *origin == phase).unwrap_or_else(|| {
                origins.push(phase);
                origins.len() - 1
            });
            taps.push((copy, place / stride));
        }
        let reach = taps.iter().map(|tap| tap.1).max().unwrap_or(0);
        if origins.len().saturating_mul(out.saturating_add(reach)) <= places.len().saturating_mul(out) {
            return Self { stride, origins, pad, taps, reach };
        }
        // Taps too far apart to share a copy have one each.
        let taps = (0..places.len()).map(|tap| (tap, 0)).collect();
        Self { stride, origins: places, pad, taps, reach: 0 }
    }

    /// Outputs of this copy whose source lies on the image, and the source of the first.
    fn on_image(&self, copy: usize, outputs: Range<usize>, size: usize) -> (Range<usize>, usize) {
        let shift = self.origins[copy];
        let first = self.pad.saturating_sub(shift).div_ceil(self.stride);
        let end = (size + self.pad).saturating_sub(shift).div_ceil(self.stride);
        let start = first.clamp(outputs.start, outputs.end);
        let end = end.clamp(start, outputs.end);
        // Not read where the range is empty.
        let source = (start * self.stride + shift).saturating_sub(self.pad);
        (start - outputs.start..end - outputs.start, source)
    }

    /// The source of one place of a copy, if it lies on the image.
    fn source(&self, copy: usize, place: usize, size: usize) -> Option<usize> {
        let source = (place * self.stride + self.origins[copy]).checked_sub(self.pad)?;
        (source < size).then_some(source)
    }
}

/// A block of outputs: consecutive positions of the plane.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    outputs: [Range<usize>; 3],
    /// Positions in the plane of outputs.
    positions: Range<usize>,
}

/// How a convolution is cut in blocks, and how a region is laid out.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    axes: [Axis; 3],
    image: [usize; 3],
    /// Outputs of a block, at most.
    block: [usize; 3],
    blocks: Vec<Block>,
    /// Planes of a region: channels, or groups of four of them.
    planes: usize,
    /// Units of the longest region.
    units: usize,
}

/// A stretch of one row of a region and where it comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    /// Unit in its plane of the region.
    pub(crate) to: usize,
    pub(crate) length: usize,
    /// Outputs of it that lie on the image: the first, their number, the source of the first and the distance
    /// between sources.
    pub(crate) lead: usize,
    pub(crate) inside: usize,
    pub(crate) source: usize,
    pub(crate) stride: usize,
}

impl Layout {
    /// `planes` is how many units each position of the image has per group.
    pub(crate) fn new(geometry: &Geometry, planes: usize) -> Option<Self> {
        let out = geometry.out()?;
        let axes = [0, 1, 2].map(|axis| Axis::new(geometry, axis, out[axis]));
        let mut layout =
            Self { axes, image: geometry.image, block: out, blocks: Vec::new(), planes, units: 0 };
        if out.contains(&0) {
            return Some(layout);
        }
        let least = [1, 1, COLUMNS_MIN.min(out[2])];
        for axis in 0..3 {
            let mut parts = 1;
            while layout.plane(layout.block) * planes > REGION_UNITS && layout.block[axis] > least[axis] {
                parts += 1;
                layout.block[axis] = out[axis].div_ceil(parts).max(least[axis]);
            }
        }
        layout.units = layout.plane(layout.block) * planes + WIDTH;
        let [deep, high, wide] = layout.block;
        for z in (0..out[0]).step_by(deep) {
            for y in (0..out[1]).step_by(high) {
                for x in (0..out[2]).step_by(wide) {
                    let to = [(z + deep).min(out[0]), (y + high).min(out[1]), (x + wide).min(out[2])];
                    let at = |z: usize, y: usize, x: usize| (z * out[1] + y) * out[2] + x;
                    layout.blocks.push(Block {
                        outputs: [z..to[0], y..to[1], x..to[2]],
                        positions: at(z, y, x)..at(to[0] - 1, to[1] - 1, to[2] - 1) + 1,
                    });
                }
            }
        }
        Some(layout)
    }

    /// Units of a region, for scratch.
    pub(crate) fn units(&self) -> usize {
        self.units
    }

    fn lengths(&self, block: [usize; 3]) -> [usize; 3] {
        [0, 1, 2].map(|axis| block[axis] + self.axes[axis].reach)
    }

    /// Units of one plane of a region.
    fn plane(&self, block: [usize; 3]) -> usize {
        let copies: usize = self.axes.iter().map(|axis| axis.origins.len()).product();
        self.lengths(block).iter().product::<usize>() * copies
    }

    fn plane_of(&self, block: &Block) -> usize {
        self.plane([0, 1, 2].map(|axis| block.outputs[axis].len()))
    }

    /// For each tap, row-major: its place in a plane, seen from the output's own.
    fn taps(&self, block: &Block) -> Vec<usize> {
        let lengths = self.lengths([0, 1, 2].map(|axis| block.outputs[axis].len()));
        let copies = [0, 1, 2].map(|axis| self.axes[axis].origins.len());
        let mut taps = Vec::new();
        for (copy_z, z) in &self.axes[0].taps {
            for (copy_y, y) in &self.axes[1].taps {
                for (copy_x, x) in &self.axes[2].taps {
                    let copy = (copy_z * copies[1] + copy_y) * copies[2] + copy_x;
                    let place = (z * lengths[1] + y) * lengths[2] + x;
                    taps.push(copy * lengths.iter().product::<usize>() + place);
                }
            }
        }
        taps
    }

    /// All rows of a plane of a block's region.
    pub(crate) fn stretches(&self, block: &Block) -> Vec<Stretch> {
        let lengths = self.lengths([0, 1, 2].map(|axis| block.outputs[axis].len()));
        let [z_axis, y_axis, x_axis] = &self.axes;
        let mut stretches = Vec::new();
        let mut to = 0;
        for copy_z in 0..z_axis.origins.len() {
            for copy_y in 0..y_axis.origins.len() {
                for copy_x in 0..x_axis.origins.len() {
                    for z in block.outputs[0].start..block.outputs[0].start + lengths[0] {
                        for y in block.outputs[1].start..block.outputs[1].start + lengths[1] {
                            let x = block.outputs[2].start..block.outputs[2].start + lengths[2];
                            let (mut inside, column) = x_axis.on_image(copy_x, x, self.image[2]);
                            let z = z_axis.source(copy_z, z, self.image[0]);
                            let y = y_axis.source(copy_y, y, self.image[1]);
                            let mut source = 0;
                            if let (Some(z), Some(y), false) = (z, y, inside.is_empty()) {
                                source = (z * self.image[1] + y) * self.image[2] + column;
                            } else {
                                inside = 0..0;
                            }
                            let (lead, inside, stride) = (inside.start, inside.len(), x_axis.stride);
                            stretches.push(Stretch { to, length: lengths[2], lead, inside, source, stride });
                            to += lengths[2];
                        }
                    }
                }
            }
        }
        stretches
    }

    /// The lanes from `first` on, `count` of them, as runs of positions of the block.
    fn runs(&self, block: &Block, first: usize, count: usize, runs: &mut Vec<Run>) {
        let sizes = [0, 1, 2].map(|axis| block.outputs[axis].len());
        let lengths = self.lengths(sizes);
        let end = first + count;
        let mut row = first / lengths[2];
        while row * lengths[2] < end {
            let (z, y) = (row / lengths[1], row % lengths[1]);
            let from = (row * lengths[2]).max(first);
            let to = (row * lengths[2] + sizes[2]).min(end);
            if z < sizes[0] && y < sizes[1] && from < to {
                let position = (z * sizes[1] + y) * sizes[2] + from - row * lengths[2];
                runs.push(Run { from: from - first, to: position, length: to - from });
            }
            row += 1;
        }
    }

    /// Lanes up to the last output of a block.
    fn lanes(&self, block: &Block) -> usize {
        let sizes = [0, 1, 2].map(|axis| block.outputs[axis].len());
        let lengths = self.lengths(sizes);
        ((sizes[0] - 1) * lengths[1] + sizes[1] - 1) * lengths[2] + sizes[2]
    }
}

/// Like [`Epilogue`], before it: with the sum of all inputs that each value saw, where that was asked for.
pub(crate) type Finish<'a, O> = &'a (dyn Fn(usize, usize, usize, &mut [O], &[O]) + Sync);
/// Called once on each finished piece of an output plane: image of the batch, filter, first position, values.
pub(crate) type Epilogue<'a, O> = &'a (dyn Fn(usize, usize, usize, &mut [O]) + Sync);
/// Fills a region: image of the batch, group, stretches of a plane, units of a plane, region.
pub(crate) type Fill<'a, U> = &'a (dyn Fn(usize, usize, &[Stretch], usize, &mut [U]) + Sync);

/// A convolution of any element.
pub(crate) struct Convolution<'a, U, O> {
    pub(crate) geometry: &'a Geometry,
    pub(crate) layout: &'a Layout,
    /// Tiles of filters, group by group.
    pub(crate) weights: &'a [U],
    pub(crate) heights: Heights,
    pub(crate) fill: Fill<'a, U>,
    /// A weight of one: also sum all inputs of each output.
    pub(crate) one: Option<U>,
    /// One per filter.
    pub(crate) bias: Option<&'a [O]>,
    pub(crate) finish: Option<Finish<'a, O>>,
}

/// Whether so many equal jobs leave no thread waiting for long.
fn is_even(jobs: usize, threads: usize) -> bool {
    jobs.is_multiple_of(threads) || jobs >= 2 * threads
}

/// What one thread computes at a time: some tiles of filters on one block of one image.
struct Job<'c, 'a, O> {
    image: usize,
    block: &'a Block,
    /// Tiles, counted through the groups.
    tiles: Range<usize>,
    /// The block's positions of these tiles' filters.
    rows: Vec<&'c mut [O]>,
}

/// What the tiles of one block have in common.
struct Setting<'a> {
    block: &'a Block,
    plane: usize,
    taps: Vec<usize>,
    stretches: Vec<Stretch>,
    spans: Vec<Span>,
    runs: Vec<Run>,
}

/// Neighbouring lanes that a tile computes.
struct Span {
    start: usize,
    panels: usize,
    /// Distance between panels; 0 where only one is left of a wider tile.
    panel: usize,
    runs: Range<usize>,
}

impl<U: bytemuck::Pod + Sync, O: Copy + Default + Send + Sync> Convolution<'_, U, O> {
    /// Compute all of `out`.
    pub(crate) fn run<D: Dot<Unit = U, Out = O>>(&self, dot: D, cpu: &Cpu, out: &mut [O]) {
        let area = self.geometry.area();
        let tiles = self.heights.count() * self.geometry.groups;
        if area == 0 || tiles == 0 {
            return;
        }
        let settings: Vec<Setting<'_>> =
            self.layout.blocks.iter().map(|block| self.setting::<D>(block)).collect();
        let jobs = self.jobs(cpu.threads(), area, tiles, out);
        cpu.each(jobs, |(setting, job)| self.job(dot, cpu, &settings[setting], job));
    }

    /// Images and blocks are shared among threads; if these are few, filters too.
    fn jobs<'c>(
        &self,
        threads: usize,
        area: usize,
        tiles: usize,
        out: &'c mut [O],
    ) -> Vec<(usize, Job<'c, '_, O>)> {
        let (geometry, blocks) = (self.geometry, &self.layout.blocks);
        let whole = geometry.batch * blocks.len();
        let work = geometry.filters * geometry.depth() * geometry.taps() * area / WIDTH;
        let parts = match threads {
            1 => 1,
            _ if work < SHARED_STEPS => 1,
            // Every part fills its region anew: as few as keep all threads busy.
            _ => (1..tiles).find(|parts| is_even(whole * parts, threads)).unwrap_or(tiles),
        };
        let mut planes = out.chunks_exact_mut(area);
        let mut jobs = Vec::with_capacity(whole * parts);
        for image in 0..geometry.batch {
            for part in 0..parts {
                let tiles = tiles * part / parts..tiles * (part + 1) / parts;
                let rows = self.first_row(tiles.end) - self.first_row(tiles.start);
                let first = jobs.len();
                for (index, block) in blocks.iter().enumerate() {
                    let rows = Vec::with_capacity(rows);
                    jobs.push((index, Job { image, block, tiles: tiles.clone(), rows }));
                }
                for plane in planes.by_ref().take(rows) {
                    let mut rest = plane;
                    for (_, job) in &mut jobs[first..] {
                        let (piece, behind) = rest.split_at_mut(job.block.positions.len());
                        job.rows.push(piece);
                        rest = behind;
                    }
                }
            }
        }
        jobs
    }

    /// The first filter of a tile, counted through the groups.
    fn first_row(&self, tile: usize) -> usize {
        let (group, tile) = (tile / self.heights.count(), tile % self.heights.count());
        group * self.geometry.filters_of_group() + self.heights.start(tile)
    }

    fn setting<'a, D: Dot<Unit = U, Out = O>>(&self, block: &'a Block) -> Setting<'a> {
        let lanes = self.layout.lanes(block);
        let (mut spans, mut runs) = (Vec::new(), Vec::new());
        let mut start = 0;
        while start < lanes {
            let left = (lanes - start).div_ceil(WIDTH);
            let panels = D::panels(self.heights.tallest(), left);
            let covered = panels.min(left) * WIDTH;
            let first = runs.len();
            self.layout.runs(block, start, covered.min(lanes - start), &mut runs);
            let panel = if panels > left { 0 } else { WIDTH };
            spans.push(Span { start, panels, panel, runs: first..runs.len() });
            start += covered;
        }
        Setting {
            block,
            plane: self.layout.plane_of(block),
            taps: self.layout.taps(block),
            stretches: self.layout.stretches(block),
            spans,
            runs,
        }
    }

    fn job<D: Dot<Unit = U, Out = O>>(
        &self,
        dot: D,
        cpu: &Cpu,
        setting: &Setting<'_>,
        mut job: Job<'_, '_, O>,
    ) {
        let per_group = self.heights.count();
        let mut region = cpu.shelf().take::<U>(self.layout.units);
        let region = region.as_mut::<U>();
        let mut sums = vec![O::default(); if self.one.is_some() { job.block.positions.len() } else { 0 }];
        let ones = vec![self.one.unwrap_or(U::zeroed()); setting.taps.len() * self.layout.planes];
        let first_row = self.first_row(job.tiles.start);
        let mut filled = None;
        for tile in job.tiles.clone() {
            let group = tile / per_group;
            if filled != Some(group) {
                (self.fill)(job.image, group, &setting.stretches, setting.plane, region);
                filled = Some(group);
                if self.one.is_some() {
                    let rows = &mut [&mut sums[..]];
                    self.tile(dot, setting, region, [&ones, &[]], Bias::None, rows);
                }
            }
            let first = self.first_row(tile);
            let filters = first..first + self.heights.rows(tile % per_group).len();
            let steps = setting.taps.len() * self.layout.planes;
            let weights = &self.weights[filters.start * steps..filters.end * steps];
            let bias = self.bias.map_or(Bias::None, |bias| Bias::Rows(&bias[filters.clone()]));
            let rows = &mut job.rows[filters.start - first_row..filters.end - first_row];
            let next = self.weights.get(filters.end * steps..).unwrap_or_default();
            let next = if tile + 1 < job.tiles.end { &next[..weights.len().min(next.len())] } else { &[] };
            self.tile(dot, setting, region, [weights, next], bias, rows);
            let Some(finish) = self.finish else { continue };
            for (filter, values) in filters.zip(rows) {
                finish(job.image, filter, setting.block.positions.start, values, &sums);
            }
        }
    }

    /// One tile of filters on all lanes of a block.
    fn tile<D: Dot<Unit = U, Out = O>>(
        &self,
        dot: D,
        setting: &Setting<'_>,
        region: &[U],
        [weights, next]: [&[U]; 2],
        bias: Bias<'_, O>,
        rows: &mut [&mut [O]],
    ) {
        // Every span asks for a share of the weights that come next.
        let mut shares = next.chunks(next.len().div_ceil(setting.spans.len().max(1)).max(1));
        for span in &setting.spans {
            dot.tile(Call {
                rows,
                panels: span.panels,
                left: weights,
                right: Right {
                    units: region,
                    start: span.start,
                    panel: span.panel,
                    outer: self.layout.planes,
                    outer_stride: setting.plane,
                    taps: Taps::new(&setting.taps),
                    soon: shares.next().unwrap_or_default(),
                },
                runs: &setting.runs[span.runs.clone()],
                resume: false,
                bias,
            });
        }
    }
}
