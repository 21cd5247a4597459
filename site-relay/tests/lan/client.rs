//! A small MQTT client that does what it is told, right or wrong.

use crate::site::{Device, PATIENCE, Site};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use unifyit_protocol::{ids::DeviceId, topics};

pub(crate) fn tls_config(site: &Site, device: Option<&Device>) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(site.identity.keys.ca.certificate().clone()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(match device {
        Some(device) => builder
            .with_client_auth_cert(vec![device.certificate.clone()], device.private_key())
            .unwrap(),
        None => builder.with_no_client_auth(),
    })
}

pub(crate) async fn tls(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::IpAddress(address.ip().into());
    TlsConnector::from(config).connect(name, stream).await
}

/// A connection after TLS.
pub(crate) struct Client {
    pub(crate) stream: TlsStream<TcpStream>,
    pub(crate) id: DeviceId,
    pub(crate) v5: bool,
}

impl Client {
    /// TLS only.
    pub(crate) async fn open(site: &Site, device: &Device, v5: bool) -> Self {
        let stream = tls(site.address, tls_config(site, Some(device))).await.unwrap();
        Self { stream, id: device.id, v5 }
    }

    /// TLS and CONNECT, or `None` when the relay hangs up on the way.
    pub(crate) async fn try_connect(site: &Site, device: &Device, v5: bool) -> Option<Self> {
        let stream = tls(site.address, tls_config(site, Some(device))).await.ok()?;
        let mut client = Self { stream, id: device.id, v5 };
        client.send(&connect_packet(v5, "x", 60)).await;
        client.packet().await.map(|_| client)
    }

    /// TLS and CONNECT with a client id of its own choice.
    pub(crate) async fn connect(site: &Site, device: &Device, v5: bool) -> Self {
        let mut client = Self::open(site, device, v5).await;
        client.send(&connect_packet(v5, "chosen-by-client", 60)).await;
        let answer = client.packet().await.expect("CONNACK");
        assert_eq!((answer[0], answer[3]), (0x20, 0), "{answer:02x?}");
        client
    }

    /// The same, and a subscription to everything that is its own.
    pub(crate) async fn listening(site: &Site, device: &Device, v5: bool) -> Self {
        let mut client = Self::connect(site, device, v5).await;
        let answer = client.subscribe(&topics::down_filter(device.id)).await;
        assert_eq!(answer, 0);
        client
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next packet, or `None` when the relay closed the connection.
    pub(crate) async fn packet(&mut self) -> Option<Vec<u8>> {
        timeout(PATIENCE, self.read_packet()).await.expect("an answer or the end in time")
    }

    /// Whether nothing comes for a while.
    pub(crate) async fn is_silent(&mut self, time: Duration) -> bool {
        timeout(time, self.read_packet()).await.is_err()
    }

    async fn read_packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![self.stream.read_u8().await.ok()?];
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.stream.read_u8().await.ok()?;
            packet.push(byte);
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + length, 0);
        self.stream.read_exact(&mut packet[start..]).await.ok()?;
        Some(packet)
    }

    /// Reads to the end and says with which reason code MQTT 5 was told why.
    pub(crate) async fn farewell(&mut self) -> Option<u8> {
        let mut code = None;
        while let Some(packet) = self.packet().await {
            if packet[0] == 0xe0 {
                code = Some(packet.get(2).copied().unwrap_or(0));
            }
        }
        code
    }

    /// Subscribes to one filter and returns the code of the answer.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> u8 {
        let mut body = vec![0, 9];
        if self.v5 {
            body.push(0);
        }
        body.extend(text(filter));
        body.push(1);
        self.send(&framed(0x82, &body)).await;
        let answer = self.packet().await.expect("SUBACK");
        assert_eq!(answer[0], 0x90, "{answer:02x?}");
        *answer.last().unwrap()
    }

    pub(crate) async fn publish(&mut self, topic: &str, qos: u8, payload: &[u8]) {
        self.send(&publish_packet(self.v5, topic, qos, 7, payload)).await;
    }

    /// Sends a report and waits until the stand-in for ingest answered it.
    pub(crate) async fn round_trip(&mut self, payload: &[u8]) {
        self.publish(&topics::Up::Report.topic(self.id), 0, payload).await;
        loop {
            let packet = self.packet().await.expect("an answer to the report");
            if packet[0] == 0x30 && packet.ends_with(payload) {
                return;
            }
        }
    }
}

pub(crate) fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length % 128).unwrap();
        length /= 128;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn connect_packet(v5: bool, client_id: &str, keep_alive: u16) -> Vec<u8> {
    let mut body = text("MQTT");
    body.extend([if v5 { 5 } else { 4 }, 0x02]);
    body.extend(keep_alive.to_be_bytes());
    if v5 {
        body.push(0);
    }
    body.extend(text(client_id));
    framed(0x10, &body)
}

pub(crate) fn publish_packet(v5: bool, topic: &str, qos: u8, pkid: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    if qos > 0 {
        body.extend(pkid.to_be_bytes());
    }
    if v5 {
        body.push(0);
    }
    body.extend(payload);
    framed(0x30 | qos << 1, &body)
}
