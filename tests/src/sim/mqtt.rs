//! The least MQTT that a device needs: version 3.1.1, QoS 0, one filter. Small
//! on purpose: a process holds thousands of these.

use super::enroll::Identity;
use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use rumqttc::mqttbytes::{
    Error as MqttError, QoS,
    v4::{ConnAck, Connect, ConnectReturnCode, Packet, Publish, Subscribe, SubscribeReasonCode},
};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use unifyit_protocol::topics;

/// Largest packet either way.
const MAX_PACKET: usize = 1024 * 1024;
/// For each step of connecting.
const STEP: Duration = Duration::from_secs(20);
/// Seconds after which the broker may take silence for absence.
pub const KEEP_ALIVE_S: u16 = 60;

/// A message for the device.
#[derive(Debug)]
pub struct Incoming {
    /// Its topic.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
}

/// An open session.
#[derive(Debug)]
pub struct Connection {
    tls: TlsStream<TcpStream>,
    inbox: BytesMut,
    outbox: BytesMut,
}

impl Connection {
    /// Connects a device, introduces it and subscribes to what is for it.
    ///
    /// # Errors
    /// When any step is refused or takes too long.
    pub async fn open(identity: &Identity, tls: Arc<ClientConfig>) -> Result<Self> {
        let address = identity.mqtt.first().context("the enrolment named no MQTT address")?;
        let filter = topics::down_filter(identity.device);
        Self::subscribe(address, &identity.device.to_string(), &filter, tls).await
    }

    /// Connects to any broker under `id` and subscribes to `filter`.
    ///
    /// # Errors
    /// When any step is refused or takes too long.
    pub async fn subscribe(
        address: &str,
        id: &str,
        filter: &str,
        tls: Arc<ClientConfig>,
    ) -> Result<Self> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())?;
        let tcp = timeout(STEP, TcpStream::connect(address)).await??;
        tcp.set_nodelay(true)?;
        let tls = timeout(STEP, TlsConnector::from(tls).connect(name, tcp)).await??;
        let mut connection = Self { tls, inbox: BytesMut::new(), outbox: BytesMut::new() };

        let mut connect = Connect::new(id);
        connect.keep_alive = KEEP_ALIVE_S;
        connect.clean_session = true;
        connection.send(&Packet::Connect(connect)).await?;
        match timeout(STEP, connection.packet()).await?? {
            Packet::ConnAck(ConnAck { code: ConnectReturnCode::Success, .. }) => {}
            other => bail!("the front did not welcome us: {other:?}"),
        }
        let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 1;
        connection.send(&Packet::Subscribe(subscribe)).await?;
        match timeout(STEP, connection.packet()).await?? {
            Packet::SubAck(ack)
                if matches!(ack.return_codes.as_slice(), [SubscribeReasonCode::Success(_)]) => {}
            other => bail!("the front refused our subscription: {other:?}"),
        }
        Ok(connection)
    }

    /// Publishes at QoS 0: the acknowledgements that matter are our own (G1).
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn publish(&mut self, topic: &str, payload: Vec<u8>) -> Result<()> {
        self.send(&Packet::Publish(Publish::new(topic, QoS::AtMostOnce, payload))).await
    }

    /// Tells the broker that we are alive.
    ///
    /// # Errors
    /// When the connection is gone.
    pub async fn ping(&mut self) -> Result<()> {
        self.send(&Packet::PingReq).await
    }

    /// Says goodbye, so that no will is needed.
    pub async fn close(mut self) {
        // The other side may be gone already; nothing depends on the farewell.
        let _ = self.send(&Packet::Disconnect).await;
        let _ = timeout(Duration::from_secs(1), self.tls.shutdown()).await;
    }

    /// The next message. May be dropped and called again without loss.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn next(&mut self) -> Result<Incoming> {
        loop {
            if let Packet::Publish(publish) = self.packet().await? {
                return Ok(Incoming { topic: publish.topic, payload: publish.payload });
            }
        }
    }

    async fn packet(&mut self) -> Result<Packet> {
        loop {
            if !self.inbox.is_empty() {
                match Packet::read(&mut self.inbox, MAX_PACKET) {
                    Ok(packet) => return Ok(packet),
                    Err(MqttError::InsufficientBytes(_)) => {}
                    Err(error) => bail!("the front sent what is no MQTT: {error}"),
                }
            }
            self.inbox.reserve(2048);
            if self.tls.read_buf(&mut self.inbox).await? == 0 {
                bail!("the front closed the connection");
            }
        }
    }

    async fn send(&mut self, packet: &Packet) -> Result<()> {
        self.outbox.clear();
        packet.write(&mut self.outbox, MAX_PACKET).map_err(|e| anyhow::anyhow!("{e}"))?;
        timeout(STEP, self.tls.write_all(&self.outbox)).await??;
        timeout(STEP, self.tls.flush()).await??;
        if self.outbox.capacity() > 16 * 1024 {
            self.outbox = BytesMut::new();
        }
        Ok(())
    }
}
