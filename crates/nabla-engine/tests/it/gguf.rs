//! GGUF headers that claim far more than there is, each thrown in a process of its own with bounded memory and CPU time
//! (see [`crate::hostile`]). Small wrong files stand in the crate's own tests.
#![cfg(target_os = "linux")]

use std::io;

use nabla_engine::{
    Error, Limits, ReadAt,
    gguf::{ARRAY_LENGTH_MAX, Gguf, KEYS_MAX, TENSORS_MAX},
    language::Config,
};

use crate::hostile::{BOMB, child};

#[path = "../gguf/file.rs"]
mod file;

use file::{ARRAY, F32, File, TEXT, U32, U64};

struct Bomb {
    name: &'static str,
    throw: fn() -> Result<(), Error>,
    says: &'static str,
}

const fn bomb(name: &'static str, throw: fn() -> Result<(), Error>, says: &'static str) -> Bomb {
    Bomb { name, throw, says }
}

const BOMBS: [Bomb; 13] = [
    bomb("2^63 tensors", || open(&File::new().counted(1 << 63, 0)), "tensors of a GGUF file"),
    bomb("2^64 - 1 keys", || open(&File::new().counted(0, u64::MAX)), "keys of a GGUF file"),
    bomb("as many tensors as there may be", || endless(&File::new(), TENSORS_MAX, 0), "tensor 0"),
    bomb("as many keys as there may be", || endless(&File::new(), 0, KEYS_MAX), "key 0"),
    bomb("a text of an exabyte", || long(TEXT, &(1_u64 << 60).to_le_bytes()), "a text of at most"),
    bomb("an array of 2^61 numbers", || array(U64, 1 << 61), "an array of at most"),
    bomb("an array of texts without end", || array(TEXT, u64::MAX), "an array of at most"),
    bomb("an array of all the texts there may be", || array(TEXT, ARRAY_LENGTH_MAX), "key 1: expected a key"),
    bomb("arrays in arrays", || long(ARRAY, &ARRAY.to_le_bytes().repeat(1 << 20)), "an array of arrays"),
    bomb("a header without end", header_without_end, "bytes of the header of a GGUF file"),
    bomb("a tensor of 2^58 bytes, all there", whole_tensor, "bytes of a tensor: 288230376151711744"),
    bomb("tensors on top of each other", crowd, "expected bytes behind those of tensor"),
    bomb("a vocabulary of 2^20 empty words", vocabulary, "key \"general.architecture\""),
];

/// A file that has zeros up to an exabyte behind its bytes.
struct Endless(Vec<u8>);

impl ReadAt for Endless {
    fn size_bytes(&self) -> u64 {
        1 << 60
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0);
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        let count = into.len().min(self.0.len() - start);
        into[..count].copy_from_slice(&self.0[start..start + count]);
        Ok(())
    }
}

fn open(bytes: &[u8]) -> Result<(), Error> {
    Gguf::open(&bytes.to_vec()).map(drop)
}

fn endless(file: &File, tensors: u64, keys: u64) -> Result<(), Error> {
    Gguf::open(&Endless(file.counted(tensors, keys))).map(drop)
}

fn long(kind: u32, value: &[u8]) -> Result<(), Error> {
    endless(&File::new().key("k", kind, value), 0, 2)
}

fn array(kind: u32, length: u64) -> Result<(), Error> {
    endless(&File::new().array("k", kind, length, &[]), 0, 2)
}

/// Arrays of a MiB of nothing, up to the limit of keys.
fn header_without_end() -> Result<(), Error> {
    struct Repeated(Vec<u8>, Vec<u8>);
    impl ReadAt for Repeated {
        fn size_bytes(&self) -> u64 {
            1 << 60
        }
        fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
            let key = |at: u64| ((at - 24) / self.1.len() as u64).to_be_bytes();
            for (at, byte) in (offset..).zip(into) {
                *byte = match usize::try_from(at).unwrap() {
                    at @ 0..24 => self.0[at],
                    // Each key has a name of its own: its number.
                    index => match (index - 24) % self.1.len() {
                        name @ 8..16 => key(at)[name - 8],
                        other => self.1[other],
                    },
                };
            }
            Ok(())
        }
    }
    let array = File::new().array("12345678", 0, ARRAY_LENGTH_MAX, &vec![0; 1 << 20]).counted(0, 1);
    let record = array[24..24 + 8 + 8 + 4 + 4 + 8 + (1 << 20)].to_vec();
    Gguf::open(&Repeated(File::new().counted(0, KEYS_MAX)[..24].to_vec(), record)).map(drop)
}

/// The file has all that it claims; what is read of it is bounded.
fn whole_tensor() -> Result<(), Error> {
    let source = Endless(File::new().row("t", &[1 << 28, 1 << 28], 0, 0).build());
    Gguf::open(&source)?.tensors.require("t")?.read(&source, &Limits::default()).map(drop)
}

/// The largest table, its tensors at one place, in a file of the other version and with another alignment.
fn crowd() -> Result<(), Error> {
    let file =
        File::new().version(2).aligned(64).u32("general.alignment", 64).tensor("t0", &[8], 0, &[0; 32]);
    let row = |file: File, index: u64| file.row(&format!("t{index}"), &[8], 0, 0);
    Gguf::open(&Endless((1..TENSORS_MAX).fold(file, row).build())).map(drop)
}

fn vocabulary() -> Result<(), Error> {
    let length = ARRAY_LENGTH_MAX;
    let words = vec![0; 8 * usize::try_from(length).unwrap()];
    let file = File::new().array("tokenizer.ggml.tokens", TEXT, length, &words).u32("a", 1).f32("b", 1.0);
    let file = file.key("c", F32, &[0; 4]).key("d", U32, &[0; 4]).texts("e", &["x"]).text("f", "y");
    let metadata = Gguf::open(&file.build())?.metadata;
    assert_eq!(metadata.strs("tokenizer.ggml.tokens")?.len() as u64, length);
    Config::from_metadata(&metadata).map(drop)
}

/// The child: throws the bomb that the environment names.
#[test]
#[expect(clippy::disallowed_methods, reason = "the parent says by the environment what to do")]
fn victim() {
    let Ok(name) = std::env::var(BOMB) else { return };
    let bomb = BOMBS.iter().find(|bomb| bomb.name == name).expect("a bomb of this name");
    let text = (bomb.throw)().expect_err("it was accepted").to_string();
    assert!(text.contains(bomb.says) && text.len() < 600, "expected {:?}, got {text:?}", bomb.says);
}

#[test]
fn gguf_bombs_are_refused_by_name_in_bounded_memory_and_time() {
    let mut failures = Vec::new();
    for Bomb { name, .. } in &BOMBS {
        let output = child("gguf::victim", name);
        if !output.status.success() {
            let said: String = String::from_utf8_lossy(&output.stderr).chars().take(600).collect();
            failures.push(format!("{name}: {}\n{said}", output.status));
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), BOMBS.len(), failures.join("\n"));
}
