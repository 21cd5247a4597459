//! The MQTT client: a new one for each connection, so that nothing queued for a
//! lost one can slip into the next.

use crate::{
    enroll::https::split_address,
    identity::{instance, welcomed_before},
};
use rumqttc::{AsyncClient, EventLoop, MqttOptions, NetworkOptions, TlsConfiguration, Transport};
use rustls::ClientConfig;
use std::{sync::Arc, time::Duration};
use unifyit_protocol::{codec::MAX_MESSAGE, ids::DeviceId};

/// How long the connection may show no sign of life. The relay waits for one and a
/// half times as long, and the agent for twice as long.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(20);
const CONNECT_S: u64 = 10;
/// Requests between the sender and the connection. Few, because what is queued
/// here cannot be overtaken by something urgent.
const QUEUE: usize = 4;

/// Prepares a connection; it is made when the event loop is polled first.
/// `None` for an address that is not `host:port`.
#[must_use]
pub fn prepare(
    address: &str,
    device: DeviceId,
    tls: Arc<ClientConfig>,
) -> Option<(AsyncClient, EventLoop)> {
    let (host, port) = split_address(address)?;
    let mut name = format!("{device}/{}", instance());
    if let Some(before) = welcomed_before() {
        name = format!("{name}/{before}");
    }
    let mut options = MqttOptions::new(name, host, port);
    options
        .set_keep_alive(KEEP_ALIVE)
        .set_clean_session(true)
        .set_inflight(16)
        // The library's own default for incoming packets is 10 KiB.
        .set_max_packet_size(MAX_MESSAGE + 1024, MAX_MESSAGE + 1024)
        .set_transport(Transport::Tls(TlsConfiguration::Rustls(tls)));
    let (client, mut events) = AsyncClient::new(options, QUEUE);
    let mut network = NetworkOptions::new();
    // A keystroke must not wait for an acknowledgement of the one before.
    network.set_tcp_nodelay(true);
    network.set_connection_timeout(CONNECT_S);
    events.set_network_options(network);
    Some((client, events))
}
