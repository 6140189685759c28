//! `cargo fuzz` target of [`nabla_fuzz::tensor_json`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::tensor_json(bytes));
