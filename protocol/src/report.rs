//! What an agent reports durably, in sequence, lane by lane (G1, G4).
//!
//! The agent's spool numbers reports within an epoch (one epoch a start of the
//! agent). The relay accepts a batch only where it continues what it has
//! (`epoch`, `prev`); it acknowledges after the group commit, and the spool
//! forgets only then. An epoch's leftovers are sent and acknowledged before the
//! next epoch starts, so the lane as a whole is a prefix of what was reported.

use crate::{
    codec::{Budget, MAX_VALUES},
    envelope::messages,
    feature::FeatureReport,
    inventory::InventoryReport,
    lane::Lane,
    outcome::{CommandEvent, OutputChunk},
    telemetry::{Sample, SeriesTable},
};
use serde::{Deserialize, Serialize};

/// Most reports in one batch.
pub const MAX_BATCH: usize = 256;

/// What the reports of one batch may cost to read, all together: as many pieces
/// of output of [`MAX_LIVE`](crate::live::MAX_LIVE) bytes as fit, or the longest
/// inventory.
pub const BATCH_BUDGET: Budget =
    Budget::new(MAX_BATCH * crate::live::MAX_LIVE + 1024 * 1024, MAX_VALUES);

/// A run of reports of one lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportBatch {
    /// The spool's epoch: rises with each start of the agent.
    pub epoch: u64,
    /// Which lane.
    pub lane: Lane,
    /// Sequence number of the report before the first of this batch; 0 at the
    /// start of an epoch.
    pub prev: u64,
    /// Metrics lane: to be added to the time of each sample and gap, milliseconds.
    /// The device's clock was that far from the site's time when they were dated.
    /// `None` from agents that do not know: the relay goes by what it measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift_ms: Option<i64>,
    /// The reports, each an encoded [`Report`], with its sequence number.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_BATCH, _, _>")]
    pub reports: Vec<Sequenced>,
}

/// One numbered, encoded report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequenced {
    /// Rises by one within the epoch, except over a gap that a
    /// [`Report::Gap`] explains.
    pub seq: u64,
    /// An enveloped [`Report`].
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

messages! {
    /// What can be reported.
    pub enum Report {
        /// Metrics lane: names the columns of the samples that follow.
        1 => Series(SeriesTable),
        /// Metrics lane.
        2 => Sample(Sample),
        /// State lane.
        3 => Inventory(InventoryReport),
        /// Urgent lane.
        4 => Command(CommandEvent),
        /// Output lane.
        5 => Output(OutputChunk),
        /// Any lane: reports that were dropped for want of space (G6).
        6 => Gap(Gap),
        /// Urgent or state lane: a feature's own message.
        30 => Feature(FeatureReport),
    }
}

/// Data that existed and was dropped, so that nobody takes its absence for
/// silence (G6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The lane that lost data.
    pub lane: Lane,
    /// Records lost; 0 when nobody can know how many.
    pub count: u64,
    /// First moment that the loss covers, Unix milliseconds.
    pub from_ms: u64,
    /// Last moment that the loss covers, Unix milliseconds.
    pub to_ms: u64,
    /// Why, in one sentence.
    pub reason: String,
}
