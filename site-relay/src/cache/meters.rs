//! What the cache counts: Prometheus metrics, and savings by repository and day.

use super::index::Saving;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Most repositories whose savings are kept apart; the rest share one row.
const MAX_REPOSITORIES: usize = 256;

/// Prometheus metrics of the cache, `unifyit_relay_cache_*`.
#[derive(Debug)]
pub struct Meters {
    /// Requests by how they were answered.
    pub requests: IntCounterVec,
    /// Body bytes sent to clients.
    pub served: IntCounter,
    /// Body bytes received from upstreams.
    pub fetched: IntCounter,
    /// Fetches under way.
    pub flights: IntGauge,
    /// Broken fetches taken up again.
    pub resumes: IntCounter,
    /// Bodies that were not what the signed index names.
    pub mismatches: IntCounter,
    /// Damaged blocks found on disk.
    pub damaged: IntCounter,
    /// Bodies evicted.
    pub evicted: IntCounter,
    /// Connections refused because a bound was reached.
    pub refused: IntCounter,
    /// Client connections open.
    pub connections: IntGauge,
    /// Bytes of bodies kept.
    pub stored: IntGauge,
}

impl Meters {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(format!("unifyit_relay_cache_{name}"), help);
            register(registry, counter)
        };
        let gauge = |name: &str, help: &str| {
            register(registry, IntGauge::new(format!("unifyit_relay_cache_{name}"), help))
        };
        Self {
            requests: register(
                registry,
                IntCounterVec::new(
                    Opts::new("unifyit_relay_cache_requests_total", "Requests by answer."),
                    &["answer"],
                ),
            ),
            served: counter("served_bytes_total", "Body bytes sent to clients."),
            fetched: counter("fetched_bytes_total", "Body bytes received from upstreams."),
            flights: gauge("flights", "Fetches under way."),
            resumes: counter("resumes_total", "Broken fetches taken up again."),
            mismatches: counter("mismatches_total", "Bodies that differ from the signed index."),
            damaged: counter("damaged_blocks_total", "Damaged blocks found on disk."),
            evicted: counter("evicted_total", "Bodies evicted."),
            refused: counter("refused_connections_total", "Connections refused at a bound."),
            connections: gauge("connections", "Client connections open."),
            stored: gauge("stored_bytes", "Bytes of bodies kept."),
        }
    }
}

/// Registers a metric. Names are constants, so the only possible failure is a
/// second cache in one registry, whose metrics then stay unregistered.
#[expect(clippy::expect_used, reason = "constant metric names are valid")]
fn register<M>(registry: &Registry, metric: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let metric = metric.expect("constant metric names are valid");
    if let Err(error) = registry.register(Box::new(metric.clone())) {
        tracing::warn!(%error, "A metric of the package cache could not be registered.");
    }
    metric
}

/// Savings since they were last written to the index.
#[derive(Debug, Default)]
pub struct Savings(Mutex<HashMap<String, Saving>>);

impl Savings {
    pub(super) fn fetched(&self, repository: &str, bytes: u64) {
        self.with(repository, |saving| saving.fetched += bytes);
    }

    pub(super) fn served(&self, repository: &str, bytes: u64) {
        self.with(repository, |saving| saving.served += bytes);
    }

    pub(super) fn answered(&self, repository: &str, hit: bool) {
        self.with(repository, |saving| if hit { saving.hits += 1 } else { saving.misses += 1 });
    }

    fn with(&self, repository: &str, change: impl FnOnce(&mut Saving)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(saving) = all.get_mut(repository) {
            return change(saving);
        }
        let name = if all.len() < MAX_REPOSITORIES { repository } else { "other" };
        change(all.entry(name.to_owned()).or_default());
    }

    /// Empties the account, named for the index by day and repository.
    pub(super) fn take(&self, now_ms: u64) -> Vec<(String, Saving)> {
        let day = day(now_ms);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.drain().map(|(name, saving)| (format!("{day}\n{name}"), saving)).collect()
    }
}

/// The UTC day of a moment, `2026-11-21`.
#[must_use]
pub(super) fn day(now_ms: u64) -> String {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let date = time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
        .date();
    format!("{:04}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
}
