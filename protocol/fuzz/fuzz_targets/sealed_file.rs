//! Fuzzes [`unifyit_protocol::fuzzing::sealed_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::sealed_file(bytes));
