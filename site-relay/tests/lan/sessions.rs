//! Sessions: presence, takeover, silence, slow readers, a full ingest.

use crate::{
    client::{Client, connect_packet, framed},
    site::{Site, until},
};
use std::time::Duration;
use unifyit_protocol::topics;
use unifyit_relay::broker::{BrokerEvent, NotDelivered};

fn lives(site: &Site) -> Vec<(bool, u64)> {
    let events = site.events.lock().unwrap();
    let of = |event: &BrokerEvent| match event {
        BrokerEvent::Connected { session, .. } => Some((true, *session)),
        BrokerEvent::Disconnected { session, .. } => Some((false, *session)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[tokio::test]
async fn a_new_connection_takes_over_and_the_old_one_is_told() {
    let site = Site::start().await;
    let device = site.device();
    let mut old = Client::connect(&site, &device, true).await;
    let second_certificate = site.device_named(device.id);
    let mut new = Client::listening(&site, &second_certificate, false).await;
    assert_eq!(old.farewell().await, Some(0x8e));
    new.round_trip(b"mine now").await;
    assert_eq!(lives(&site), [(true, 1), (false, 1), (true, 2)]);
    assert_eq!(site.handle.online(), [device.id]);
    assert_eq!(site.metric("mqtt_takeovers_total"), 1.0);
}

#[tokio::test]
async fn takeovers_at_once_leave_one_session_and_events_in_order() {
    let site = Site::start().await;
    let device = site.device();
    let bystander = site.device();
    let mut quiet = Client::listening(&site, &bystander, true).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Client::open(&site, &device, false).await;
        client.send(&connect_packet(false, "x", 60)).await;
        clients.push(client);
    }
    let ended = until("nineteen sessions to end", || {
        let lives: Vec<_> = lives(&site).into_iter().skip(1).collect();
        (lives.len() == 39).then_some(lives)
    })
    .await;
    for pair in ended.chunks(2) {
        assert!(pair[0].0 && (pair.len() == 1 || (!pair[1].0 && pair[0].1 == pair[1].1)));
    }
    quiet.round_trip(b"undisturbed").await;
    assert_eq!(site.handle.online().len(), 2);
}

#[tokio::test]
async fn silence_beyond_one_and_a_half_keep_alive_times_ends_the_session() {
    let site = Site::start().await;
    let device = site.device();
    let mut client = Client::open(&site, &device, true).await;
    client.send(&connect_packet(true, "x", 1)).await;
    let started = std::time::Instant::now();
    assert_eq!(client.farewell().await, Some(0x8d));
    assert!(started.elapsed() >= Duration::from_millis(900), "{:?}", started.elapsed());
    assert!(site.disconnected(device.id).await.contains("keep-alive"));
}

#[tokio::test]
async fn pings_keep_a_session() {
    let site = Site::start().await;
    let device = site.device();
    let mut client = Client::open(&site, &device, false).await;
    client.send(&connect_packet(false, "x", 1)).await;
    client.packet().await.unwrap();
    let started = std::time::Instant::now();
    while started.elapsed() < Duration::from_millis(2500) {
        client.send(&[0xc0, 0]).await;
        assert_eq!(client.packet().await.unwrap(), [0xd0, 0]);
        assert!(client.is_silent(Duration::from_millis(300)).await);
    }
}

#[tokio::test]
async fn a_device_that_does_not_read_is_disconnected_and_others_are_served() {
    let site = Site::start_with(|config| {
        config.broker.queue_bytes = 256 * 1024;
    })
    .await;
    let (slow, good) = (site.device(), site.device());
    let _slow = Client::listening(&site, &slow, true).await;
    let mut good = Client::listening(&site, &good, true).await;
    let payload = bytes::Bytes::from(vec![1; 60_000]);
    let mut refused = None;
    for _ in 0..2000 {
        match site.handle.send(slow.id, topics::Down::Live, payload.clone()) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    assert_eq!(refused, Some(NotDelivered::Overflow));
    assert!(site.disconnected(slow.id).await.contains("keep up"));
    good.round_trip(b"served").await;
    assert_eq!(site.metric("mqtt_queue_overflows_total"), 1.0);
}

#[tokio::test]
async fn a_full_ingest_stops_reading_and_loses_nothing() {
    let site = Site::start_with(|config| config.broker.events = 2).await;
    let device = site.device();
    let mut client = Client::connect(&site, &device, true).await;
    site.event("the connection", |_| Some(())).await;
    site.ingest.send(false).unwrap();
    let topic = topics::Up::Hello.topic(device.id);
    for n in 0..50u8 {
        client.publish(&topic, 1, &[n]).await;
    }
    until("backpressure", || (site.metric("mqtt_stalled") > 0.0).then_some(())).await;
    site.ingest.send(true).unwrap();
    let got = until("all messages", || {
        let events = site.events.lock().unwrap();
        let got: Vec<u8> = events
            .iter()
            .filter_map(|event| match event {
                BrokerEvent::Message { payload, .. } => payload.first().copied(),
                _ => None,
            })
            .collect();
        (got.len() == 50).then_some(got)
    })
    .await;
    assert_eq!(got, (0..50).collect::<Vec<u8>>());
    assert_eq!(site.metric("mqtt_stalled"), 0.0);
}

#[tokio::test]
async fn too_many_packets_are_slowed_down_and_delivered() {
    let site = Site::start_with(|config| config.broker.packets_per_s = 100).await;
    let device = site.device();
    let mut client = Client::connect(&site, &device, false).await;
    let started = std::time::Instant::now();
    for _ in 0..300 {
        client.publish(&topics::Up::Live.topic(device.id), 0, b"x").await;
    }
    client.send(&[0xc0, 0]).await;
    assert_eq!(client.packet().await.unwrap(), [0xd0, 0]);
    assert!(started.elapsed() >= Duration::from_millis(800), "{:?}", started.elapsed());
    assert!(site.metric("mqtt_throttled_total") > 0.0);
}

#[tokio::test]
async fn a_shutdown_says_goodbye_to_everyone() {
    let site = Site::start().await;
    let device = site.device();
    let mut client = Client::connect(&site, &device, true).await;
    site.cancel.cancel();
    assert_eq!(client.farewell().await, Some(0x8b));
    assert!(site.disconnected(device.id).await.contains("shutting down"));
}

#[tokio::test]
async fn more_unreleased_messages_than_agreed_end_the_session() {
    let site = Site::start().await;
    let device = site.device();
    let mut client = Client::connect(&site, &device, true).await;
    let topic = topics::Up::Hello.topic(device.id);
    for id in 1..=33 {
        let packet = crate::client::publish_packet(true, &topic, 2, id, b"x");
        client.send(&packet).await;
    }
    assert_eq!(client.farewell().await, Some(0x93));
}

#[tokio::test]
async fn messages_larger_than_a_client_takes_are_not_sent() {
    let site = Site::start().await;
    let device = site.device();
    let mut body = crate::client::text("MQTT");
    body.extend([5, 2, 0, 60, 5, 0x27, 0, 0, 1, 0]);
    body.extend(crate::client::text("x"));
    let mut client = Client::open(&site, &device, true).await;
    client.send(&framed(0x10, &body)).await;
    client.packet().await.unwrap();
    client.subscribe(&topics::down_filter(device.id)).await;
    site.handle.send(device.id, topics::Down::Live, vec![1; 300].into()).unwrap();
    site.handle.send(device.id, topics::Down::Live, "small".into()).unwrap();
    assert!(client.packet().await.unwrap().ends_with(b"small"));
    assert_eq!(site.metric("mqtt_unsent_total"), 1.0);
}
