//! Every word spoken on a UnifyIT wire, and the pure rules about them.
//!
//! The crate does no I/O and reads no clock: bytes, keys and times come in as
//! arguments, values and bytes go out. That is what lets one copy of the code
//! run in the agent, the relay, the cloud and the simulator.
//!
//! Reading order: [`ids`] and [`codec`] (the alphabet), [`envelope`] (how a
//! message is framed and versioned), then by wire:
//!
//! * LAN, agent and relay over MQTT: [`topics`], [`lan`], [`report`], [`live`].
//! * WAN, relay and cloud over libp2p: [`link`], [`lane`], [`tunnel`],
//!   [`blob`].
//! * Trust: [`signing`], [`grant`], [`token`], [`enroll`], [`seal`].
//! * Content: [`command`], [`outcome`], [`telemetry`], [`inventory`],
//!   [`config`]; what features bring later, [`feature`].

pub mod blob;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod command;
pub mod compare;
pub mod config;
pub mod doctor;
pub mod enroll;
pub mod envelope;
pub mod error;
pub mod feature;
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::panic, reason = "properties fail by panicking")]
pub mod fuzzing;
pub mod grant;
pub mod ids;
pub mod inventory;
pub mod lan;
pub mod lane;
pub mod link;
pub mod live;
pub mod outcome;
pub mod report;
pub mod seal;
pub mod sharing;
pub mod signing;
pub mod telemetry;
pub mod token;
pub mod topics;
pub mod tunnel;

pub use error::ProtocolError;

#[cfg(test)]
mod tests;
