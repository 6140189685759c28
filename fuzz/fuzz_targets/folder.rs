//! `cargo fuzz` target of [`nabla_fuzz::folder`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::folder(bytes));
