//! What tests, `make run` and the benches stand on: the real product, started
//! as processes on this machine, and a fleet of simulated devices.
//!
//! * [`wait`]: conditions with deadlines, instead of sleeps.
//! * [`process`]: child processes that never outlive their parent.
//! * [`stack`]: PostgreSQL, cloud, relay and agents, wired together.
//! * [`api`]: the REST API and the WebSockets as a client sees them.
//! * [`cache`]: package caches, an upstream that misbehaves, and the fault test.
//! * [`floods`]: somebody who sends too much, and what others notice of it.
//! * [`sim`]: devices that speak the real protocol, thousands in one process.
//!
//! Nothing here links cloud, relay or agent: only what a user can reach is used.

pub mod api;
pub mod cache;
pub mod floods;
pub mod process;
pub mod sim;
pub mod stack;
pub mod wait;

/// Makes aws-lc-rs the TLS provider of this process. Harmless when repeated.
pub fn install_crypto() {
    // A second call finds a provider installed, which is the wished state.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
