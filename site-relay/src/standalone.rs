//! The package cache alone, on a machine that is no relay: for trying it out,
//! for a build host, and for measuring it. It needs no enrolment and no cloud.

use crate::{
    cache::{self, Cache},
    config::Config,
    http::admin::{self, Health},
    identity::folder::StateFolder,
    lifecycle::Lifecycle,
    run::{RUNTIME_FILE, Runtime},
    telemetry::Telemetry,
    tls,
};
use anyhow::bail;
use std::{future::Future, sync::Arc};

/// Runs until a signal or `stop`.
///
/// # Errors
/// A sentence about the part that could not start or failed.
pub async fn run(config: Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    if !config.cache.enabled {
        bail!("The package cache is switched off: set cache.enabled to true.");
    }
    let folder = StateFolder::open(&config.state)?;
    let telemetry = Telemetry::new();
    let health = Health::default();
    let cache = Cache::open(config.cache.clone(), &config.state, telemetry.registry())?;
    let listener = tls::bind("package cache", config.listen.cache).await?;
    let metrics = tls::bind("metrics and health", config.listen.admin).await?;
    let runtime = Runtime {
        cache: Some(listener.local_addr()?),
        admin: Some(metrics.local_addr()?),
        pid: std::process::id(),
        ..Runtime::default()
    };
    let mut life = Lifecycle::default();
    life.spawn_inner("metrics and health", {
        let (health, cancel) = (health.clone(), life.running());
        async move {
            admin::serve(metrics, telemetry, health, cancel).await;
            Ok(())
        }
    });
    life.spawn_outer("package cache", {
        let (cache, cancel) = (Arc::clone(&cache), life.accepting());
        async move {
            cache::serve(cache, listener, cancel).await;
            Ok(())
        }
    });
    // Before it says where it listens, as the whole relay does.
    health.set_ready(true);
    if let Err(error) = folder.write(RUNTIME_FILE, &serde_json::to_vec_pretty(&runtime)?) {
        tracing::warn!(%error, "where the cache listens could not be written down");
    }
    tracing::info!(cache = ?runtime.cache, admin = ?runtime.admin, "the package cache is up");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = life.run(stop).await;
    health.set_ready(false);
    ended
}
