//! The client against a relay that takes it in and falls silent.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    link::{mqtt::KEEP_ALIVE, spool::Quotas, testing::Counting},
    store::Store,
};
use rumqttc::{AsyncClient, MqttOptions};
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

/// A relay that takes one connection in and never says another word. What it heard
/// after the introduction.
fn mute_relay() -> (u16, thread::JoinHandle<(u16, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut agent, _) = listener.accept().unwrap();
        let mut start = [0; 2];
        agent.read_exact(&mut start).unwrap();
        let mut connect = vec![0; usize::from(start[1])];
        agent.read_exact(&mut connect).unwrap();
        // Name and level of the protocol and the flags stand before it (MQTT 3.1.1, 3.1.2).
        let keep_alive = u16::from_be_bytes([connect[8], connect[9]]);
        agent.write_all(&[0x20, 2, 0, 0]).unwrap();
        let mut rest = Vec::new();
        let _ = agent.read_to_end(&mut rest);
        (keep_alive, rest)
    });
    (port, heard)
}

/// To the nearest: the clock stood still only when the connection was made.
fn seconds(since: Instant) -> u64 {
    (since.elapsed() + Duration::from_millis(500)).as_secs()
}

#[tokio::test]
async fn only_the_quiet_ask_and_the_silent_are_left_without_a_ping_of_the_librarys_own() {
    let dir = tempfile::tempdir().unwrap();
    let spool = Spool::new(Store::open(dir.path(), Quotas::share(1 << 20), 1).unwrap());
    let (port, heard) = mute_relay();
    let mut options = MqttOptions::new("device", "127.0.0.1", port);
    options.set_keep_alive(KEEP_ALIVE);
    // Kept, for without a sender the client ends.
    let (_client, events) = AsyncClient::new(options, 4);
    let (notes, mut told) = mpsc::unbounded_channel();
    let poller = Poller::new(
        DeviceId::generate(),
        spool,
        Arc::new(Counting::default()),
        notes,
        Arc::default(),
    );
    let poller = tokio::spawn(poller.run(events));
    assert!(matches!(told.recv().await, Some(Note::Connected)));
    tokio::time::pause();
    let connected = Instant::now();
    assert!(matches!(told.recv().await, Some(Note::Quiet)));
    assert_eq!(seconds(connected), KEEP_ALIVE.as_secs());
    assert!(matches!(told.recv().await, Some(Note::Silent)));
    assert_eq!(seconds(connected), 2 * KEEP_ALIVE.as_secs());
    assert!(told.recv().await.is_none());
    poller.await.unwrap();
    let (keep_alive, rest) = heard.join().unwrap();
    assert_eq!(u64::from(keep_alive), KEEP_ALIVE.as_secs(), "the relay knows how long to wait");
    assert_eq!(rest, b"", "nothing was said that nobody asked for");
}
