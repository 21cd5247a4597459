//! Joins store, broker and cloud: ingest, rollup, fan-out, downlink and uplink.

use crate::{
    blobs::Blobs,
    broker::{BrokerEvent, BrokerHandle},
    cache::Cache,
    clock::SiteClock,
    config::Config,
    downlink::DownlinkParts,
    fanout,
    identity::Identity,
    ingest::{self, Ingest},
    live::LiveHub,
    newest::Newest,
    presence::{At, Attendance},
    resolver::Names,
    rollup,
    sacrifice::{self, Expendable},
    shadow::Shadows,
    sisters::Sisters,
    status,
    store::{Quotas, StoreHandle},
    telemetry::Telemetry,
    travel::Travel,
    tunnel::Tunnels,
    uplink::{Uplink, UplinkState, session::SessionParts},
};
use anyhow::Context as _;
use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, mpsc, watch},
    task::{Id, JoinSet},
};
use tokio_util::sync::CancellationToken;

/// How often space is looked at, and how often the file is compacted if that pays.
const SPACE_EVERY: Duration = Duration::from_secs(10);
const COMPACT_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Least time between two looks at a disk that is full.
const SPACE_PAUSE: Duration = Duration::from_secs(1);
/// How long a stop waits for the farewell to the cloud and the last commits.
const DRAIN: Duration = Duration::from_secs(5);

/// What the site's machinery works with.
#[derive(Debug)]
pub struct SiteParts {
    /// Durable state.
    pub store: StoreHandle,
    /// The site's time.
    pub clock: SiteClock,
    /// Way to the devices.
    pub broker: BrokerHandle,
    /// What devices do.
    pub events: mpsc::Receiver<BrokerEvent>,
    /// Who we are, and whom we trust.
    pub identity: Arc<Identity>,
    /// Settings of this machine.
    pub config: Arc<Config>,
    /// `host:port` at which agents reach the HTTPS side.
    pub lan_https: Vec<String>,
    /// `host:port` at which sister relays reach this one.
    pub sister_addresses: Vec<String>,
    /// Sister relays, when they are asked.
    pub sisters: Option<Sisters>,
    /// Package cache, when it runs.
    pub cache: Option<Arc<Cache>>,
    /// Metrics.
    pub telemetry: Telemetry,
    /// Ends everything.
    pub cancel: CancellationToken,
}

/// The uplink before its first attempt.
#[must_use]
pub fn unconnected(since_ms: u64) -> UplinkState {
    UplinkState { up: false, since_ms, reason: "Not connected yet.".into() }
}

/// Runs until cancelled; returns when what was accepted is durable. Shadows, the
/// uplink's state and files are shared with others.
///
/// # Errors
/// When the store cannot be read at start.
pub async fn run_with(
    parts: SiteParts,
    shadows: Shadows,
    state: watch::Sender<UplinkState>,
    blobs: Blobs,
) -> anyhow::Result<()> {
    let SiteParts {
        store,
        clock,
        broker,
        events,
        identity,
        config,
        lan_https,
        sister_addresses,
        sisters,
        cache,
        telemetry,
        cancel,
    } = parts;
    store.register(&telemetry);
    let presence = store.all_presence().await.context("reading who was online")?;
    let online = presence.into_iter().filter(|(_, p)| p.online).map(|(device, _)| device);
    let attendance = Attendance::new(online, At::now(&clock));
    let (fanout, fanout_inbox) = fanout::channel();
    let (live, copies) = LiveHub::new(&telemetry);
    let tunnels = Tunnels::new(broker.clone(), &telemetry);
    let travel = Travel::new(config.store.block_minutes, &identity.ca_fingerprint());
    let (newest, loads) = Newest::new(store.clone(), shadows.clone());
    let ingest = Ingest {
        store: store.clone(),
        clock: clock.clone(),
        broker: broker.clone(),
        fanout: fanout.clone(),
        live: live.clone(),
        tunnels: tunnels.clone(),
        shadows,
        attendance,
        twins: ingest::KnownComputers::default(),
        metrics: Arc::new(ingest::Metrics::register(&telemetry)),
    };
    let downlink = DownlinkParts {
        store: store.clone(),
        broker: broker.clone(),
        fanout,
        unknown: telemetry.counter("downlink_unknown_records", "Cloud records skipped."),
    };
    let record = &identity.record;
    let uplink = Uplink {
        keypair: identity.keys.keypair().clone(),
        names: Names::of_machine(),
        cloud_peer: record.cloud_peer.clone(),
        cloud_addresses: record.cloud_addresses.clone(),
        session: SessionParts {
            store: store.clone(),
            clock: clock.clone(),
            live,
            travel: travel.clone(),
            newest: loads,
            copies: Arc::new(Mutex::new(copies)),
            downlink,
            lan_https,
            sister_addresses,
            sisters,
            ca_fingerprint: identity.ca_fingerprint(),
        },
        tunnels,
        blobs: blobs.clone(),
        state: state.clone(),
        cancel: cancel.child_token(),
    };
    let limits = &config.store;
    let raw_min = u64::from(limits.raw_hours).max(1) * 60;
    let quotas = Quotas::of_total(limits.quota_bytes, limits.keep_free_bytes, raw_min);
    let folder = config.cache_folder();
    let expendable = Expendable::beside(&config.state, (cache.clone(), &folder), blobs);
    let mut helpers = Helpers::default();
    helpers.spawn("clock", clock.clone().watch(cancel.clone()));
    helpers.spawn("rollup", rollup::run(store.clone(), travel, cancel.clone()));
    helpers.spawn("upkeep", keep_space(store.clone(), quotas, expendable, cancel.clone()));
    helpers.spawn("newest loads", newest.run(state.subscribe(), cancel.clone()));
    let states = state.subscribe();
    let reporter = status::Reporter::new(store.clone(), broker.clone(), quotas, cache, &telemetry);
    helpers.spawn("status", reporter.run(states, cancel.clone()));
    // Ahead of the inbox, where commands of it wait for the cloud's word like all others.
    crate::downlink::later::take_up(&store, &broker).await;
    let fanout = fanout::Fanout::load((store.clone(), clock.clone()), broker, &telemetry).await;
    let fanout = fanout.context("reading the commands that wait")?;
    helpers.spawn("fan-out", fanout.run(fanout_inbox, cancel.clone()));
    let uplink = {
        let (telemetry, cancel) = (telemetry.clone(), cancel.clone());
        async move {
            // The site stands alone (G9): without a way to the cloud all else runs.
            if let Err(error) = uplink.run(&telemetry).await {
                tracing::error!(%error, "there will be no connection to the cloud");
                cancel.cancelled().await;
            }
        }
    };
    helpers.spawn("uplink", uplink);
    let watched = store.clone();
    helpers.spawn("store", async move { watched.ended().await });
    let ingest = ingest.run(events, cancel.clone());
    let early = tokio::select! {
        () = ingest => None,
        ended = helpers.first_end() => Some(ended),
    };
    let told_to = cancel.is_cancelled();
    cancel.cancel();
    // The store ends when it is closed; all else before.
    helpers.drain(&store).await;
    match early {
        Some(why) if !told_to => Err(anyhow::anyhow!(why)),
        // Ingest ends with the front, whose end is somebody else's to judge.
        _ => Ok(()),
    }
}

/// The parts of the site beside ingest. One that ends before it was told to ends
/// the relay: a site without it would look healthy and not be.
#[derive(Default)]
struct Helpers {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Helpers {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    async fn first_end(&mut self) -> String {
        let named = |id| self.names.get(&id).copied().unwrap_or_default();
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => {
                format!("the part \"{}\" of the site ended unexpectedly", named(id))
            }
            Some(Err(error)) => {
                format!("the part \"{}\" of the site crashed: {error}", named(error.id()))
            }
            None => std::future::pending().await,
        }
    }

    async fn drain(&mut self, store: &StoreHandle) {
        let all_but_the_store =
            async { while self.tasks.len() > 1 && self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(DRAIN, all_but_the_store).await.is_err() {
            tracing::warn!("a part of the relay did not stop in time");
        }
        store.close().await;
        self.tasks.shutdown().await;
    }
}

async fn keep_space(
    store: StoreHandle,
    quotas: Quotas,
    expendable: Expendable,
    cancel: CancellationToken,
) {
    store.compact().await;
    let mut look = tokio::time::interval(SPACE_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut compact = tokio::time::interval(COMPACT_EVERY);
    compact.reset();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = compact.tick() => {
                store.compact().await;
                continue;
            }
            _ = look.tick() => {}
            () = store.wants_space() => {}
        }
        if let Err(error) = sacrifice::make_room(&store, quotas, &expendable).await {
            tracing::warn!(%error, "the store's upkeep failed");
        }
        // A disk that stays full is not looked at without end.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(SPACE_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_ends_or_crashes_is_named() {
        let mut helpers = Helpers::default();
        helpers.spawn("stays", std::future::pending());
        helpers.spawn("goes", async {});
        assert!(helpers.first_end().await.contains("\"goes\""));
        helpers.spawn("crashes", async { panic!("on purpose") });
        assert!(helpers.first_end().await.contains("\"crashes\" of the site crashed"));
    }
}
