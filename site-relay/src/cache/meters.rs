//! What the cache counts: Prometheus metrics, and savings by repository and day.

use super::index::Saving;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use std::{
    collections::{HashMap, HashSet},
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
    /// Body bytes by repository, `served` and `fetched`.
    pub repository_bytes: IntCounterVec,
    /// Answers by repository, `hit` and `miss`.
    pub repository_answers: IntCounterVec,
    /// Repositories that have counters of their own.
    repositories: Mutex<HashSet<String>>,
    /// Fetches under way.
    pub flights: IntGauge,
    /// Broken fetches taken up again.
    pub resumes: IntCounter,
    /// Bodies that were not what the signed index names.
    pub mismatches: IntCounter,
    /// Names of which an index's hash is known.
    pub facts: IntGauge,
    /// Those forgotten at the bound.
    pub facts_forgotten: IntCounter,
    /// Names of stored files forgotten at the bound.
    pub names_forgotten: IntCounter,
    /// Indexes that could not be read to their end.
    pub unread: IntCounter,
    /// Answers that were something else than what was asked for.
    pub posing: IntCounter,
    /// Redirects to where the cache may not go.
    pub astray: IntCounter,
    /// Damaged blocks found on disk.
    pub damaged: IntCounter,
    /// Bodies evicted.
    pub evicted: IntCounter,
    /// Connections refused because a bound was reached.
    pub refused: IntCounter,
    /// Clients let go because they sent or took nothing.
    pub slow: IntCounter,
    /// Times that a connection was held to its share of the line.
    pub paced: IntCounter,
    /// Client connections open.
    pub connections: IntGauge,
    /// Bytes of bodies kept.
    pub stored: IntGauge,
    /// Files that are still to be fetched ahead.
    pub ahead_files: IntGauge,
    /// Their bytes.
    pub ahead_bytes: IntGauge,
    /// Files on the list that could not be had the last time.
    pub ahead_failing: IntGauge,
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
            repository_bytes: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "unifyit_relay_cache_repository_bytes_total",
                        "Body bytes by repository, to clients and from upstreams.",
                    ),
                    &["repository", "way"],
                ),
            ),
            repository_answers: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "unifyit_relay_cache_repository_answers_total",
                        "Answers by repository, from the disk or fetched.",
                    ),
                    &["repository", "answer"],
                ),
            ),
            repositories: Mutex::default(),
            flights: gauge("flights", "Fetches under way."),
            resumes: counter("resumes_total", "Broken fetches taken up again."),
            mismatches: counter("mismatches_total", "Bodies that differ from the signed index."),
            facts: gauge("facts", "Names of which a signed index's hash is known."),
            facts_forgotten: counter(
                "facts_forgotten_total",
                "Names of which the hash was forgotten at the bound.",
            ),
            names_forgotten: counter(
                "names_forgotten_total",
                "Names of stored files forgotten at the bound.",
            ),
            unread: counter("unread_indexes_total", "Indexes that could not be read to the end."),
            posing: counter(
                "posing_total",
                "Answers that were not what was asked for, such as a log-in page.",
            ),
            astray: counter("astray_total", "Redirects to where the cache may not go."),
            damaged: counter("damaged_blocks_total", "Damaged blocks found on disk."),
            evicted: counter("evicted_total", "Bodies evicted."),
            refused: counter("refused_connections_total", "Connections refused at a bound."),
            slow: counter(
                "slow_clients_total",
                "Clients let go because they sent or took nothing.",
            ),
            paced: counter("paced_total", "Times that a client was held to its share of the line."),
            connections: gauge("connections", "Client connections open."),
            stored: gauge("stored_bytes", "Bytes of bodies kept."),
            ahead_files: gauge("ahead_files", "Files still to be fetched ahead."),
            ahead_bytes: gauge("ahead_bytes", "Bytes still to be fetched ahead."),
            ahead_failing: gauge("ahead_failing", "Files that could not be fetched ahead."),
        }
    }
}

impl Meters {
    /// Shows savings by repository, for a bounded number of them.
    pub(super) fn saved(&self, savings: &[(String, Saving)]) {
        let mut known = self.repositories.lock().unwrap_or_else(PoisonError::into_inner);
        for (repository, saving) in savings {
            if known.len() < MAX_REPOSITORIES {
                known.insert(repository.clone());
            }
            let name = if known.contains(repository) { repository } else { "other" };
            for (way, bytes) in [("served", saving.served), ("fetched", saving.fetched)] {
                self.repository_bytes.with_label_values(&[name, way]).inc_by(bytes);
            }
            for (answer, times) in [("hit", saving.hits), ("miss", saving.misses)] {
                self.repository_answers.with_label_values(&[name, answer]).inc_by(times);
            }
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

    /// Empties the account.
    pub(super) fn take(&self) -> Vec<(String, Saving)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.drain().collect()
    }

    /// Takes back what could not be written.
    pub(super) fn put_back(&self, savings: Vec<(String, Saving)>) {
        for (repository, more) in savings {
            self.with(&repository, |saving| saving.add(&more));
        }
    }
}

/// The UTC day of a moment.
#[must_use]
pub(super) fn day(now_ms: u64) -> time::Date {
    let seconds = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds)
        .unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
        .date()
}
