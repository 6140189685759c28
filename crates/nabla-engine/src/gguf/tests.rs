//! The reader on files made by hand, most of them wrong, and the weights against recorded ones.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use super::*;
use crate::Limits;

#[path = "../../tests/gguf/file.rs"]
pub(crate) mod file;

use file::{ARRAY, File, TEXT, U64, text};

/// Files written by the reference package (`tests/gguf/make.py`).
pub(crate) const WRITTEN: [&[u8]; 3] = [
    include_bytes!("../../tests/gguf/llama.gguf"),
    include_bytes!("../../tests/gguf/qwen2.gguf"),
    include_bytes!("../../tests/gguf/gemma3.gguf"),
];

fn open(bytes: &[u8]) -> Result<Gguf, Error> {
    Gguf::open(&bytes.to_vec())
}

/// Two tensors and a key of each kind.
fn small() -> File {
    File::new()
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .f32("llama.epsilon", 0.5)
        .key("truth", 7, &[1])
        .key("wide", U64, &(1_u64 << 40).to_le_bytes())
        .key("least", 1, &[0xff])
        .key("double", 12, &2.5_f64.to_le_bytes())
        .texts("tokens", &["a", "", "ü"])
        .array("scores", file::F32, 2, &[0, 0, 128, 63, 0, 0, 0, 64])
        .array("kinds", 5, 2, &[1, 0, 0, 0, 255, 255, 255, 255])
        .array("truths", 7, 2, &[0, 1])
        .tensor("a.weight", &[3, 2], 0, &[1; 24])
        .tensor("b.weight", &[32], 8, &[2; 34])
}

/// Each file is refused, by these words.
#[track_caller]
fn refuses(file: &File, says: &str) {
    refuses_bytes(&file.build(), says);
}

#[track_caller]
fn refuses_bytes(bytes: &[u8], says: &str) {
    let text = open(bytes).expect_err(says).to_string();
    assert!(text.contains(says), "expected {says:?}, got {text:?}");
    assert!(text.len() < 600, "{text}");
}

#[test]
fn a_header_is_read() {
    for version in [2, 3] {
        let bytes = small().version(version).build();
        let gguf = open(&bytes).unwrap();
        assert_eq!(gguf.version, version);
        let tensors: Vec<_> = gguf.tensors.iter().collect();
        assert_eq!(tensors.len(), 2);
        assert_eq!(tensors[0].shape, Shape { rows: 2, columns: 3 });
        assert_eq!((tensors[0].format, tensors[1].format), (WeightFormat::F32, WeightFormat::Q8_0));
        assert_eq!(tensors[0].read(&bytes, &Limits::default()).unwrap(), [1; 24]);
        assert_eq!(tensors[1].read(&bytes, &Limits::default()).unwrap(), [2; 34]);
        assert_eq!(tensors[1].range.start % 32, 0);
    }
}

#[test]
fn values_are_read_by_type() {
    let metadata = open(&small().build()).unwrap().metadata;
    assert_eq!(metadata.str("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.u32("llama.block_count").unwrap(), 2);
    assert_eq!(metadata.u64("llama.block_count").unwrap(), 2);
    assert_eq!(metadata.f32("llama.epsilon").unwrap(), 0.5);
    assert_eq!(metadata.f32("llama.block_count").unwrap(), 2.0);
    assert_eq!(metadata.f32("double").unwrap(), 2.5);
    assert!(metadata.bool("truth").unwrap());
    assert_eq!(metadata.u64("wide").unwrap(), 1 << 40);
    assert_eq!(metadata.strs("tokens").unwrap(), ["a", "", "ü"]);
    assert_eq!(metadata.f32s("scores").unwrap(), [1.0, 2.0]);
    assert_eq!(metadata.i32s("kinds").unwrap(), [1, -1]);
    assert_eq!(metadata.f32s("kinds").unwrap(), [1.0, -1.0]);
    assert_eq!(metadata.bools("truths").unwrap(), [false, true]);
    assert_eq!(metadata.length("tokens").unwrap(), 3);
    assert_eq!(metadata.optional("absent", Metadata::u32).unwrap(), None);
    assert_eq!(metadata.keys().count(), 11);
}

#[test]
fn a_wrong_type_is_named_with_its_key() {
    let metadata = open(&small().build()).unwrap().metadata;
    let texts = [
        (
            metadata.u32("absent").unwrap_err(),
            "key \"absent\": expected an integer from 0 to 2^32 - 1, got nothing",
        ),
        (metadata.u32("wide").unwrap_err(), "got u64 of 1099511627776"),
        (metadata.u32("least").unwrap_err(), "got i8 of -1"),
        (metadata.u32("truth").unwrap_err(), "got bool"),
        (metadata.u32("double").unwrap_err(), "got f64 of 2.5"),
        (metadata.f32("wide").unwrap_err(), "expected a float, got u64 of 1099511627776"),
        (metadata.str("tokens").unwrap_err(), "expected a text, got array of 3 text"),
        (metadata.strs("scores").unwrap_err(), "expected an array of texts, got array of 2 f32"),
        (metadata.i32s("scores").unwrap_err(), "got array of 2 f32"),
        (metadata.f32s("llama.epsilon").unwrap_err(), "expected an array of floats, got f32"),
        (metadata.bool("least").unwrap_err(), "expected a truth value, got i8"),
        (metadata.length("truth").unwrap_err(), "expected an array, got bool"),
    ];
    for (error, says) in texts {
        assert!(error.to_string().contains(says), "expected {says:?}, got {error}");
    }
}

#[test]
fn texts_that_are_not_utf8_are_refused_when_asked_for() {
    let file = File::new().key("a", TEXT, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]).key("b", 7, &[2]);
    let file = file.array("c", 7, 1, &[9]).array("d", TEXT, 1, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    let metadata = open(&file.build()).unwrap().metadata;
    assert!(metadata.str("a").unwrap_err().to_string().contains("key \"a\": expected a text in UTF-8"));
    assert!(metadata.strs("d").unwrap_err().to_string().contains("texts in UTF-8, got other bytes at 0"));
    assert!(metadata.bool("b").unwrap_err().to_string().contains("got [2]"));
    assert!(metadata.bools("c").unwrap_err().to_string().contains("neither 0 nor 1"));
}

#[test]
fn what_is_no_gguf_is_refused_by_name() {
    refuses_bytes(b"", "header: expected 4 bytes, got 0 up to the end of the file");
    refuses_bytes(b"GGU", "expected 4 bytes, got 3");
    refuses_bytes(b"PK\x03\x04 and more", "expected the first bytes \"GGUF\", got \"PK\\x03\\x04\"");
    refuses(&small().version(0), "expected GGUF version 2 or 3, got 0");
    refuses(&small().version(1), "GGUF version 1; convert it again");
    refuses(&small().version(4), "expected GGUF version 2 or 3, got 4");
    refuses(&small().version(u32::MAX), "expected GGUF version 2 or 3");
    refuses(&small().version(3_u32.swap_bytes()), "big endian");
    refuses(&small().u32("split.count", 3), "GGUF file in parts: 3 of them");
}

/// Counts whose product with the size of a record, or whose sum, leaves the numbers.
#[test]
fn counts_that_lie_are_refused() {
    for count in [u64::MAX, 1 << 63, u64::MAX / 56 + 1, TENSORS_MAX + 1] {
        refuses_bytes(&small().counted(count, 1), "tensors of a GGUF file");
        refuses_bytes(&small().counted(1, count), "keys of a GGUF file");
    }
    refuses_bytes(&small().counted(TENSORS_MAX, 11), "tensor 2");
    refuses_bytes(&File::new().counted(0, KEYS_MAX), "key 0");
}

#[test]
fn texts_and_arrays_that_lie_are_refused() {
    for length in [u64::MAX, u64::MAX - 8, 1 << 63, TEXT_BYTES_MAX + 1, TEXT_BYTES_MAX] {
        let says = if length > TEXT_BYTES_MAX { "a text of at most 1048576 bytes" } else { "up to the end" };
        refuses(&File::new().key("k", TEXT, &length.to_le_bytes()), says);
        refuses(&File::new().array("k", TEXT, 1, &length.to_le_bytes()), says);
    }
    for length in [u64::MAX, u64::MAX / 8 + 1, 1 << 61, ARRAY_LENGTH_MAX + 1] {
        refuses(&File::new().array("k", U64, length, &[]), "key \"k\": expected an array of at most 1048576");
        refuses(
            &File::new().array("k", TEXT, length, &[]),
            "key \"k\": expected an array of at most 1048576",
        );
    }
    refuses(&File::new().array("k", U64, ARRAY_LENGTH_MAX, &[]), "expected 8388608 bytes, got");
    refuses(&File::new().array("k", TEXT, ARRAY_LENGTH_MAX, &[]), "key \"k\": expected 8 bytes, got");
    refuses(&File::new().array("k", ARRAY, 1, &[]), "got an array of arrays");
    for kind in [13, 255, u32::MAX] {
        refuses(&File::new().key("k", kind, &[0; 8]), "key \"k\": expected a type of value from 0 to 12");
        refuses(
            &File::new().array("k", kind, 1, &[0; 8]),
            "key \"k\": expected a type of value from 0 to 12",
        );
    }
}

#[test]
fn keys_are_names_and_unique() {
    refuses(&small().u32("", 1), "key 11: expected a key, got an empty text");
    refuses(&small().u32("truth", 1), "key \"truth\": expected each key once");
    refuses(&small().u32(&"k".repeat(1025), 1), "key 11: expected a key of at most 1024 bytes, got 1025");
    let mut bytes = File::new().u32("kk", 1).build();
    bytes[32] = 0xff;
    refuses_bytes(&bytes, "expected a key in UTF-8");
}

#[test]
fn alignments_are_powers_of_two() {
    for alignment in [0, 1, 4, 24, 33, 1 << 17, u32::MAX] {
        refuses(
            &small().u32("general.alignment", alignment),
            "key \"general.alignment\": expected a power of two",
        );
    }
    refuses(&small().text("general.alignment", "32"), "key \"general.alignment\": expected an integer");
    for alignment in [8, 64, 1 << 16] {
        let file = File::new().aligned(alignment).u32("general.alignment", u32::try_from(alignment).unwrap());
        let bytes = file.tensor("a", &[4], 0, &[0; 16]).tensor("b", &[4], 0, &[0; 16]).build();
        assert_eq!(open(&bytes).unwrap().tensors.require("b").unwrap().range.start % alignment as u64, 0);
    }
}

#[test]
fn shapes_that_lie_are_refused() {
    let named = "tensor \"t\": expected ";
    let shapes: [(&[u64], &str); 11] = [
        (&[], "1 to 4 dimensions, got 0"),
        (&[1; 5], "1 to 4 dimensions, got 5"),
        (&[0], "no dimension of size 0"),
        (&[4, 0], "no dimension of size 0"),
        (&[2, 2, 2], "a vector or a matrix, got 3 dimensions, innermost first [2, 2, 2, 1]"),
        (&[2, 2, 1, 2], "a vector or a matrix"),
        (&[u64::MAX, 1], "fewer than 2^64 bytes"),
        (&[1 << 32, 1 << 32], "fewer than 2^64 bytes"),
        (&[1 << 31, (1 << 31) + 1], "fewer than 2^64 bytes, got 2147483649 rows of 2147483648"),
        (&[1 << 30, 1 << 30], "bytes inside of the 0 bytes of data"),
        (&[1], "bytes inside of the 0 bytes of data, got 4 bytes from 0 on (F32, 1 rows of 1)"),
    ];
    for (shape, says) in shapes {
        refuses(&File::new().row("t", shape, 0, 0), &format!("{named}{says}"));
    }
    let bytes = File::new().tensor("t", &[2, 2, 1, 1], 0, &[0; 16]).build();
    assert_eq!(open(&bytes).unwrap().tensors.get("t").unwrap().shape, Shape { rows: 2, columns: 2 });
}

#[test]
fn rows_are_whole_blocks() {
    for (kind, columns, block) in [(8, 33, 32), (2, 31, 32), (12, 128, 256), (14, 288, 256)] {
        let says = format!("tensor \"t\": expected rows of whole blocks of {block} elements");
        refuses(&File::new().row("t", &[columns, 2], kind, 0), &says);
    }
}

#[test]
fn tensors_lie_inside_of_the_file_and_apart() {
    let data = || File::new().tensor("a", &[16], 0, &[0; 64]);
    refuses(&data().row("t", &[1], 0, 64), "tensor \"t\": expected bytes inside of the 64 bytes of data");
    for offset in [u64::MAX - 31, 1 << 63, 1 << 40] {
        refuses(
            &data().row("t", &[16], 0, offset),
            "tensor \"t\": expected bytes inside of the 64 bytes of data",
        );
    }
    for offset in [1, 31, 33, u64::MAX] {
        refuses(&data().row("t", &[1], 0, offset), "tensor \"t\": expected an offset that 32 divides");
    }
    refuses(&data().row("t", &[1], 0, 32), "tensor \"t\": expected bytes behind those of tensor \"a\"");
    refuses(&data().row("t", &[1], 0, 0), "expected bytes behind those of tensor");
    refuses(&data().row("a", &[1], 0, 0), "tensor \"a\": expected each name once, got it again");
    let mut bytes = data().build();
    bytes.pop();
    refuses_bytes(&bytes, "expected bytes inside of the 63 bytes of data");
    refuses_bytes(&bytes[..60], "expected data of tensors from byte 64 on, got a file of 60 bytes");
    refuses_bytes(&bytes[..50], "up to the end of the file");
    // A name that is cut is shown cut.
    refuses(&data().row(&"n".repeat(129), &[1], 0, 0), "tensor 1: expected a name of at most 128 bytes");
}

/// Order and gaps are free.
#[test]
fn tensors_may_stand_in_any_order() {
    let bytes = File::new().row("late", &[8], 0, 96).row("first", &[8], 0, 0).build();
    let bytes = [bytes, vec![0; 128]].concat();
    assert_eq!(open(&bytes).unwrap().tensors.len(), 2);
}

#[test]
fn types_that_are_not_taken_are_refused_by_name() {
    let names = [
        (3, "Q4_1"),
        (6, "Q5_0"),
        (7, "Q5_1"),
        (10, "Q2_K"),
        (11, "Q3_K"),
        (13, "Q5_K"),
        (16, "IQ2_XXS"),
        (20, "IQ4_NL"),
        (24, "I8"),
        (28, "F64"),
        (31, "Q4_0_4_4"),
        (34, "TQ1_0"),
        (39, "MXFP4"),
        (40, "NVFP4"),
    ];
    for (kind, name) in names {
        let says = format!("weights of type {name} in tensor \"t\"; re-quantise the model to Q4_K");
        refuses(&File::new().row("t", &[256], kind, 0), &says);
    }
    for kind in [42, 1000, u32::MAX] {
        refuses(
            &File::new().row("t", &[256], kind, 0),
            "tensor \"t\": expected a type of ggml, 0 to 41, got",
        );
    }
}

/// A source that counts what is read of it.
struct Counting(Vec<u8>, AtomicU64);

impl ReadAt for Counting {
    fn size_bytes(&self) -> u64 {
        self.0.size_bytes() + (1 << 40)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap().min(self.0.len());
        let count = into.len().min(self.0.len() - start);
        into[..count].copy_from_slice(&self.0[start..start + count]);
        self.1.fetch_add(into.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// Nothing but the header is read, whatever the file's length.
#[test]
fn only_the_header_is_read() {
    let header = small().row("huge", &[1 << 30, 64], 0, 1 << 20).build();
    let source = Counting(header, AtomicU64::new(0));
    let gguf = Gguf::open(&source).unwrap();
    assert_eq!(source.1.load(Ordering::Relaxed), 64 << 10);
    let huge = gguf.tensors.require("huge").unwrap();
    assert_eq!(huge.range.end - huge.range.start, 1 << 38);
    assert_eq!(gguf.tensors.size_bytes(), (1 << 38) + 24 + 34);
    let error = huge.read(&source, &Limits::default()).unwrap_err().to_string();
    assert!(error.contains("bytes of a tensor: 274877906944 is more than the limit"), "{error}");
}

/// A header that goes on and on ends at its limit.
#[test]
fn a_header_has_a_limit() {
    let bytes: Vec<u8> = (0..80)
        .fold(File::new(), |file, key| file.array(&key.to_string(), 0, 1 << 20, &vec![0; 1 << 20]))
        .build();
    refuses_bytes(&bytes, "bytes of the header of a GGUF file");
}

#[test]
fn a_source_that_fails_is_named() {
    struct Torn;
    impl ReadAt for Torn {
        fn size_bytes(&self) -> u64 {
            1 << 20
        }
        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
    let error = Gguf::open(&Torn).unwrap_err();
    assert!(matches!(error, Error::Read { offset: 0, size_bytes: 65_536, .. }), "{error}");
    let bytes = small().build();
    let tensor = open(&bytes).unwrap().tensors.require("b.weight").unwrap().clone();
    assert!(matches!(tensor.read(&vec![0; 10], &Limits::default()), Err(Error::Read { .. })));
}

/// Every truncation, every flipped bit, every byte at its extremes: an answer, and no panic.
#[test]
fn small_changes_never_panic() {
    for whole in [small().build(), WRITTEN[0].to_vec()] {
        let header = whole.len().min(1500);
        let look = |bytes: &[u8]| {
            if let Ok(gguf) = open(bytes) {
                let ends = gguf.tensors.iter().map(|tensor| tensor.range.end);
                assert!(ends.max().unwrap_or(0) <= bytes.len() as u64);
                let keys: Vec<String> = gguf.metadata.keys().map(|(key, _)| key.to_owned()).collect();
                for key in keys {
                    let _ = (gguf.metadata.u32(&key), gguf.metadata.f32(&key), gguf.metadata.strs(&key));
                    let _ = (gguf.metadata.str(&key), gguf.metadata.i32s(&key), gguf.metadata.bools(&key));
                }
                let _ = crate::language::Config::from_metadata(&gguf.metadata)
                    .and_then(|config| config.check(&gguf.tensors));
            }
        };
        for end in 0..whole.len().min(header + 40) {
            assert!(open(&whole[..end]).is_err(), "{end} bytes of {}", whole.len());
        }
        for at in 0..header {
            let mut bytes = whole.clone();
            for change in
                [1, 2, 4, 8, 16, 32, 64, 128, 255].map(|mask| whole[at] ^ mask).into_iter().chain([0, 255])
            {
                bytes[at] = change;
                look(&bytes);
            }
        }
        for at in 0..header.saturating_sub(8) {
            for value in [u64::MAX, 1 << 63, u64::MAX >> 1, 1 << 32, 1 << 20] {
                let mut bytes = whole.clone();
                bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
                look(&bytes);
            }
        }
    }
}

#[test]
fn files_of_the_reference_package_are_read() {
    for (bytes, name) in WRITTEN.iter().zip(["llama", "qwen2", "gemma3"]) {
        let gguf = open(bytes).unwrap();
        assert_eq!(gguf.metadata.str("general.architecture").unwrap(), name);
        assert_eq!(gguf.metadata.strs("tokenizer.ggml.tokens").unwrap(), ["<s>", "a", "b", "ab"]);
        for tensor in gguf.tensors.iter() {
            let weights = tensor.read(&bytes.to_vec(), &Limits::default()).unwrap();
            let count = usize::try_from(tensor.shape.rows * tensor.shape.columns).unwrap();
            let mut values = vec![0.0; count];
            dequantise(tensor.format, &weights, &mut values).unwrap();
            assert!(values.iter().any(|value| *value != 0.0));
        }
    }
}

/// What `tests/gguf/make.py` recorded.
#[derive(serde::Deserialize)]
struct Recorded {
    formats: std::collections::BTreeMap<String, Blocks>,
}

#[derive(serde::Deserialize)]
struct Blocks {
    blocks: Vec<String>,
    values: Vec<String>,
    digests: Vec<String>,
}

/// The weights of the reference package, to the bit.
#[test]
fn weights_are_those_of_the_reference() {
    let recorded: Recorded = serde_json::from_str(include_str!("../../tests/gguf/blocks.json")).unwrap();
    assert_eq!(recorded.formats.len(), 6);
    for format in WeightFormat::ALL.into_iter().filter(|format| *format != WeightFormat::F32) {
        let blocks = &recorded.formats[format.name()];
        assert!(blocks.blocks.len() >= 200 && blocks.digests.len() == blocks.blocks.len());
        for (index, (block, digest)) in blocks.blocks.iter().zip(&blocks.digests).enumerate() {
            let block = hex::decode(block).unwrap();
            assert_eq!(find_not_finite(format, &block), None);
            let mut values = vec![f32::NAN; format.block_elements()];
            dequantise(format, &block, &mut values).unwrap();
            let got: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            if let Some(wanted) = blocks.values.get(index) {
                assert_eq!(&hex::encode(&got), wanted, "{format} block {index}");
            }
            assert_eq!(&hex::encode(&Sha256::digest(&got)[..8]), digest, "{format} block {index}");
        }
    }
}

/// Halves by their definition, all of them.
#[test]
fn halves_are_exact() {
    for bits in 0..=u16::MAX {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        if exponent == 31 {
            continue;
        }
        let size =
            if exponent == 0 { fraction } else { (1024.0 + fraction) * f64::from(exponent - 1).exp2() };
        let wanted = if bits >> 15 == 1 { -size } else { size } * (-24_f64).exp2();
        let mut got = [0.0];
        dequantise(WeightFormat::F16, &bits.to_le_bytes(), &mut got).unwrap();
        assert_eq!(f64::from(got[0]).to_bits(), wanted.to_bits(), "{bits:#06x}");
    }
}

#[test]
fn lengths_are_whole_blocks() {
    for format in WeightFormat::ALL {
        let (bytes, elements) = (format.block_bytes(), format.block_elements());
        dequantise(format, &[], &mut []).unwrap();
        dequantise(format, &vec![0; 3 * bytes], &mut vec![1.0; 3 * elements]).unwrap();
        for (bytes, elements) in [(bytes, 2 * elements), (bytes - 1, elements), (0, 1), (bytes, elements + 1)]
        {
            let error = dequantise(format, &vec![0; bytes], &mut vec![0.0; elements]).unwrap_err();
            assert!(error.to_string().contains("whole blocks"), "{error}");
        }
    }
    assert!(quantise_q8_0(&[0.0; 31], &mut [0; 34]).is_err());
}

#[test]
fn weights_that_are_not_finite_are_refused_with_their_tensor() {
    let places = [(1, 0), (8, 0), (2, 0), (12, 0), (12, 2), (14, 208)];
    let halves = [0x7c00_u16, 0xfc00, 0x7e00, 0x7c01, 0xffff];
    for ((kind, at), half) in places.iter().flat_map(|place| halves.map(|half| (*place, half))) {
        let format = WeightFormat::of(kind, "").unwrap();
        let mut bytes = vec![0; 2 * format.block_bytes()];
        let at = format.block_bytes() + at;
        bytes[at..at + 2].copy_from_slice(&half.to_le_bytes());
        let file = File::new().tensor("t", &[2 * format.block_elements() as u64], kind, &bytes).build();
        let error = open(&file)
            .unwrap()
            .tensors
            .require("t")
            .unwrap()
            .read(&file, &Limits::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tensor \"t\": expected finite weights, got an infinity or a NaN as"),
            "{error}"
        );
        assert!(error.ends_with(" 1"), "{error}");
    }
    for (format, bytes) in
        [(WeightFormat::F32, f32::NAN.to_le_bytes()), (WeightFormat::BF16, [0, 0, 0x80, 0x7f])]
    {
        assert_eq!(find_not_finite(format, &bytes), Some(bytes.len() / format.block_bytes() - 1));
    }
}

fn quantised(values: [f32; 32]) -> (half::f16, [i8; 32]) {
    let mut block = [1; 34];
    quantise_q8_0(&values, &mut block).unwrap();
    let scale = half::f16::from_le_bytes([block[0], block[1]]);
    (scale, std::array::from_fn(|index| block[index + 2].cast_signed()))
}

#[test]
fn activations_are_quantised_to_even() {
    let mut values = [0.0; 32];
    values[..6].copy_from_slice(&[127.0, 0.5, 1.5, -2.5, -0.5, -127.0]);
    let (scale, integers) = quantised(values);
    assert_eq!((scale.to_f32(), &integers[..6]), (1.0, &[127, 0, 2, -2, 0, -127][..]));
    assert_eq!(quantised([0.0; 32]), (half::f16::ZERO, [0; 32]));
    assert_eq!(quantised([-0.0; 32]), (half::f16::ZERO, [0; 32]));
    // Too small for a scale: zeros. The least scale is 2^-24.
    assert_eq!(quantised([1e-7; 32]).1, [0; 32]);
    assert_eq!(quantised([f32::from_bits(1); 32]), (half::f16::ZERO, [0; 32]));
    assert_eq!(quantised([127.0 * (-24_f32).exp2(); 32]), (half::f16::from_bits(1), [127; 32]));
}

#[test]
fn activations_that_are_not_finite_become_a_nan() {
    for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, 127.0 * 65_520.0] {
        let mut values = [1.0; 32];
        values[31] = odd;
        let (scale, integers) = quantised(values);
        assert!(scale.is_nan(), "{odd}");
        assert_eq!((scale.to_bits(), integers), (0x7e00, [0; 32]), "{odd}");
    }
    assert_eq!(quantised([127.0 * 65_504.0; 32]), (half::f16::MAX, [127; 32]));
}

/// What is quantised and brought back is near.
#[test]
fn activations_come_back() {
    let values: Vec<f32> = (0..320).map(|index| (index as f32 * 0.7).sin() * (index as f32)).collect();
    let (mut blocks, mut back) = (vec![0; 340], vec![0.0; 320]);
    quantise_q8_0(&values, &mut blocks).unwrap();
    dequantise(WeightFormat::Q8_0, &blocks, &mut back).unwrap();
    for (x, y) in values.iter().zip(&back) {
        // Half a step, and what the f16 of the scale is off.
        assert!((x - y).abs() <= 320.0 / 127.0 * 0.5 + 320.0 / 2048.0, "{x} {y}");
    }
}

#[test]
fn names_are_shown_escaped_and_cut() {
    assert_eq!(shown("a\nb"), "\"a\\nb\"");
    assert_eq!(shown(&"n".repeat(500)).len(), 122);
    assert_eq!(text("ü").len(), 10);
}
