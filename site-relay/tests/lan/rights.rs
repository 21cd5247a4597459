//! What a device may do, and that nothing else is possible, in both versions.

use crate::{
    client::{Client, connect_packet, framed, publish_packet, text, tls, tls_config},
    site::{Site, until},
};
use std::{sync::atomic::Ordering, time::Duration};
use unifyit_protocol::{ids::DeviceId, topics};

#[tokio::test]
async fn reports_come_up_and_messages_go_down_in_both_versions() {
    let site = Site::start().await;
    for v5 in [false, true] {
        let device = site.device();
        let mut client = Client::listening(&site, &device, v5).await;
        client.round_trip(b"hello").await;
        assert_eq!(site.message(device.id, topics::Up::Report).await.as_ref(), b"hello");
        for kind in [topics::Down::Control, topics::Down::Command, topics::Down::Live] {
            site.handle.send(device.id, kind, "order".into()).unwrap();
            let packet = client.packet().await.unwrap();
            assert!(packet.windows(4).any(|w| w == &kind.as_str().as_bytes()[..4]));
            assert!(packet.ends_with(b"order"));
        }
    }
}

#[tokio::test]
async fn each_quality_of_service_is_acknowledged_as_it_must_be() {
    let site = Site::start().await;
    for v5 in [false, true] {
        let device = site.device();
        let mut client = Client::connect(&site, &device, v5).await;
        let topic = topics::Up::Hello.topic(device.id);
        client.publish(&topic, 1, b"one").await;
        assert_eq!(client.packet().await.unwrap(), [0x40, 2, 0, 7]);
        // The repeat of an unreleased QoS 2 message is acknowledged and not
        // delivered again.
        for _ in 0..2 {
            client.publish(&topic, 2, b"two").await;
            assert_eq!(client.packet().await.unwrap(), [0x50, 2, 0, 7]);
        }
        client.send(&[0x62, 2, 0, 7]).await;
        assert_eq!(client.packet().await.unwrap(), [0x70, 2, 0, 7]);
        client.publish(&topic, 2, b"three").await;
        assert_eq!(client.packet().await.unwrap(), [0x50, 2, 0, 7]);
        let seen = || {
            let events = site.events.lock().unwrap();
            let texts = events.iter().filter_map(|event| match event {
                unifyit_relay::broker::BrokerEvent::Message { device: d, payload, .. }
                    if *d == device.id =>
                {
                    Some(String::from_utf8_lossy(payload).into_owned())
                }
                _ => None,
            });
            Some(texts.collect::<Vec<_>>()).filter(|texts| texts.len() >= 3)
        };
        assert_eq!(until("three messages", seen).await, ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn publishing_elsewhere_is_refused() {
    let site = Site::start().await;
    let other = DeviceId::generate();
    let device = site.device();
    let own = device.id;
    let topics = [
        topics::Up::Report.topic(other),
        topics::Down::Control.topic(own),
        format!("v1/{own}/up/anything"),
        format!("v1/{own}/up/report/more"),
        format!("v1/{own}/up/réport"),
        "é/x".to_owned(),
        "$SYS/broker".to_owned(),
        "$share/g/v1".to_owned(),
    ];
    for topic in &topics {
        let mut v5 = Client::connect(&site, &device, true).await;
        v5.publish(topic, 1, b"x").await;
        assert_eq!(v5.packet().await.unwrap()[..5], [0x40, 4, 0, 7, 0x87], "{topic}");
        v5.publish(topic, 2, b"x").await;
        assert_eq!(v5.packet().await.unwrap()[..5], [0x50, 4, 0, 7, 0x87], "{topic}");
        v5.publish(topic, 0, b"x").await;
        assert_eq!(v5.farewell().await, Some(0x87), "{topic}");
        for qos in 0..3 {
            let mut v4 = Client::connect(&site, &device, false).await;
            v4.publish(topic, qos, b"x").await;
            assert_eq!(v4.packet().await, None, "{topic} at QoS {qos}");
        }
    }
    let delivered = site.events.lock().unwrap();
    assert!(
        !delivered.iter().any(|e| matches!(e, unifyit_relay::broker::BrokerEvent::Message { .. }))
    );
}

#[tokio::test]
async fn subscribing_elsewhere_is_refused() {
    let site = Site::start().await;
    let other = DeviceId::generate();
    let device = site.device();
    let own = device.id;
    let filters = [
        topics::down_filter(other),
        "#".to_owned(),
        "+/+/down/#".to_owned(),
        format!("v1/{own}/#"),
        format!("v1/{own}/up/#"),
        format!("v1/{own}/down/control/#"),
        "$SYS/#".to_owned(),
        "v1/é/down/#".to_owned(),
    ];
    for (v5, code) in [(false, 0x80), (true, 0x87)] {
        let mut client = Client::connect(&site, &device, v5).await;
        for filter in &filters {
            assert_eq!(client.subscribe(filter).await, code, "{filter}");
        }
        let shared = client.subscribe(&format!("$share/g/v1/{own}/down/#")).await;
        assert_eq!(shared, if v5 { 0x9e } else { 0x80 });
        assert!(site.handle.send(own, topics::Down::Control, "x".into()).is_err());
        assert_eq!(client.subscribe(&format!("v1/{own}/down/command")).await, 0);
        assert!(site.handle.send(own, topics::Down::Control, "x".into()).is_err());
        assert!(site.handle.send(own, topics::Down::Command, "x".into()).is_ok());
    }
}

#[tokio::test]
async fn after_unsubscribing_nothing_comes() {
    let site = Site::start().await;
    for v5 in [false, true] {
        let device = site.device();
        let mut client = Client::listening(&site, &device, v5).await;
        site.subscribed(device.id).await;
        let mut body = vec![0, 3];
        if v5 {
            body.push(0);
        }
        body.extend(text(&topics::down_filter(device.id)));
        client.send(&framed(0xa2, &body)).await;
        assert_eq!(client.packet().await.unwrap()[0], 0xb0);
        assert!(site.handle.send(device.id, topics::Down::Live, "x".into()).is_err());
    }
}

#[tokio::test]
async fn the_client_id_is_the_certificates_and_an_unnamed_client_is_told() {
    let site = Site::start().await;
    let device = site.device();
    let mut client = Client::open(&site, &device, true).await;
    client.send(&connect_packet(true, "", 60)).await;
    let answer = client.packet().await.unwrap();
    let id = device.id.to_string();
    assert!(answer.windows(id.len()).any(|w| w == id.as_bytes()), "{answer:02x?}");
    // A client that calls itself by another device's id stays who it is.
    let other = site.device();
    let mut liar = Client::open(&site, &other, false).await;
    liar.send(&connect_packet(false, &id, 60)).await;
    assert_eq!(liar.packet().await.unwrap(), [0x20, 2, 0, 0]);
    until("both to be online", || (site.handle.online().len() == 2).then_some(())).await;
    client.subscribe(&topics::down_filter(device.id)).await;
    client.round_trip(b"still here").await;
}

#[tokio::test]
async fn alias_retain_and_subscription_identifiers_end_an_mqtt_5_session() {
    let site = Site::start().await;
    let device = site.device();
    let topic = topics::Up::Report.topic(device.id);
    let mut alias = text(&topic);
    alias.extend([3, 0x23, 0, 1]);
    let mut no_topic = text("");
    no_topic.extend([3, 0x23, 0, 1]);
    let mut retained = publish_packet(true, &topic, 0, 0, b"x");
    retained[0] |= 1;
    let mut identified = vec![0, 1, 2, 0x0b, 5];
    identified.extend(text(&topics::down_filter(device.id)));
    identified.push(0);
    for (packet, code) in [
        (framed(0x30, &alias), 0x94),
        (framed(0x30, &no_topic), 0x94),
        (retained, 0x9a),
        (framed(0x82, &identified), 0xa1),
    ] {
        let mut client = Client::connect(&site, &device, true).await;
        client.send(&packet).await;
        assert_eq!(client.farewell().await, Some(code), "{packet:02x?}");
    }
}

#[tokio::test]
async fn who_has_no_certificate_of_the_site_gets_no_session() {
    let site = Site::start().await;
    let elsewhere = Site::start().await;
    let stranger = elsewhere.device();
    for device in [None, Some(&stranger)] {
        let mut refused = true;
        // With TLS 1.3 the client learns of the refusal at its first read.
        if let Ok(stream) = tls(site.address, tls_config(&site, device)).await {
            let mut client = Client { stream, id: stranger.id, v5: false };
            client.send(&connect_packet(false, "x", 60)).await;
            refused = client.packet().await.is_none();
        }
        assert!(refused, "certificate: {}", device.is_some());
    }
    assert!(site.metric("mqtt_refused_total") >= 2.0);
    assert!(site.handle.online().is_empty());
}

#[tokio::test]
async fn a_device_that_was_removed_is_told_so_and_kept_out() {
    let site = Site::start().await;
    let device = site.device();
    let mut present = Client::connect(&site, &device, true).await;
    site.gatekeeper.0.lock().unwrap().insert(device.id);
    site.handle.disconnect(device.id, "the device was removed");
    assert_eq!(present.farewell().await, Some(0x98));
    assert_eq!(site.disconnected(device.id).await, "the device was removed");
    for (v5, code) in [(false, 5), (true, 0x87)] {
        let mut again = Client::open(&site, &device, v5).await;
        again.send(&connect_packet(v5, "x", 60)).await;
        assert_eq!(again.packet().await.unwrap()[3], code);
        assert_eq!(again.packet().await, None);
    }
}

#[tokio::test]
async fn who_comes_to_hear_of_its_own_identity_breaks_off_the_first_once() {
    let site = Site::start().await;
    let device = site.device();
    for taken_over in [true, false] {
        site.gatekeeper.1.store(false, Ordering::Relaxed);
        let mut first = Client::listening(&site, &device, true).await;
        site.gatekeeper.1.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            let mut guest = Client::open(&site, &device, true).await;
            guest.send(&connect_packet(true, "x", 60)).await;
            let code = guest.packet().await.unwrap()[3];
            assert_eq!(code == 0, taken_over);
            if taken_over {
                assert_eq!(first.farewell().await, Some(0x8e));
                break;
            }
        }
        if !taken_over {
            first.round_trip(b"still here").await;
        }
    }
}

#[tokio::test]
async fn a_device_that_was_put_out_rests_and_others_come_in() {
    let site = Site::start().await;
    let (wild, other) = (site.device(), site.device());
    let mut present = Client::connect(&site, &wild, true).await;
    site.handle.put_out(wild.id, "it keeps sending what cannot be read");
    assert_eq!(present.farewell().await, Some(0x98));
    for (v5, code) in [(false, 3), (true, 0x89)] {
        let mut again = Client::open(&site, &wild, v5).await;
        again.send(&connect_packet(v5, "x", 60)).await;
        assert_eq!(again.packet().await.unwrap()[3], code);
        assert_eq!(again.packet().await, None);
    }
    Client::connect(&site, &other, true).await;
}

#[tokio::test]
async fn other_protocol_levels_are_refused_in_words_they_know() {
    let site = Site::start().await;
    let device = site.device();
    for (name, level) in [("MQIsdp", 3), ("MQTT", 6)] {
        let mut body = text(name);
        body.extend([level, 2, 0, 60]);
        body.extend(text("x"));
        let mut client = Client::open(&site, &device, false).await;
        client.send(&framed(0x10, &body)).await;
        assert_eq!(client.packet().await.unwrap(), [0x20, 2, 0, 1], "{name}");
    }
}

#[tokio::test]
async fn a_will_is_accepted_and_never_published() {
    let site = Site::start().await;
    let device = site.device();
    let mut body = text("MQTT");
    body.extend([4, 0x06, 0, 60]);
    body.extend(text("x"));
    body.extend(text(&topics::Up::Report.topic(device.id)));
    body.extend(text("my will"));
    let mut client = Client::open(&site, &device, false).await;
    client.send(&framed(0x10, &body)).await;
    assert_eq!(client.packet().await.unwrap(), [0x20, 2, 0, 0]);
    assert!(client.is_silent(Duration::from_millis(20)).await);
    drop(client);
    site.disconnected(device.id).await;
    let events = site.events.lock().unwrap();
    assert_eq!(events.len(), 2, "only the connection's life is told: {events:?}");
}
