//! Keepers: each command runs below a small process of this very program, which
//! sees to it that the command ends as a whole.
//!
//! The keeper is where orphans of the command return to (a *child subreaper*), so
//! that a process which leaves its group and session, empties its environment,
//! becomes another user or loses its parent is still found below it. Where the
//! system has control groups, the command has one too, which also outlives the
//! keeper. Two channels: the order, how the command is to be ended and what became
//! of it go over a socket, which is the keeper's standard input; the command's
//! output goes through pipes, past the keeper. When the socket closes, the agent
//! is gone, and the keeper ends the command.
//!
//! Both are ready ahead. One keeper always waits for an order, as nobody's until then;
//! and with the order it makes the command's process ready while the command's intent
//! goes to disk: the process becomes the program when it may begin.
//!
//! It also does all that could take long on the way to a program: look up a user,
//! write files, enter folders. The agent's one thread never waits for these.

mod folder;
mod fork;
mod group;
mod keeper;
mod keepers;
mod kept;
mod mark;
mod way;

pub use keeper::keep;
pub use keepers::Keepers;
pub use kept::{Kept, end_left, end_tree};

use std::time::Duration;

/// How long a keeper tries to end what does not end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest order.
const MAX_ORDER: usize = 16 << 20;
/// Most processes named of those that could not be ended.
const MAX_NAMED: usize = 5;

/// The agent's words to a keeper, one byte each, after the order. The first is that the
/// command may begin.
const GO: u8 = b'g';
const ASK: u8 = b'a';
const FORCE: u8 = b'k';

#[cfg(test)]
mod tests;
