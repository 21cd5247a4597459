//! Connections that are silent, and connections beyond the bound.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{
    Networks, Server, ServerBounds,
    places::{Addresses, Place},
};
use axum::{
    Router,
    body::Body,
    http::StatusCode,
    routing::{get, post},
};
use futures::{FutureExt, poll};
use prometheus::{IntCounter, IntGauge, Registry};
use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

const REQUEST: &[u8] = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n";

struct Running {
    at: SocketAddr,
    stop: CancellationToken,
    open: IntGauge,
    full: IntCounter,
    refused: IntCounter,
    evicted: IntCounter,
    stalled: IntCounter,
    served: tokio::task::JoinHandle<()>,
    queue: Arc<Queue>,
}

/// Where requests to `/queued` stand before their bodies are read.
#[derive(Default)]
struct Queue {
    came: AtomicUsize,
    goes_on: Notify,
}

async fn running(bounds: ServerBounds) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (at, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let queue = Arc::new(Queue::default());
    let queued = {
        let queue = queue.clone();
        async move |body: Body| {
            queue.came.fetch_add(1, Ordering::Relaxed);
            queue.goes_on.notified().await;
            axum::body::to_bytes(body, 100).await.map_err(|_| StatusCode::BAD_REQUEST)
        }
    };
    let router = Router::new()
        .route("/ping", get(async || "pong"))
        .route("/queued", post(queued))
        .route("/take", post(async |body: String| body))
        .route("/long", get(async || std::future::pending::<()>().await))
        .route("/huge", get(async || vec![0u8; 4 * 1024 * 1024]));
    let server = Server::new(bounds, "test", &Registry::new()).unwrap();
    let (open, full) = (server.open.clone(), server.full.clone());
    let (refused, stalled) = (server.refused.clone(), server.stalled.total.clone());
    let evicted = server.evicted.clone();
    let served = tokio::spawn(server.run(listener, router, stop.clone()));
    Running { at, stop, open, full, refused, evicted, stalled, served, queue }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn from(at: SocketAddr, address: [u8; 4]) -> TcpStream {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(at).await.unwrap()
}

/// Reads until the end or until a text has come.
async fn read(tcp: &mut TcpStream, until: &str) -> String {
    let mut text = Vec::new();
    let reading = async {
        let mut piece = [0; 1024];
        while !String::from_utf8_lossy(&text).contains(until) {
            match tcp.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(n) => text.extend_from_slice(&piece[..n]),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("an answer or the end");
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_its_connection() {
    let bounds = ServerBounds { head: Duration::from_millis(50), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut silent = TcpStream::connect(server.at).await.unwrap();
    let mut slow = TcpStream::connect(server.at).await.unwrap();
    slow.write_all(b"GET /ping HTTP/1.1\r\nHo").await.unwrap();
    for tcp in [&mut silent, &mut slow] {
        assert!(!read(tcp, "pong").await.contains("200"));
    }
    until("their places are free", || server.open.get() == 0).await;
    let mut quick = TcpStream::connect(server.at).await.unwrap();
    quick.write_all(REQUEST).await.unwrap();
    assert!(read(&mut quick, "pong").await.contains("200 OK"));
}

#[tokio::test]
async fn a_connection_beyond_the_bound_waits_for_a_place_and_is_counted() {
    let bounds =
        ServerBounds { connections: 1, head: Duration::from_secs(60), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut first = TcpStream::connect(server.at).await.unwrap();
    first.write_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until("it has come", || server.open.get() == 1).await;
    let mut second = from(server.at, [127, 0, 0, 2]).await;
    second.write_all(REQUEST).await.unwrap();
    until("the bound is noticed", || server.full.get() == 1).await;
    assert_eq!((server.open.get(), server.evicted.get()), (1, 0));
    drop(first);
    assert!(read(&mut second, "pong").await.contains("200 OK"));
}

#[tokio::test]
async fn connections_that_ask_nothing_give_way_when_all_places_are_taken() {
    let bounds =
        ServerBounds { connections: 4, head: Duration::from_secs(60), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut idle = Vec::new();
    for _ in 0..4 {
        idle.push(TcpStream::connect(server.at).await.unwrap());
    }
    until("all places are taken", || server.open.get() == 4).await;
    let mut quiet = from(server.at, [127, 0, 0, 2]).await;
    for n in 1..=2 {
        quiet.write_all(REQUEST).await.unwrap();
        assert!(read(&mut quiet, "pong").await.contains("200 OK"), "request {n}");
    }
    assert_eq!(read(&mut idle[0], "never").await, "", "the oldest was closed");
    assert_eq!((server.open.get(), server.evicted.get()), (4, 1));
}

#[tokio::test]
async fn heads_whose_bodies_do_not_come_give_way_when_all_places_are_taken() {
    let bounds =
        ServerBounds { connections: 3, head: Duration::from_secs(60), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut heads = Vec::new();
    for n in 3..6 {
        // One of each address, so that none gives way for its long requests.
        let mut tcp = from(server.at, [127, 0, 0, n]).await;
        let head =
            b"POST /take HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        tcp.write_all(head).await.unwrap();
        assert!(read(&mut tcp, "\r\n\r\n").await.contains("100 Continue"), "it reads the body");
        heads.push(tcp);
    }
    let mut quiet = from(server.at, [127, 0, 0, 2]).await;
    quiet.write_all(REQUEST).await.unwrap();
    assert!(read(&mut quiet, "pong").await.contains("200 OK"));
    assert_eq!(read(&mut heads[0], "never").await, "", "the oldest was closed");
    drop(quiet);
    heads[1].write_all(b"whole").await.unwrap();
    assert!(read(&mut heads[1], "whole").await.contains("200 OK"));
    assert_eq!(server.evicted.get(), 1);
}

#[tokio::test]
async fn a_request_that_came_whole_and_stands_in_a_line_of_ours_does_not_give_way() {
    let bounds =
        ServerBounds { connections: 2, head: Duration::from_secs(60), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut whole = from(server.at, [127, 0, 0, 3]).await;
    let head = b"POST /queued HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nwhole";
    whole.write_all(head).await.unwrap();
    until("it stands in line", || server.queue.came.load(Ordering::Relaxed) == 1).await;
    let mut half = from(server.at, [127, 0, 0, 4]).await;
    let head =
        b"POST /take HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    half.write_all(head).await.unwrap();
    assert!(read(&mut half, "\r\n\r\n").await.contains("100 Continue"), "its body is read");
    half.write_all(b"ha").await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    let mut newcomer = from(server.at, [127, 0, 0, 2]).await;
    newcomer.write_all(REQUEST).await.unwrap();
    assert!(read(&mut newcomer, "pong").await.contains("200 OK"));
    assert_eq!(read(&mut half, "never").await, "", "half a body gives way");
    server.queue.goes_on.notify_one();
    assert!(read(&mut whole, "whole").await.contains("200 OK"));
    assert_eq!(server.evicted.get(), 1);
}

#[tokio::test]
async fn nobody_waits_behind_a_newcomer_who_has_gone() {
    let server = running(ServerBounds { connections: 1, ..ServerBounds::default() }).await;
    let mut first = TcpStream::connect(server.at).await.unwrap();
    first.write_all(b"GET /long HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until("it has come", || server.open.get() == 1).await;
    let gone = from(server.at, [127, 0, 0, 2]).await;
    until("it waits for a place", || server.full.get() == 1).await;
    drop(gone);
    let _next = from(server.at, [127, 0, 0, 3]).await;
    until("the next one is looked at", || server.full.get() == 2).await;
    assert_eq!((server.open.get(), server.evicted.get(), server.refused.get()), (1, 0, 0));
}

/// Ends one connection for a newcomer whose network has no place left.
#[tokio::test(start_paused = true)]
async fn who_was_given_a_place_waits_for_its_permit_before_a_second_one_has_to_go() {
    let server = Server::new(ServerBounds::default(), "test", &Registry::new()).unwrap();
    let all = Arc::new(Semaphore::new(0));
    let each = Addresses::new(16, 2, Networks::default());
    let of = |n: u16| SocketAddr::new(format!("2001:db8:0:{n:x}::1").parse().unwrap(), 1);
    let idle: Vec<_> =
        (0..4).flat_map(|n| [n, n]).map(|n| each.take(of(n).ip()).unwrap()).collect();
    idle.iter().for_each(Place::opened);
    let gone = || idle.iter().filter(|place| place.evicted().now_or_never().is_some()).count();
    tokio::time::advance(Duration::from_secs(2)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let mut newcomer = pin!(server.placed(&all, &each, (&tcp, of(9))));
    assert!(poll!(&mut newcomer).is_pending());
    assert_eq!((gone(), server.evicted.get()), (1, 1));
    // It gives way, and that is seen before anybody looks for another.
    all.add_permits(1);
    assert!(newcomer.await.is_some());
    assert_eq!((gone(), server.evicted.get()), (1, 1));
}

#[tokio::test]
async fn stopping_closes_idle_connections() {
    let server = running(ServerBounds::default()).await;
    let mut idle = TcpStream::connect(server.at).await.unwrap();
    idle.write_all(REQUEST).await.unwrap();
    read(&mut idle, "pong").await;
    server.stop.cancel();
    assert_eq!(read(&mut idle, "never").await, "");
    tokio::time::timeout(Duration::from_secs(20), server.served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn whoever_does_not_read_answers_is_broken_off_and_holds_little_memory() {
    let bounds = ServerBounds { unread: Duration::from_millis(200), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut deaf = TcpStream::connect(server.at).await.unwrap();
    for _ in 0..20 {
        deaf.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    }
    until("it is broken off", || server.stalled.get() == 1 && server.open.get() == 0).await;
}

#[tokio::test]
async fn a_slow_reader_is_served_to_the_end() {
    let bounds = ServerBounds { unread: Duration::from_secs(5), ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut slow = TcpStream::connect(server.at).await.unwrap();
    slow.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let (mut all, mut piece) = (0, vec![0; 64 * 1024]);
    loop {
        match slow.read(&mut piece).await.unwrap() {
            0 => break,
            n => all += n,
        }
        tokio::task::yield_now().await;
    }
    assert!(all > 4 * 1024 * 1024, "{all} bytes came");
    assert_eq!(server.stalled.get(), 0);
}

#[tokio::test]
async fn an_answer_on_its_way_is_not_cut_for_a_newcomer() {
    let bounds = ServerBounds { connections: 2, ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut slow = Vec::new();
    for _ in 0..2 {
        let mut tcp = TcpStream::connect(server.at).await.unwrap();
        tcp.write_all(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tcp.readable().await.unwrap();
        slow.push(tcp);
    }
    let mut other = from(server.at, [127, 0, 0, 2]).await;
    other.write_all(REQUEST).await.unwrap();
    // It looks several times for somebody who can give way.
    assert!(timeout(Duration::from_millis(1500), other.readable()).await.is_err());
    for tcp in &mut slow {
        let mut all = vec![0; 4 * 1024 * 1024];
        tcp.read_exact(&mut all).await.expect("all of it comes");
    }
    assert!(read(&mut other, "pong").await.contains("200 OK"));
}

#[tokio::test]
async fn one_address_gets_its_share_and_leaves_the_rest_to_others() {
    let bounds = ServerBounds { connections: 8, each_address: 3, ..ServerBounds::default() };
    let server = running(bounds).await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(TcpStream::connect(server.at).await.unwrap());
    }
    until("two were refused", || server.refused.get() == 2).await;
    let mut other = from(server.at, [127, 0, 0, 2]).await;
    other.write_all(REQUEST).await.unwrap();
    assert!(read(&mut other, "pong").await.contains("200 OK"));
    drop(held);
    until("the places are free", || server.open.get() == 1).await;
    let mut again = from(server.at, [127, 0, 0, 1]).await;
    again.write_all(REQUEST).await.unwrap();
    assert!(read(&mut again, "pong").await.contains("200 OK"));
}

#[tokio::test]
async fn a_request_names_its_host_once() {
    let server = running(ServerBounds::default()).await;
    for (head, good) in [
        ("GET /ping HTTP/1.1\r\n\r\n", false),
        ("GET /ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", false),
        ("GET /ping HTTP/1.0\r\n\r\n", true),
    ] {
        let mut tcp = TcpStream::connect(server.at).await.unwrap();
        tcp.write_all(head.as_bytes()).await.unwrap();
        let answer = read(&mut tcp, "\r\n\r\n").await;
        assert_eq!(answer.contains("200 OK"), good, "{head:?}: {answer}");
        assert_eq!(answer.contains("400 Bad Request"), !good, "{head:?}: {answer}");
    }
}
