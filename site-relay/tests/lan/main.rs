//! The relay's LAN side, against real sockets: clients of others, hostile
//! peers, enrolment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod abuse;
mod client;
mod enrolment;
mod foreign;
mod fuzz;
mod idle;
mod rights;
mod sessions;
mod site;
mod whole;
