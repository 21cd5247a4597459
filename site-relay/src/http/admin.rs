//! Metrics and health, for this machine and its monitoring: plain HTTP, on the
//! loopback unless configured otherwise, and no secrets in it.

use super::serve_connection;
use crate::telemetry::Telemetry;
use axum::{Router, extract::State, routing::get};
use http::{StatusCode, header};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Connections served at once.
const CONNECTIONS: usize = 64;
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Longest life of a connection: monitoring reconnects, idlers make room.
const LIFE: Duration = Duration::from_secs(120);

/// Whether the relay does its work. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health(Arc<AtomicBool>);

impl Health {
    /// Says that every part is up, or that the relay is stopping.
    pub fn set_ready(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Whether every part is up.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Serves until cancelled.
pub async fn serve(
    listener: TcpListener,
    telemetry: Telemetry,
    health: Health,
    cancel: CancellationToken,
) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .with_state((telemetry, health));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let tasks = TaskTracker::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (router, cancel) = (router.clone(), cancel.clone());
        tasks.spawn(async move {
            let _ = timeout(LIFE, serve_connection(stream, router, HEAD_TIME, cancel)).await;
            drop(place);
        });
    }
    tasks.close();
    let _ = timeout(Duration::from_secs(2), tasks.wait()).await;
}

async fn metrics(
    State((telemetry, _)): State<(Telemetry, Health)>,
) -> ([(header::HeaderName, &'static str); 1], String) {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], telemetry.render())
}

async fn ready(State((_, health)): State<(Telemetry, Health)>) -> (StatusCode, &'static str) {
    if health.is_ready() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting or stopping\n")
    }
}
