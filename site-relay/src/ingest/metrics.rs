//! Metrics of ingest (`unifyit_relay_ingest_*`).

use super::apply::Applied;
use crate::telemetry::Telemetry;
use prometheus::{IntCounter, IntCounterVec};

/// Metrics of ingest.
#[derive(Debug)]
pub(crate) struct IngestMetrics {
    pub(super) unknown: IntCounterVec,
    pub(super) bad: IntCounter,
    pub(super) unstored: IntCounter,
    pub(super) shared_identities: IntCounter,
    left_out: IntCounter,
    acks: IntCounter,
    out_of_step: IntCounter,
    slowed: IntCounter,
}

impl IngestMetrics {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        Self {
            unknown: telemetry.counters(
                "ingest_unknown_kinds",
                "Messages and reports of a later version, skipped.",
                "what",
            ),
            bad: telemetry.counter("ingest_unreadable_messages", "Messages that are none."),
            unstored: telemetry.counter(
                "ingest_unstored",
                "Batches and greetings that the store could not take; their devices say them again.",
            ),
            shared_identities: telemetry.counter(
                "ingest_shared_identities",
                "Times that two computers were found to use one identity.",
            ),
            left_out: telemetry
                .counter("ingest_reports_left_out", "Reports not readable or not acceptable."),
            acks: telemetry.counter("ingest_acks", "Batches acknowledged after their commit."),
            out_of_step: telemetry
                .counter("ingest_out_of_step", "Batches that did not continue what was there."),
            slowed: telemetry.counter(
                "ingest_slowed",
                "Batches of samples that stay with their devices for a while, which brought their share.",
            ),
        }
    }

    pub(super) fn applied(&self, applied: &Applied) {
        self.left_out.inc_by(applied.bad);
        match (applied.out_of_step, applied.later) {
            (true, _) => self.out_of_step.inc(),
            (_, true) => self.slowed.inc(),
            _ => self.acks.inc(),
        }
    }
}
