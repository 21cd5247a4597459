//! Bytes that matter only while somebody looks: terminals, output as it
//! appears. Never stored, never sent again; what must last goes by report.

use crate::{
    envelope::messages,
    ids::{CommandId, TunnelId},
    outcome::OutputChunk,
};
use serde::{Deserialize, Serialize};

/// Most bytes of one live frame's data.
pub const MAX_LIVE: usize = 32 * 1024;
/// Bytes that a terminal may send before its viewer's first [`TunnelCredit`],
/// and most that may ever be under way to it.
pub const TERMINAL_WINDOW: u32 = 128 * 1024;

messages! {
    /// `up/live`: from the device.
    pub enum LiveUp {
        /// A terminal wrote.
        1 => Data(TunnelData),
        /// A terminal ended.
        2 => Closed(TunnelClosed),
        /// A script wrote: the fast copy of a durable [`OutputChunk`].
        3 => Output(OutputChunk),
        /// Bytes that a reader took, so that the writer goes on.
        4 => Credit(TunnelCredit),
        /// Commands that came and whose turn is later: no need to send them again.
        5 => Holds(Holds),
    }
}

/// Commands that a device keeps in memory until their turn. It forgets them when it
/// ends, so they are to be sent again after its next hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holds {
    /// The commands.
    #[serde(deserialize_with = "crate::codec::at_most::<512, _, _>")]
    pub commands: Vec<CommandId>,
}

messages! {
    /// `down/live`: to the device.
    pub enum LiveDown {
        /// Keystrokes.
        1 => Data(TunnelData),
        /// The viewer left.
        2 => Close(TunnelClosed),
        /// The viewer's window changed.
        3 => Resize(TunnelResize),
        /// The viewer took bytes: the terminal may write as many more.
        4 => Credit(TunnelCredit),
    }
}

/// Bytes of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelData {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Rises by one a frame, so that a lost one is noticed.
    pub seq: u64,
    /// At most [`MAX_LIVE`] bytes.
    #[serde(with = "serde_bytes")]
    pub data: Vec<u8>,
}

/// The end of a tunnel, and why, in one sentence for the technician.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelClosed {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Why.
    pub reason: String,
}

/// A new size of the viewer's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelResize {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
}

/// Flow control of a tunnel: bytes taken since the last credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelCredit {
    /// Which tunnel.
    pub tunnel: TunnelId,
    /// Bytes.
    pub bytes: u32,
}

/// Refers a live output piece to its command, for filters.
#[must_use]
pub fn output_command(message: &LiveUp) -> Option<CommandId> {
    match message {
        LiveUp::Output(chunk) => Some(chunk.command),
        _ => None,
    }
}
