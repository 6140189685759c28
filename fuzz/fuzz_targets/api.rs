//! `cargo fuzz` target of [`nabla_fuzz::api`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::api(bytes));
