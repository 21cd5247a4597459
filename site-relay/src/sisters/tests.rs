//! Whole relays' caches with their nodes: who gets what from whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{Sisters, SistersNode};
use crate::{
    blobs::Blobs,
    cache::{Cache, CacheConfig, Wanted},
    telemetry::Telemetry,
    uplink::framing,
};
use axum::{Router, routing::get};
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use libp2p::{PeerId, identity::Keypair};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, MAX_CHUNK},
    codec,
    link::Sister,
};

/// Longer than a range, and no whole number of blocks.
const LENGTH: usize = 17 * 1024 * 1024 + 77;

/// A relay, as far as its files go.
struct Relay {
    peer: PeerId,
    address: SocketAddr,
    sisters: Sisters,
    node: Option<SistersNode>,
    cache: Arc<Cache>,
    blobs: Blobs,
    telemetry: Telemetry,
    folder: tempfile::TempDir,
    cancel: CancellationToken,
    _stop: DropGuard,
}

impl Relay {
    async fn new(upstream: &str) -> Self {
        let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let telemetry = Telemetry::new();
        let config = CacheConfig {
            hosts: vec![upstream.into()],
            reserve_bytes: 0,
            ahead_from: "00:00".into(),
            ahead_until: "00:00".into(),
            ahead_bytes_per_s: 0,
            ..CacheConfig::default()
        };
        let cache = Cache::open(config, folder.path(), telemetry.registry()).unwrap();
        let blobs = Blobs::open(folder.path(), 1 << 30, &telemetry).unwrap();
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let listen = "127.0.0.1:0".parse().unwrap();
        let (sisters, node, at) = Sisters::open(keypair, listen, &telemetry).await.unwrap();
        cache.attach(sisters.clone());
        blobs.attach_sisters(sisters.clone());
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        let (node, address) = (Some(node), at.unwrap());
        Self { peer, address, sisters, node, cache, blobs, telemetry, folder, cancel, _stop }
    }

    async fn start(upstream: &str) -> Self {
        let mut relay = Self::new(upstream).await;
        let (node, cache) = (relay.node.take().unwrap(), Arc::clone(&relay.cache));
        let run = relay.sisters.clone().run(node, cache, relay.blobs.clone(), relay.cancel.clone());
        tokio::spawn(run);
        relay
    }

    fn named(&self) -> Sister {
        Sister { peer: self.peer.to_string(), addresses: vec![self.address.to_string()] }
    }

    /// Fetches a file as the console's list asks for it.
    async fn fetches(&self, file: &Wanted) -> bool {
        self.cache.want(std::slice::from_ref(file)).unwrap();
        self.cache.fetch_ahead_now().await;
        self.cache.ahead().unwrap().iter().all(|file| file.done)
    }

    fn metric(&self, name: &str) -> u64 {
        let text = self.telemetry.render();
        let line = text.lines().find(|line| line.starts_with(&format!("unifyit_relay_{name} ")));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).expect(name)
    }
}

/// An upstream that counts how often its file is fetched.
async fn upstream(body: Bytes) -> (String, Arc<AtomicUsize>) {
    let fetches = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&fetches);
    let file = get(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        async move { body }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/file", file)).await });
    (authority, fetches)
}

fn content() -> Bytes {
    let mut body = vec![0; LENGTH];
    blake3::Hasher::new().update(b"sisters").finalize_xof().fill(&mut body);
    body.into()
}

fn wanted(authority: &str, body: &[u8]) -> Wanted {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, body);
    Wanted {
        url: format!("http://{authority}/file"),
        sha256: digest.as_ref().try_into().unwrap(),
        size: body.len() as u64,
        until_ms: u64::MAX,
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_relay_gets_a_file_from_its_sister_and_a_foreign_one_gets_nothing() {
    let body = content();
    let (authority, fetches) = upstream(body.clone()).await;
    let file = wanted(&authority, &body);
    let (first, second) = (Relay::start(&authority).await, Relay::start(&authority).await);
    let foreign = Relay::start(&authority).await;
    assert!(first.fetches(&file).await);
    assert_eq!(fetches.load(Ordering::Relaxed), 1);
    first.sisters.set(&[second.named()]);
    second.sisters.set(&[first.named()]);
    until("the sisters to meet", || second.sisters.ready() == [first.peer]).await;
    assert!(second.fetches(&file).await);
    assert_eq!(fetches.load(Ordering::Relaxed), 1, "the upstream was asked");
    assert!(second.cache.held(&file.sha256, true).unwrap().read_all().unwrap() == body);
    assert_eq!(second.metric("sister_files_total"), 1);
    assert!(first.metric("sister_served_bytes_total") >= LENGTH as u64);

    // It knows the address and names the right peer; the right is not its to take.
    foreign.sisters.set(&[first.named()]);
    until("the foreign relay to be refused", || first.metric("sister_refused_total") > 0).await;
    let served = first.metric("sister_served_bytes_total");
    assert!(foreign.fetches(&file).await, "it goes to the upstream instead");
    assert_eq!(fetches.load(Ordering::Relaxed), 2);
    assert_eq!(first.metric("sister_served_bytes_total"), served);
    assert_eq!(foreign.metric("sister_files_total"), 0);

    // Who is taken off the list is cut off.
    first.sisters.set(&[]);
    until("the second relay to be cut off", || second.sisters.ready().is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lying_sisters_bytes_are_refused_and_it_is_set_aside_for_a_while() {
    let body = content();
    let (authority, fetches) = upstream(body.clone()).await;
    let file = wanted(&authority, &body);
    let mut liar = Relay::new(&authority).await;
    let honest = Relay::start(&authority).await;
    liar.sisters.set(&[honest.named()]);
    let mut node = liar.node.take().unwrap().0;
    let size = file.size;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = node.swarm.select_next_some() => {}
                Some((_, stream)) = node.inbound.next() => drop(tokio::spawn(lie(stream, size))),
            }
        }
    });
    honest.sisters.set(&[liar.named()]);
    until("the relays to meet", || !honest.sisters.ready().is_empty()).await;
    assert!(honest.fetches(&file).await, "the upstream was there to be asked");
    assert_eq!((fetches.load(Ordering::Relaxed), honest.metric("sister_mismatches_total")), (1, 1));
    assert!(honest.cache.held(&file.sha256, true).unwrap().read_all().unwrap() == body);
    assert!(honest.sisters.ready().is_empty(), "it would be asked again");
    assert_eq!(honest.metric("sister_files_total"), 0);
}

/// Has every file, and sends zeroes.
async fn lie(stream: libp2p::Stream, size: u64) {
    let (mut frames, mut sink) = framing::split(stream);
    let request: BlobRequest = codec::decode(&frames.next().await.unwrap().unwrap()).unwrap();
    let mut left = request.following(size);
    let answer = codec::encode(&BlobAnswer::Found { size, following: left }).unwrap();
    SinkExt::<Bytes>::send(&mut sink, answer.into()).await.unwrap();
    while left > 0 {
        let length = left.min(MAX_CHUNK as u64);
        left -= length;
        if SinkExt::<Bytes>::send(&mut sink, vec![0; length as usize].into()).await.is_err() {
            return;
        }
    }
    // An error says that the other has left.
    drop(SinkExt::<Bytes>::close(&mut sink).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_clouds_files_come_from_a_sister_while_the_cloud_is_away() {
    let body = content();
    let (first, second) = (Relay::start("none.example").await, Relay::start("none.example").await);
    let hash = blake3::hash(&body);
    let blobs = first.folder.path().join("blobs");
    std::fs::write(blobs.join(hash.to_hex().as_str()), &body).unwrap();
    first.sisters.set(&[second.named()]);
    second.sisters.set(&[first.named()]);
    until("the sisters to meet", || second.sisters.ready() == [first.peer]).await;
    let path = second.blobs.get(hash).await.unwrap();
    assert!(std::fs::read(path).unwrap() == body);
    // A file that nobody has is not invented, and nobody is set aside for it.
    assert!(second.blobs.get(blake3::hash(b"other")).await.is_err());
    assert_eq!(second.sisters.ready(), [first.peer]);
    assert_eq!(second.metric("blob_fetched_bytes_total"), 0);
}
