//! Fuzzes [`unifyit_protocol::fuzzing::rest_block`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::rest_block(bytes));
