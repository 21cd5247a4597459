//! Metrics of the front.

use crate::telemetry::Telemetry;
use prometheus::{IntCounter, IntCounterVec, IntGauge};

/// All of them. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    pub(super) sessions: IntGauge,
    pub(super) connects: IntCounter,
    pub(super) disconnects: IntCounterVec,
    pub(super) bytes_in: IntCounter,
    pub(super) bytes_out: IntCounter,
    pub(super) packets_in: IntCounter,
    pub(super) packets_out: IntCounter,
    pub(super) overflows: IntCounter,
    pub(super) takeovers: IntCounter,
    pub(super) backpressure: IntCounter,
    pub(super) stalled: IntGauge,
    pub(super) throttled: IntCounter,
    pub(super) over_budget: IntCounterVec,
    pub(super) held_bytes: IntGauge,
    pub(super) denied: IntCounterVec,
    pub(super) unsent: IntCounter,
    pub(super) panics: IntCounter,
}

impl Metrics {
    pub(super) fn new(telemetry: &Telemetry) -> Self {
        let t = telemetry;
        Self {
            sessions: t.gauge("mqtt_sessions", "Devices connected"),
            connects: t.counter("mqtt_connects", "Sessions opened"),
            disconnects: t.counters("mqtt_disconnects", "Sessions ended, by reason", "reason"),
            bytes_in: t.counter("mqtt_bytes_in", "Bytes received from devices, inside TLS"),
            bytes_out: t.counter("mqtt_bytes_out", "Bytes sent to devices, inside TLS"),
            packets_in: t.counter("mqtt_packets_in", "Packets received from devices"),
            packets_out: t.counter("mqtt_messages_out", "Messages sent to devices"),
            overflows: t.counter(
                "mqtt_queue_overflows",
                "Devices disconnected because they did not keep up with their messages",
            ),
            takeovers: t.counter(
                "mqtt_takeovers",
                "Sessions that gave way to a newer connection of the same device",
            ),
            backpressure: t.counter(
                "mqtt_backpressure",
                "Times that a device was not read because ingest was full",
            ),
            stalled: t
                .gauge("mqtt_stalled", "Devices not read at this moment because ingest is full"),
            throttled: t
                .counter("mqtt_throttled", "Times that a device was slowed down to its rate limit"),
            over_budget: t.counters(
                "mqtt_over_budget",
                "Times that a device was slowed down at a bound: bytes and packets of the wire, work of reading, memory until stored",
                "what",
            ),
            held_bytes: t.gauge(
                "mqtt_held_bytes",
                "Memory of messages that are on their way to the store",
            ),
            denied: t.counters(
                "mqtt_denied",
                "Publishes and subscriptions that a device had no right to",
                "what",
            ),
            unsent: t.counter(
                "mqtt_unsent",
                "Messages dropped because they are larger than their device takes",
            ),
            panics: t.counter("mqtt_panics", "Sessions ended by a fault of this program"),
        }
    }
}
