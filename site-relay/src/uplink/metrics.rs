//! Metrics of the uplink (`unifyit_relay_uplink_*`).

use crate::telemetry::Telemetry;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// Metrics of the uplink.
#[derive(Debug)]
pub(crate) struct UplinkMetrics {
    pub(super) up: IntGauge,
    pub(super) attempts: IntCounter,
    pub(super) sent_bytes: IntCounter,
    pub(super) received_bytes: IntCounter,
    pub(super) records: IntCounterVec,
    pub(super) acks: IntCounter,
    pub(super) unknown: IntCounter,
    pub(super) live_dropped: IntCounter,
    pub(super) window: IntGauge,
}

impl UplinkMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        Self {
            up: telemetry.gauge("uplink_up", "1 while a session with the cloud runs."),
            attempts: telemetry.counter("uplink_lost", "Sessions or attempts that ended."),
            sent_bytes: telemetry.counter("uplink_sent_bytes", "Bytes of frames sent."),
            received_bytes: telemetry.counter("uplink_received_bytes", "Bytes of frames taken."),
            records: telemetry.counters("uplink_records", "Durable records sent.", "lane"),
            acks: telemetry.counter("uplink_acks", "Acknowledgements taken."),
            unknown: telemetry
                .counter("uplink_unknown_kinds", "Frames of a later version, skipped."),
            live_dropped: telemetry
                .counter("uplink_live_dropped", "Live frames dropped because the link is slow."),
            window: telemetry.gauge("uplink_bulk_window_bytes", "Window of the bulk lanes."),
        }
    }
}
