//! Clients that say how fresh it must be get it so, and indexes that belong
//! together are of one age.

use crate::{
    Running, bytes,
    client::{get, raw},
    repository::{INDEXES, publish, update},
    upstream::{Behaviour, Pose, Upstream},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use unifyit_relay::cache::{Cache, CacheConfig};

const HOUR: u64 = 3_600_000;

fn granted() -> Behaviour {
    Behaviour { fresh: Some(86_400), ..Behaviour::default() }
}

#[tokio::test]
async fn max_age_and_no_cache_are_obeyed_whatever_the_upstream_granted() {
    let up = Upstream::start().await;
    up.behave(granted());
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let url = up.url("/list");
    for (n, (name, value)) in [
        ("cache-control", "max-age=0"),
        ("cache-control", "no-cache"),
        ("pragma", "no-cache"),
        ("Cache-Control", "Max-Age=0, no-transform"),
    ]
    .into_iter()
    .enumerate()
    {
        up.put("/list", format!("old {n}"));
        get(run.address, &url, &[("cache-control", "no-cache")]).await.unwrap();
        up.put("/list", format!("new {n}"));
        // Small bodies are in memory; that copy is as old.
        for asked in [&[][..], &[("cache-control", "max-age=3600")]] {
            let got = get(run.address, &url, asked).await.unwrap();
            assert_eq!(got.body, format!("old {n}").as_bytes());
        }
        let got = get(run.address, &url, &[(name, value)]).await.unwrap();
        assert_eq!(got.body, format!("new {n}").as_bytes(), "{name}: {value}");
    }
    let only = [("cache-control", "only-if-cached")];
    assert_eq!(get(run.address, &url, &only).await.unwrap().status, 200);
    assert_eq!(get(run.address, &up.url("/other"), &only).await.unwrap().status, 504);
}

#[tokio::test]
async fn who_asks_anew_is_not_given_what_another_was_just_given_to_the_end() {
    let up = Upstream::start().await;
    up.behave(granted());
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let body = |n| [b"\x7fELF", &bytes(n, 4_000_000)[..]].concat();
    // What was fetched first is on its way to the disk for a moment.
    for n in 0..20 {
        let path = format!("/f{n}");
        up.put(&path, body(n));
        assert!(get(run.address, &up.url(&path), &[]).await.unwrap().body == body(n));
        up.put(&path, body(1_000 + n));
        let anew = [("cache-control", "max-age=0")];
        assert!(
            get(run.address, &up.url(&path), &anew).await.unwrap().body == body(1_000 + n),
            "{n}"
        );
    }
}

#[tokio::test]
async fn no_cache_gets_the_bytes_anew_although_their_tag_is_the_same() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    up.put("/f", bytes(1, 5000));
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    let wrong = get(run.address, &up.url("/f"), &[]).await.unwrap();
    up.behave(Behaviour::default());
    let confirmed = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(wrong.body == confirmed.body && wrong.body != bytes(1, 5000));
    let anew = [("cache-control", "no-cache")];
    for asked in [&anew[..], &[]] {
        assert!(get(run.address, &up.url("/f"), asked).await.unwrap().body == bytes(1, 5000));
    }
}

#[tokio::test]
async fn an_index_of_a_newer_release_makes_the_cache_look_at_the_release_again() {
    let up = Upstream::start().await;
    up.behave(granted());
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 30_000));
    update(&run, &up).await;
    publish(&up, &bytes(2, 40_000));
    // The package alone, without a word about the indexes above it.
    let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(got.status == 200 && got.body == bytes(2, 40_000));
    // The list below the release, after another change.
    publish(&up, &bytes(3, 50_000));
    let fresh = [("cache-control", "max-age=0")];
    let release = get(run.address, &up.url(INDEXES[0]), &fresh).await.unwrap().body;
    let packages = get(run.address, &up.url(INDEXES[1]), &[]).await.unwrap();
    assert_eq!(packages.status, 200);
    assert!(String::from_utf8(release).unwrap().contains(&format!("{} ", packages.body.len())));
    let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(got.body == bytes(3, 50_000));
}

#[tokio::test]
async fn a_damaged_release_under_the_same_tag_does_not_hold_the_packages_back() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 30_000));
    // One bit in the middle of the hash that it names.
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    get(run.address, &up.url(INDEXES[0]), &[]).await.unwrap();
    up.behave(Behaviour::default());
    let packages = get(run.address, &up.url(INDEXES[1]), &[]).await.unwrap();
    assert_eq!(packages.status, 200);
    let got = get(run.address, &up.url("/r/pool/a.deb"), &[]).await.unwrap();
    assert!(got.body == bytes(1, 30_000));
}

#[tokio::test]
async fn a_release_and_its_signature_are_of_one_age_also_while_the_upstream_is_away() {
    let up = Upstream::start().await;
    up.behave(granted());
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let put = |version: u32| {
        up.put("/d/Release", format!("Suite: s\nVersion: {version}\n"));
        up.put("/d/Release.gpg", format!("-----BEGIN PGP SIGNATURE-----\n{version}\n"));
    };
    let got = async |path: &str| {
        let got = get(run.address, &up.url(path), &[]).await.unwrap();
        String::from_utf8(got.body).unwrap().trim_end().chars().last().unwrap()
    };
    put(1);
    assert_eq!((got("/d/Release").await, got("/d/Release.gpg").await), ('1', '1'));
    // What is on its way to the disk is still shared.
    let settle = async || {
        while run.cache.meters.flights.get() > 0 {
            tokio::task::yield_now().await;
        }
    };
    settle().await;
    put(2);
    assert_eq!((got("/d/Release.gpg").await, got("/d/Release").await), ('2', '2'));
    // Only one of them is asked for before the upstream goes away; the other comes
    // by itself.
    settle().await;
    put(3);
    let before = up.gets("/d/Release.gpg");
    assert_eq!(got("/d/Release").await, '3');
    while up.gets("/d/Release.gpg") == before || run.cache.meters.flights.get() > 0 {
        tokio::task::yield_now().await;
    }
    up.pose("/", Pose::status(503));
    assert_eq!((got("/d/Release").await, got("/d/Release.gpg").await), ('3', '3'));
}

#[tokio::test]
async fn a_part_of_a_wrong_file_is_never_served_as_if_it_were_right() {
    let up = Upstream::start().await;
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    publish(&up, &bytes(1, 300_000));
    update(&run, &up).await;
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    let part = "Range: bytes=149000-151000\r\n";
    let wrong = raw(run.address, &up.url("/r/pool/a.deb"), part).await;
    assert!(wrong.starts_with(b"HTTP/1.1 502"), "{}", String::from_utf8_lossy(&wrong[..100]));
    up.behave(Behaviour::default());
    let right = raw(run.address, &up.url("/r/pool/a.deb"), part).await;
    assert!(right.ends_with(&bytes(1, 300_000)[149_000..=151_000]));
}

#[tokio::test]
async fn damage_under_an_unchanged_tag_does_not_live_for_ever() {
    let up = Upstream::start().await;
    up.put("/d/InRelease", format!("Suite: s\n{}", "x".repeat(500)));
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(AtomicU64::new(20_000 * 24 * HOUR));
    let config = CacheConfig {
        hosts: vec![up.authority.clone()],
        reserve_bytes: 0,
        ..CacheConfig::default()
    };
    let shared = Arc::clone(&clock);
    let tell = Box::new(move || shared.load(Ordering::Relaxed));
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let cache = Cache::open_with(config, folder.path(), &prometheus::Registry::new(), tell);
    let run = Running::serve(cache.unwrap()).await;
    let url = up.url("/d/InRelease");
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    let wrong = get(run.address, &url, &[]).await.unwrap().body;
    up.behave(Behaviour::default());
    assert!(get(run.address, &url, &[]).await.unwrap().body == wrong);
    clock.fetch_add(7 * HOUR, Ordering::Relaxed);
    let right = get(run.address, &url, &[]).await.unwrap().body;
    assert!(right != wrong && right.starts_with(b"Suite: s\nxxx"));
    // And not each time.
    get(run.address, &url, &[]).await.unwrap();
    assert_eq!(up.gets("/d/InRelease"), 2);
}
