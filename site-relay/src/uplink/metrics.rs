//! Metrics of the uplink (`unifyit_relay_uplink_*`).

use super::line::Pulse;
use crate::telemetry::Telemetry;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Name of the figure by which `doctor` compares the clocks.
pub(crate) const CLOCK_APART: &str = "uplink_clock_apart_seconds";
/// Clocks further apart than this are logged.
const CLOCK_WARNING_S: u64 = 30;

/// Metrics of the uplink.
#[derive(Debug)]
pub(crate) struct UplinkMetrics {
    /// When the cloud was last asked and heard.
    pub(super) pulse: Pulse,
    pub(super) silent: IntCounterVec,
    pub(super) up: IntGauge,
    transport: IntGaugeVec,
    clock_apart: IntGauge,
    pub(super) attempts: IntCounter,
    pub(super) sent_bytes: IntCounter,
    received_bytes: IntCounter,
    pub(super) records: IntCounterVec,
    pub(super) acks: IntCounter,
    pub(super) unknown: IntCounter,
    pub(super) live_dropped: IntCounter,
    pub(super) window: IntGauge,
}

impl UplinkMetrics {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        Self {
            pulse: Pulse::default(),
            silent: telemetry.counters(
                "uplink_silent",
                "Lines that seemed silent, by what became of them.",
                "outcome",
            ),
            up: telemetry.gauge("uplink_up", "1 while a session with the cloud runs."),
            transport: telemetry.gauges(
                "uplink_transport",
                "1 for the transport that the connection with the cloud uses.",
                "transport",
            ),
            clock_apart: telemetry
                .gauge(CLOCK_APART, "How far this clock is ahead of the cloud's."),
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

    /// Takes note of something that came.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.inc_by(bytes as u64);
        self.pulse.heard();
    }

    /// Shows how far the machine's clock is ahead of the cloud's.
    pub(super) fn clocks(&self, ahead_ms: i64) {
        let ahead_s = ahead_ms / 1000;
        let warned = self.clock_apart.get().unsigned_abs() >= CLOCK_WARNING_S;
        self.clock_apart.set(ahead_s);
        if ahead_s.unsigned_abs() >= CLOCK_WARNING_S && !warned {
            tracing::warn!(ahead_s, "this clock and the cloud's differ: set the time");
        }
    }

    /// Shows which transport is in use; `None` when there is no connection.
    pub(super) fn connected_by(&self, transport: Option<&str>) {
        for name in ["quic", "tcp"] {
            self.transport.with_label_values(&[name]).set(i64::from(transport == Some(name)));
        }
    }
}
