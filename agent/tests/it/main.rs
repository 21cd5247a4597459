//! The agent's parts together, with real processes, a real terminal and a real
//! database; the relay is played by the tests.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_docs_in_private_items,
    reason = "tests"
)]

mod bench;
mod cancel;
mod crash;
mod daemon;
mod disk;
mod keep;
mod memory;
mod package_cache;
mod relay;
mod script;
mod terminal;
