//! How the relay itself fares: a record for the cloud as soon as it is reached, and
//! from then on when something changed that a person would notice, looked at each
//! minute, or after ten minutes.

use crate::{
    broker::BrokerHandle,
    cache::{Cache, Told},
    store::{Quotas, StoreError, StoreHandle, txn::Txn},
    telemetry::Telemetry,
    uplink::UplinkState,
};
use prometheus::IntGauge;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    lane::Lane,
    link::{RelayStatus, UpRecord},
};

const EVERY: Duration = Duration::from_secs(60);
/// What has not changed is told again after so many milliseconds.
const AGAIN_MS: u64 = 600_000;

/// Reports how the relay fares.
pub(crate) struct Reporter {
    store: StoreHandle,
    broker: BrokerHandle,
    quotas: Quotas,
    cache: Option<Arc<Cache>>,
    started: Instant,
    memory: IntGauge,
    online: IntGauge,
}

impl Reporter {
    pub(crate) fn new(
        store: StoreHandle,
        broker: BrokerHandle,
        quotas: Quotas,
        cache: Option<Arc<Cache>>,
        telemetry: &Telemetry,
    ) -> Self {
        Self {
            store,
            broker,
            quotas,
            cache,
            started: Instant::now(),
            memory: telemetry.gauge("memory_bytes", "Resident memory."),
            online: telemetry.gauge("devices_online", "Devices with a session."),
        }
    }

    /// Runs until cancelled.
    pub(crate) async fn run(
        self,
        mut state: watch::Receiver<UplinkState>,
        cancel: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut told = Told::default();
        let mut last = None;
        loop {
            let mut fares = false;
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = state.changed() => match changed {
                    Ok(()) => last = None,
                    Err(_) => return,
                },
                () = news(self.cache.as_deref()) => fares = true,
                _ = tick.tick() => {}
            }
            let status = self.look();
            if !state.borrow_and_update().up {
                continue;
            }
            if let Err(error) = self.report_cache(&mut told, !fares).await {
                tracing::warn!(%error, "how the package cache fares could not be stored");
            }
            if fares {
                continue;
            }
            tick.reset();
            let status = self.with_cache(status).await;
            if last.as_ref().is_some_and(|last| !is_news(last, &status)) {
                continue;
            }
            last = Some(status.clone());
            let write = move |txn: &mut Txn<'_>| txn.append(Lane::State, &UpRecord::Relay(status));
            if let Err(error) = self.store.write(write).await {
                last = None;
                tracing::warn!(%error, "the relay's own status could not be stored");
            }
        }
    }

    fn look(&self) -> RelayStatus {
        let space = self.store.space(&self.quotas);
        let lanes = self.store.lanes().borrow().clone();
        let online = self.broker.online().len();
        let enrolled = self.store.devices().iter().filter(|d| !d.revoked).count();
        let memory = resident_bytes();
        self.memory.set(i64::try_from(memory).unwrap_or(i64::MAX));
        self.online.set(i64::try_from(online).unwrap_or(i64::MAX));
        RelayStatus {
            at_ms: self.store.now_ms(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: self.started.elapsed().as_secs(),
            devices_online: u32::try_from(online).unwrap_or(u32::MAX),
            devices_total: u32::try_from(enrolled).unwrap_or(u32::MAX),
            backlog_records: Lane::ALL.iter().map(|l| lanes.of(*l).records).sum(),
            backlog_bytes: Lane::ALL.iter().map(|l| lanes.of(*l).bytes).sum(),
            store_bytes: space.file,
            disk_free_bytes: space.free,
            memory_bytes: memory,
            settings_revision: self.store.site_config().borrow().revision,
            ..RelayStatus::default()
        }
    }

    /// Tells what changed of the package cache since the cloud was last told.
    async fn report_cache(&self, told: &mut Told, savings: bool) -> Result<(), StoreError> {
        let Some(cache) = self.cache.clone() else { return Ok(()) };
        if savings {
            let times = self.store.write(|txn| Ok(txn.cloud_forgot())).await?;
            told.forgotten(times);
        }
        let before = told.clone();
        let news = tokio::task::spawn_blocking(move || before.news(&cache, savings)).await;
        let (reports, now) = match news {
            Ok(Ok(news)) => news,
            Ok(Err(error)) => {
                tracing::warn!(%error, "how the package cache fares cannot be read");
                return Ok(());
            }
            Err(_) => return Ok(()),
        };
        if !reports.is_empty() {
            let write = move |txn: &mut Txn<'_>| {
                reports
                    .into_iter()
                    .try_for_each(|report| txn.append(Lane::State, &UpRecord::Cache(report)))
            };
            self.store.write(write).await?;
        }
        *told = now;
        Ok(())
    }

    async fn with_cache(&self, mut status: RelayStatus) -> RelayStatus {
        if let Some(cache) = self.cache.clone() {
            status.cache_bytes = cache.stored_bytes();
            let ahead = cache.meters.ahead_files.get();
            status.cache_ahead_files = u64::try_from(ahead).unwrap_or(0);
            let saved = tokio::task::spawn_blocking(move || cache.saved_today()).await;
            if let Ok(Ok(today)) = saved {
                (status.cache_served_bytes, status.cache_fetched_bytes) =
                    (today.served, today.fetched);
                (status.cache_hits, status.cache_misses) = (today.hits, today.misses);
            }
        }
        status
    }
}

/// Whether a person would notice the difference, or it was told long ago.
fn is_news(told: &RelayStatus, now: &RelayStatus) -> bool {
    // A tenth of what there was, and more than what comes and goes.
    let moved = |a: u64, b: u64, least: u64| a.abs_diff(b) > (a.max(b) / 10).max(least);
    let counts = |s: &RelayStatus| {
        let cache = (s.cache_served_bytes, s.cache_fetched_bytes, s.cache_hits, s.cache_misses);
        (s.devices_online, s.devices_total, s.cache_ahead_files, cache)
    };
    const MIB: u64 = 1024 * 1024;
    now.at_ms.abs_diff(told.at_ms) >= AGAIN_MS
        || counts(told) != counts(now)
        || told.version != now.version
        || told.settings_revision != now.settings_revision
        || moved(told.backlog_records, now.backlog_records, 100)
        || moved(told.backlog_bytes, now.backlog_bytes, MIB)
        || moved(told.store_bytes, now.store_bytes, 64 * MIB)
        || moved(told.disk_free_bytes, now.disk_free_bytes, 64 * MIB)
        || moved(told.memory_bytes, now.memory_bytes, 16 * MIB)
        || moved(told.cache_bytes, now.cache_bytes, 64 * MIB)
}

/// News of the package cache; never, without one.
async fn news(cache: Option<&Cache>) {
    match cache {
        Some(cache) => cache.news().await,
        None => std::future::pending().await,
    }
}

/// Resident memory of this process, by the kernel's account.
fn resident_bytes() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/status") else { return 0 };
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_would_notice_is_told_at_once_and_the_rest_now_and_then() {
        let told = RelayStatus {
            at_ms: 1,
            devices_online: 20,
            disk_free_bytes: 100 << 30,
            ..RelayStatus::default()
        };
        let differs = |change: fn(&mut RelayStatus)| {
            let mut now = RelayStatus { at_ms: 60_001, uptime_s: 60, ..told.clone() };
            change(&mut now);
            is_news(&told, &now)
        };
        assert!(!differs(|_| {}));
        assert!(!differs(|s| s.disk_free_bytes -= 1 << 30));
        assert!(!differs(|s| s.backlog_records = 3));
        assert!(differs(|s| s.devices_online = 19));
        assert!(differs(|s| s.disk_free_bytes = 80 << 30));
        assert!(differs(|s| s.backlog_records = 5000));
        assert!(differs(|s| s.at_ms = 600_001));
        assert!(differs(|s| s.settings_revision = 2));
    }
}
