//! Fetching ahead: in off hours only, over restarts, and kept until the job is over.

use crate::{
    Running, bytes,
    client::get,
    upstream::{Behaviour, Upstream},
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Semaphore;
use unifyit_relay::cache::{Cache, CacheConfig, Wanted};

const HOUR: u64 = 3_600_000;
/// A midnight.
const DAY: u64 = 20_000 * 24 * HOUR;

struct Night {
    cache: Arc<Cache>,
    clock: Arc<AtomicU64>,
}

fn open(folder: &Path, upstream: &Upstream, max_bytes: u64, now_ms: u64) -> Night {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let clock = Arc::new(AtomicU64::new(now_ms));
    let config = CacheConfig {
        hosts: vec![upstream.authority.clone()],
        reserve_bytes: 0,
        max_bytes,
        ahead_from: "22:00".into(),
        ahead_until: "05:00".into(),
        ahead_bytes_per_s: 0,
        ..CacheConfig::default()
    };
    let shared = Arc::clone(&clock);
    let tell = Box::new(move || shared.load(Ordering::Relaxed));
    let cache = Cache::open_with(config, folder, &prometheus::Registry::new(), tell).unwrap();
    Night { cache, clock }
}

fn wanted(upstream: &Upstream, seed: u64, length: usize, until_ms: u64) -> Wanted {
    let body = bytes(seed, length);
    let path = format!("/w{seed}");
    upstream.put(&path, body.clone());
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &body);
    let sha256 = digest.as_ref().try_into().unwrap();
    Wanted { url: upstream.url(&path), sha256, size: length as u64, until_ms }
}

fn done(cache: &Cache) -> usize {
    cache.ahead().unwrap().iter().filter(|f| f.done).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fetched_ahead_in_off_hours_only_and_a_restart_goes_on() {
    let up = Upstream::start().await;
    let files: Vec<_> = (0..3).map(|n| wanted(&up, n, 500_000, DAY + 80 * HOUR)).collect();
    let folder = tempfile::tempdir().unwrap();
    {
        let night = open(folder.path(), &up, 1 << 30, DAY + 12 * HOUR);
        assert_eq!(night.cache.want(&files).unwrap(), 0);
        assert_eq!(night.cache.fetch_ahead_now().await, 0);
        assert_eq!(up.gets("/w0"), 0, "fetched in working hours");
        night.clock.store(DAY + 23 * HOUR, Ordering::Relaxed);
        // The first file comes; in the middle of the second one it gets day.
        let gate = Arc::new(Semaphore::new(10));
        up.behave(Behaviour { gate: Some(Arc::clone(&gate)), ..Behaviour::default() });
        let cache = Arc::clone(&night.cache);
        let pass = tokio::spawn(async move { cache.fetch_ahead_now().await });
        while up.gets("/w1") == 0 {
            tokio::task::yield_now().await;
        }
        night.clock.store(DAY + 29 * HOUR, Ordering::Relaxed);
        assert_eq!(pass.await.unwrap(), 1);
        gate.add_permits(1000);
        assert_eq!((done(&night.cache), up.gets("/w2")), (1, 0));
        // The fetch that was given up lets go of the cache.
        while Arc::strong_count(&night.cache) > 1 {
            tokio::task::yield_now().await;
        }
    }
    up.behave(Behaviour::default());
    let night = open(folder.path(), &up, 1 << 30, DAY + 47 * HOUR);
    assert_eq!(night.cache.fetch_ahead_now().await, 2);
    assert_eq!((done(&night.cache), up.gets("/w0"), up.gets("/w2")), (3, 1, 1));
    assert_eq!(night.cache.fetch_ahead_now().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_fetched_ahead_stays_until_its_job_is_over() {
    let up = Upstream::start().await;
    let until = DAY + 30 * HOUR;
    let file = wanted(&up, 1, 400_000, until);
    let folder = tempfile::tempdir().unwrap();
    let night = open(folder.path(), &up, 1_000_000, DAY + 23 * HOUR);
    night.cache.want(std::slice::from_ref(&file)).unwrap();
    assert_eq!(night.cache.fetch_ahead_now().await, 1);
    let run = Running::serve(Arc::clone(&night.cache)).await;
    let crowd = |from: u64| {
        let (up, address) = (&up, run.address);
        async move {
            for seed in from..from + 6 {
                let path = format!("/crowd{seed}");
                up.put(&path, bytes(seed, 400_000));
                get(address, &up.url(&path), &[]).await.unwrap();
            }
        }
    };
    crowd(100).await;
    assert!(get(run.address, &file.url, &[]).await.unwrap().body == bytes(1, 400_000));
    assert_eq!(up.gets("/w1"), 1, "it was evicted before its job was over");
    night.clock.store(until + 60 * 24 * HOUR, Ordering::Relaxed);
    crowd(200).await;
    assert!(night.cache.ahead().unwrap().is_empty());
    get(run.address, &file.url, &[]).await.unwrap();
    assert_eq!(up.gets("/w1"), 2, "it was kept although its job is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_had_is_tried_again_later_and_does_not_stop_the_others() {
    let up = Upstream::start().await;
    let mut files =
        vec![wanted(&up, 1, 1000, DAY + 80 * HOUR), wanted(&up, 2, 1000, DAY + 80 * HOUR)];
    files[0].sha256 = [7; 32];
    let folder = tempfile::tempdir().unwrap();
    let night = open(folder.path(), &up, 1 << 30, DAY + 23 * HOUR);
    night.cache.want(&files).unwrap();
    assert_eq!(night.cache.fetch_ahead_now().await, 1);
    let failing = night.cache.ahead().unwrap().into_iter().find(|f| f.failures > 0).unwrap();
    assert!(failing.failure.contains("signed index"), "{}", failing.failure);
    assert_eq!(night.cache.fetch_ahead_now().await, 0);
    assert_eq!(up.gets("/w1"), 1, "it was tried again at once");
    night.clock.fetch_add(HOUR, Ordering::Relaxed);
    night.cache.fetch_ahead_now().await;
    assert_eq!(up.gets("/w1"), 2);
}
