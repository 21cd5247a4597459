//! Terminals: a WebSocket of the browser joined to a tunnel through the relay.
//!
//! The command that opens the shell is signed like any other (G7) and audited
//! before it leaves; the end is audited with its reason. Bytes are never stored
//! and never wait: a frame is passed on as it comes. Each direction is bounded
//! by the other side's credit, so that a flood in the terminal stops at its
//! source.
//!
//! A terminal ends with the right of whoever opened it, when nothing was typed
//! for [`IDLE`], and after [`LONGEST`]. However it ends, the device is told and
//! ends the shell.

mod api;
mod pipe;

use crate::{
    authz::{Can, Role, Scopes},
    feature::Feature,
};
use std::time::Duration;

/// Open terminals.
pub const OPEN_TERMINAL: Can = Can::new("open_terminal", Role::Technician, Scopes::All);
/// A terminal into which nothing is typed for so long ends.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// A terminal ends after so long, however it is used.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[OPEN_TERMINAL],
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("terminal")
};

#[cfg(test)]
mod probes;
