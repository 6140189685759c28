//! `cargo fuzz` target of [`nabla_fuzz::inclusion_proof`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::inclusion_proof(bytes));
