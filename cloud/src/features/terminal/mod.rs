//! Terminals: a WebSocket of the browser joined to a tunnel through the relay.
//!
//! The command that opens the shell is signed like any other (G7) and audited
//! before it leaves; the end is audited with its reason. Bytes are never stored
//! and never wait: a frame is passed on as it comes. Each direction is bounded
//! by the other side's credit, so that a flood in the terminal stops at its
//! source.

mod api;
mod pipe;

pub use api::routes;
