//! Commands that came and whose turn is later: scripts that wait for a place, and
//! commands that are not to start before their time. They are kept as they came,
//! so that the guard can judge them again when their turn comes: a verdict is of the
//! moment. In memory only; the relay delivers them again to the next start.
//!
//! Bounded in number and in bytes. What was admitted once keeps its right: a command
//! whose turn came and met a failing disk is kept for another try whatever the bounds
//! say, for the relay was told that it is held here.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use unifyit_protocol::{command::Command, ids::CommandId, signing::Signed};

const MAX_WAITING: usize = 256;
const MAX_HELD: usize = 256;
const MAX_BYTES: usize = 8 << 20;

/// A command as it came.
pub(super) type Bearer = Arc<Signed<Command>>;

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Later {
    waiting: VecDeque<(CommandId, Bearer)>,
    held: BTreeMap<(u64, CommandId), Bearer>,
    bytes: usize,
}

impl Later {
    /// Lets a script wait for a place. Gives it back, with the sentence for the
    /// technician, when too many wait.
    pub(super) fn wait(&mut self, id: CommandId, command: Bearer) -> Result<(), &'static str> {
        if self.contains(id) {
            return Ok(());
        }
        if self.waiting.len() >= MAX_WAITING {
            return Err("This computer already has 256 commands waiting. Try again later.");
        }
        self.take(&command)?;
        self.waiting.push_back((id, command));
        Ok(())
    }

    /// Holds a command until its time.
    pub(super) fn hold(
        &mut self,
        from_ms: u64,
        id: CommandId,
        command: Bearer,
    ) -> Result<(), &'static str> {
        if self.contains(id) {
            return Ok(());
        }
        if self.held.len() >= MAX_HELD {
            return Err("This computer already holds 256 commands for later.");
        }
        self.take(&command)?;
        self.held.insert((from_ms, id), command);
        Ok(())
    }

    /// Keeps a command whose turn had come for another try.
    pub(super) fn again(&mut self, at_ms: u64, id: CommandId, command: Bearer) {
        if !self.contains(id) {
            self.bytes += command.payload.len();
            self.held.insert((at_ms, id), command);
        }
    }

    fn take(&mut self, command: &Bearer) -> Result<(), &'static str> {
        let bytes = self.bytes + command.payload.len();
        if bytes > MAX_BYTES {
            return Err(
                "This computer already keeps 8 MiB of commands for later. Try again later.",
            );
        }
        self.bytes = bytes;
        Ok(())
    }

    /// Takes the script that waits longest.
    pub(super) fn next(&mut self) -> Option<Bearer> {
        let (_, command) = self.waiting.pop_front()?;
        self.bytes -= command.payload.len();
        Some(command)
    }

    /// Takes a command whose time has come.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Bearer> {
        let first = self.held.first_entry().filter(|first| first.key().0 <= now_ms)?;
        let command = first.remove();
        self.bytes -= command.payload.len();
        Some(command)
    }

    /// When the next held command's time comes.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.held.keys().next().map(|(from_ms, _)| *from_ms)
    }

    /// Whether a command is kept.
    pub(super) fn contains(&self, id: CommandId) -> bool {
        self.waiting.iter().any(|(waits, _)| *waits == id)
            || self.held.keys().any(|(_, held)| *held == id)
    }

    /// Lets go of a command.
    pub(super) fn forget(&mut self, id: CommandId) {
        let mut freed = 0;
        self.waiting.retain(|(waits, command)| {
            freed += if *waits == id { command.payload.len() } else { 0 };
            *waits != id
        });
        self.held.retain(|(_, held), command| {
            freed += if *held == id { command.payload.len() } else { 0 };
            *held != id
        });
        self.bytes -= freed;
    }
}
