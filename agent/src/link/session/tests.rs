//! What is said for its own sake.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use rumqttc::{EventLoop, MqttOptions};
use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

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
