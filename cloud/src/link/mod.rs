//! The cloud's end of the WAN: relays over libp2p.
//!
//! ```text
//! swarm ── gateway ─┬─ enroll ────────── one transaction: token, relay, grant
//!                   ├─ session (one a relay)
//!                   │    frames in ──► lane Receiver ──► ingest ──► Records::apply
//!                   │    downlink table ──► lane Sender ──► frames out
//!                   ├─ tunnel (a stream each)
//!                   └─ blobs
//! ```
//!
//! The gateway is part of the spine and knows no feature: what records mean is
//! behind [`Records`], which `app.rs` hands in. What must hold here: only
//! enrolled, unrevoked peers get a session; a lane's position moves in the same
//! transaction as its records' effects (G2); an acknowledgement follows the
//! commit (G1); one record that cannot be applied never stops a lane.

pub(crate) mod address;
mod admission;
mod behaviour;
mod blobs;
mod doorstep;
pub mod downlink;
mod enroll;
mod framing;
pub(crate) mod gaps;
mod gateway;
mod identity;
mod ingest;
mod metrics;
mod options;
mod records;
mod registry;
mod relay;
mod session;
pub(crate) mod sisters;
mod tunnel;

pub use behaviour::LinkLimits;
pub use gateway::Gateway;
pub use ingest::ApplyError;
pub(crate) use ingest::name as lane_name;
pub use metrics::LinkMetrics;
pub use options::{LinkDeps, LinkError, LinkOptions};
pub use records::{Records, RelayChange};
pub use registry::Link;
pub use relay::RelayIdentity;
pub(crate) use relay::{from_ms, now_ms};
pub use tunnel::{Tunnel, TunnelError, TunnelFrames, TunnelSink};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
