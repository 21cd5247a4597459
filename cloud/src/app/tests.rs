//! The HTTP service as clients meet it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod acting;
mod document;
mod features;
mod keys;
mod lists;
mod monitoring;
mod package_cache;
mod parts;
mod resume;
mod rights;
mod scale;
mod sign_in;
mod unauthorized;
mod viewers;
