//! Strict look at the bytes of a packet before a codec sees them.
//!
//! rumqttd's codecs trust the shape of what they read: some malformed packets
//! make them panic or wait for bytes that never come, and a publish keeps its
//! packet id to itself. This module walks a whole packet as MQTT 3.1.1 and 5
//! define it, so that only well-formed packets that a client may send reach a
//! codec, and says what the codecs do not.

pub(super) use super::fault::Fault;
use super::names::{is_filter, is_topic};
use rumqttd::protocol::QoS;

/// Most filters in one SUBSCRIBE or UNSUBSCRIBE.
const MAX_FILTERS: usize = 32;
/// Most user properties in one packet.
const MAX_USER_PROPERTIES: usize = 32;

/// Which MQTT a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1, protocol level 4.
    V4,
    /// 5.
    V5,
}

/// What a well-formed packet is, as far as the codecs do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Connect(Version),
    Publish { qos: QoS, pkid: u16, retain: bool, alias: bool },
    PubRel { pkid: u16 },
    Subscribe { pkid: u16, identifier: bool },
    Unsubscribe { pkid: u16 },
    Ping,
    Disconnect,
}

/// Length of the packet at the start of `bytes`, or `None` when more bytes are
/// needed to tell or to complete it.
///
/// # Errors
/// [`Fault`] when no packet can follow, or one larger than `max`.
pub(super) fn packet_len(bytes: &[u8], max: usize) -> Result<Option<usize>, Fault> {
    let mut length = 0usize;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let total = 2 + at + length;
            if total > max {
                return Err(Fault::TooLarge(total));
            }
            return Ok((bytes.len() >= total).then_some(total));
        }
    }
    if bytes.len() >= 5 {
        return Err(Fault::Malformed("the remaining length has more than four bytes"));
    }
    Ok(None)
}

/// Whether `bytes` can be the start of a first packet: all else is not MQTT,
/// and is refused before it is waited for.
pub(super) fn may_be_connect(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|byte| *byte == 0x10)
}

/// Walks one whole packet (`packet_len` bytes). `version` is `None` until a
/// CONNECT was seen.
///
/// # Errors
/// [`Fault`] when it is malformed, or not for a client to send.
pub(super) fn inspect(packet: &[u8], version: Option<Version>) -> Result<Shape, Fault> {
    let (Some(first), Some(start)) =
        (packet.first(), packet.iter().skip(1).position(|b| b & 0x80 == 0))
    else {
        return Err(Fault::Malformed("the packet is cut off"));
    };
    let (kind, flags) = (first >> 4, first & 0x0f);
    let mut body = Cursor(packet.get(start + 2..).unwrap_or_default());
    let Some(version) = version else {
        return match (kind, flags) {
            (1, 0) => connect(body).map(Shape::Connect),
            _ => Err(Fault::Protocol("the first packet must be CONNECT")),
        };
    };
    let shape = match (kind, flags) {
        (3, _) => publish(&mut body, flags, version),
        (6, 2) => pub_rel(&mut body, version),
        (8, 2) => subscribe(&mut body, version),
        (10, 2) => unsubscribe(&mut body, version),
        (12, 0) => Ok(Shape::Ping),
        (14, 0) => disconnect(&mut body, version),
        (1, _) => Err(Fault::Protocol("CONNECT may come only once")),
        (4 | 5 | 7, 0) => Err(Fault::Protocol("nothing that would be acknowledged was sent")),
        (15, 0) if version == Version::V5 => Err(Fault::AuthenticationMethod),
        _ => Err(Fault::Malformed("the packet type or its flags are not for a client")),
    }?;
    body.end()?;
    Ok(shape)
}

fn connect(mut body: Cursor<'_>) -> Result<Version, Fault> {
    let name = body.string()?;
    let version = match (name, body.u8()?) {
        ("MQTT", 4) => Version::V4,
        ("MQTT", 5) => Version::V5,
        ("MQTT" | "MQIsdp", level) => return Err(Fault::Level(level)),
        _ => return Err(Fault::Protocol("the protocol name is not MQTT")),
    };
    let flags = body.u8()?;
    let (will, will_qos) = (flags & 0x04 != 0, (flags >> 3) & 3);
    let (user, password) = (flags & 0x80 != 0, flags & 0x40 != 0);
    if flags & 1 != 0 || will_qos == 3 || (!will && flags & 0x38 != 0) {
        return Err(Fault::Malformed("the flags of CONNECT contradict each other"));
    }
    if version == Version::V4 && password && !user {
        return Err(Fault::Malformed("a password without a user name"));
    }
    let _keep_alive = body.u16()?;
    if version == Version::V5 {
        let seen = body.properties(&[17, 21, 22, 23, 25, 33, 34, 38, 39])?;
        if seen.has(21) {
            return Err(Fault::AuthenticationMethod);
        }
        if seen.has(22) {
            return Err(Fault::Protocol("authentication data without a method"));
        }
    }
    let unnamed = body.string()?.is_empty();
    if unnamed && version == Version::V4 && flags & 0x02 == 0 {
        return Err(Fault::Identifier);
    }
    if will {
        if version == Version::V5 {
            body.properties(&[1, 2, 3, 8, 9, 24, 38])?;
        }
        if !is_topic(body.string()?) {
            return Err(Fault::Malformed("the topic of the will is none"));
        }
        body.binary()?;
    }
    if user {
        body.string()?;
    }
    if password {
        body.binary()?;
    }
    body.end()?;
    if will && flags & 0x20 != 0 && version == Version::V5 {
        return Err(Fault::Retain);
    }
    Ok(version)
}

fn publish(body: &mut Cursor<'_>, flags: u8, version: Version) -> Result<Shape, Fault> {
    let qos = match (flags >> 1) & 3 {
        0 if flags & 8 != 0 => return Err(Fault::Malformed("a repeat at QoS 0")),
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        2 => QoS::ExactlyOnce,
        _ => return Err(Fault::Malformed("QoS 3 does not exist")),
    };
    let topic = body.string()?;
    if topic.contains(['+', '#']) {
        return Err(Fault::Malformed("a publish to a wildcard"));
    }
    let pkid = if qos == QoS::AtMostOnce { 0 } else { body.pkid()? };
    let mut alias = false;
    if version == Version::V5 {
        alias = body.properties(&[1, 2, 3, 8, 9, 35, 38])?.has(35);
    }
    if topic.is_empty() && !alias {
        return Err(Fault::Protocol("a publish without a topic"));
    }
    body.0 = &[];
    Ok(Shape::Publish { qos, pkid, retain: flags & 1 != 0, alias })
}

fn pub_rel(body: &mut Cursor<'_>, version: Version) -> Result<Shape, Fault> {
    let pkid = body.pkid()?;
    if version == Version::V5 && !body.0.is_empty() {
        body.u8()?;
        if !body.0.is_empty() {
            body.properties(&[31, 38])?;
        }
    }
    Ok(Shape::PubRel { pkid })
}

fn subscribe(body: &mut Cursor<'_>, version: Version) -> Result<Shape, Fault> {
    let pkid = body.pkid()?;
    let mut identifier = false;
    if version == Version::V5 {
        identifier = body.properties(&[11, 38])?.has(11);
    }
    let mut filters = 0;
    while !body.0.is_empty() {
        filter(body)?;
        let options = body.u8()?;
        let allowed = if version == Version::V5 { 0x3f } else { 0x03 };
        if options & !allowed != 0 || options & 3 == 3 || (options >> 4) & 3 == 3 {
            return Err(Fault::Malformed("the options of a subscription"));
        }
        filters += 1;
    }
    bounded(filters)?;
    Ok(Shape::Subscribe { pkid, identifier })
}

fn unsubscribe(body: &mut Cursor<'_>, version: Version) -> Result<Shape, Fault> {
    let pkid = body.pkid()?;
    if version == Version::V5 {
        body.properties(&[38])?;
    }
    let mut filters = 0;
    while !body.0.is_empty() {
        filter(body)?;
        filters += 1;
    }
    bounded(filters)?;
    Ok(Shape::Unsubscribe { pkid })
}

fn disconnect(body: &mut Cursor<'_>, version: Version) -> Result<Shape, Fault> {
    if version == Version::V5 && !body.0.is_empty() {
        body.u8()?;
        if !body.0.is_empty() {
            body.properties(&[17, 28, 31, 38])?;
        }
    }
    Ok(Shape::Disconnect)
}

fn filter(body: &mut Cursor<'_>) -> Result<(), Fault> {
    match is_filter(body.string()?) {
        true => Ok(()),
        false => Err(Fault::Malformed("a filter that is none")),
    }
}

fn bounded(filters: usize) -> Result<(), Fault> {
    match filters {
        0 => Err(Fault::Protocol("a list of no filters")),
        1..=MAX_FILTERS => Ok(()),
        _ => Err(Fault::Quota("filters in one packet")),
    }
}

/// Which properties a packet carried.
#[derive(Debug, Clone, Copy, Default)]
struct Seen(u64);

impl Seen {
    fn has(self, id: u8) -> bool {
        self.0 & (1 << id) != 0
    }
}

/// The part of a packet that was not walked yet.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or(Fault::Malformed("the packet is cut off"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        Ok(self.take(2)?.iter().fold(0, |n, b| n << 8 | u16::from(*b)))
    }

    fn pkid(&mut self) -> Result<u16, Fault> {
        match self.u16()? {
            0 => Err(Fault::Malformed("packet id 0")),
            id => Ok(id),
        }
    }

    fn binary(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    fn string(&mut self) -> Result<&'a str, Fault> {
        let text = std::str::from_utf8(self.binary()?)
            .map_err(|_| Fault::Malformed("a text is not UTF-8"))?;
        if text.contains('\0') {
            return Err(Fault::Malformed("a text contains U+0000"));
        }
        Ok(text)
    }

    fn variable(&mut self) -> Result<usize, Fault> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.u8()?;
            value |= usize::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Fault::Malformed("a number has more than four bytes"))
    }

    fn properties(&mut self, allowed: &[u8]) -> Result<Seen, Fault> {
        let length = self.variable()?;
        let mut inside = Cursor(self.take(length)?);
        let (mut seen, mut user) = (Seen::default(), 0);
        while !inside.0.is_empty() {
            let id = inside.u8()?;
            if !allowed.contains(&id) {
                return Err(Fault::Malformed("a property that does not belong here"));
            }
            if id == 38 {
                user += 1;
                if user > MAX_USER_PROPERTIES {
                    return Err(Fault::Quota("user properties in one packet"));
                }
            } else if seen.has(id) {
                return Err(Fault::Protocol("a property given twice"));
            }
            seen.0 |= 1 << id;
            inside.value(id)?;
        }
        Ok(seen)
    }

    fn value(&mut self, id: u8) -> Result<(), Fault> {
        match id {
            1 | 23 | 25 => {
                if self.u8()? > 1 {
                    return Err(Fault::Protocol("a property that is neither 0 nor 1"));
                }
            }
            33 | 35 => {
                if self.u16()? == 0 && id == 33 {
                    return Err(Fault::Protocol("a receive maximum of 0"));
                }
            }
            34 => drop(self.u16()?),
            39 => {
                if self.take(4)? == [0; 4] {
                    return Err(Fault::Protocol("a maximum packet size of 0"));
                }
            }
            2 | 17 | 24 => drop(self.take(4)?),
            11 => {
                if self.variable()? == 0 {
                    return Err(Fault::Protocol("a subscription identifier of 0"));
                }
            }
            9 | 22 => drop(self.binary()?),
            8 => {
                if !is_topic(self.string()?) {
                    return Err(Fault::Protocol("a response topic that is none"));
                }
            }
            38 => {
                self.string()?;
                self.string()?;
            }
            _ => drop(self.string()?),
        }
        Ok(())
    }

    fn end(&self) -> Result<(), Fault> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Fault::Malformed("bytes after the packet's end"))
        }
    }
}
