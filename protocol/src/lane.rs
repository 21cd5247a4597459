//! The lane machine: durable, ordered delivery over a link that comes and goes.
//!
//! (interface only; see the methods)

use serde::{Deserialize, Serialize};

/// Lanes in order of urgency (G5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Alerts, outcomes, presence, audit; all of the downlink.
    Urgent,
    /// Inventory and shadow changes, status.
    State,
    /// Output of scripts.
    Output,
    /// Measurements.
    Metrics,
}

impl Lane {
    /// All lanes, most urgent first.
    pub const ALL: [Self; 4] = [Self::Urgent, Self::State, Self::Output, Self::Metrics];
}

/// Durable records of one lane, in sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Data {
    /// Which lane.
    pub lane: Lane,
    /// The sender's epoch.
    pub epoch: u64,
    /// Sequence number before the first record; 0 at the start of an epoch.
    pub prev: u64,
    /// Consecutive records from `prev + 1` on, each an encoded message.
    pub records: Vec<serde_bytes::ByteBuf>,
}

/// Everything of `lane` up to (`epoch`, `through`) is durable at the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which lane.
    pub lane: Lane,
    /// Epoch.
    pub epoch: u64,
    /// Last durable sequence number.
    pub through: u64,
}

/// Where a receiver stands in each lane of its peer. A missing lane: at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resume {
    /// A position a lane.
    pub positions: Vec<Ack>,
}
