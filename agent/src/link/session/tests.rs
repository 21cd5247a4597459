//! What is said for its own sake, and what else a session does at which word.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    link::{spool::Quotas, testing::Counting},
    store::Store,
};
use rumqttc::{EventLoop, MqttOptions};
use std::{
    io::{Read, Write},
    net::TcpListener,
    path::Path,
    thread,
};
use tokio::runtime::Handle;
use unifyit_protocol::{
    ids::{OrganizationId, SiteId},
    signing::PublicKey,
};
use zeroize::Zeroizing;

/// What leaves a client: after the introduction, until so many bytes came.
fn heard_by_a_relay(bytes: usize) -> (u16, thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = thread::spawn(move || {
        let (mut agent, _) = listener.accept().unwrap();
        let mut start = [0; 2];
        agent.read_exact(&mut start).unwrap();
        agent.read_exact(&mut vec![0; usize::from(start[1])]).unwrap();
        agent.write_all(&[0x20, 2, 0, 0]).unwrap();
        agent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut said = vec![0; bytes];
        agent.read_exact(&mut said).unwrap();
        said
    });
    (port, heard)
}

async fn poll_for_ever(mut events: EventLoop) {
    while events.poll().await.is_ok() {}
}

#[tokio::test]
async fn a_sign_of_life_waits_for_its_turn_and_asks_to_be_acknowledged() {
    let device = DeviceId::generate();
    let topic = Up::Hello.topic(device);
    // Four that fill the queue, of six bytes each, and the head of the sign with its topic.
    let (port, heard) = heard_by_a_relay(4 * 6 + 5 + topic.len());
    let (client, events) = AsyncClient::new(MqttOptions::new("device", "127.0.0.1", port), 4);
    while client.try_publish("a", QoS::AtMostOnce, false, "b").is_ok() {}
    let sign = tokio::spawn(sign_of_life(device, client.clone()));
    let polling = tokio::spawn(poll_for_ever(events));
    let said = tokio::task::spawn_blocking(move || heard.join().unwrap()).await.unwrap();
    sign.await.unwrap();
    polling.abort();
    // MQTT 3.1.1, 3.3.1: a PUBLISH whose quality of service is 1.
    assert_eq!(said[4 * 6], 0x32, "{said:?}");
    assert!(said.windows(topic.len()).any(|text| text == topic.as_bytes()));
}

/// A link, its store, and what keeps its identity.
fn link(state: &Path) -> (Link<Counting>, Store, watch::Sender<Arc<Identity>>) {
    let identity = Identity {
        device: DeviceId::generate(),
        organization: OrganizationId::generate(),
        site: SiteId::generate(),
        authority: PublicKey([0; 32]),
        certificate: vec![],
        ca: vec![],
        mqtt: vec![],
        https: vec![],
        enrolled_ms: 1,
    };
    let store = Store::open(state, Quotas::share(1 << 20), 1).unwrap();
    let (changes, identity) = watch::channel(Arc::new(identity));
    let link = Link {
        identity,
        key: Arc::new(Zeroizing::new(vec![])),
        addresses: vec![],
        spool: Spool::new(store.clone()),
        live: Arc::default(),
        inbox: Arc::default(),
        running: Arc::default(),
        stop: CancellationToken::new(),
        asked_ms: Arc::default(),
    };
    (link, store, changes)
}

#[tokio::test]
async fn one_sign_of_life_waits_at_a_time_and_goes_with_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let (mut link, _store, _changes) = link(dir.path());
    let device = link.identity.borrow().device;
    // Nobody takes from its queue.
    let (client, events) = AsyncClient::new(MqttOptions::new("device", "127.0.0.1", 1), 1);
    while client.try_publish("a", QoS::AtMostOnce, false, "b").is_ok() {}
    let (notes, inbox) = mpsc::unbounded_channel();
    for note in [Note::Quiet, Note::Quiet, Note::Quiet, Note::Subscribed(true)] {
        notes.send(note).unwrap();
    }
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let (at_rest, introduced) = (tasks(), Arc::clone(&link.asked_ms));
    let watch = async {
        while introduced.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tasks(), at_rest + 1, "one waits for its turn");
        notes.send(Note::Silent).unwrap();
    };
    let mut owes_all = false;
    let (end, ()) = tokio::join!(link.walk(device, &client, inbox, &mut owes_all), watch);
    assert!(matches!(end, End::Lost(_)));
    while tasks() > at_rest {
        tokio::task::yield_now().await;
    }
    drop(events);
}

/// A session that hears these words and no more, and whose words go nowhere.
async fn walked(link: &mut Link<Counting>, words: Vec<Note>, owes_all: &mut bool) -> End {
    let (client, _events) = AsyncClient::new(MqttOptions::new("device", "127.0.0.1", 1), 4);
    let (notes, inbox) = mpsc::unbounded_channel();
    words.into_iter().for_each(|word| notes.send(word).unwrap());
    link.walk(DeviceId::generate(), &client, inbox, owes_all).await
}

#[tokio::test]
async fn all_is_told_again_in_an_epoch_that_began_though_its_commit_seemed_to_fail() {
    let dir = tempfile::tempdir().unwrap();
    let (mut link, store, _changes) = link(dir.path());
    let (before, mut owes_all) = (link.spool.epoch(), false);
    store.fails();
    let end = walked(&mut link, vec![Note::Broken(0)], &mut owes_all).await;
    assert!(matches!(end, End::Lost(_)));
    assert!(link.spool.epoch() > before, "nobody sees a break any more");
    // The next connections.
    for told in [1, 1] {
        let end = walked(&mut link, vec![Note::Up, Note::Silent], &mut owes_all).await;
        assert!(matches!(end, End::Lost(_)));
        assert_eq!(link.inbox.0.load(Ordering::Relaxed), told);
    }
}

#[tokio::test]
async fn a_session_that_is_up_and_has_nothing_under_way_wakes_for_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut link, _store, _changes) = link(dir.path());
    tokio::time::pause();
    let parks = || Handle::current().metrics().worker_park_count(0);
    let (before, mut owes_all) = (parks(), false);
    let words = vec![Note::Subscribed(true), Note::Up];
    let session = walked(&mut link, words, &mut owes_all);
    assert!(timeout(Duration::from_secs(3600), session).await.is_err(), "it ended by itself");
    assert!(parks() - before < 10, "{}", parks() - before);
}
