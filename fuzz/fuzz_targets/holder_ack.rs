//! `cargo fuzz` target of [`nabla_fuzz::holder_ack`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nabla_fuzz::holder_ack(bytes));
