//! From the attributes of ONNX to the canonical table of nodes.

use std::collections::HashMap;

use nabla_types::tensor::{Tensor, TensorData};

use super::super::{Labels, PostTransform};
use super::table::NAN_TO_TRUE;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;

pub(crate) fn regressor(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_text("aggregate_function", "SUM")?;
    upload.default_int("n_targets", 1)?;
    convert(upload, "target")
}

pub(crate) fn classifier(upload: &mut Upload<'_>) -> Result<(), Fault> {
    Labels::import(upload, "classlabels_int64s", "classlabels_strings")?;
    convert(upload, "class")
}

fn convert(upload: &mut Upload<'_>, prefix: &str) -> Result<(), Fault> {
    PostTransform::import(upload)?;
    upload.ignore("nodes_hitrates");
    if upload.peek_floats("base_values")?.is_some_and(<[f32]>::is_empty) {
        upload.ignore("base_values");
    }
    for name in ["nodes_values_as_tensor", "base_values_as_tensor", "nodes_hitrates_as_tensor"] {
        if upload.take_tensor(name).is_some() {
            let hint = "export the trees with float32 attributes";
            return Err(Fault::Unsupported { what: format!("attribute {name}"), hint });
        }
    }
    let columns = Columns::take(upload, prefix)?;
    let tables = Builder::new(&columns)?.build(&columns)?;
    tables.push(upload)
}

/// The attributes, as they come.
struct Columns {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    modes: Vec<String>,
    features: Vec<i64>,
    values: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_targets: Vec<i64>,
    leaf_weights: Vec<f32>,
}

impl Columns {
    fn take(upload: &mut Upload<'_>, prefix: &str) -> Result<Self, Fault> {
        let leaf = |suffix: &str| format!("{prefix}_{suffix}");
        let columns = Self {
            trees: upload.ints_or_fault("nodes_treeids")?,
            nodes: upload.ints_or_fault("nodes_nodeids")?,
            modes: upload.take_texts("nodes_modes")?.unwrap_or_default(),
            features: upload.ints_or_fault("nodes_featureids")?,
            values: upload.take_floats("nodes_values")?.unwrap_or_default(),
            yes: upload.ints_or_fault("nodes_truenodeids")?,
            no: upload.ints_or_fault("nodes_falsenodeids")?,
            missing: upload.take_ints("nodes_missing_value_tracks_true")?.unwrap_or_default(),
            leaf_trees: upload.ints_or_fault(&leaf("treeids"))?,
            leaf_nodes: upload.ints_or_fault(&leaf("nodeids"))?,
            leaf_targets: upload.ints_or_fault(&leaf("ids"))?,
            leaf_weights: upload.take_floats(&leaf("weights"))?.unwrap_or_default(),
        };
        columns.check()?;
        Ok(columns)
    }

    fn check(&self) -> Result<(), Fault> {
        let expected = self.trees.len();
        let lengths = [
            ("nodes_nodeids", self.nodes.len(), expected),
            ("nodes_modes", self.modes.len(), expected),
            ("nodes_featureids", self.features.len(), expected),
            ("nodes_values", self.values.len(), expected),
            ("nodes_truenodeids", self.yes.len(), expected),
            ("nodes_falsenodeids", self.no.len(), expected),
            ("leaf node ids", self.leaf_nodes.len(), self.leaf_trees.len()),
            ("leaf target ids", self.leaf_targets.len(), self.leaf_trees.len()),
            ("leaf weights", self.leaf_weights.len(), self.leaf_trees.len()),
        ];
        match lengths.iter().find(|(_, got, expected)| got != expected) {
            Some((name, got, expected)) => Err(fault(name, &format!("{expected} entries"), &got.to_string())),
            None if self.missing.is_empty() || self.missing.len() == expected => Ok(()),
            None => Err(fault(
                "nodes_missing_value_tracks_true",
                "one entry per node",
                &self.missing.len().to_string(),
            )),
        }
    }
}

/// Looks nodes up by (tree, node) while the table is written.
struct Builder {
    place: HashMap<(i64, i64), usize>,
    /// First node of each tree, in order of appearance.
    roots: Vec<usize>,
    /// Weights of each node.
    weights: HashMap<usize, Vec<usize>>,
}

impl Builder {
    fn new(columns: &Columns) -> Result<Self, Fault> {
        let mut place = HashMap::new();
        let mut roots: Vec<usize> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (index, id) in columns.trees.iter().zip(&columns.nodes).enumerate() {
            if place.insert((*id.0, *id.1), index).is_some() {
                return Err(wrong(format!("node {} of tree {} stands there twice", id.1, id.0)));
            }
            if seen.insert(*id.0) {
                roots.push(index);
            } else if columns.trees[index - 1] != *id.0 {
                return Err(wrong(format!("nodes of tree {} do not stand together", id.0)));
            }
        }
        let mut weights: HashMap<usize, Vec<usize>> = HashMap::new();
        for (weight, id) in columns.leaf_trees.iter().zip(&columns.leaf_nodes).enumerate() {
            let node = place.get(&(*id.0, *id.1));
            let node = node.ok_or_else(|| {
                wrong(format!("a weight names node {} of tree {}, which is not there", id.1, id.0))
            })?;
            weights.entry(*node).or_default().push(weight);
        }
        Ok(Self { place, roots, weights })
    }

    fn build(&self, columns: &Columns) -> Result<Tables, Fault> {
        let mut tables = Tables { starts: vec![0], ..Tables::default() };
        let mut visited = vec![false; columns.trees.len()];
        for root in &self.roots {
            tables.roots.push(small(tables.modes.len())?);
            self.tree(*root, columns, &mut visited, &mut tables)?;
        }
        match visited.iter().position(|visited| !visited) {
            Some(node) => Err(wrong(format!(
                "node {} of tree {} cannot be reached from the first node of its tree",
                columns.nodes[node], columns.trees[node]
            ))),
            None => Ok(tables),
        }
    }

    /// Write one tree in preorder, without recursion. `open` holds nodes still to write, and the branch
    /// whose "false" they are.
    fn tree(
        &self,
        root: usize,
        columns: &Columns,
        visited: &mut [bool],
        tables: &mut Tables,
    ) -> Result<(), Fault> {
        let mut open: Vec<(usize, Option<usize>)> = vec![(root, None)];
        while let Some((node, branch)) = open.pop() {
            if std::mem::replace(&mut visited[node], true) {
                return Err(wrong(format!(
                    "node {} of tree {} has two parents or is its own ancestor",
                    columns.nodes[node], columns.trees[node]
                )));
            }
            let at = tables.modes.len();
            if let Some(branch) = branch {
                tables.others[branch] = small(at)?;
            }
            let mode = mode(&columns.modes[node])?;
            if mode == 0 {
                tables.push_leaf(self.weights.get(&node).map_or(&[][..], Vec::as_slice), columns)?;
                continue;
            }
            let nan_to_true = columns.missing.get(node).is_some_and(|missing| *missing == 1);
            tables.modes.push(if nan_to_true { mode | NAN_TO_TRUE } else { mode });
            tables.features.push(i32::try_from(columns.features[node]).unwrap_or(-1));
            tables.values.push(columns.values[node]);
            tables.others.push(0);
            open.push((self.child(columns, node, columns.no[node])?, Some(at)));
            open.push((self.child(columns, node, columns.yes[node])?, None));
        }
        Ok(())
    }

    fn child(&self, columns: &Columns, node: usize, child: i64) -> Result<usize, Fault> {
        let tree = columns.trees[node];
        let found = self.place.get(&(tree, child)).copied();
        found
            .ok_or_else(|| wrong(format!("node {} of tree {tree} has no child {child}", columns.nodes[node])))
    }
}

fn mode(text: &str) -> Result<u8, Fault> {
    match text {
        "LEAF" => Ok(0),
        "BRANCH_LEQ" => Ok(1),
        "BRANCH_LT" => Ok(2),
        "BRANCH_GTE" => Ok(3),
        "BRANCH_GT" => Ok(4),
        "BRANCH_EQ" => Ok(5),
        "BRANCH_NEQ" => Ok(6),
        got => Err(fault("nodes_modes", "LEAF or BRANCH_LEQ, _LT, _GTE, _GT, _EQ, _NEQ", got)),
    }
}

#[derive(Default)]
struct Tables {
    modes: Vec<u8>,
    features: Vec<i32>,
    values: Vec<f32>,
    others: Vec<i32>,
    roots: Vec<i32>,
    starts: Vec<i32>,
    targets: Vec<i32>,
    weights: Vec<f32>,
}

impl Tables {
    fn push_leaf(&mut self, weights: &[usize], columns: &Columns) -> Result<(), Fault> {
        self.modes.push(0);
        self.features.push(0);
        self.values.push(0.0);
        self.others.push(small(self.starts.len() - 1)?);
        for weight in weights {
            self.targets.push(i32::try_from(columns.leaf_targets[*weight]).unwrap_or(-1));
            self.weights.push(columns.leaf_weights[*weight]);
        }
        self.starts.push(small(self.targets.len())?);
        Ok(())
    }

    fn push(self, upload: &mut Upload<'_>) -> Result<(), Fault> {
        let columns = [
            TensorData::U8(self.modes),
            TensorData::I32(self.features),
            TensorData::F32(self.values),
            TensorData::I32(self.others),
            TensorData::I32(self.roots),
            TensorData::I32(self.starts),
            TensorData::I32(self.targets),
            TensorData::F32(self.weights),
        ];
        for column in columns {
            upload.push_constant(Tensor::new(vec![column.len() as u64], column)?);
        }
        Ok(())
    }
}

fn small(index: usize) -> Result<i32, Fault> {
    i32::try_from(index).map_err(|_| wrong(format!("{index} nodes are too many")))
}

fn wrong(problem: String) -> Fault {
    Fault::Table { what: "trees", problem }
}
