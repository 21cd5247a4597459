//! The relay's LAN side, against real sockets: clients of others, hostile
//! peers, enrolment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

//ABUSE
mod client;
//ENROL
//FOREIGN
//FUZZ
//IDLE
mod rights;
mod sessions;
mod site;
