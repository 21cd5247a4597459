//! Fuzzes [`unifyit_protocol::fuzzing::blob`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::blob(bytes));
