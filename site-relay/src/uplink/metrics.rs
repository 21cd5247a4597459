//! Metrics of the uplink (`unifyit_relay_uplink_*`).

use crate::telemetry::Telemetry;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

/// Name of the figure by which `doctor` compares the clocks.
pub(crate) const CLOCK_APART: &str = "uplink_clock_apart_seconds";
/// Clocks further apart than this are logged: commands seem expired soon.
const CLOCK_WARNING_S: u64 = 30;

/// Metrics of the uplink.
#[derive(Debug)]
pub(crate) struct UplinkMetrics {
    pub(super) up: IntGauge,
    transport: IntGaugeVec,
    clock_apart: IntGauge,
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
            transport: telemetry.gauges(
                "uplink_transport",
                "1 for the transport that the connection with the cloud uses.",
                "transport",
            ),
            clock_apart: telemetry.gauge(
                CLOCK_APART,
                "How far this clock was ahead of the cloud's at the last greeting.",
            ),
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

    /// Compares the clocks, the cloud's as its greeting tells it. The way of the
    /// greeting is within the figure: it is good for seconds, not for less.
    pub(super) fn clocks(&self, here_ms: u64, cloud_ms: u64) {
        let apart_s = here_ms.abs_diff(cloud_ms) / 1000;
        let signed = i64::try_from(apart_s).unwrap_or(i64::MAX);
        self.clock_apart.set(if here_ms < cloud_ms { -signed } else { signed });
        if apart_s >= CLOCK_WARNING_S {
            let behind = here_ms < cloud_ms;
            tracing::warn!(apart_s, behind, "this clock and the cloud's differ: set the time");
        }
    }

    /// Shows which transport is in use; `None` when there is no connection.
    pub(super) fn connected_by(&self, transport: Option<&str>) {
        for name in ["quic", "tcp"] {
            self.transport.with_label_values(&[name]).set(i64::from(transport == Some(name)));
        }
    }
}
