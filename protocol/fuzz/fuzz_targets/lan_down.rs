//! Fuzzes [`unifyit_protocol::fuzzing::lan_down`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::lan_down(bytes));
