//! Fuzzes [`unifyit_protocol::fuzzing::up_record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::up_record(bytes));
