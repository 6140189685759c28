//! Trees between upload and table: nodes in any order, which name each other.

use nabla_types::tensor::{Tensor, TensorData};

use super::real::Real;
use super::table::{MEMBER, NAN_TO_TRUE};
use crate::Fault;
use crate::onnx::upload::Upload;

/// Most sets: their numbers must be exact in f32.
const SETS_MAX: usize = 1 << 24;

/// A node that names its children by their places.
pub(super) enum Node<T> {
    Branch(Branch<T>),
    /// Targets and weights.
    Leaf(Vec<(i32, T)>),
}

pub(super) struct Branch<T> {
    pub(super) mode: u8,
    pub(super) nan_to_true: bool,
    pub(super) feature: i32,
    /// Threshold, or the number of a set.
    pub(super) value: T,
    pub(super) yes: usize,
    pub(super) no: usize,
}

pub(super) struct Draft<T> {
    pub(super) roots: Vec<usize>,
    pub(super) nodes: Vec<Node<T>>,
    pub(super) sets: Vec<Vec<T>>,
}

impl<T: Real> Draft<T> {
    /// Keep a set; returns its number, as the value of its branch.
    #[expect(clippy::cast_precision_loss, reason = "numbers of sets are exact")]
    pub(super) fn add_set(&mut self, set: Vec<T>) -> Result<T, Fault> {
        if self.sets.len() >= SETS_MAX {
            return Err(wrong(format!("more than {SETS_MAX} sets")));
        }
        self.sets.push(set);
        Ok(T::of((self.sets.len() - 1) as f64))
    }

    /// The canonical table: each tree in preorder.
    pub(super) fn table(self) -> Result<Columns<T>, Fault> {
        let mut table = Columns { starts: vec![0], set_starts: vec![0], ..Columns::new() };
        let mut visited = vec![false; self.nodes.len()];
        for root in &self.roots {
            table.roots.push(small(table.modes.len())?);
            self.tree(*root, &mut visited, &mut table)?;
        }
        let is_lost =
            |place: &usize| !visited[*place] && !matches!(&self.nodes[*place], Node::Leaf(w) if w.is_empty());
        if let Some(node) = (0..self.nodes.len()).find(is_lost) {
            return Err(wrong(format!(
                "node {node} of all cannot be reached from the first node of its tree"
            )));
        }
        for set in self.sets {
            table.set_values.extend(set);
            table.set_starts.push(small(table.set_values.len())?);
        }
        Ok(table)
    }

    /// Write one tree, without recursion. `open` holds nodes still to write, and the branch whose "false"
    /// they are.
    fn tree(&self, root: usize, visited: &mut [bool], table: &mut Columns<T>) -> Result<(), Fault> {
        let mut open: Vec<(usize, Option<usize>)> = vec![(root, None)];
        while let Some((node, branch)) = open.pop() {
            if std::mem::replace(&mut visited[node], true) {
                return Err(wrong(format!("node {node} of all has two parents or is its own ancestor")));
            }
            let at = table.modes.len();
            if let Some(branch) = branch {
                table.others[branch] = small(at)?;
            }
            match &self.nodes[node] {
                Node::Leaf(weights) => table.push_leaf(weights)?,
                Node::Branch(branch) => {
                    let tracks = if branch.nan_to_true { NAN_TO_TRUE } else { 0 };
                    table.modes.push(branch.mode | tracks);
                    table.features.push(branch.feature);
                    table.values.push(branch.value);
                    table.others.push(0);
                    open.push((branch.no, Some(at)));
                    open.push((branch.yes, None));
                }
            }
        }
        Ok(())
    }
}

/// The columns of the table, as `mod.rs` gives them.
pub(super) struct Columns<T> {
    modes: Vec<u8>,
    features: Vec<i32>,
    values: Vec<T>,
    others: Vec<i32>,
    roots: Vec<i32>,
    starts: Vec<i32>,
    targets: Vec<i32>,
    weights: Vec<T>,
    set_starts: Vec<i32>,
    set_values: Vec<T>,
}

impl<T: Real> Columns<T> {
    fn new() -> Self {
        Self {
            modes: Vec::new(),
            features: Vec::new(),
            values: Vec::new(),
            others: Vec::new(),
            roots: Vec::new(),
            starts: Vec::new(),
            targets: Vec::new(),
            weights: Vec::new(),
            set_starts: Vec::new(),
            set_values: Vec::new(),
        }
    }

    fn push_leaf(&mut self, weights: &[(i32, T)]) -> Result<(), Fault> {
        self.modes.push(0);
        self.features.push(0);
        self.values.push(T::ZERO);
        self.others.push(small(self.starts.len() - 1)?);
        for (target, weight) in weights {
            self.targets.push(*target);
            self.weights.push(*weight);
        }
        self.starts.push(small(self.targets.len())?);
        Ok(())
    }

    /// Give the columns to the node as constants.
    pub(super) fn push(self, upload: &mut Upload<'_>, base: Vec<T>) -> Result<(), Fault> {
        let has_sets = self.modes.iter().any(|mode| mode & !NAN_TO_TRUE == MEMBER);
        let mut columns = vec![
            (1, TensorData::U8(self.modes)),
            (2, TensorData::I32(self.features)),
            (3, T::wrap(self.values)),
            (4, TensorData::I32(self.others)),
            (5, TensorData::I32(self.roots)),
            (6, TensorData::I32(self.starts)),
            (7, TensorData::I32(self.targets)),
            (8, T::wrap(self.weights)),
        ];
        if !base.is_empty() {
            columns.push((9, T::wrap(base)));
        }
        if has_sets {
            columns.push((10, TensorData::I32(self.set_starts)));
            columns.push((11, T::wrap(self.set_values)));
        }
        for (input, column) in columns {
            upload.set_input("tree table", input, Tensor::new(vec![column.len() as u64], column)?)?;
        }
        Ok(())
    }
}

fn small(index: usize) -> Result<i32, Fault> {
    i32::try_from(index).map_err(|_| wrong(format!("{index} nodes are too many")))
}

pub(super) fn wrong(problem: String) -> Fault {
    Fault::Table { what: "trees", problem }
}
