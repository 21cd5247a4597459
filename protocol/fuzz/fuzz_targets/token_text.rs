//! Fuzzes [`unifyit_protocol::fuzzing::token_text`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::token_text(bytes));
