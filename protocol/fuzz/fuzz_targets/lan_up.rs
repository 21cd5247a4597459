//! Fuzzes [`unifyit_protocol::fuzzing::lan_up`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::lan_up(bytes));
