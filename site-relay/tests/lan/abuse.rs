//! Hostile and broken peers, all at once, while a good device is served.

use crate::{
    client::{Client, connect_packet, framed, publish_packet, text},
    site::{Site, until},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use unifyit_protocol::topics;

/// Longest time that a good device may wait for an answer, or for a session,
/// while the others do their worst on a machine that runs other tests as well.
const SERVED: Duration = Duration::from_secs(5);

/// The first bytes of a TLS 1.2 handshake record that promises more.
const HALF_HELLO: [u8; 9] = [22, 3, 1, 1, 0, 1, 0, 0, 252];

async fn idle(site: &Site, count: usize) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpStream::connect(site.address).await.unwrap());
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_idle_and_broken_connections_cost_the_others_nothing() {
    // Fewer places than attackers: the oldest must give way.
    let site = Arc::new(
        Site::start_with(|config| {
            config.broker.max_half_open = 64;
            config.broker.max_half_open_per_ip = 64;
        })
        .await,
    );
    let good = site.device();
    let mut present = Client::listening(&site, &good, true).await;
    let mut held = idle(&site, 200).await;
    for (at, stream) in held.iter_mut().enumerate() {
        let bytes: &[u8] = match at % 4 {
            0 => continue,
            1 => b"GET / HTTP/1.1\r\nHost: relay\r\n\r\n",
            2 => &HALF_HELLO,
            _ => &[0xff; 64],
        };
        let _ = stream.write_all(bytes).await;
    }
    for n in 0..20u8 {
        let started = Instant::now();
        present.round_trip(&[b'r', n]).await;
        assert!(started.elapsed() < SERVED, "a round trip took {:?}", started.elapsed());
        let newcomer = site.device();
        let started = Instant::now();
        // A place may be refused while all attackers' are young; an agent tries
        // again, and so does this one.
        let joined = async {
            while Client::try_connect(&site, &newcomer, n % 2 == 0).await.is_none() {
                tokio::task::yield_now().await;
            }
        };
        assert!(timeout(SERVED, joined).await.is_ok(), "no session within {:?}", started.elapsed());
    }
    assert!(site.metric("mqtt_refused_total") > 0.0, "the bound was never reached");
    drop(held);
}

#[tokio::test]
async fn half_open_connections_end_by_themselves() {
    let site = Site::start_with(|config| {
        config.broker.handshake_s = 1;
        config.broker.connect_s = 1;
    })
    .await;
    let device = site.device();
    let mut silent_tcp = TcpStream::connect(site.address).await.unwrap();
    let mut half_hello = TcpStream::connect(site.address).await.unwrap();
    half_hello.write_all(&HALF_HELLO).await.unwrap();
    let mut silent_tls = Client::open(&site, &device, false).await;
    let mut half_connect = Client::open(&site, &device, false).await;
    half_connect.send(&connect_packet(false, "x", 60)[..5]).await;
    for stream in [&mut silent_tcp, &mut half_hello] {
        let mut rest = Vec::new();
        timeout(SERVED * 2, stream.read_to_end(&mut rest)).await.expect("it to end").ok();
    }
    assert_eq!(silent_tls.packet().await, None);
    assert_eq!(half_connect.packet().await, None);
    until("all places to be given back", || (site.metric("mqtt_half_open") == 0.0).then_some(()))
        .await;
}

#[tokio::test]
async fn what_is_not_mqtt_is_closed_at_once() {
    let site = Site::start().await;
    let device = site.device();
    let mut oversized = vec![0x10, 0xff, 0xff, 0xff, 0x7f];
    oversized.extend(text("MQTT"));
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), oversized, vec![0x10, 0xff, 0xff, 0xff, 0xff]]
    {
        let mut client = Client::open(&site, &device, false).await;
        client.send(&bytes).await;
        let started = Instant::now();
        assert_eq!(client.packet().await, None);
        assert!(started.elapsed() < SERVED);
    }
}

#[tokio::test]
async fn an_oversized_packet_ends_its_session_before_it_is_read() {
    let site = Site::start().await;
    let device = site.device();
    let body = vec![0; 512 * 1024 + 1];
    let header = &framed(0x30, &body)[..5];
    let mut v5 = Client::connect(&site, &device, true).await;
    v5.send(header).await;
    assert_eq!(v5.farewell().await, Some(0x95));
    let mut v4 = Client::connect(&site, &device, false).await;
    v4.send(header).await;
    assert_eq!(v4.packet().await, None);
}

/// Each attack is a whole life of a connection with a valid certificate.
fn attacks(own: &str) -> Vec<Vec<u8>> {
    let publish = |topic: &str| publish_packet(true, topic, 0, 0, b"x");
    let mut alias = text("");
    alias.extend([3, 0x23, 0xff, 0xff]);
    let mut many_properties = vec![0, 1, 0x82, 0x02];
    many_properties.extend([0x26, 0, 0, 0, 0].repeat(52).into_iter().take(258));
    let mut many_filters = vec![0, 1, 0];
    for _ in 0..2000 {
        many_filters.extend(text("a"));
        many_filters.push(0);
    }
    let mut liar = text(own);
    liar.splice(0..2, [0xff, 0xff]);
    vec![
        publish("é/ü"),
        publish("$SYS/x"),
        publish("$share/a/b"),
        publish("v1/+/up/report"),
        publish("#"),
        publish(""),
        publish("\u{0}"),
        framed(0x30, &alias),
        framed(0x30, &liar),
        framed(0x36, &text(own)),
        framed(0x30, &[0]),
        framed(0x32, &[text(own), vec![0, 0]].concat()),
        framed(0x82, &many_properties),
        framed(0x82, &many_filters),
        framed(0x82, &[0, 1, 0]),
        framed(0x80, &[0, 1, 0]),
        framed(0x20, &[0, 0]),
        framed(0x90, &[0, 0, 0]),
        framed(0xb0, &[0, 0, 0]),
        framed(0xd0, &[]),
        framed(0x00, &[]),
        framed(0xf0, &[0]),
        framed(0x40, &[0, 1]),
        framed(0xe0, &[0x82]),
        framed(0xe0, &[0x00, 0xff, 0xff, 0xff, 0xff, 0xff]),
        connect_packet(true, "again", 1),
        vec![0xc0, 0x80, 0x80, 0x80, 0x80, 0x01],
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn certified_attackers_disturb_nobody_else() {
    let site = Arc::new(Site::start().await);
    let good = site.device();
    let mut present = Client::listening(&site, &good, false).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut attackers = Vec::new();
    for _ in 0..4 {
        let (site, over) = (Arc::clone(&site), Arc::clone(&over));
        attackers.push(tokio::spawn(async move {
            let evil = site.device();
            let attacks = attacks(&topics::Up::Report.topic(evil.id));
            let mut count = 0usize;
            while !over.load(Ordering::Relaxed) || count < attacks.len() {
                let mut client = Client::connect(&site, &evil, count.is_multiple_of(2)).await;
                client.send(&attacks[count % attacks.len()]).await;
                client.send(&[0xc0, 0]).await;
                while client.packet().await.is_some_and(|p| p[0] != 0xd0) {}
                count += 1;
            }
            evil.id
        }));
    }
    let until_then = Instant::now() + Duration::from_secs(3);
    let mut longest = Duration::ZERO;
    while Instant::now() < until_then {
        let started = Instant::now();
        present.round_trip(b"still served").await;
        longest = longest.max(started.elapsed());
    }
    over.store(true, Ordering::Relaxed);
    let mut evil = Vec::new();
    for attacker in attackers {
        evil.push(attacker.await.unwrap());
    }
    assert!(longest < SERVED, "the good device waited {longest:?}");
    assert!(site.handle.is_online(good.id));
    assert_eq!(site.metric("mqtt_panics_total"), 0.0);
    let events = site.events.lock().unwrap();
    let forged = events.iter().any(|event| {
        matches!(event, unifyit_relay::broker::BrokerEvent::Message { device, .. }
            if evil.contains(device))
    });
    assert!(!forged, "none of the attacks is a message");
}

#[tokio::test]
async fn more_sessions_than_allowed_are_refused_and_takeovers_still_work() {
    let site = Site::start_with(|config| config.broker.max_sessions = 2).await;
    let devices = [site.device(), site.device(), site.device()];
    let _first = Client::connect(&site, &devices[0], true).await;
    let _second = Client::connect(&site, &devices[1], true).await;
    let mut third = Client::open(&site, &devices[2], true).await;
    third.send(&connect_packet(true, "x", 60)).await;
    assert_eq!(third.packet().await.unwrap()[3], 0x89);
    let _again = Client::connect(&site, &devices[0], true).await;
    assert_eq!(site.handle.online().len(), 2);
}

#[tokio::test]
async fn a_handshake_that_is_dribbled_is_cut_off() {
    let site = Site::start_with(|config| config.broker.handshake_s = 1).await;
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    let dribble = async {
        loop {
            // One byte at a time never completes the record within the limit.
            if stream.write_all(&[22]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(SERVED * 2, dribble).await.expect("the relay to hang up");
}
