//! From the attributes of ONNX to the canonical table of nodes.

use std::collections::{HashMap, HashSet};

use nabla_types::tensor::{Tensor, TensorData};

use super::super::{Labels, PostTransform};
use super::draft::{Branch, Draft, Node, wrong};
use super::real::Real;
use crate::Fault;
use crate::graph::attributes::fault;
use crate::onnx::upload::Upload;

/// `TreeEnsembleRegressor` of any version.
pub(super) fn regressor(upload: &mut Upload<'_>) -> Result<(), Fault> {
    upload.default_text("aggregate_function", "SUM")?;
    upload.default_int("n_targets", 1)?;
    convert(upload, "target")
}

/// `TreeEnsembleClassifier` of any version.
pub(super) fn classifier(upload: &mut Upload<'_>) -> Result<(), Fault> {
    Labels::import(upload, "classlabels_int64s", "classlabels_strings")?;
    convert(upload, "class")
}

fn convert(upload: &mut Upload<'_>, prefix: &str) -> Result<(), Fault> {
    PostTransform::import(upload)?;
    upload.ignore("nodes_hitrates");
    let _ = upload.take_tensor("nodes_hitrates_as_tensor");
    let values = Numbers::take(upload, "nodes_values")?;
    let weights = Numbers::take(upload, &format!("{prefix}_weights"))?;
    let base = Numbers::take(upload, "base_values")?;
    if values.is_wide() || weights.is_wide() || base.is_wide() {
        convert_as::<f64>(upload, prefix, values.reals(), weights.reals(), base.reals())
    } else {
        convert_as::<f32>(upload, prefix, values.reals(), weights.reals(), base.reals())
    }
}

fn convert_as<T: Real>(
    upload: &mut Upload<'_>,
    prefix: &str,
    values: Vec<T>,
    weights: Vec<T>,
    base: Vec<T>,
) -> Result<(), Fault> {
    let columns = Columns::take(upload, prefix, values, weights)?;
    columns.draft()?.table()?.push(upload, base)
}

/// Floats of an attribute, in either of its two forms.
enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Numbers {
    fn take(upload: &mut Upload<'_>, name: &str) -> Result<Self, Fault> {
        let floats = upload.take_floats(name)?.unwrap_or_default();
        match upload.take_tensor(&format!("{name}_as_tensor")) {
            Some(tensor) if floats.is_empty() => Self::of(name, &tensor),
            Some(_) => Err(fault(name, "floats or a tensor", "both")),
            None => Ok(Self::F32(floats)),
        }
    }

    fn of(name: &str, tensor: &Tensor) -> Result<Self, Fault> {
        match tensor.data() {
            TensorData::F32(v) => Ok(Self::F32(v.clone())),
            TensorData::F64(v) => Ok(Self::F64(v.clone())),
            TensorData::F16(v) => Ok(Self::F32(v.iter().map(|x| x.to_f32()).collect())),
            other => Err(fault(name, "a tensor of FP32, FP64 or FP16", other.dtype().name())),
        }
    }

    fn is_wide(&self) -> bool {
        matches!(self, Self::F64(_))
    }

    fn reals<T: Real>(self) -> Vec<T> {
        match self {
            Self::F32(v) => v.into_iter().map(|x| T::of(f64::from(x))).collect(),
            Self::F64(v) => v.into_iter().map(T::of).collect(),
        }
    }
}

/// The attributes of the first versions, as they come.
struct Columns<T> {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    modes: Vec<String>,
    features: Vec<i64>,
    values: Vec<T>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_targets: Vec<i64>,
    leaf_weights: Vec<T>,
}

impl<T: Real> Columns<T> {
    fn take(
        upload: &mut Upload<'_>,
        prefix: &str,
        values: Vec<T>,
        leaf_weights: Vec<T>,
    ) -> Result<Self, Fault> {
        let leaf = |suffix: &str| format!("{prefix}_{suffix}");
        let columns = Self {
            trees: upload.ints_or_fault("nodes_treeids")?,
            nodes: upload.ints_or_fault("nodes_nodeids")?,
            modes: upload.take_texts("nodes_modes")?.unwrap_or_default(),
            features: upload.ints_or_fault("nodes_featureids")?,
            values,
            yes: upload.ints_or_fault("nodes_truenodeids")?,
            no: upload.ints_or_fault("nodes_falsenodeids")?,
            missing: upload.take_ints("nodes_missing_value_tracks_true")?.unwrap_or_default(),
            leaf_trees: upload.ints_or_fault(&leaf("treeids"))?,
            leaf_nodes: upload.ints_or_fault(&leaf("nodeids"))?,
            leaf_targets: upload.ints_or_fault(&leaf("ids"))?,
            leaf_weights,
        };
        let nodes = columns.trees.len();
        let leaves = columns.leaf_trees.len();
        check_lengths(&[
            ("nodes_nodeids", columns.nodes.len(), nodes),
            ("nodes_modes", columns.modes.len(), nodes),
            ("nodes_featureids", columns.features.len(), nodes),
            ("nodes_values", columns.values.len(), nodes),
            ("nodes_truenodeids", columns.yes.len(), nodes),
            ("nodes_falsenodeids", columns.no.len(), nodes),
            ("leaf node ids", columns.leaf_nodes.len(), leaves),
            ("leaf target ids", columns.leaf_targets.len(), leaves),
            ("leaf weights", columns.leaf_weights.len(), leaves),
        ])?;
        check_missing(&columns.missing, nodes)?;
        Ok(columns)
    }

    fn draft(self) -> Result<Draft<T>, Fault> {
        let (place, roots) = self.places()?;
        let mut weights: HashMap<usize, Vec<(i32, T)>> = HashMap::new();
        for (weight, id) in self.leaf_trees.iter().zip(&self.leaf_nodes).enumerate() {
            let node = place.get(&(*id.0, *id.1)).ok_or_else(|| {
                wrong(format!("a weight names node {} of tree {}, which is not there", id.1, id.0))
            })?;
            let target = i32::try_from(self.leaf_targets[weight]).unwrap_or(-1);
            weights.entry(*node).or_default().push((target, self.leaf_weights[weight]));
        }
        let mut nodes = Vec::with_capacity(self.trees.len());
        for (node, mode) in self.modes.iter().enumerate() {
            let mode = mode_number(mode)?;
            if mode == 0 {
                nodes.push(Node::Leaf(weights.remove(&node).unwrap_or_default()));
                continue;
            }
            let tree = self.trees[node];
            let child = |id: i64| {
                let found = place.get(&(tree, id)).copied();
                found.ok_or_else(|| {
                    wrong(format!("node {} of tree {tree} has no child {id}", self.nodes[node]))
                })
            };
            nodes.push(Node::Branch(Branch {
                mode,
                nan_to_true: self.missing.get(node) == Some(&1),
                feature: i32::try_from(self.features[node]).unwrap_or(-1),
                value: self.values[node],
                yes: child(self.yes[node])?,
                no: child(self.no[node])?,
            }));
        }
        Ok(Draft { roots, nodes, sets: Vec::new() })
    }

    /// Place of every node by tree and id, and the first node of each tree.
    #[expect(clippy::type_complexity, reason = "two results that belong together")]
    fn places(&self) -> Result<(HashMap<(i64, i64), usize>, Vec<usize>), Fault> {
        let (mut place, mut roots, mut seen) = (HashMap::new(), Vec::new(), HashSet::new());
        for (index, (tree, node)) in self.trees.iter().zip(&self.nodes).enumerate() {
            if place.insert((*tree, *node), index).is_some() {
                return Err(wrong(format!("node {node} of tree {tree} stands there twice")));
            }
            if seen.insert(*tree) {
                roots.push(index);
            } else if self.trees[index - 1] != *tree {
                return Err(wrong(format!("nodes of tree {tree} do not stand together")));
            }
        }
        Ok((place, roots))
    }
}

fn check_lengths(lengths: &[(&str, usize, usize)]) -> Result<(), Fault> {
    match lengths.iter().find(|(_, got, expected)| got != expected) {
        Some((name, got, expected)) => Err(fault(name, &format!("{expected} entries"), &got.to_string())),
        None => Ok(()),
    }
}

fn check_missing(missing: &[i64], nodes: usize) -> Result<(), Fault> {
    if missing.is_empty() || missing.len() == nodes {
        return Ok(());
    }
    let got = missing.len().to_string();
    Err(fault("nodes_missing_value_tracks_true", "one entry per node", &got))
}

fn mode_number(text: &str) -> Result<u8, Fault> {
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

/// `TreeEnsemble`: the form of opset 5.
pub(super) fn ensemble(upload: &mut Upload<'_>) -> Result<(), Fault> {
    let post = upload.take_int("post_transform")?.unwrap_or(0);
    let posts = ["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"];
    upload.set_text("post_transform", chosen("post_transform", post, &posts)?)?;
    let aggregate = upload.take_int("aggregate_function")?.unwrap_or(1);
    let aggregates = ["AVERAGE", "SUM", "MIN", "MAX"];
    upload.set_text("aggregate_function", chosen("aggregate_function", aggregate, &aggregates)?)?;
    upload.default_int("n_targets", 1)?;
    let _ = upload.take_tensor("nodes_hitrates");
    let mut numbers = |name: &str| match upload.take_tensor(name) {
        Some(tensor) => Numbers::of(name, &tensor),
        None => Ok(Numbers::F32(Vec::new())),
    };
    let (splits, weights) = (numbers("nodes_splits")?, numbers("leaf_weights")?);
    let members = numbers("membership_values")?;
    if splits.is_wide() || weights.is_wide() || members.is_wide() {
        ensemble_as::<f64>(upload, splits.reals(), weights.reals(), &members.reals())
    } else {
        ensemble_as::<f32>(upload, splits.reals(), weights.reals(), &members.reals())
    }
}

fn chosen<'n>(name: &str, number: i64, names: &[&'n str]) -> Result<&'n str, Fault> {
    let found = usize::try_from(number).ok().and_then(|number| names.get(number)).copied();
    found.ok_or_else(|| fault(name, &format!("0 to {}", names.len() - 1), &number.to_string()))
}

fn ensemble_as<T: Real>(
    upload: &mut Upload<'_>,
    splits: Vec<T>,
    weights: Vec<T>,
    members: &[T],
) -> Result<(), Fault> {
    let modes = match upload.take_tensor("nodes_modes").as_deref().map(Tensor::data) {
        Some(TensorData::U8(modes)) => modes.clone(),
        _ => return Err(fault("nodes_modes", "a tensor of UINT8", "something else")),
    };
    let columns = Interior {
        roots: upload.ints_or_fault("tree_roots")?,
        modes,
        features: upload.ints_or_fault("nodes_featureids")?,
        splits,
        yes: upload.ints_or_fault("nodes_truenodeids")?,
        no: upload.ints_or_fault("nodes_falsenodeids")?,
        yes_is_leaf: upload.ints_or_fault("nodes_trueleafs")?,
        no_is_leaf: upload.ints_or_fault("nodes_falseleafs")?,
        missing: upload.take_ints("nodes_missing_value_tracks_true")?.unwrap_or_default(),
        targets: upload.ints_or_fault("leaf_targetids")?,
        weights,
    };
    columns.draft(members)?.table()?.push(upload, Vec::new())
}

/// The attributes of opset 5: branches and leaves apart.
struct Interior<T> {
    roots: Vec<i64>,
    modes: Vec<u8>,
    features: Vec<i64>,
    splits: Vec<T>,
    yes: Vec<i64>,
    no: Vec<i64>,
    yes_is_leaf: Vec<i64>,
    no_is_leaf: Vec<i64>,
    missing: Vec<i64>,
    targets: Vec<i64>,
    weights: Vec<T>,
}

impl<T: Real> Interior<T> {
    fn draft(self, members: &[T]) -> Result<Draft<T>, Fault> {
        let count = self.modes.len();
        check_lengths(&[
            ("nodes_featureids", self.features.len(), count),
            ("nodes_splits", self.splits.len(), count),
            ("nodes_truenodeids", self.yes.len(), count),
            ("nodes_falsenodeids", self.no.len(), count),
            ("nodes_trueleafs", self.yes_is_leaf.len(), count),
            ("nodes_falseleafs", self.no_is_leaf.len(), count),
            ("leaf_weights", self.weights.len(), self.targets.len()),
        ])?;
        check_missing(&self.missing, count)?;
        let mut sets = members_of(members, self.modes.iter().filter(|mode| **mode == 6).count())?.into_iter();
        let mut draft = Draft { roots: Vec::new(), nodes: Vec::with_capacity(count), sets: Vec::new() };
        draft.nodes.resize_with(count, || Node::Leaf(Vec::new()));
        for node in 0..count {
            let mode = match self.modes[node] {
                mode @ 0..=6 => mode + 1,
                got => return Err(fault("nodes_modes", "0 to 6", &got.to_string())),
            };
            let mut value = self.splits[node];
            if let Some(set) = (mode == super::table::MEMBER).then(|| sets.next()).flatten() {
                value = draft.add_set(set)?;
            }
            let branch = Branch {
                mode,
                nan_to_true: self.missing.get(node) == Some(&1),
                feature: i32::try_from(self.features[node]).unwrap_or(-1),
                value,
                yes: self.child(&mut draft, self.yes[node], self.yes_is_leaf[node])?,
                no: self.child(&mut draft, self.no[node], self.no_is_leaf[node])?,
            };
            draft.nodes[node] = Node::Branch(branch);
        }
        for root in &self.roots {
            let node = usize::try_from(*root).ok().filter(|root| *root < count);
            let node = node.ok_or_else(|| wrong(format!("root {root} is not there")))?;
            // A tree that is one leaf: both branches of its root name it.
            let leaf =
                self.yes_is_leaf[node] == 1 && self.no_is_leaf[node] == 1 && self.yes[node] == self.no[node];
            if leaf && let Node::Branch(branch) = &draft.nodes[node] {
                let (yes, no) = (branch.yes, branch.no);
                draft.nodes[no] = Node::Leaf(Vec::new());
                draft.nodes[node] = std::mem::replace(&mut draft.nodes[yes], Node::Leaf(Vec::new()));
            }
            draft.roots.push(node);
        }
        Ok(draft)
    }

    /// Place of a child; every mention of a leaf is a leaf of its own.
    fn child(&self, draft: &mut Draft<T>, id: i64, is_leaf: i64) -> Result<usize, Fault> {
        let most = if is_leaf == 0 { self.modes.len() } else { self.weights.len() };
        let place = usize::try_from(id).ok().filter(|place| *place < most);
        let place = place.ok_or_else(|| wrong(format!("child {id} is not there")))?;
        match is_leaf {
            0 => Ok(place),
            1 => {
                let target = i32::try_from(self.targets[place]).unwrap_or(-1);
                draft.nodes.push(Node::Leaf(vec![(target, self.weights[place])]));
                Ok(draft.nodes.len() - 1)
            }
            got => Err(fault("nodes_trueleafs or nodes_falseleafs", "0 or 1", &got.to_string())),
        }
    }
}

/// The sets, sorted; in the list each ends with a NaN (the last one may do without).
fn members_of<T: Real>(members: &[T], expected: usize) -> Result<Vec<Vec<T>>, Fault> {
    let mut sets: Vec<Vec<T>> = members.split(|value| value.is_nan()).map(<[T]>::to_vec).collect();
    if sets.len() == expected + 1 && sets.last().is_some_and(Vec::is_empty) {
        sets.pop();
    }
    if sets.len() != expected {
        let got = sets.len().to_string();
        return Err(fault("membership_values", &format!("{expected} sets, each ended by NaN"), &got));
    }
    for set in &mut sets {
        set.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        set.dedup();
    }
    Ok(sets)
}
