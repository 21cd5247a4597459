//! Random and mutated bytes after a valid handshake: whatever comes, the relay
//! neither crashes nor serves anybody else worse.

use crate::{
    client::{Client, connect_packet, framed, publish_packet, text},
    site::Site,
};
use proptest::{
    prelude::*,
    strategy::ValueTree,
    test_runner::{Config, TestRunner},
};
use unifyit_protocol::topics;

/// Connections per version; each gets a burst of packets.
const ROUNDS: usize = 60;

fn seeds(topic: &str) -> Vec<Vec<u8>> {
    let mut subscribe = vec![0, 1, 0];
    subscribe.extend(text(topic));
    subscribe.push(1);
    let mut will = text("MQTT");
    will.extend([5, 0xf6, 0, 60, 5, 0x27, 0, 1, 0, 0]);
    for part in ["id", "", "topic", "message", "user", "pass"] {
        will.extend(text(part));
    }
    vec![
        connect_packet(true, "x", 60),
        framed(0x10, &will),
        publish_packet(true, topic, 0, 0, b"payload"),
        publish_packet(true, topic, 1, 1, b"payload"),
        publish_packet(true, topic, 2, 1, b"payload"),
        framed(0x82, &subscribe),
        framed(0xa2, &subscribe),
        framed(0x62, &[0, 1, 0, 0]),
        framed(0x50, &[0, 1]),
        framed(0xe0, &[0, 5, 0x11, 0, 0, 0, 0]),
        framed(0xf0, &[0, 0]),
        vec![0xc0, 0],
    ]
}

fn burst(topic: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let seeds = seeds(topic);
    let mutated = (proptest::sample::select(seeds), any::<[(u16, u8); 3]>(), any::<u8>()).prop_map(
        |(mut packet, changes, kind)| {
            for (at, byte) in changes.iter().take(usize::from(kind % 4)) {
                let at = usize::from(*at) % packet.len();
                packet[at] = *byte;
            }
            if kind > 240 {
                packet.truncate(packet.len() / 2);
            }
            packet
        },
    );
    let random = (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..120))
        .prop_map(|(first, body)| framed(first, &body));
    proptest::collection::vec(prop_oneof![3 => mutated, 1 => random], 1..12)
        .prop_map(|packets| packets.concat())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn random_bytes_after_a_valid_handshake_crash_nothing() {
    let site = Site::start().await;
    let good = site.device();
    let mut present = Client::listening(&site, &good, true).await;
    let evil = site.device();
    let bursts = burst(&topics::Up::Report.topic(evil.id));
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::from_seed(
            proptest::test_runner::RngAlgorithm::ChaCha,
            &[42; 32],
        ),
    );
    for round in 0..ROUNDS {
        for v5 in [false, true] {
            let bytes = bursts.new_tree(&mut runner).unwrap().current();
            let mut client = if round % 4 == 0 {
                Client::open(&site, &evil, v5).await
            } else {
                Client::connect(&site, &evil, v5).await
            };
            client.send(&bytes).await;
            let _ = tokio::io::AsyncWriteExt::shutdown(&mut client.stream).await;
            while client.packet().await.is_some() {}
        }
        present.round_trip(&round.to_be_bytes()).await;
    }
    assert_eq!(site.metric("mqtt_panics_total"), 0.0);
    assert!(site.handle.is_online(good.id));
}
