//! `cargo fuzz` target of [`nabla_fuzz::journal_block`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::journal_block(bytes));
