//! What the agent observes: measurements every few seconds ([`metrics`]), and
//! what the computer is and what is on it ([`inventory`]).

pub mod inventory;
pub mod metrics;
pub mod packages;
pub mod reader;
pub mod sampling;
pub mod services;
