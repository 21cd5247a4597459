//! Metrics of the store (`unifyit_relay_store_*`, `unifyit_relay_outbox_*`).

use super::{outbox::Lanes, space::Space};
use crate::{parts, telemetry::Telemetry};
use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use std::time::Duration;
use unifyit_protocol::lane::Lane;

/// Metrics of the store.
#[derive(Debug)]
pub(crate) struct StoreMetrics {
    commit_jobs: Histogram,
    commit_seconds: Histogram,
    commits_failed: IntCounter,
    inbox: IntGauge,
    outbox_records: IntGaugeVec,
    outbox_bytes: IntGaugeVec,
    dropped: IntCounterVec,
    parts: Vec<IntGauge>,
    file_bytes: IntGauge,
    disk_free: IntGauge,
    pressure: IntGauge,
    unreadable: IntGauge,
}

impl StoreMetrics {
    pub(crate) fn register(telemetry: &Telemetry) -> Self {
        Self {
            commit_jobs: telemetry.histogram(
                "store_commit_jobs",
                "Jobs in one group commit.",
                &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
            ),
            commit_seconds: telemetry.histogram(
                "store_commit_seconds",
                "Time of one group commit, sync included.",
                &[0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.5, 2.0],
            ),
            commits_failed: telemetry.counter("store_commits_failed", "Commits that failed."),
            inbox: telemetry.gauge("store_inbox", "Jobs waiting for the next commit."),
            outbox_records: telemetry.gauges(
                "outbox_records",
                "Records waiting for the cloud.",
                "lane",
            ),
            outbox_bytes: telemetry.gauges("outbox_bytes", "Bytes waiting for the cloud.", "lane"),
            dropped: telemetry.counters(
                "outbox_dropped",
                "Records dropped for want of space, each stated in a gap record.",
                "lane",
            ),
            parts: parts::gauges(telemetry),
            file_bytes: telemetry.gauge("store_file_bytes", "Bytes of the store's file."),
            disk_free: telemetry.gauge("disk_free_bytes", "Bytes free on the store's disk."),
            unreadable: telemetry
                .gauge("store_rows_unreadable", "Rows that could not be read since the start."),
            pressure: telemetry.gauge("disk_pressure", "1 while the disk is nearly full."),
        }
    }

    pub(crate) fn commit(&self, jobs: usize, took: Duration, durable: bool, waiting: usize) {
        self.commit_jobs.observe(to_f64(jobs));
        self.commit_seconds.observe(took.as_secs_f64());
        self.inbox.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        if !durable {
            self.commits_failed.inc();
        }
    }

    pub(crate) fn dropped(&self, lane: Lane, records: u64) {
        self.dropped.with_label_values(&[lane_name(lane)]).inc_by(records);
    }

    pub(crate) fn state(&self, lanes: &Lanes, space: &Space) {
        for lane in Lane::ALL {
            let state = lanes.of(lane);
            let name = lane_name(lane);
            self.outbox_records.with_label_values(&[name]).set(signed(state.records));
            self.outbox_bytes.with_label_values(&[name]).set(signed(state.bytes));
        }
        self.file_bytes.set(signed(space.file));
        self.disk_free.set(signed(space.free));
        self.pressure.set(i64::from(space.pressure));
        self.unreadable.set(signed(super::rows::unreadable()));
    }

    /// What the parts' gauges read, in their order.
    pub(crate) fn parts(&self, measured: &[usize]) {
        for (gauge, number) in self.parts.iter().zip(measured) {
            gauge.set(i64::try_from(*number).unwrap_or(i64::MAX));
        }
    }
}

/// Name of a lane as a label.
pub(crate) fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Urgent => "urgent",
        Lane::State => "state",
        Lane::Output => "output",
        Lane::Metrics => "metrics",
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn to_f64(value: usize) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
