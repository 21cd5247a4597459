//! The product as its users meet it: real processes, a real database, the
//! command line and the REST API. One binary, one module a theme.
//!
//! Every test starts a stack of its own, so that tests may run side by side and
//! a failing one leaves the others alone. `UNIFYIT_KEEP=1` keeps the folders.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::large_futures,
    reason = "tests"
)]

mod access;
mod blobs;
mod cache;
mod clocks;
mod copies;
mod enrolment;
mod faults;
mod fleet;
mod floods;
mod identity;
mod ledger;
mod mosquitto;
mod mqtt;
mod outage;
mod renewal;
mod restores;
mod restores_agent;
mod revocation;
mod sample;
mod scripts;
mod sisters;
mod soak;
mod terminal;
mod upgrade;
mod uplink;
