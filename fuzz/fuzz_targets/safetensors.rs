//! `cargo fuzz` target of [`nabla_fuzz::safetensors`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::safetensors(bytes));
