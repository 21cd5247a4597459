//! The MQTT conversation of one connection, without any I/O: packets go in,
//! answers and effects come out.
//!
//! rumqttd's codecs translate; [`super::wire`] has looked at each packet
//! before. Every decision about rights is taken here, by the topics of
//! `unifyit_protocol` alone: what they do not name does not exist.

use super::{
    Named,
    handle::Subscribed,
    metrics::Metrics,
    wire::{Fault, Shape, Version, inspect},
};
use bytes::{Bytes, BytesMut};
use rumqttd::protocol::{
    ConnAck, ConnAckProperties, Connect, ConnectProperties, ConnectReturnCode, Disconnect,
    DisconnectProperties, DisconnectReasonCode, Error, Packet, PingResp, Protocol, PubAck,
    PubAckReason, PubComp, PubCompReason, PubRec, PubRecReason, Publish, QoS, SubAck,
    SubscribeReasonCode, UnsubAck, UnsubAckReason, v4::V4, v5::V5,
};
use unifyit_protocol::{ids::DeviceId, topics};

/// QoS 2 messages that a device may have in flight.
const RECEIVE_MAXIMUM: u16 = 32;
/// Longest silence that a device may ask for, in seconds.
const MAX_KEEP_ALIVE: u16 = 900;
/// Least that a client must take in one packet: the longest CONNACK.
const MIN_PACKET: u32 = 96;
/// Bytes of a DISCONNECT besides its words.
const FAREWELL_BYTES: usize = 12;

/// What a packet means for the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing beyond the answer, if any.
    None,
    /// The device published.
    Publish(topics::Up, Bytes),
    /// The device's subscriptions changed.
    Subscribed(Subscribed),
    /// The device says goodbye.
    Goodbye,
}

/// What a client asked for in CONNECT.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) version: Version,
    /// Seconds; 0 means none.
    keep_alive: u16,
    unnamed: bool,
    /// What the computer calls itself.
    pub(super) computer: Named,
    keeps_session: bool,
    max_packet: Option<u32>,
}

/// Reads a CONNECT packet.
pub(super) fn read_connect(packet: BytesMut) -> Result<Wishes, Fault> {
    let Shape::Connect(version) = inspect(&packet, None)? else {
        return Err(Fault::Protocol("the first packet must be CONNECT"));
    };
    // A will is read and forgotten: presence is made by the connection's life.
    let Packet::Connect(Connect { keep_alive, client_id, .. }, properties, ..) =
        decode(version, packet)?
    else {
        return Err(Fault::Malformed("CONNECT"));
    };
    let properties = properties.as_ref();
    let asked = |get: fn(&ConnectProperties) -> Option<u32>| properties.and_then(get);
    // The answer to CONNECT is among what it could not take, and so nothing could
    // be said at all.
    if let Some(most) = asked(|p| p.max_packet_size).filter(|most| *most < MIN_PACKET) {
        return Err(Fault::SmallPackets(most));
    }
    Ok(Wishes {
        version,
        keep_alive,
        unnamed: client_id.is_empty(),
        computer: named(&client_id),
        keeps_session: asked(|p| p.session_expiry_interval).is_some_and(|s| s > 0),
        max_packet: asked(|p| p.max_packet_size),
    })
}

/// A client id is `DEVICE[/INSTANCE[/BEFORE]]`.
fn named(client_id: &str) -> Named {
    let mut names = client_id.split('/').skip(1).map(|name| name.parse().ok());
    Named { instance: names.next().flatten(), before: names.next().flatten() }
}

/// Writes the refusal of a CONNECT in the client's own words, as far as known.
pub(super) fn refuse_connect(version: Option<Version>, fault: Fault, out: &mut BytesMut) {
    let code = match (version, fault) {
        (None, Fault::Level(_)) => ConnectReturnCode::RefusedProtocolVersion,
        (None, Fault::AuthenticationMethod) => ConnectReturnCode::BadAuthenticationMethod,
        (None, Fault::Retain) => ConnectReturnCode::RetainNotSupported,
        (None, Fault::SmallPackets(_)) => ConnectReturnCode::PacketTooLarge,
        (None, Fault::Identifier) => ConnectReturnCode::ClientIdentifierNotValid,
        (None, _) => return,
        (Some(Version::V4), Fault::NotAuthorized) => ConnectReturnCode::NotAuthorized,
        (Some(Version::V4), _) => ConnectReturnCode::ServiceUnavailable,
        (Some(Version::V5), Fault::NotAuthorized) => ConnectReturnCode::NotAuthorized,
        (Some(Version::V5), _) => ConnectReturnCode::ServerBusy,
    };
    let version = match fault {
        Fault::AuthenticationMethod | Fault::Retain | Fault::SmallPackets(_) => Version::V5,
        _ => version.unwrap_or(Version::V4),
    };
    encode(version, Packet::ConnAck(ConnAck { session_present: false, code }, None), out);
}

/// The conversation after CONNECT.
#[derive(Debug)]
pub(super) struct Dialog {
    device: DeviceId,
    version: Version,
    subscribed: Subscribed,
    /// Packet ids of QoS 2 messages that were taken and not yet released.
    unreleased: Vec<u16>,
    max_packet: Option<u32>,
    /// Seconds of silence that end the session; `None` for no limit.
    pub(super) silence_s: Option<u64>,
}

impl Dialog {
    /// Accepts a client and writes its CONNACK.
    pub(super) fn accept(
        device: DeviceId,
        wishes: &Wishes,
        max_packet: usize,
        out: &mut BytesMut,
    ) -> Self {
        let bounded = match wishes.keep_alive {
            0 => MAX_KEEP_ALIVE,
            asked => asked.min(MAX_KEEP_ALIVE),
        };
        let v5 = wishes.version == Version::V5;
        // Only MQTT 5 can be told of another keep-alive than the one it asked for.
        let keep_alive = if v5 { bounded } else { wishes.keep_alive };
        let properties = v5.then(|| ConnAckProperties {
            receive_max: Some(RECEIVE_MAXIMUM),
            retain_available: Some(0),
            max_packet_size: u32::try_from(max_packet).ok(),
            assigned_client_identifier: wishes.unnamed.then(|| device.to_string()),
            topic_alias_max: Some(0),
            subscription_identifiers_available: Some(0),
            shared_subscription_available: Some(0),
            session_expiry_interval: wishes.keeps_session.then_some(0),
            server_keep_alive: (bounded != wishes.keep_alive).then_some(bounded),
            ..ConnAckProperties::default()
        });
        let code = ConnectReturnCode::Success;
        encode(
            wishes.version,
            Packet::ConnAck(ConnAck { session_present: false, code }, properties),
            out,
        );
        Self {
            device,
            version: wishes.version,
            subscribed: Subscribed::default(),
            unreleased: Vec::new(),
            max_packet: wishes.max_packet,
            silence_s: (keep_alive > 0).then(|| u64::from(keep_alive) * 3 / 2),
        }
    }

    /// Takes one whole packet.
    pub(super) fn take(
        &mut self,
        packet: BytesMut,
        metrics: &Metrics,
        out: &mut BytesMut,
    ) -> Result<Effect, Fault> {
        match inspect(&packet, Some(self.version))? {
            Shape::Publish { alias: true, .. } => Err(Fault::TopicAlias),
            Shape::Publish { retain: true, .. } if self.version == Version::V5 => {
                Err(Fault::Retain)
            }
            Shape::Publish { qos, pkid, .. } => match decode(self.version, packet)? {
                Packet::Publish(publish, _) => self.publish(qos, pkid, publish, metrics, out),
                _ => Err(Fault::Malformed("PUBLISH")),
            },
            Shape::PubRel { pkid } => {
                self.release(pkid, out);
                Ok(Effect::None)
            }
            Shape::Subscribe { identifier: true, .. } => Err(Fault::SubscriptionIdentifier),
            Shape::Subscribe { pkid, .. } => match decode(self.version, packet)? {
                Packet::Subscribe(subscribe, _) => {
                    let filters = subscribe.filters.iter().map(|f| f.path.as_str());
                    Ok(self.subscribe(pkid, filters, metrics, out))
                }
                _ => Err(Fault::Malformed("SUBSCRIBE")),
            },
            Shape::Unsubscribe { pkid } => match decode(self.version, packet)? {
                Packet::Unsubscribe(unsubscribe, _) => {
                    Ok(self.unsubscribe(pkid, &unsubscribe.filters, out))
                }
                _ => Err(Fault::Malformed("UNSUBSCRIBE")),
            },
            Shape::Ping => {
                encode(self.version, Packet::PingResp(PingResp), out);
                Ok(Effect::None)
            }
            Shape::Disconnect => Ok(Effect::Goodbye),
            Shape::Connect(_) => Err(Fault::Protocol("CONNECT may come only once")),
        }
    }

    /// Writes a message for the device. `false` when the device does not take
    /// messages of this size.
    pub(super) fn deliver(&self, kind: topics::Down, payload: Bytes, out: &mut BytesMut) -> bool {
        let before = out.len();
        let topic = Bytes::from(kind.topic(self.device));
        encode(self.version, Packet::Publish(Publish::new(topic, payload, false), None), out);
        let fits = self.max_packet.is_none_or(|max| out.len() - before <= max as usize);
        if !fits {
            out.truncate(before);
        }
        fits
    }

    /// Writes the farewell, for which MQTT 3.1.1 has no word.
    pub(super) fn farewell(&self, why: DisconnectReasonCode, words: &str, out: &mut BytesMut) {
        if self.version == Version::V5 {
            // The codec writes a reason code only together with properties: where the
            // words do not fit, no words are one.
            let fits = self.max_packet.is_none_or(|m| words.len() + FAREWELL_BYTES <= m as usize);
            let reason = Some(if fits { words.to_owned() } else { String::new() });
            let properties = DisconnectProperties {
                session_expiry_interval: None,
                reason_string: reason,
                user_properties: Vec::new(),
                server_reference: None,
            };
            let packet = Packet::Disconnect(Disconnect { reason_code: why }, Some(properties));
            encode(self.version, packet, out);
        }
    }

    fn publish(
        &mut self,
        qos: QoS,
        pkid: u16,
        publish: Publish,
        metrics: &Metrics,
        out: &mut BytesMut,
    ) -> Result<Effect, Fault> {
        let kind = topics::publish_allowed(self.device, &publish.topic);
        if kind.is_none() {
            metrics.denied.with_label_values(&["publish"]).inc();
            // Only MQTT 5, and only from QoS 1 on, has a way to say no.
            if self.version == Version::V4 || qos == QoS::AtMostOnce {
                return Err(Fault::NotAuthorized);
            }
        }
        let repeated = qos == QoS::ExactlyOnce && self.unreleased.contains(&pkid);
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => {
                let reason = if kind.is_some() {
                    PubAckReason::Success
                } else {
                    PubAckReason::NotAuthorized
                };
                encode(self.version, Packet::PubAck(PubAck { pkid, reason }, None), out);
            }
            QoS::ExactlyOnce => {
                if kind.is_some() && !repeated {
                    if self.unreleased.len() >= usize::from(RECEIVE_MAXIMUM) {
                        return Err(Fault::ReceiveMaximum);
                    }
                    self.unreleased.push(pkid);
                }
                let reason = if kind.is_some() {
                    PubRecReason::Success
                } else {
                    PubRecReason::NotAuthorized
                };
                encode(self.version, Packet::PubRec(PubRec { pkid, reason }, None), out);
            }
        }
        Ok(match kind {
            Some(kind) if !repeated => Effect::Publish(kind, publish.payload),
            _ => Effect::None,
        })
    }

    fn release(&mut self, pkid: u16, out: &mut BytesMut) {
        let reason = match self.unreleased.iter().position(|id| *id == pkid) {
            Some(at) => {
                self.unreleased.swap_remove(at);
                PubCompReason::Success
            }
            None => PubCompReason::PacketIdentifierNotFound,
        };
        encode(self.version, Packet::PubComp(PubComp { pkid, reason }, None), out);
    }

    fn subscribe<'a>(
        &mut self,
        pkid: u16,
        filters: impl Iterator<Item = &'a str>,
        metrics: &Metrics,
        out: &mut BytesMut,
    ) -> Effect {
        let mut granted = false;
        let return_codes = filters
            .map(|filter| {
                if topics::subscribe_allowed(self.device, filter.as_bytes()) {
                    self.subscribed.add(last_level(filter));
                    granted = true;
                    return SubscribeReasonCode::Success(QoS::AtMostOnce);
                }
                metrics.denied.with_label_values(&["subscribe"]).inc();
                match self.version {
                    Version::V4 => SubscribeReasonCode::Failure,
                    Version::V5 if filter.starts_with("$share/") => {
                        SubscribeReasonCode::SharedSubscriptionsNotSupported
                    }
                    Version::V5 => SubscribeReasonCode::NotAuthorized,
                }
            })
            .collect();
        encode(self.version, Packet::SubAck(SubAck { pkid, return_codes }, None), out);
        if granted { Effect::Subscribed(self.subscribed) } else { Effect::None }
    }

    fn unsubscribe(&mut self, pkid: u16, filters: &[String], out: &mut BytesMut) -> Effect {
        let reasons = filters
            .iter()
            .map(|filter| {
                let own = topics::subscribe_allowed(self.device, filter.as_bytes());
                if own && self.subscribed.remove(last_level(filter)) {
                    UnsubAckReason::Success
                } else {
                    UnsubAckReason::NoSubscriptionExisted
                }
            })
            .collect();
        encode(self.version, Packet::UnsubAck(UnsubAck { pkid, reasons }, None), out);
        Effect::Subscribed(self.subscribed)
    }
}

fn last_level(filter: &str) -> &str {
    filter.rsplit('/').next().unwrap_or_default()
}

fn decode(version: Version, mut packet: BytesMut) -> Result<Packet, Fault> {
    let size = packet.len();
    let read = match version {
        Version::V4 => V4.read_mut(&mut packet, size),
        Version::V5 => V5.read_mut(&mut packet, size),
    };
    read.map_err(|error| match error {
        Error::TopicNotUtf8 | Error::PayloadNotUtf8(_) => {
            Fault::Malformed("a text or password is not UTF-8")
        }
        _ => Fault::Malformed("the packet cannot be read"),
    })
}

/// Writes a packet. What is written here is made here, so that a failure can
/// only be a mistake of this program; nothing half-written is left behind.
fn encode(version: Version, packet: Packet, out: &mut BytesMut) {
    let before = out.len();
    let written = match version {
        Version::V4 => V4.write(packet, out),
        Version::V5 => V5.write(packet, out),
    };
    if let Err(error) = written {
        out.truncate(before);
        tracing::error!(%error, "a packet could not be written");
    }
}
