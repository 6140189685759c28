//! `cargo fuzz` target of [`nabla_fuzz::talk`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::talk(bytes));
