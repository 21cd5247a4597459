//! Fuzzes [`unifyit_protocol::fuzzing::link_frame`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| unifyit_protocol::fuzzing::link_frame(bytes));
