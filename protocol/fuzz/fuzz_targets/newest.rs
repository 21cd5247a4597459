//! Fuzzes [`unifyit_protocol::fuzzing::newest`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::newest(bytes));
