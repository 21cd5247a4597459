//! Tests that span the crate: the bytes of each message, decoders under hostile
//! bytes, and who is trusted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod examples;
mod golden;
mod hostile;
mod trust;
