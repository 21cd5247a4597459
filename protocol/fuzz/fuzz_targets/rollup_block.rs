//! Fuzzes [`unifyit_protocol::fuzzing::rollup_block`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::rollup_block(bytes));
