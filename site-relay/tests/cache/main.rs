//! The package cache against an upstream that misbehaves on purpose.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod ahead;
mod apt;
mod client;
mod crowd;
mod demands;
mod faults;
mod limits;
mod names;
mod posing;
mod redirects;
mod remap;
mod repository;
mod rpm;
mod sharing;
mod tls;
mod tools;
mod upstream;
mod windows;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use unifyit_relay::cache::{Cache, CacheConfig, serve};

/// A cache that runs, and stops when dropped.
pub struct Running {
    pub cache: Arc<Cache>,
    pub address: std::net::SocketAddr,
    stop: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Running {
    pub async fn start(
        folder: &Path,
        upstream: &str,
        change: impl FnOnce(&mut CacheConfig),
    ) -> Self {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut config = CacheConfig {
            hosts: vec![upstream.to_owned()],
            remaps: vec![format!("up=http://{upstream}")],
            reserve_bytes: 0,
            max_connections_per_client: 500,
            ..CacheConfig::default()
        };
        change(&mut config);
        Self::serve(Cache::open(config, folder, &prometheus::Registry::new()).unwrap()).await
    }

    /// Serves a cache that is open already.
    pub async fn serve(cache: Arc<Cache>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(Arc::clone(&cache), listener, stop.clone()));
        Self { cache, address, stop, task: Some(task) }
    }

    /// Stops and waits, so that the index is closed.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            task.await.unwrap();
        }
        // A fetch that was under way lets go a little later.
        let deadline = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&self.cache) > 1 {
            assert!(Instant::now() < deadline, "somebody still holds the cache");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Bytes that repeat nowhere near, the same for the same seed.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
