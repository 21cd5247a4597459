//! What became of a command on one device.

use crate::ids::CommandId;
use serde::{Deserialize, Serialize};

/// Where a command stands on one device. Order of life:
/// `Pending → Sent → Running →` one of the finals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Stored for the device; the device is offline or not yet served.
    Pending,
    /// Handed to the device, not yet confirmed.
    Sent,
    /// The device made its intent durable and started.
    Running,
    /// Ended by itself with exit code 0.
    Succeeded,
    /// Ended with another exit code, by a signal, or could not be started.
    Failed,
    /// Killed at its time limit.
    TimedOut,
    /// Stopped by a technician, before or after it started.
    Cancelled,
    /// Not started before its expiry.
    Expired,
    /// The device's guard refused it.
    Refused,
    /// The device went down between intent and outcome; it may have run, and is
    /// never run again by itself (G3).
    Indeterminate,
}

impl Status {
    /// Whether nothing follows.
    #[must_use]
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Pending | Self::Sent | Self::Running)
    }
}

/// An event in the life of a command on a device, in the order it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEvent {
    /// The command.
    pub command: CommandId,
    /// `Running` or a final state.
    pub status: Status,
    /// When, by the device's clock, Unix milliseconds.
    pub at_ms: u64,
    /// Exit code, for a process that ended by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// One sentence: why refused, which signal, what could not be started.
    #[serde(default)]
    pub reason: Option<String>,
    /// Bytes of output kept (all streams together), for finals.
    #[serde(default)]
    pub output_len: u64,
    /// Bytes of output beyond the limit, cut. 0 when all was kept.
    #[serde(default)]
    pub output_cut: u64,
}

/// Most bytes of a piece that is stored on its way. Agents store pieces of
/// [`MAX_LIVE`](crate::live::MAX_LIVE); those of 0.1.0 joined one to another that was not
/// full yet.
pub const MAX_PIECE: usize = 2 * crate::live::MAX_LIVE;

/// A piece of a command's output. `offset` counts the bytes of both streams
/// together in the order the agent read them, so that a piece received twice,
/// live and durable, is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    /// The command.
    pub command: CommandId,
    /// Where the piece starts in the merged output, bytes.
    pub offset: u64,
    /// Which stream it came from.
    pub stream: Stream,
    /// The bytes as the process wrote them: any encoding, hostile.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// A process's output stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}
