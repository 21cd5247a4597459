//! The table of contents of a running relay: builds the parts, joins them, and
//! runs them under one [`Lifecycle`].
//!
//! Everything is bound and opened before anything is served, so that a taken
//! port or a second relay on the same state folder is a sentence at start, not
//! a half-working relay. Nothing here waits for the cloud (G9).

use crate::{
    blobs::{self, Blobs},
    broker::{Admission, Broker},
    cache::{self, Cache, Wanted},
    clock::SiteClock,
    config::Config,
    enroll::agents::AgentEnroller,
    http::{
        admin::{self, Health},
        agents::{AgentHttps, only_devices},
    },
    identity::{Identity, folder::StateFolder, names, server::ServerCertificate},
    lifecycle::Lifecycle,
    sacrifice,
    shadow::Shadows,
    sisters::Sisters,
    site::{self, SiteParts},
    store::StoreOptions,
    telemetry::Telemetry,
    tls,
    ui::{self, UiParts},
};
use serde::{Deserialize, Serialize};
use std::{future::Future, net::SocketAddr, sync::Arc, time::Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::config::{PackageCache, SiteConfig};

/// Name of the file that says where the relay listens.
pub const RUNTIME_FILE: &str = "runtime.json";

/// Space for files that devices fetch through the relay.
const BLOB_BYTES: u64 = 4 << 30;

/// Space for what computers are installed from.
const INSTALL_BYTES: u64 = 512 << 20;

/// Where a running relay listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Runtime {
    /// MQTT over TLS.
    pub mqtt: Option<SocketAddr>,
    /// HTTPS for agents.
    pub https: Option<SocketAddr>,
    /// Local UI.
    pub ui: Option<SocketAddr>,
    /// Metrics and health.
    pub admin: Option<SocketAddr>,
    /// Package cache.
    pub cache: Option<SocketAddr>,
    /// Sister relays.
    pub sisters: Option<SocketAddr>,
    /// Process id.
    pub pid: u32,
}

/// Runs until a signal or `stop`.
///
/// # Errors
/// A sentence about the part that could not start or failed.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let config = Arc::new(config);
    let folder = StateFolder::open(&config.state)?;
    let identity = Arc::new(Identity::load(&folder)?);
    let telemetry = Telemetry::new();
    let health = Health::default();
    let mut life = Lifecycle::default();

    let clock = SiteClock::default();
    let options = StoreOptions::timed(&clock);
    let store = sacrifice::open_store(&config.state, &config.cache_folder(), &options)?;
    let admission: Arc<dyn Admission> = Arc::new(store.clone());
    let certificate = Arc::new(ServerCertificate::new(&identity.keys.ca, &config, clock.clone())?);

    let admin_listener = tls::bind("metrics and health", config.listen.admin).await?;
    let (broker, events) = Broker::bind(
        &config,
        &identity,
        Arc::clone(&certificate),
        Arc::clone(&admission),
        &telemetry,
    )
    .await?;
    let https = AgentHttps::bind(&config, &identity, Arc::clone(&certificate), &telemetry).await?;

    let pages =
        AgentHttps::bind_ui(&config, &identity, Arc::clone(&certificate), &telemetry).await?;
    let cache = match open_cache(&config, &telemetry, &clock) {
        Some(cache) => Some((cache, tls::bind("package cache", config.listen.cache).await?)),
        None => None,
    };

    let sisters = match cache.is_some() && config.cache.sisters {
        true => {
            let keypair = identity.keys.keypair().clone();
            Some(Sisters::open(keypair, config.listen.sisters, &telemetry).await?)
        }
        false => None,
    };

    let runtime = Runtime {
        mqtt: Some(broker.address()?),
        https: Some(https.address()?),
        ui: Some(pages.address()?),
        admin: Some(admin_listener.local_addr()?),
        cache: cache.as_ref().map(|(_, listener)| listener.local_addr()).transpose()?,
        sisters: sisters.as_ref().and_then(|(.., at)| *at),
        pid: std::process::id(),
    };
    let reachable = |at: Option<SocketAddr>| {
        at.map(|at| names::reachable_at(&config.names, at)).unwrap_or_default()
    };
    let enroller = Arc::new(AgentEnroller::new(
        Arc::clone(&identity),
        store.clone(),
        Arc::clone(&admission),
        reachable(runtime.mqtt),
        &config,
        &telemetry,
    ));

    if cache.is_some() && config.cache.agents {
        store.offer_package_cache(PackageCache {
            addresses: reachable(runtime.cache),
            hosts: config.cache.hosts.clone(),
        });
    }
    let blobs = Blobs::open(&config.state, BLOB_BYTES, &telemetry)?;
    let store_settings = store.site_config();
    broker.handle().use_clock(clock.clone());
    let site = SiteParts {
        store,
        clock: clock.clone(),
        broker: broker.handle(),
        events,
        identity: Arc::clone(&identity),
        config: Arc::clone(&config),
        lan_https: names::told(reachable(runtime.https)),
        sister_addresses: names::told(reachable(runtime.sisters)),
        sisters: sisters.as_ref().map(|(sisters, ..)| sisters.clone()),
        cache: cache.as_ref().map(|(cache, _)| Arc::clone(cache)),
        telemetry: telemetry.clone(),
        cancel: life.running(),
    };
    let (shadows, uplink) =
        (Shadows::default(), watch::Sender::new(site::unconnected(clock.now_ms())));
    let ui = ui::router(UiParts {
        store: site.store.clone(),
        clock: clock.clone(),
        shadows: shadows.clone(),
        broker: site.broker.clone(),
        uplink: uplink.subscribe(),
        cache: cache.as_ref().map(|(cache, _)| Arc::clone(cache)),
        enrolment_pin_hash: identity.record.ui_pin_hash.clone(),
        started: Instant::now(),
    });
    let installers = blobs.installers(&config.state, INSTALL_BYTES)?;
    let files = only_devices(blobs::router(blobs.clone()), admission)
        .merge(blobs::install_router(installers));
    if let (Some((sisters, node, _)), Some((cache, _))) = (sisters, &cache) {
        cache.attach(sisters.clone());
        blobs.attach_sisters(sisters.clone());
        let (cache, blobs, cancel) = (Arc::clone(cache), blobs.clone(), life.accepting());
        life.spawn_outer("sister relays", async move {
            sisters.run(node, cache, blobs, cancel).await;
            Ok(())
        });
    }
    life.spawn_inner("site", site::run_with(site, shadows, uplink, blobs));
    life.spawn_outer("local UI", {
        let cancel = life.accepting();
        async move {
            pages.serve(ui, cancel).await;
            Ok(())
        }
    });
    life.spawn_inner("metrics and health", {
        let (telemetry, health, cancel) = (telemetry.clone(), health.clone(), life.running());
        async move {
            admin::serve(admin_listener, telemetry, health, cancel).await;
            Ok(())
        }
    });
    life.spawn_outer("MQTT front", {
        let cancel = life.accepting();
        async move {
            broker.serve(cancel).await;
            Ok(())
        }
    });
    life.spawn_outer("agents' HTTPS", {
        let (router, cancel) = (enroller.router().merge(files), life.accepting());
        async move {
            https.serve(router, cancel).await;
            Ok(())
        }
    });
    life.spawn_outer("server certificate", {
        let (identity, config, cancel) =
            (Arc::clone(&identity), Arc::clone(&config), life.accepting());
        async move {
            certificate.keep_fresh(identity, config, cancel).await;
            Ok(())
        }
    });

    if let Some((cache, listener)) = cache {
        let (followed, cancel) = (Arc::clone(&cache), life.accepting());
        life.spawn_outer("settings of the package cache", async move {
            follow_settings(&followed, store_settings, &cancel).await;
            Ok(())
        });
        let cancel = life.accepting();
        life.spawn_outer("package cache", async move {
            cache::serve(cache, listener, cancel).await;
            Ok(())
        });
    }

    // Whoever finds where it listens finds it ready.
    health.set_ready(true);
    announce(&folder, &runtime);
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = life.run(stop).await;
    health.set_ready(false);
    ended
}

/// The package cache, where it is wanted and its disk can be used. A site without it
/// fetches its packages itself; everything else goes on (G9).
fn open_cache(config: &Config, telemetry: &Telemetry, clock: &SiteClock) -> Option<Arc<Cache>> {
    if !config.cache.enabled {
        return None;
    }
    let clock = clock.clone();
    let now = Box::new(move || clock.now_ms());
    match Cache::open_with(config.cache.clone(), &config.state, telemetry.registry(), now) {
        Ok(cache) => Some(cache),
        Err(error) => {
            tracing::error!(%error, folder = %config.cache_folder().display(),
                "the package cache cannot be used and is left out until the next start; mend its disk (unifyit-relay doctor)");
            None
        }
    }
}

/// Keeps what the console allows in force.
async fn follow_settings(
    cache: &Cache,
    mut settings: watch::Receiver<SiteConfig>,
    cancel: &CancellationToken,
) {
    let mut wanted = Vec::new();
    loop {
        {
            let settings = settings.borrow_and_update();
            cache.follow(&settings);
            for file in &settings.cache_ahead {
                wanted.push(Wanted {
                    url: file.url.clone(),
                    sha256: file.sha256,
                    size: file.size,
                    until_ms: file.until_ms,
                });
            }
        }
        if let Err(error) = cache.want(&std::mem::take(&mut wanted)) {
            tracing::warn!(%error, "What is to be fetched ahead could not be noted.");
        }
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Says where the relay listens, in a file and in the log.
fn announce(folder: &StateFolder, runtime: &Runtime) {
    let text = serde_json::to_vec_pretty(runtime).unwrap_or_default();
    // Only who looks for it misses the file; on a full disk the site goes on (G9).
    if let Err(error) = folder.write(RUNTIME_FILE, &text) {
        tracing::warn!(%error, "where the relay listens could not be written down");
    }
    let shown = |at: Option<SocketAddr>| at.map(|at| at.to_string()).unwrap_or_default();
    tracing::info!(
        mqtt = %shown(runtime.mqtt),
        https = %shown(runtime.https),
        admin = %shown(runtime.admin),
        ui = %shown(runtime.ui),
        cache = %shown(runtime.cache),
        "the relay is up"
    );
}
