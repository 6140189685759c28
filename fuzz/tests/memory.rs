//! Memory bombs: small or middling inputs that claim, or would unfold to, far more than there is.
//!
//! Each is thrown in a process of its own that may take 768 MiB of address space in all. It must be refused,
//! and in no more than five seconds of CPU time: an allocation that fails aborts the process, and the test with
//! it.
#![cfg(target_os = "linux")]

use std::process::Command;

use nabla_engine::{Limits, Model, NoExternalData, import_onnx};
use nabla_fuzz::sections::pack;
use nabla_types::{
    cbor,
    chain::{BLOCK_BYTES_MAX, Block, TX_BYTES_MAX, Tx},
    layout::Layout,
    manifest::Revision,
    receipt::SignedReceipt,
    tensor::{NamedTensor, Tensor, TensorJson},
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

/// Address space of the process that is thrown at.
const BYTES_MAX: u64 = 768 << 20;
const CPU_SECONDS_MAX: i64 = 5;
const BOMB: &str = "NABLA_TEST_BOMB";

/// Says why the bomb was refused, or that it was not.
type Throw = fn() -> Result<(), String>;

const BOMBS: [(&str, Throw); 16] = [
    ("onnx of 2^25 empty tensors", || onnx(graph(&bytes(5, &[]).repeat(1 << 25)))),
    ("onnx of 2^24 empty nodes", || onnx(graph(&bytes(1, &[]).repeat(1 << 24)))),
    ("onnx whose tensor claims 10^9 bytes", || {
        onnx(graph(&[varint(5 << 3 | 2), varint(1_000_000_000)].concat()))
    }),
    ("onnx with a constant of an exabyte", || {
        onnx(used(&[int(1, 1 << 60), int(2, 1), text(8, "w")].concat(), "Relu"))
    }),
    ("onnx with dimensions that overflow", || {
        onnx(used(&[int(1, 1 << 33).repeat(8), int(2, 1), text(8, "w")].concat(), "Relu"))
    }),
    ("onnx that asks for an exabyte of constants", || {
        onnx(used(&ints("w", &[1 << 30, 1 << 30]), "ConstantOfShape"))
    }),
    ("onnx that doubles a value 40 times", || onnx(doubling(40))),
    ("onnx nested 2^17 deep", || onnx(nested(1 << 17))),
    ("onnx with 2^25 dimensions", || {
        onnx(used(&[int(1, 1).repeat(1 << 25), int(2, 1), text(8, "w")].concat(), "Relu"))
    }),
    ("canonical graph of nested lists", || graph_bytes(&[0x81; 1 << 20])),
    ("canonical graph that claims 2^60 nodes", || graph_bytes(&claim(0x9b))),
    ("CBOR that claims 2^60 items", || every_type(&[&[0xa4, 0x00][..], &claim(0x9b)].concat())),
    ("CBOR nested 2^20 deep", || every_type(&[0x81; 1 << 20])),
    ("CBOR of 2^20 empty maps for unknown keys", || {
        every_type(&[&[0xbf, 0x18, 0x63, 0x9f][..], &[0xa0; 1 << 20]].concat())
    }),
    ("tensor of 2^60 elements", || {
        tensor(&[&[0x83, 0x01, 0x82][..], &claim(0x1b), &claim(0x1b), &[0x40]].concat())
    }),
    ("JSON tensor of a large shape and no data", || {
        tensor_json(r#"{"name":"x","shape":[268435456],"datatype":"FP64","data":[]}"#)
    }),
];

fn refused<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<(), String> {
    match result {
        Ok(_) => Err("accepted".to_owned()),
        Err(error) if error.to_string().len() > 4096 => Err("refused at great length".to_owned()),
        Err(_) => Ok(()),
    }
}

fn onnx(file: Vec<u8>) -> Result<(), String> {
    refused(import_onnx(&file, &NoExternalData, &Limits::default()))
}

fn graph_bytes(graph: &[u8]) -> Result<(), String> {
    refused(Model::from_parts(graph, &[], &Limits::default()))
}

fn tensor(bytes: &[u8]) -> Result<(), String> {
    refused(Tensor::from_bytes(bytes))
}

fn tensor_json(text: &str) -> Result<(), String> {
    let json: TensorJson = serde_json::from_str(text).map_err(|error| error.to_string())?;
    refused(NamedTensor::from_json(json))
}

fn every_type(bytes: &[u8]) -> Result<(), String> {
    refused(SignedReceipt::from_bytes(bytes))?;
    refused(Revision::from_bytes(bytes))?;
    refused(cbor::decode::<Layout>("layout", bytes, BLOCK_BYTES_MAX))?;
    refused(cbor::decode::<Tx>("transaction", bytes, TX_BYTES_MAX))?;
    refused(cbor::decode::<Block>("block", bytes, BLOCK_BYTES_MAX))?;
    refused(cbor::decode::<Vec<NamedTensor>>("tensors", bytes, BLOCK_BYTES_MAX))?;
    nabla_fuzz::verify(&pack(&[bytes, bytes, bytes, bytes]));
    Ok(())
}

/// The head of a CBOR item that is 2^60 long.
fn claim(kind: u8) -> Vec<u8> {
    [&[kind][..], &(1_u64 << 60).to_be_bytes()].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn int(number: u64, value: u64) -> Vec<u8> {
    [varint(number << 3), varint(value)].concat()
}

fn bytes(number: u64, value: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(value.len() as u64), value.to_vec()].concat()
}

fn text(number: u64, value: &str) -> Vec<u8> {
    bytes(number, value.as_bytes())
}

/// An ONNX file of this graph.
fn graph(graph: &[u8]) -> Vec<u8> {
    [int(1, 8), bytes(7, graph), bytes(8, &int(2, 17))].concat()
}

fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [int(1, values.len() as u64), int(2, 7), text(8, name), bytes(9, &raw)].concat()
}

fn node(inputs: &[&str], output: &str, operator: &str) -> Vec<u8> {
    let inputs: Vec<u8> = inputs.iter().flat_map(|input| text(1, input)).collect();
    bytes(1, &[inputs, text(2, output), text(4, operator)].concat())
}

/// A graph whose one node takes this tensor, `w`.
fn used(tensor: &[u8], operator: &str) -> Vec<u8> {
    graph(&[node(&["w"], "y", operator), bytes(5, tensor), bytes(12, &text(1, "y"))].concat())
}

/// Each node joins a value to itself.
fn doubling(times: usize) -> Vec<u8> {
    let name = |index: usize| format!("v{index}");
    let axis = bytes(5, &[text(1, "axis"), int(3, 0), int(20, 2)].concat());
    let join = |index: usize| {
        let (from, to) = (name(index), name(index + 1));
        bytes(1, &[text(1, &from), text(1, &from), text(2, &to), text(4, "Concat"), axis.clone()].concat())
    };
    let nodes: Vec<u8> = (0..times).flat_map(join).collect();
    let weight = [int(1, 1), int(2, 1), text(8, "v0"), bytes(9, &[0; 4])].concat();
    graph(&[nodes, bytes(5, &weight), bytes(12, &text(1, &name(times)))].concat())
}

/// A node's attribute holds a graph, whose node's attribute holds a graph, and so on.
fn nested(depth: usize) -> Vec<u8> {
    let heads = [(1, 1), (5, 1), (6, 1)];
    // Written from the inside, in reverse, so that it takes linear time.
    let mut reversed: Vec<u8> = Vec::new();
    for _ in 0..depth / heads.len() {
        for (number, _) in heads {
            let mut head = varint(number << 3 | 2);
            head.extend(varint(reversed.len() as u64));
            reversed.extend(head.iter().rev());
        }
    }
    reversed.reverse();
    graph(&reversed)
}

fn cpu_seconds() -> i64 {
    clock_gettime(ClockId::ProcessCPUTime).tv_sec
}

/// The child: throws the bomb that the environment names.
#[test]
fn victim() {
    let Ok(name) = std::env::var(BOMB) else { return };
    let (_, throw) = BOMBS.iter().find(|(known, _)| *known == name).expect("a bomb of this name");
    let maximum = getrlimit(Resource::As).maximum;
    setrlimit(Resource::As, Rlimit { current: Some(BYTES_MAX), maximum }).expect("a limit can be lowered");
    let before = cpu_seconds();
    assert_eq!(throw(), Ok(()), "{name}");
    let took = cpu_seconds() - before;
    assert!(took <= CPU_SECONDS_MAX, "{name}: {took} s");
}

#[test]
fn bombs_are_refused_in_bounded_memory_and_time() {
    for (name, _) in BOMBS {
        let output = Command::new(std::env::current_exe().expect("this test"))
            .args(["victim", "--exact", "--nocapture"])
            .env(BOMB, name)
            .output()
            .expect("this test runs again");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{name}: {}\n{said}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

/// The limit is a limit: what takes more than it dies.
#[test]
fn the_limit_holds() {
    const HOG: &str = "NABLA_TEST_HOG";
    if std::env::var_os(HOG).is_some() {
        let maximum = getrlimit(Resource::As).maximum;
        setrlimit(Resource::As, Rlimit { current: Some(BYTES_MAX), maximum })
            .expect("a limit can be lowered");
        let length = usize::try_from(BYTES_MAX).expect("64 bits");
        std::hint::black_box(vec![1_u8; length]);
        return;
    }
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    let status =
        again.args(["the_limit_holds", "--exact"]).env(HOG, "1").output().expect("it runs again").status;
    assert!(!status.success(), "768 MiB were taken under a limit of 768 MiB");
}
