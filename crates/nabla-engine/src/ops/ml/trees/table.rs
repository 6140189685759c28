//! The table of nodes: checked once, then walked without doubt.

use nabla_types::tensor::Tensor;

use super::real::Real;
use crate::Fault;

/// Bit of a mode that sends NaN to "true".
pub(super) const NAN_TO_TRUE: u8 = 8;
/// Mode of a branch that asks whether the feature is in a set: the greatest without that bit.
pub(super) const MEMBER: u8 = 7;
/// Steps that are charged for looking a feature up in a set.
const MEMBER_STEPS: u64 = 32;

/// The constants of a forest; `mod.rs` says what they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Table<'a, T> {
    pub(super) modes: &'a [u8],
    pub(super) features: &'a [i32],
    pub(super) values: &'a [T],
    pub(super) others: &'a [i32],
    pub(super) roots: &'a [i32],
    pub(super) starts: &'a [i32],
    pub(super) targets: &'a [i32],
    pub(super) weights: &'a [T],
    pub(super) base: &'a [T],
    set_starts: &'a [i32],
    set_values: &'a [T],
}

/// What a checked table needs and is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Most steps that one row can take.
    pub(super) steps: u64,
    /// Features that it reads: the greatest index plus one.
    pub(super) features: u64,
    /// Targets that it names: the greatest index plus one.
    pub(super) targets: u64,
    pub(super) trees: u64,
    pub(super) leaves: u64,
    /// No weight is below zero.
    pub(super) all_positive: bool,
    /// All weights name the same target.
    pub(super) single_target: bool,
    /// Every leaf has exactly one weight.
    pub(super) one_weight: bool,
}

impl<'a, T: Real> Table<'a, T> {
    /// The columns, by the index of the input, if their types and lengths fit.
    pub(super) fn read(tensor: impl Fn(usize) -> Option<&'a Tensor>) -> Result<Self, Fault> {
        let ints = |input: usize| column::<i32>(tensor(input));
        let reals = |input: usize| column::<T>(tensor(input));
        let table = Self {
            modes: column::<u8>(tensor(1))?.unwrap_or_default(),
            features: ints(2)?.unwrap_or_default(),
            values: reals(3)?.unwrap_or_default(),
            others: ints(4)?.unwrap_or_default(),
            roots: ints(5)?.unwrap_or_default(),
            starts: ints(6)?.unwrap_or_default(),
            targets: ints(7)?.unwrap_or_default(),
            weights: reals(8)?.unwrap_or_default(),
            base: reals(9)?.unwrap_or_default(),
            set_starts: ints(10)?.unwrap_or(&[0]),
            set_values: reals(11)?.unwrap_or_default(),
        };
        let nodes = [table.features.len(), table.values.len(), table.others.len()];
        let count = table.modes.len();
        if nodes != [count; 3] || table.targets.len() != table.weights.len() || count > i32::MAX as usize {
            return Err(wrong("lengths", format!("{count} modes, {nodes:?} other columns")));
        }
        Ok(table)
    }

    /// Check everything that a walk relies on.
    pub(super) fn check(&self) -> Result<Facts, Fault> {
        self.check_leaves()?;
        self.check_sets()?;
        let count = self.modes.len();
        let first = self.roots.first().copied().unwrap_or(0);
        if first != 0 || (self.roots.is_empty() && count > 0) {
            return Err(wrong("roots", "the first tree starts at node 0".to_owned()));
        }
        let mut steps = 0_u64;
        let mut depth = Vec::new();
        for (tree, root) in self.roots.iter().enumerate() {
            let end = self.roots.get(tree + 1).map_or(Some(count), |next| index(*next));
            let range = index(*root).zip(end).filter(|(root, end)| root < end && *end <= count);
            let (root, end) =
                range.ok_or_else(|| wrong("roots", format!("tree {tree} is empty or out of place")))?;
            depth.clear();
            depth.resize(end - root, 0);
            steps = steps.saturating_add(self.check_tree(root..end, &mut depth)?);
        }
        if self.set_starts.len() > 1 {
            steps = steps.saturating_mul(MEMBER_STEPS);
        }
        let most = |column: &[i32]| column.iter().max().map_or(0, |most| u64::from(most.unsigned_abs()) + 1);
        Ok(Facts {
            steps,
            features: most(self.features),
            targets: most(self.targets),
            trees: self.roots.len() as u64,
            leaves: self.starts.len() as u64 - 1,
            all_positive: !self.weights.iter().any(|weight| *weight < T::ZERO),
            single_target: !self.targets.is_empty() && self.targets.iter().all(|t| *t == self.targets[0]),
            one_weight: self.starts.windows(2).all(|pair| pair[1] - pair[0] == 1),
        })
    }

    /// Returns the depth and the weights of the heaviest leaf.
    fn check_tree(&self, nodes: std::ops::Range<usize>, depth: &mut [u64]) -> Result<u64, Fault> {
        let (mut deepest, mut heaviest) = (0, 0);
        for node in nodes.clone() {
            let mode = self.modes[node];
            let other = index(self.others[node]);
            if index(self.features[node]).is_none() {
                return Err(wrong("features", format!("node {node} reads feature {}", self.features[node])));
            }
            if mode == 0 {
                let leaf = other.filter(|leaf| leaf + 1 < self.starts.len());
                let leaf = leaf
                    .ok_or_else(|| wrong("leaves", format!("node {node} names a leaf that is not there")))?;
                heaviest = heaviest.max(self.starts[leaf + 1] - self.starts[leaf]);
                continue;
            }
            if mode & !NAN_TO_TRUE == 0 || mode & !NAN_TO_TRUE > MEMBER {
                return Err(wrong("modes", format!("node {node} has mode {mode}, expected 0 to 7, plus 8")));
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

    fn check_leaves(&self) -> Result<(), Fault> {
        let last = self.starts.last().copied().and_then(index);
        if !rises(self.starts) || last != Some(self.targets.len()) {
            return Err(wrong("leaves", "starts must rise from 0 to the number of weights".to_owned()));
        }
        match self.targets.iter().find(|target| **target < 0) {
            Some(target) => Err(wrong("targets", format!("a weight names target {target}"))),
            None => Ok(()),
        }
    }

    /// Every branch that asks for a set names one that is there, and the values of a set rise.
    fn check_sets(&self) -> Result<(), Fault> {
        let last = self.set_starts.last().copied().and_then(index);
        if !rises(self.set_starts) || last != Some(self.set_values.len()) {
            return Err(wrong("sets", "starts must rise from 0 to the number of values".to_owned()));
        }
        for pair in self.set_starts.windows(2) {
            let set = self.set(pair);
            if set.iter().any(|value| value.is_nan()) || !set.windows(2).all(|pair| pair[0] < pair[1]) {
                return Err(wrong("sets", "the values of a set must rise".to_owned()));
            }
        }
        let members = self.modes.iter().zip(self.values).filter(|(mode, _)| **mode & !NAN_TO_TRUE == MEMBER);
        for (_, value) in members {
            if self.set_of(*value).is_none() {
                return Err(wrong("sets", format!("{value:?} is not the number of a set")));
            }
        }
        Ok(())
    }

    fn set(&self, pair: &[i32]) -> &'a [T] {
        let place = |at: i32| index(at).unwrap_or(0);
        self.set_values.get(place(pair[0])..place(pair[1])).unwrap_or_default()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, then is compared"
    )]
    #[expect(clippy::cast_precision_loss, reason = "a number that is not exact is refused")]
    fn set_of(&self, value: T) -> Option<&'a [T]> {
        let number = value.wide() as usize;
        let exact = number as f64 == value.wide();
        self.set_starts.get(number..=number.checked_add(1)?).filter(|_| exact).map(|pair| self.set(pair))
    }

    /// Number of the leaf where a row ends. `C` is the precision in which features are compared.
    pub(super) fn leaf<C: Real>(&self, root: usize, row: &[C]) -> usize {
        let mut at = root;
        loop {
            let (mode, other) = (self.modes[at], self.others[at].unsigned_abs() as usize);
            if mode == 0 {
                return other;
            }
            let x = row[self.features[at].unsigned_abs() as usize];
            at = if self.holds(mode, x, self.values[at]) { at + 1 } else { other };
        }
    }

    /// Whether a branch holds. For NaN only `!=` holds, and any branch that tracks missing values.
    #[inline]
    fn holds<C: Real>(&self, mode: u8, x: C, value: T) -> bool {
        let given = value;
        let value = C::of(value.wide());
        let holds = match mode & !NAN_TO_TRUE {
            1 => x <= value,
            2 => x < value,
            3 => x >= value,
            4 => x > value,
            5 => x == value,
            6 => x != value,
            _ => {
                let set = self.set_of(given).unwrap_or_default();
                let at = set.partition_point(|member| C::of(member.wide()) < x);
                set.get(at).is_some_and(|member| C::of(member.wide()) == x)
            }
        };
        holds || (mode & NAN_TO_TRUE != 0 && x.is_nan())
    }

    /// Where the weights of a leaf stand.
    #[inline]
    pub(super) fn weights_of(&self, leaf: usize) -> std::ops::Range<usize> {
        self.starts[leaf].unsigned_abs() as usize..self.starts[leaf + 1].unsigned_abs() as usize
    }
}

/// A column, if it is given.
fn column<'a, T: crate::ops::Element>(tensor: Option<&'a Tensor>) -> Result<Option<&'a [T]>, Fault> {
    let column = |tensor: &'a Tensor| {
        let slice = T::slice(tensor.data());
        slice.ok_or_else(|| wrong("types", format!("expected {}, got {}", T::DTYPE.name(), tensor.dtype())))
    };
    tensor.map(column).transpose()
}

/// From 0 upwards.
fn rises(starts: &[i32]) -> bool {
    starts.first() == Some(&0) && starts.windows(2).all(|pair| pair[0] <= pair[1])
}

fn index(value: i32) -> Option<usize> {
    usize::try_from(value).ok()
}

fn wrong(what: &'static str, problem: String) -> Fault {
    Fault::Table { what: "tree table", problem: format!("{what}: {problem}") }
}
