//! Every bound of the lane machine, with its default and its reason (G10).

use super::Lane;
use crate::codec::MAX_MESSAGE;

/// Longest record, in bytes: one record and its frame always fit one message.
pub const MAX_RECORD: usize = MAX_MESSAGE - 4096;

/// Most records that a reader accepts in one frame.
pub const MAX_FRAME_RECORDS: usize = 8192;

/// Bytes that a record costs in a frame beside its content.
pub(super) const RECORD_OVERHEAD: usize = 5;

/// Bounds of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimit {
    /// A frame is closed at this many bytes of records. One longer record still
    /// travels, in a frame of its own.
    pub frame_bytes: usize,
    /// A frame is closed at this many records, at most [`MAX_FRAME_RECORDS`].
    pub frame_records: usize,
    /// Frames sent and not acknowledged.
    pub frames_in_flight: usize,
}

/// Bounds of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneLimits {
    /// The urgent lane: large frames, because nothing may wait behind it but
    /// itself.
    pub urgent: LaneLimit,
    /// Bytes of the urgent lane sent and not acknowledged.
    pub urgent_window: usize,
    /// The other lanes: small frames, because an alert waits for the frame that
    /// is being written.
    pub bulk: LaneLimit,
    /// Least that the window shared by the bulk lanes shrinks to, in bytes.
    pub bulk_window_min: usize,
    /// Most that it grows to: the bandwidth-delay product of 100 Mbit/s at 80 ms.
    pub bulk_window_max: usize,
    /// Acknowledgements later than this shrink the bulk window, in milliseconds.
    pub target_delay_ms: u64,
}

impl Default for LaneLimits {
    fn default() -> Self {
        Self {
            urgent: LaneLimit {
                frame_bytes: 256 * 1024,
                frame_records: 4096,
                frames_in_flight: 1024,
            },
            urgent_window: 1024 * 1024,
            bulk: LaneLimit { frame_bytes: 32 * 1024, frame_records: 1024, frames_in_flight: 1024 },
            bulk_window_min: 64 * 1024,
            bulk_window_max: 1024 * 1024,
            target_delay_ms: 400,
        }
    }
}

impl LaneLimits {
    /// Bounds of a lane.
    #[must_use]
    pub fn of(&self, lane: Lane) -> LaneLimit {
        match lane {
            Lane::Urgent => self.urgent,
            Lane::State | Lane::Output | Lane::Metrics => self.bulk,
        }
    }
}
