//! `cargo fuzz` target of [`nabla_fuzz::grammar`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::grammar(bytes));
