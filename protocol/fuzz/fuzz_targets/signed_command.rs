//! Fuzzes [`unifyit_protocol::fuzzing::signed_command`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::signed_command(bytes));
