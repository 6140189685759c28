//! Forests as they are walked fast: what is laid out once per session.
//!
//! # Which forests
//! Thresholds in f32, and no branch that asks for equality or sets. `<`, `>=` and `>` become `<=`: the next
//! smaller f32 instead of `<`, children swapped instead of the opposite. NaN goes where it must because a row
//! is kept twice if need be: as it is (NaN is not `<=` anything), and with the least number instead of NaN.
//!
//! # Layout
//! | buffer | what |
//! |---|---|
//! | 0 | u64: what `Facts` says, then whether and how the rest is there |
//! | 1 | nodes, two u32 each, trees breadth first: threshold bits; way to "false" (20 bits), column (12) |
//! | 2 | u32 of each node that is a leaf: its number, or the bits of its weight |
//! | 3 | per tree five u32: root; operations from, of the first word up to, and up to; depth |
//! | 4 | operations of small trees: threshold bits, column, leaves that are left above the threshold |
//! | 5 | u32 of every leaf of small trees, 64 places each |
//!
//! The child for "true" stands behind the one for "false". A leaf has the threshold NaN and leads to itself.

use crate::kernels::Buffer;
use crate::kernels::buffer::Aligned;
use crate::ops::Packed;

use super::table::{Facts, NAN_TO_TRUE, Table};

/// Bits for the column, and the columns that they can name; the rest is the way to a child.
pub(super) const COLUMN_BITS: u32 = 12;
pub(super) const COLUMNS_MAX: usize = 1 << COLUMN_BITS;
const WAY_BITS: u32 = 32 - COLUMN_BITS;
/// Leaves of a small tree.
pub(super) const SMALL: usize = 64;
/// Words of the first buffer.
const WORDS: usize = 12;

/// Bits of the threshold; way to the "false" child, then column.
pub(super) type Node = [u32; 2];
/// Its root; its operations from, of the first word up to, and up to; its depth.
pub(super) type Tree = [u32; 5];
/// One operation on the leaves that are still possible: threshold bits, column, mask, nothing.
pub(super) type Operation = [u32; 4];

/// A forest in memory, as [`pack`] left it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fast<'a> {
    pub(super) nodes: &'a [Node],
    pub(super) leaves: &'a [u32],
    pub(super) trees: &'a [Tree],
    pub(super) operations: &'a [Operation],
    pub(super) small_leaves: &'a [u32],
    /// Rows are kept twice.
    pub(super) twice: bool,
    /// All leaves have one weight for this target, and `leaves` are weights.
    pub(super) only_target: Option<usize>,
}

/// What the table needs, and the fast form where there is one.
pub(super) fn pack(table: &Table<'_, f32>, facts: Facts) -> Packed {
    let mut builder = Builder::new(table, facts);
    let fast = builder.is_fitting() && builder.forest().is_some();
    let mut buffers = vec![words(&facts, fast.then_some(&builder))];
    if fast {
        let Builder { nodes, leaves, trees, operations, small_leaves, .. } = builder;
        buffers.extend([
            buffer(nodes.as_flattened()),
            buffer(&leaves),
            buffer(trees.as_flattened()),
            buffer(operations.as_flattened()),
            buffer(&small_leaves),
        ]);
    }
    Packed { buffers, replaces: Vec::new() }
}

/// Facts only, for forests that are walked as they stand.
pub(super) fn pack_facts(facts: Facts) -> Packed {
    Packed { buffers: vec![words(&facts, None)], replaces: Vec::new() }
}

fn words(facts: &Facts, fast: Option<&Builder<'_>>) -> Buffer {
    let flag = u64::from;
    let words: [u64; WORDS] = [
        facts.steps,
        facts.features,
        facts.targets,
        facts.trees,
        facts.leaves,
        flag(facts.all_positive),
        flag(facts.single_target),
        flag(facts.one_weight),
        flag(fast.is_some()),
        flag(fast.is_some_and(|fast| fast.twice)),
        flag(fast.is_some_and(|fast| fast.only_target.is_some())),
        fast.and_then(|fast| fast.only_target).unwrap_or(0) as u64,
    ];
    buffer(&words)
}

fn buffer<T: bytemuck::Pod>(values: &[T]) -> Buffer {
    let mut bytes = Aligned::zeroed::<T>(values.len());
    bytes.as_mut::<T>().copy_from_slice(values);
    Buffer::new(bytes)
}

/// The facts of a packed forest.
pub(super) fn facts(packed: &Packed) -> Option<Facts> {
    let words: &[u64; WORDS] = packed.buffers.first()?.view::<u64>().try_into().ok()?;
    Some(Facts {
        steps: words[0],
        features: words[1],
        targets: words[2],
        trees: words[3],
        leaves: words[4],
        all_positive: words[5] == 1,
        single_target: words[6] == 1,
        one_weight: words[7] == 1,
    })
}

impl<'a> Fast<'a> {
    pub(super) fn of(packed: &'a Packed) -> Option<Self> {
        let [words, nodes, leaves, trees, operations, small_leaves] = &packed.buffers[..] else {
            return None;
        };
        let words: &[u64; WORDS] = words.view::<u64>().try_into().ok()?;
        Some(Self {
            nodes: nodes.view(),
            leaves: leaves.view(),
            trees: trees.view(),
            operations: operations.view(),
            small_leaves: small_leaves.view(),
            twice: words[9] == 1,
            only_target: usize::try_from(words[11]).ok().filter(|_| words[10] == 1),
        })
    }
}

struct Builder<'a> {
    table: &'a Table<'a, f32>,
    facts: Facts,
    nodes: Vec<Node>,
    leaves: Vec<u32>,
    trees: Vec<Tree>,
    operations: Vec<Operation>,
    small_leaves: Vec<u32>,
    twice: bool,
    only_target: Option<usize>,
}

/// A branch as `x[column] <= threshold`.
struct Step {
    threshold: f32,
    column: u32,
    yes: usize,
    no: usize,
}

impl<'a> Builder<'a> {
    fn new(table: &'a Table<'a, f32>, facts: Facts) -> Self {
        let only = facts.one_weight && facts.single_target;
        let target = table.targets.first().map(|target| target.unsigned_abs() as usize);
        Self {
            table,
            facts,
            nodes: Vec::new(),
            leaves: Vec::new(),
            trees: Vec::new(),
            operations: Vec::new(),
            small_leaves: Vec::new(),
            twice: false,
            only_target: target.filter(|_| only),
        }
    }

    /// Whether every branch can be a step; finds out whether rows are kept twice.
    fn is_fitting(&mut self) -> bool {
        for (mode, value) in self.table.modes.iter().zip(self.table.values) {
            let tracks = mode & NAN_TO_TRUE != 0;
            let opposite = match mode & !NAN_TO_TRUE {
                0 => continue,
                1 | 2 => false,
                3 | 4 => true,
                _ => return false,
            };
            self.twice |= tracks != opposite;
            // No threshold sends only NaN, or nothing but NaN, to one side.
            let lost =
                value.is_nan() || (*value == f32::NEG_INFINITY && matches!(mode & !NAN_TO_TRUE, 2 | 3));
            if lost {
                return false;
            }
        }
        let copies = if self.twice { 2 } else { 1 };
        let fits = |columns: usize| columns <= COLUMNS_MAX;
        usize::try_from(self.facts.features).is_ok_and(|features| fits(features.saturating_mul(copies)))
    }

    fn forest(&mut self) -> Option<()> {
        for tree in 0..self.table.roots.len() {
            let root = self.table.roots[tree].unsigned_abs() as usize;
            let end = self.table.roots.get(tree + 1);
            let end = end.map_or(self.table.modes.len(), |end| end.unsigned_abs() as usize);
            let place = u32::try_from(self.nodes.len()).ok()?;
            let depth = self.breadth_first(root)?;
            let (from, middle, to) = self.small_tree(root, end)?;
            self.trees.push([place, from, middle, to, depth]);
        }
        Some(())
    }

    /// The branch at `node`; `None` at a leaf. Columns with NaN replaced are the odd ones.
    fn step(&self, node: usize) -> Option<Step> {
        let mode = self.table.modes[node];
        if mode == 0 {
            return None;
        }
        let (plain, tracks) = (mode & !NAN_TO_TRUE, mode & NAN_TO_TRUE != 0);
        let value = self.table.values[node];
        let threshold = if matches!(plain, 2 | 3) { value.next_down() } else { value };
        let (yes, no) = (node + 1, self.table.others[node].unsigned_abs() as usize);
        let opposite = plain > 2;
        let (yes, no) = if opposite { (no, yes) } else { (yes, no) };
        let column = self.table.features[node].unsigned_abs();
        let column = if self.twice { column * 2 + u32::from(tracks != opposite) } else { column };
        Some(Step { threshold, column, yes, no })
    }

    /// Number of the leaf, or its weight.
    fn leaf(&self, node: usize) -> u32 {
        let leaf = self.table.others[node].unsigned_abs();
        match self.only_target {
            Some(_) => self.table.weights[self.table.weights_of(leaf as usize).start].to_bits(),
            None => leaf,
        }
    }

    /// Returns the depth.
    fn breadth_first(&mut self, root: usize) -> Option<u32> {
        let base = self.nodes.len();
        let mut queue = vec![(root, 0_u32)];
        let mut next = 0;
        let mut deepest = 0;
        while let Some((node, depth)) = queue.get(next).copied() {
            deepest = depth;
            match self.step(node) {
                None => {
                    self.nodes.push([f32::NAN.to_bits(), 0]);
                    let leaf = self.leaf(node);
                    self.leaves.push(leaf);
                }
                Some(step) => {
                    let way = u32::try_from(queue.len() - next).ok().filter(|way| way >> WAY_BITS == 0)?;
                    let meta = way << COLUMN_BITS | step.column;
                    self.nodes.push([step.threshold.to_bits(), meta]);
                    self.leaves.push(0);
                    queue.extend([(step.no, depth + 1), (step.yes, depth + 1)]);
                }
            }
            next += 1;
        }
        u32::try_from(base + queue.len()).ok().map(|_| deepest)
    }

    /// Operations of a tree with few leaves. Leaves are counted from the side of "true"; a branch that is
    /// false strikes out those of its "true" child, so that the first one left is where the row ends.
    fn small_tree(&mut self, root: usize, end: usize) -> Option<(u32, u32, u32)> {
        let from = u32::try_from(self.operations.len()).ok()?;
        let mut counts = vec![1_usize; end - root];
        for node in (root..end).rev() {
            if let Some(step) = self.step(node) {
                counts[node - root] = counts[step.yes - root] + counts[step.no - root];
            }
        }
        if counts[0] > SMALL {
            // Too many: an empty range of operations that does not start where it should says so.
            return Some((u32::MAX, u32::MAX, u32::MAX));
        }
        let first = self.small_leaves.len();
        let (mut low, mut high) = (Vec::new(), Vec::new());
        let mut leaves = [0_u32; SMALL];
        let mut open = vec![(root, 0)];
        while let Some((node, start)) = open.pop() {
            let Some(step) = self.step(node) else {
                leaves[start] = self.leaf(node);
                continue;
            };
            let count = counts[step.yes - root];
            let struck = (u64::MAX >> (SMALL - count)) << start;
            let [a, b, c, d, e, f, g, h] = (!struck).to_le_bytes();
            let masks = [u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h])];
            for (word, mask) in [&mut low, &mut high].into_iter().zip(masks) {
                if mask != u32::MAX {
                    word.push([step.threshold.to_bits(), step.column, mask, 0]);
                }
            }
            open.push((step.no, start + count));
            open.push((step.yes, start));
        }
        debug_assert_eq!(first % SMALL, 0);
        self.small_leaves.extend(leaves);
        let middle = from.checked_add(u32::try_from(low.len()).ok()?)?;
        let to = middle.checked_add(u32::try_from(high.len()).ok()?)?;
        self.operations.extend(low);
        self.operations.extend(high);
        Some((from, middle, to))
    }
}
