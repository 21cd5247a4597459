//! The HTTP service as clients meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod acting;
mod document;
mod lists;
mod package_cache;
mod parts;
mod scale;
mod sign_in;
mod unauthorized;
