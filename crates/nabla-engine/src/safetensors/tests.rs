//! Headers made by hand, most of them wrong.

use std::io;

use super::*;

/// A file of this header and so many bytes behind it.
fn file(header: &str, bytes: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![7; bytes]].concat()
}

fn open(bytes: &[u8]) -> Result<Safetensors, Error> {
    Safetensors::open("x.safetensors", &bytes.to_vec())
}

#[track_caller]
fn refuses(header: &str, bytes: usize, says: &str) {
    refuses_file(&file(header, bytes), says);
}

#[track_caller]
fn refuses_file(file: &[u8], says: &str) {
    let text = open(file).expect_err(says).to_string();
    assert!(text.contains(says), "expected {says:?}, got {text:?}");
    assert!(text.len() < 600, "{text}");
}

fn row(name: &str, dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":{offsets}}}"#)
}

/// A header of these rows.
fn rows(rows: &[String]) -> String {
    format!("{{{}}}", rows.join(","))
}

#[test]
fn a_header_is_read() {
    let second = row("a", "BF16", "[2,3]", "[4,16]");
    let header = rows(&[
        r#""__metadata__":{"format":"pt"}"#.to_owned(),
        second,
        row("b", "F32", "[1]", "[0,4]"),
        row("none", "F16", "[0,9]", "[16,16]"),
    ]);
    let start = 8 + header.len() as u64 + 3;
    let read = open(&file(&format!("{header}   "), 16)).unwrap();
    assert_eq!(read.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "none"]);
    let expected = Tensor { format: WeightFormat::BF16, shape: vec![2, 3], range: start + 4..start + 16 };
    assert_eq!(read.get("a"), Some(&expected));
    assert!(open(&file("{}", 0)).unwrap().iter().next().is_none());
}

#[test]
fn broken_heads_are_refused_by_name() {
    refuses_file(&[], "expected the 8 bytes of the header's length, got a file of 0 bytes");
    refuses_file(&[9; 7], "a file of 7 bytes");
    refuses_file(&u64::MAX.to_le_bytes(), "is more than the limit of 16777216");
    refuses_file(&100_u64.to_le_bytes(), "expected a header of 100 bytes, got a file of 8 bytes");
    refuses("", 0, "begins with");
    refuses(" {}", 0, "begins with");
    refuses("[]", 0, "begins with");
    refuses("{", 0, "EOF");
    refuses("{}x", 0, "trailing characters");
    refuses("{\"a\":1}", 0, "invalid type");
    refuses(&format!("{{\"a\":{}", "[".repeat(100_000)), 0, "invalid type");
    refuses(&format!("{{\"__metadata__\":{}", "{\"a\":".repeat(100_000)), 0, "invalid type");
    refuses("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "metadata stand there twice");
    refuses_file(&file("{\"\u{0}", 0), "control character");
    refuses_file(&[8_u64.to_le_bytes().as_slice(), b"{\"\xff\":1}x"].concat(), "expected a header");
}

#[test]
fn rows_that_contradict_themselves_are_refused_by_name() {
    let one = |dtype, shape, offsets| rows(&[row("a", dtype, shape, offsets)]);
    refuses(&one("F32", "[2]", "[0,4]"), 4, "expected 8 bytes for F32 of shape [2], got bytes 0 to 4");
    refuses(&one("F32", "[1]", "[4,0]"), 4, "from 4 on");
    refuses(&one("F32", "[2]", "[0,8]"), 4, "expected bytes inside of the 4 of the file, got bytes 0 to 8");
    refuses(&one("F32", "[1]", "[4,8]"), 8, "expected bytes from 0 on, where the one before ends");
    refuses(&one("F32", "[1]", "[0,4]"), 5, "tensors of 5 bytes, up to its end, got 4");
    refuses(&one("F32", "[4294967296,4294967296]", "[0,4]"), 4, "fewer than 2^64 bytes");
    refuses(&one("F32", "[4611686018427387904]", "[0,0]"), 0, "fewer than 2^64 bytes");
    refuses(&one("F32", "[-1]", "[0,4]"), 4, "invalid value");
    refuses(&one("F32", "[1.0]", "[0,4]"), 4, "invalid type");
    refuses(&one("F32", "[18446744073709551616]", "[0,4]"), 4, "invalid type");
    refuses(&one("F32", "[1]", "[0,4,8]"), 4, "trailing characters");
    refuses(r#"{"a":{"dtype":"F32","shape":[1]}}"#, 4, "missing field");
    refuses(r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, 4, "unknown field");
    refuses(r#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, 4, "duplicate field");
    let none = format!("[{}1]", "0,".repeat(5000));
    refuses(&one("F32", &none, "[0,4]"), 4, "of shape [0, 0, 0, 0, 0, 0, 0, 0, ...]");
}

#[test]
fn a_name_stands_there_once_and_bytes_belong_to_one() {
    let (a, b) = (row("a", "F32", "[1]", "[0,4]"), row("b", "F32", "[1]", "[4,8]"));
    assert!(open(&file(&rows(&[b.clone(), a.clone()]), 8)).is_ok());
    refuses(&rows(&[a.clone(), row("a", "F32", "[1]", "[4,8]")]), 8, "stands there twice");
    refuses(&rows(&[a.clone(), row("b", "F32", "[1]", "[0,4]")]), 4, "expected bytes from 4 on");
    refuses(&rows(&[a.clone(), row("b", "F32", "[1]", "[2,6]")]), 6, "expected bytes from 4 on");
    refuses(&rows(&[a, row("c", "F32", "[1]", "[8,12]"), b.replace("4,8", "5,9")]), 12, "from 4 on");
}

#[test]
fn other_types_are_refused_by_name() {
    for dtype in ["F64", "I8", "F8_E4M3", "BOOL", "F4", "f32", ""] {
        refuses(&rows(&[row("a", dtype, "[1]", "[0,4]")]), 4, &format!("weights of type \"{dtype}\""));
    }
}

/// A file that has more bytes than memory, all of them the header's.
struct Endless;

impl ReadAt for Endless {
    fn size_bytes(&self) -> u64 {
        u64::MAX
    }

    fn read_at(&self, _: u64, into: &mut [u8]) -> io::Result<()> {
        into.fill(0x20);
        Ok(())
    }
}

#[test]
fn no_memory_is_taken_for_a_claim() {
    let error = Safetensors::open("x", &Endless).expect_err("a header of 2^61 bytes").to_string();
    assert!(error.contains("2314885530818453536 is more than the limit"), "{error}");
    let many: Vec<String> =
        (0..=TENSORS_MAX).map(|index| row(&index.to_string(), "F32", "[0]", "[0,0]")).collect();
    refuses(&rows(&many), 0, "more than 65536 tensors");
}
