//! `cargo fuzz` target of [`nabla_fuzz::payment`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::payment(bytes));
