//! Packed forests answer as the table says: for every mode, tracked or not, for every special number, however
//! rows are grouped. Hostile tables are refused.
#![expect(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "small numbers")]

use nabla_types::tensor::{NamedTensor, Tensor, TensorData};

use super::packed::{self, Fast};
use super::table::Table;
use crate::onnx::testing::{FLOAT, File, Value};
use crate::{Engine, Error, Kernels, Runtime};

/// Numbers that look random, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

const SPECIAL: [f32; 10] =
    [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 0.5];

/// Tables of trees with so many branches each.
#[derive(Default)]
struct Forest {
    modes: Vec<u8>,
    features: Vec<i32>,
    values: Vec<f32>,
    others: Vec<i32>,
    roots: Vec<i32>,
    starts: Vec<i32>,
    targets: Vec<i32>,
    weights: Vec<f32>,
}

impl Forest {
    fn new(random: &mut Random, trees: usize, branches: usize, modes: &[u8], targets: u64) -> Self {
        let mut forest = Self { starts: vec![0], ..Self::default() };
        for _ in 0..trees {
            forest.roots.push(forest.modes.len() as i32);
            forest.grow(random, branches, modes, targets);
        }
        forest
    }

    fn grow(&mut self, random: &mut Random, branches: usize, modes: &[u8], targets: u64) {
        let at = self.modes.len();
        let leaf = branches == 0;
        let mode = modes[random.below(modes.len() as u64) as usize] | (random.below(2) as u8 * 8);
        self.modes.push(if leaf { 0 } else { mode });
        self.features.push(if leaf { 0 } else { random.below(4) as i32 });
        self.values.push(if leaf { 0.0 } else { SPECIAL[random.below(10) as usize] });
        self.others.push(self.starts.len() as i32 - 1);
        if leaf {
            self.targets.push(random.below(targets) as i32);
            self.weights.push(random.below(1000) as f32 * 0.37 - 150.0);
            self.starts.push(self.targets.len() as i32);
            return;
        }
        let yes = random.below(branches as u64) as usize;
        self.grow(random, yes, modes, targets);
        self.others[at] = self.modes.len() as i32;
        self.grow(random, branches - 1 - yes, modes, targets);
    }

    fn tensors(&self) -> Vec<Tensor> {
        let columns = [
            TensorData::U8(self.modes.clone()),
            TensorData::I32(self.features.clone()),
            TensorData::F32(self.values.clone()),
            TensorData::I32(self.others.clone()),
            TensorData::I32(self.roots.clone()),
            TensorData::I32(self.starts.clone()),
            TensorData::I32(self.targets.clone()),
            TensorData::F32(self.weights.clone()),
        ];
        columns.map(|column| Tensor::new(vec![column.len() as u64], column).unwrap()).into()
    }
}

fn rows(random: &mut Random, count: usize) -> Vec<f32> {
    let number = |random: &mut Random| match random.below(12) {
        10 => f32::NAN,
        11 => random.below(100) as f32 * 0.1 - 5.0,
        at => SPECIAL[at as usize],
    };
    (0..count * 4).map(|_| number(random)).collect()
}

/// Sums of packed trees equal those of the table, for many numbers of rows.
fn check_packed(branches: usize, modes: &[u8], seed: u64) {
    let mut random = Random(seed);
    let forest = Forest::new(&mut random, 21, branches, modes, 1);
    let tensors = forest.tensors();
    let table = Table::<f32>::read(|input| tensors.get(input - 1)).unwrap();
    let packed = packed::pack(&table, table.check().unwrap());
    assert_eq!(packed::facts(&packed), Some(table.check().unwrap()));
    let Some(fast) = Fast::of(&packed) else {
        return;
    };
    for count in [1, 3, 8, 31, 32, 39, 40, 97] {
        let x = rows(&mut random, count);
        let mut expected = vec![0.0; count];
        for (sum, row) in expected.iter_mut().zip(x.chunks_exact(4)) {
            for root in table.roots {
                *sum += table.weights[table.leaf(root.unsigned_abs() as usize, row)];
            }
        }
        for kernels in [Kernels::Scalar, Kernels::Auto] {
            let mut sums = vec![0.0; count.next_multiple_of(super::LANES)];
            let mut sink = super::Sums(&mut sums);
            let walk = super::Walk { forest: fast, x: &x, features: 4, sink: &mut sink };
            crate::kernels::Isa::choose(kernels).unwrap().run(walk);
            assert_eq!(
                sums[..count],
                expected,
                "{count} rows, {branches} branches, modes {modes:?}, seed {seed}"
            );
        }
    }
}

#[test]
fn packed_trees_answer_as_the_table_does() {
    for seed in 0..24 {
        for branches in [0, 1, 5, 31, 32, 63, 64, 150] {
            for modes in [&[1][..], &[2], &[3], &[4], &[1, 2, 3, 4]] {
                check_packed(branches, modes, seed);
            }
        }
    }
}

#[test]
fn only_comparisons_by_order_are_packed() {
    let packed = |modes: &[u8], value: f32| {
        let mut forest = Forest::new(&mut Random(1), 2, 3, modes, 1);
        forest.values.fill(value);
        let tensors = forest.tensors();
        let table = Table::<f32>::read(|input| tensors.get(input - 1)).unwrap();
        Fast::of(&packed::pack(&table, table.check().unwrap())).is_some()
    };
    assert!(packed(&[1, 2, 3, 4], 1.0));
    assert!(!packed(&[5], 1.0) && !packed(&[6], 1.0));
    assert!(!packed(&[1], f32::NAN), "a threshold of NaN sends only tracked NaN to true");
    assert!(!packed(&[2], f32::NEG_INFINITY), "nothing is below the least number");
}

#[test]
fn broken_tables_are_refused() {
    let forest = || Forest::new(&mut Random(5), 3, 6, &[1, 5], 2);
    let check = |forest: &Forest| {
        let tensors = forest.tensors();
        Table::<f32>::read(|input| tensors.get(input - 1)).and_then(|table| table.check())
    };
    check(&forest()).unwrap();
    let breaks: [fn(&mut Forest); 10] = [
        |f| f.modes[0] = 7,
        |f| f.modes[0] = 16,
        |f| f.features[0] = -1,
        |f| f.values.truncate(3),
        |f| f.others[0] = 0,
        |f| f.others[0] = i32::MAX,
        |f| f.roots[1] = 0,
        |f| f.roots.clear(),
        |f| f.starts[1] = -5,
        |f| f.targets[0] = -1,
    ];
    for (index, break_it) in breaks.iter().enumerate() {
        let mut broken = forest();
        break_it(&mut broken);
        assert!(check(&broken).is_err(), "break {index}");
    }
}

fn stump(missing: &[i64], nodes: &[i64], yes: i64) -> File {
    File::new().input("x", FLOAT, &["N", "2"]).output("y").node_of(
        "ai.onnx.ml",
        "TreeEnsembleRegressor",
        &["x"],
        &["y"],
        &[
            ("nodes_treeids", Value::Ints(&[0, 0, 0])),
            ("nodes_nodeids", Value::Ints(nodes)),
            ("nodes_modes", Value::Texts(&["BRANCH_LT", "LEAF", "LEAF"])),
            ("nodes_featureids", Value::Ints(&[1, 0, 0])),
            ("nodes_values", Value::Floats(&[0.5, 0.0, 0.0])),
            ("nodes_truenodeids", Value::Ints(&[yes, 0, 0])),
            ("nodes_falsenodeids", Value::Ints(&[2, 0, 0])),
            ("nodes_missing_value_tracks_true", Value::Ints(missing)),
            ("target_treeids", Value::Ints(&[0, 0])),
            ("target_nodeids", Value::Ints(&[1, 2])),
            ("target_ids", Value::Ints(&[0, 0])),
            ("target_weights", Value::Floats(&[1.0, 2.0])),
        ],
    )
}

#[test]
fn a_stump_runs() {
    let model = stump(&[1, 0, 0], &[0, 1, 2], 1).import().unwrap();
    let x = [9.0, 0.25, 9.0, 0.5, 9.0, f32::NAN];
    let answers = crate::onnx::testing::run(model, &[("x", &[3, 2], &x)]).unwrap();
    assert_eq!(answers[0].as_f32(), Some(&[1.0, 2.0, 1.0][..]));
}

#[test]
fn contradictory_trees_are_refused() {
    for (file, word) in [
        (stump(&[1], &[0, 1, 2], 1), "missing"),
        (stump(&[], &[0, 1, 1], 1), "twice"),
        (stump(&[], &[0, 1, 2], 7), "no child 7"),
        (stump(&[], &[0, 1, 2], 0), "ancestor"),
        (stump(&[], &[0, 1, 2], 2), "parents"),
    ] {
        let error = file.import().unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn features_that_are_not_there_are_refused() {
    let narrow = File::new().input("x", FLOAT, &["N", "1"]).output("y");
    let mut file = stump(&[], &[0, 1, 2], 1);
    file.graph[0].clone_from(&narrow.graph[0]);
    let refused: Result<_, Error> = file.import();
    assert!(refused.unwrap_err().to_string().contains("reads 2 features of 1"));
}

#[test]
fn wide_features_are_compared_and_summed_in_f64() {
    let mut file = stump(&[], &[0, 1, 2], 1);
    file.graph[0].clone_from(&File::new().input("x", 11, &["N", "2"]).graph[0]);
    let model = std::sync::Arc::new(file.import().unwrap());
    let session = Engine::new(Kernels::Auto).unwrap().prepare(model).unwrap();
    let x = TensorData::F64(vec![0.0, 0.5 - 1e-12, 0.0, 0.5]);
    let x = NamedTensor::new("x", Tensor::new(vec![2, 2], x).unwrap());
    assert_eq!(session.run(&[x]).unwrap()[0].tensor.as_f32(), Some(&[1.0, 2.0][..]));
}
