//! Fifty computers want one large file that nobody has yet.

use crate::{
    Running, bytes,
    upstream::{Behaviour, Upstream},
};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};

const CLIENTS: u32 = 50;
/// Bytes that the upstream sends for one permit of its gate.
const PIECE: usize = 64 * 1024;

/// Takes a file, byte by byte, and says what it is. `first` gets a permit with
/// the first byte of the body.
async fn take(cache: SocketAddr, url: String, first: Arc<Semaphore>) -> (blake3::Hash, u64) {
    let mut stream = TcpStream::connect(cache).await.unwrap();
    let request = format!("GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut filled = 0;
    let head = loop {
        let read = stream.read(&mut buffer[filled..]).await.unwrap();
        assert!(read > 0, "no answer");
        filled += read;
        if let Some(at) = buffer[..filled].windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
    };
    assert!(buffer.starts_with(b"HTTP/1.1 200"));
    let mut hasher = blake3::Hasher::new();
    hasher.update(&buffer[head..filled]);
    if hasher.count() > 0 {
        first.add_permits(1);
    }
    loop {
        let read = stream.read(&mut buffer).await.unwrap();
        if read == 0 {
            return (hasher.finalize(), hasher.count());
        }
        if hasher.count() == 0 {
            first.add_permits(1);
        }
        hasher.update(&buffer[..read]);
    }
}

/// All clients at once; the upstream sends no more than a tenth before each of
/// them has its first byte. Returns how often it was asked: from the start, and
/// from elsewhere.
async fn crowd(length: usize, behaviour: Behaviour) -> (u32, u32) {
    let up = Upstream::start().await;
    let body = bytes(1, length);
    let hash = blake3::hash(&body);
    up.put("/big", body);
    let gate = Arc::new(Semaphore::new(length / PIECE / 10));
    up.behave(Behaviour { gate: Some(Arc::clone(&gate)), ..behaviour });
    let folder = tempfile::tempdir().unwrap();
    let run = Running::start(folder.path(), &up.authority, |_| {}).await;
    let first = Arc::new(Semaphore::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(take(run.address, up.url("/big"), Arc::clone(&first))))
        .collect();
    let _seen = first.acquire_many(CLIENTS).await.unwrap();
    gate.add_permits(1_000_000);
    for client in clients {
        assert_eq!(client.await.unwrap(), (hash, length as u64));
    }
    (up.gets("/big"), up.ranges())
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_on_a_cold_200_mb_file_cost_one_fetch_and_see_it_at_once() {
    let behaviour = Behaviour { rate: Some(20_000_000), ..Behaviour::default() };
    assert_eq!(crowd(200_000_000, behaviour).await, (1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_clients_get_the_whole_file_although_the_upstream_is_cut_at_half() {
    let length = 40_000_000;
    let behaviour = Behaviour { cut_after: Some((length / 2, 1)), ..Behaviour::default() };
    assert_eq!(crowd(length, behaviour).await, (1, 1));
}
