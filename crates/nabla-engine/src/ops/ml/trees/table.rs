//! The table of nodes: checked once, then walked without doubt.

use std::cmp::Ordering;

use nabla_types::tensor::{Tensor, TensorData};

use crate::Fault;

/// Bit of a mode that sends NaN to "true".
pub(crate) const NAN_TO_TRUE: u8 = 8;
/// Greatest mode without that bit.
const MODE_MAX: u8 = 6;

/// Check the tables of a forest. Returns the most steps that one row can take.
pub(super) fn check(tables: &[&Tensor], features: usize, targets: usize) -> Result<u64, Fault> {
    let view = View::new(tables)?;
    let count = view.modes.len();
    let mut steps = 0_u64;
    let first = view.roots.first().copied().unwrap_or(0);
    if first != 0 || (view.roots.is_empty() && count > 0) {
        return Err(wrong("roots", "the first tree starts at node 0".to_owned()));
    }
    for (tree, root) in view.roots.iter().enumerate() {
        let end = view.roots.get(tree + 1).map_or(Some(count), |next| index(*next));
        let range = index(*root).zip(end).filter(|(root, end)| root < end && *end <= count);
        let (root, end) =
            range.ok_or_else(|| wrong("roots", format!("tree {tree} is empty or out of place")))?;
        steps = steps.saturating_add(check_tree(&view, root..end, features)?);
    }
    check_leaves(&view, targets)?;
    Ok(steps)
}

/// Returns the depth and the weights of the heaviest leaf.
fn check_tree(view: &View<'_>, nodes: std::ops::Range<usize>, features: usize) -> Result<u64, Fault> {
    let mut depth = vec![0_u64; nodes.len()];
    let (mut deepest, mut heaviest) = (0, 0);
    for node in nodes.clone() {
        let mode = view.modes[node];
        let other = index(view.others[node]);
        if mode == 0 {
            let leaf = other.filter(|leaf| leaf + 1 < view.starts.len());
            let leaf =
                leaf.ok_or_else(|| wrong("leaves", format!("node {node} names a leaf that is not there")))?;
            heaviest = heaviest.max(view.starts[leaf + 1].saturating_sub(view.starts[leaf]));
            continue;
        }
        if mode & !NAN_TO_TRUE == 0 || mode & !NAN_TO_TRUE > MODE_MAX {
            return Err(wrong("modes", format!("node {node} has mode {mode}, expected 0 to 6, plus 8")));
        }
        if index(view.features[node]).is_none_or(|feature| feature >= features) {
            let problem = format!("node {node} reads feature {} of {features}", view.features[node]);
            return Err(wrong("features", problem));
        }
        let child = other.filter(|child| *child > node + 1 && nodes.contains(child));
        let child =
            child.ok_or_else(|| wrong("children", format!("node {node}: children must follow it")))?;
        let below = depth[node - nodes.start] + 1;
        deepest = deepest.max(below);
        for child in [node + 1, child] {
            let slot = &mut depth[child - nodes.start];
            *slot = below.max(*slot);
        }
    }
    Ok(deepest + 1 + u64::from(heaviest.unsigned_abs()))
}

fn check_leaves(view: &View<'_>, targets: usize) -> Result<(), Fault> {
    let sorted = view.starts.windows(2).all(|pair| pair[0] <= pair[1]);
    let first = view.starts.first().copied();
    let last = view.starts.last().copied().and_then(index);
    if !sorted || first != Some(0) || last != Some(view.targets.len()) {
        return Err(wrong("leaves", "starts must rise from 0 to the number of weights".to_owned()));
    }
    match view.targets.iter().find(|target| index(**target).is_none_or(|target| target >= targets)) {
        Some(target) => Err(wrong("targets", format!("a weight names target {target} of {targets}"))),
        None => Ok(()),
    }
}

struct View<'a> {
    modes: &'a [u8],
    features: &'a [i32],
    others: &'a [i32],
    roots: &'a [i32],
    starts: &'a [i32],
    targets: &'a [i32],
}

impl<'a> View<'a> {
    fn new(tables: &[&'a Tensor]) -> Result<Self, Fault> {
        use TensorData::{F32, I32, U8};
        let data: Vec<&TensorData> = tables.iter().map(|table| table.data()).collect();
        let [
            U8(modes),
            I32(features),
            F32(values),
            I32(others),
            I32(roots),
            I32(starts),
            I32(targets),
            F32(weights),
        ] = data[..]
        else {
            return Err(wrong("types", "expected u8, i32, f32, i32, i32, i32, i32, f32".to_owned()));
        };
        let nodes = [features.len(), values.len(), others.len()];
        if nodes != [modes.len(); 3] || targets.len() != weights.len() || modes.len() > i32::MAX as usize {
            return Err(wrong("lengths", format!("{} modes, {nodes:?} other columns", modes.len())));
        }
        Ok(Self { modes, features, others, roots, starts, targets })
    }
}

fn index(value: i32) -> Option<usize> {
    usize::try_from(value).ok()
}

fn wrong(what: &'static str, problem: String) -> Fault {
    Fault::Table { what: "tree table", problem: format!("{what}: {problem}") }
}

/// A forest that has been checked, laid out for walking.
#[derive(Debug, Default)]
pub(super) struct Forest {
    nodes: Vec<Node>,
    pub(super) roots: Vec<u32>,
    starts: Vec<u32>,
    weights: Vec<(u32, f32)>,
    /// No weight is below zero.
    pub(super) all_positive: bool,
    /// All weights name the same target.
    pub(super) single_target: bool,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    value: f32,
    feature: u32,
    /// Node for "false", or the number of the leaf.
    other: u32,
    mode: u8,
}

impl Forest {
    /// Lay out tables that [`check`] accepted.
    pub(super) fn load(tables: &[&Tensor]) -> Self {
        use TensorData::{F32, I32, U8};
        let data: Vec<&TensorData> = tables.iter().map(|table| table.data()).collect();
        let [
            U8(modes),
            I32(features),
            F32(values),
            I32(others),
            I32(roots),
            I32(starts),
            I32(targets),
            F32(weights),
        ] = data[..]
        else {
            return Self::default();
        };
        let columns = modes.iter().zip(features).zip(values.iter().zip(others));
        let node = |((mode, feature), (value, other)): ((&u8, &i32), (&f32, &i32))| Node {
            value: *value,
            feature: feature.unsigned_abs(),
            other: other.unsigned_abs(),
            mode: *mode,
        };
        let unsigned = |values: &[i32]| values.iter().map(|value| value.unsigned_abs()).collect::<Vec<u32>>();
        Self {
            nodes: columns.map(node).collect(),
            roots: unsigned(roots),
            starts: unsigned(starts),
            all_positive: !weights.iter().any(|weight| *weight < 0.0),
            single_target: !targets.is_empty() && targets.iter().all(|target| *target == targets[0]),
            weights: unsigned(targets).into_iter().zip(weights.iter().copied()).collect(),
        }
    }

    /// Weights of the leaf where this row ends.
    #[inline]
    pub(super) fn leaf<T>(
        &self,
        root: u32,
        row: &[T],
        compare: &impl Fn(&T, f32) -> Option<Ordering>,
    ) -> &[(u32, f32)] {
        let mut at = root as usize;
        loop {
            let node = self.nodes[at];
            if node.mode == 0 {
                let leaf = node.other as usize;
                return &self.weights[self.starts[leaf] as usize..self.starts[leaf + 1] as usize];
            }
            let order = compare(&row[node.feature as usize], node.value);
            at = if goes_to_true(node.mode, order, &row[node.feature as usize], compare) {
                at + 1
            } else {
                node.other as usize
            };
        }
    }
}

/// Whether a branch holds. Without an order (NaN on either side) only `!=` holds, and NaN in the row holds
/// if the branch tracks missing values.
#[inline]
fn goes_to_true<T>(
    mode: u8,
    order: Option<Ordering>,
    x: &T,
    compare: &impl Fn(&T, f32) -> Option<Ordering>,
) -> bool {
    let holds = match mode & !NAN_TO_TRUE {
        1 => order.is_some_and(Ordering::is_le),
        2 => order.is_some_and(Ordering::is_lt),
        3 => order.is_some_and(Ordering::is_ge),
        4 => order.is_some_and(Ordering::is_gt),
        5 => order == Some(Ordering::Equal),
        _ => order != Some(Ordering::Equal),
    };
    holds || (mode & NAN_TO_TRUE != 0 && compare(x, 0.0).is_none())
}
