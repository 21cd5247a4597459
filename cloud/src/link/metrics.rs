//! Figures of the link for `/metrics`.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// The link's figures. Cheap to clone.
#[derive(Debug, Clone)]
pub struct LinkMetrics {
    pub(super) relays: IntGauge,
    pub(super) connections: IntGaugeVec,
    pub(super) turned_away: IntCounterVec,
    pub(super) enrolments: IntCounterVec,
    pub(super) records: IntCounterVec,
    pub(super) quarantined: IntCounterVec,
    pub(super) unknown: IntCounter,
    pub(super) ingest_seconds: Histogram,
    pub(super) ingest_failures: IntCounter,
    pub(super) downlink: IntCounter,
    pub(super) tunnels: IntGauge,
    pub(super) ephemeral: IntCounter,
    pub(super) ephemeral_dropped: IntCounter,
    pub(super) newest_dropped: IntCounter,
}

impl LinkMetrics {
    /// Registers the figures.
    ///
    /// # Errors
    /// [`prometheus::Error`] when a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let made = IntCounter::new(format!("unifyit_cloud_{name}"), help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let made = IntGauge::new(format!("unifyit_cloud_{name}"), help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let counters = |name: &str, help: &str, label: &str| {
            let opts = Opts::new(format!("unifyit_cloud_{name}"), help);
            let made = IntCounterVec::new(opts, &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let opts = Opts::new(format!("unifyit_cloud_{name}"), help);
            let made = IntGaugeVec::new(opts, &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok::<_, prometheus::Error>(made)
        };
        let ingest_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "unifyit_cloud_ingest_batch_seconds",
                "Time of one ingest transaction",
            )
            .buckets(prometheus::exponential_buckets(0.0005, 2.0, 15)?),
        )?;
        registry.register(Box::new(ingest_seconds.clone()))?;
        Ok(Self {
            relays: gauge("relays_connected", "Relays with a session")?,
            connections: gauges("link_connections", "Open libp2p connections", "peer")?,
            turned_away: counters("link_turned_away_total", "Connections closed", "why")?,
            enrolments: counters("enrolments_total", "Relays that asked to enrol", "outcome")?,
            records: counters("ingest_records_total", "Records applied", "lane")?,
            quarantined: counters("ingest_quarantined_total", "Records skipped as bad", "lane")?,
            unknown: counter("ingest_unknown_total", "Records of kinds not known here")?,
            ingest_seconds,
            ingest_failures: counter("ingest_failures_total", "Ingest transactions that failed")?,
            downlink: counter("downlink_records_total", "Records sent to relays")?,
            tunnels: gauge("tunnels_open", "Tunnels open at the moment")?,
            ephemeral: counter("ephemeral_items_total", "Live items received")?,
            ephemeral_dropped: counter(
                "ephemeral_dropped_total",
                "Live items left out at a relay's bound",
            )?,
            newest_dropped: counter(
                "newest_dropped_total",
                "Frames of newest values that were not understood, or too many",
            )?,
        })
    }
}
