//! What holds clients to their share, and what tells that it does; and answers
//! that are older than they should be say so.

use crate::{Running, bytes, client::get, upstream::Upstream};
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test]
async fn connections_beyond_the_bound_of_one_client_are_refused_and_counted() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 1000));
    let folder = tempfile::tempdir().unwrap();
    let run =
        Running::start(folder.path(), &up.authority, |c| c.max_connections_per_client = 3).await;
    let mut inside = Vec::new();
    for _ in 0..3 {
        inside.push(TcpStream::connect(run.address).await.unwrap());
    }
    while run.cache.meters.connections.get() < 3 {
        tokio::task::yield_now().await;
    }
    let mut fourth = TcpStream::connect(run.address).await.unwrap();
    assert!(matches!(fourth.read(&mut [0]).await, Ok(0) | Err(_)));
    assert_eq!(run.cache.meters.refused.get(), 1);
    drop(inside);
    while run.cache.meters.connections.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(get(run.address, &up.url("/f"), &[]).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_client_gets_no_more_than_its_share_of_the_line() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 400_000));
    let folder = tempfile::tempdir().unwrap();
    let run =
        Running::start(folder.path(), &up.authority, |c| c.client_bytes_per_s = 400_000).await;
    for _ in 0..2 {
        let began = Instant::now();
        assert!(get(run.address, &up.url("/f"), &[]).await.unwrap().body == bytes(1, 400_000));
        assert!(began.elapsed() > Duration::from_millis(700), "{:?}", began.elapsed());
    }
    assert!(run.cache.meters.paced.get() > 0);
}

#[tokio::test]
async fn clients_that_send_or_take_nothing_are_let_go_and_counted() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 30_000_000));
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |c| c.client_stall_s = 1).await;
    get(run.address, &up.url("/f"), &[]).await.unwrap();
    let mut half = TcpStream::connect(run.address).await.unwrap();
    half.write_all(b"GET /f HT").await.unwrap();
    let mut full = TcpStream::connect(run.address).await.unwrap();
    let request = format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", up.url("/f"));
    full.write_all(request.as_bytes()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while run.cache.meters.slow.get() < 2 {
        assert!(Instant::now() < deadline, "slow clients are kept");
        tokio::task::yield_now().await;
    }
    // What was left in the buffers comes; the whole does not.
    let mut came = Vec::new();
    let _reset = full.read_to_end(&mut came).await;
    assert!(came.len() < 30_000_000);
}

#[tokio::test]
async fn what_cannot_be_confirmed_says_its_age_and_that_it_is_stale() {
    let up = Upstream::start().await;
    up.put("/f", bytes(1, 1000));
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let fresh = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(fresh.headers.contains_key("age") && !fresh.headers.contains_key("warning"));
    assert_eq!(run.cache.upstream_lost_since_ms(), None);
    // A new start, so that no connection to the upstream is left either.
    run.stop().await;
    up.vanish();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let stale = get(run.address, &up.url("/f"), &[]).await.unwrap();
    assert!(stale.body == bytes(1, 1000));
    assert!(stale.headers["warning"].to_str().unwrap().starts_with("111 "));
    assert!(stale.headers["age"].to_str().unwrap().parse::<u64>().is_ok());
    assert!(run.cache.upstream_lost_since_ms().is_some());
}
